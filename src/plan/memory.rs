//! Memory planning: values whose lifetimes do not meet share a slot.

use super::recorder::Pending;
use super::recording::{Call, Place, Plan, Region};
use std::collections::HashMap;
use std::ops::RangeInclusive;

/// First and last call that touches a value's place.
fn lifetimes(calls: &[Call], places: usize) -> Vec<Option<RangeInclusive<usize>>> {
    let mut lives: Vec<Option<RangeInclusive<usize>>> = vec![None; places];
    for (index, call) in calls.iter().enumerate() {
        for region in &call.regions {
            let life = &mut lives[region.buffer];
            let first = life.as_ref().map_or(index, |life| *life.start());
            *life = Some(first..=index);
        }
    }
    lives
}

fn meet(a: &RangeInclusive<usize>, b: &RangeInclusive<usize>) -> bool {
    a.start() <= b.end() && b.start() <= a.end()
}

/// The most bytes of the plan's own values that live at one time: no plan of these calls needs less.
fn most_alive(lives: &[Option<RangeInclusive<usize>>], places: &[Pending], calls: usize) -> u64 {
    let mut change = vec![0i64; calls + 1];
    for (life, place) in lives.iter().zip(places) {
        if let (Some(life), None) = (life, &place.storage) {
            let bytes = (place.element.bytes() * place.len) as i64;
            change[*life.start()] += bytes;
            change[life.end() + 1] -= bytes;
        }
    }
    let alive = change.into_iter().scan(0, |sum, change| {
        *sum += change;
        Some(*sum)
    });
    alive.max().unwrap_or(0) as u64
}

/// Gives every place a buffer. Slots are filled greedily, the largest values first: each goes into the first slot
/// none of whose values lives at the same time (Pisarchyk & Lee 2020, "greedy by size" for shared objects).
pub(super) fn plan(mut calls: Vec<Call>, places: Vec<Pending>) -> Plan {
    let lives = lifetimes(&calls, places.len());
    let mut order: Vec<usize> = (0..places.len()).filter(|&place| lives[place].is_some()).collect();
    order.sort_by_key(|&place| std::cmp::Reverse(places[place].element.bytes() * places[place].len));

    let most_alive = most_alive(&lives, &places, calls.len());
    let mut buffers: Vec<Place> = Vec::new();
    let mut tenants: Vec<Vec<RangeInclusive<usize>>> = Vec::new();
    let mut buffer_of: HashMap<usize, usize> = HashMap::new();
    for place in order {
        let Pending { element, len, storage } = &places[place];
        let life = lives[place].clone().expect("only places that are used are planned");
        let free = |(index, slot): (usize, &Place)| {
            let fits = matches!(slot, Place::Slot { element: e, .. } if e == element);
            fits && !tenants[index].iter().any(|other| meet(other, &life))
        };
        let found = match storage {
            Some(_) => None,
            None => buffers.iter().enumerate().position(free),
        };
        let buffer = found.unwrap_or_else(|| {
            buffers.push(match storage {
                Some(storage) => Place::Storage(storage.clone()),
                None => Place::Slot { element: *element, len: *len },
            });
            tenants.push(Vec::new());
            buffers.len() - 1
        });
        tenants[buffer].push(life);
        buffer_of.insert(place, buffer);
    }
    for Region { buffer, .. } in calls.iter_mut().flat_map(|call| &mut call.regions) {
        *buffer = buffer_of[buffer];
    }
    Plan { calls, buffers, most_alive }
}

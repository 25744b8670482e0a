//! Measuring which variant of a kernel is fastest on this GPU.

use super::Gpu;
use crate::device::Device;
use crate::error::Result;
use crate::plan::{Call, Plan, Step, Variant};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// When measuring ends and the remaining calls follow what was measured.
const BUDGET: Duration = Duration::from_secs(40);
/// Time spent on one variant at one shape.
const PER_VARIANT: Duration = Duration::from_millis(20);

/// The calls that can be computed in several ways, one for each shape, the largest first.
fn open_choices<'a>(gpu: &Gpu, plans: &[&'a Plan]) -> Vec<&'a Call> {
    let mut seen = BTreeSet::new();
    let mut open: Vec<&Call> = (plans.iter().flat_map(|plan| &plan.calls))
        .filter(|call| call.kernel.variants().len() > 1 && !gpu.choices.has(call) && seen.insert(call.key()))
        .collect();
    open.sort_by_key(|call| std::cmp::Reverse(call.kernel.flops()));
    open
}

/// [`Device::tune`].
pub(super) fn tune(gpu: &mut Gpu, plans: &[&Plan], watch: &mut dyn FnMut(usize, usize)) -> Result<()> {
    let open = open_choices(gpu, plans);
    let begun = Instant::now();
    let mut measured: Vec<(&'static str, &'static str)> = Vec::new();
    for (done, call) in open.iter().enumerate() {
        let mut variants = call.kernel.variants();
        let kernel = call.kernel.shader().name;
        let best = match begun.elapsed() < BUDGET {
            true => fastest(gpu, call, &variants, begun)?,
            // Out of time: what won most often for the other sizes of this kernel.
            false => most_frequent(&measured, kernel, &variants),
        };
        let best = variants.swap_remove(best);
        measured.push((kernel, best.name));
        gpu.choices.choose(call, &best);
        watch(done + 1, open.len());
    }
    Ok(())
}

fn most_frequent(measured: &[(&str, &str)], kernel: &str, variants: &[Variant]) -> usize {
    let wins = |variant: &Variant| measured.iter().filter(|&&won| won == (kernel, variant.name)).count();
    // The first of the best: `max_by_key` would take the last.
    (0..variants.len()).rev().max_by_key(|&index| wins(&variants[index])).unwrap_or(0)
}

/// The number of the variant that took the least time. One that the driver refuses is passed over.
fn fastest(gpu: &mut Gpu, call: &Call, variants: &[Variant], begun: Instant) -> Result<usize> {
    let plan = Plan::of_call(call);
    let mut best: Option<(usize, Duration)> = None;
    let mut refused = None;
    for number in 0..variants.len() {
        if best.is_some() && begun.elapsed() >= BUDGET {
            break;
        }
        let forced = gpu.forced.replace(number);
        let time = time(gpu, &plan, best.map(|(_, time)| time));
        gpu.forced = forced;
        match time {
            Ok(time) if best.is_none_or(|(_, least)| time < least) => best = Some((number, time)),
            Ok(_) => {}
            Err(error) => refused = Some(error),
        }
    }
    match (best, refused) {
        (Some((number, _)), _) => Ok(number),
        (None, Some(error)) => Err(error),
        (None, None) => Ok(0),
    }
}

/// The least time of a few runs, the first of which (it compiles) does not count. Gives up early on what takes twice
/// as long as the best before.
fn time(gpu: &mut Gpu, plan: &Plan, best: Option<Duration>) -> Result<Duration> {
    let id = gpu.load(plan)?;
    let timed = (|| {
        let mut run = || {
            let begun = Instant::now();
            gpu.run(id, &Step::default())?;
            gpu.wait_for(0)?;
            Ok(begun.elapsed())
        };
        run()?;
        let begun = Instant::now();
        let mut least = run()?;
        while begun.elapsed() < PER_VARIANT && best.is_none_or(|best| least < 2 * best) {
            least = least.min(run()?);
        }
        Ok(least)
    })();
    gpu.unload(id);
    timed
}

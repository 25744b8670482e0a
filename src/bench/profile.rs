//! Where a step's time goes: the time of every call of a plan.

use super::measure::{Loaded, Runs, traffic};
use super::{Bench, label};
use crate::device::Device;
use crate::error::Result;
use std::collections::BTreeMap;

/// The calls of one kernel, or of one kernel at one set of sizes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Share {
    /// The shader's name.
    pub kernel: String,
    /// The sizes; empty where all are taken together.
    pub sizes: String,
    /// How many calls.
    pub calls: usize,
    /// Seconds of all of them.
    pub seconds: f64,
    /// Floating-point operations of all of them.
    pub flops: u64,
    /// Bytes that all of them read and write.
    pub traffic: u64,
}

/// Where the time of a step goes.
#[derive(Clone, Debug)]
pub struct Profile {
    /// By kernel, the longest first.
    pub kernels: Vec<Share>,
    /// By kernel and sizes, the longest first.
    pub shapes: Vec<Share>,
    /// Seconds of the step as it is run, the median of several.
    pub step: f64,
}

impl Profile {
    /// Seconds of all calls.
    pub fn sum(&self) -> f64 {
        self.kernels.iter().map(|share| share.seconds).sum()
    }
}

/// Times a row as it is run and call by call.
///
/// # Errors
/// The device's.
pub fn profile(bench: &Bench, runs: Runs, device: &mut dyn Device) -> Result<Profile> {
    let work = bench.work()?;
    let loaded = Loaded::new(&work, device)?;
    let outcome = times(&loaded, runs, device);
    loaded.unload(device);
    let (step, seconds) = outcome?;
    let mut kernels: BTreeMap<(String, String), Share> = BTreeMap::new();
    let mut shapes = kernels.clone();
    for (call, seconds) in work.plan.calls.iter().zip(seconds) {
        let (name, sizes) = (call.kernel.shader().name.to_string(), label(&*call.kernel));
        for (map, sizes) in [(&mut kernels, String::new()), (&mut shapes, sizes)] {
            let share = map.entry((name.clone(), sizes.clone())).or_default();
            (share.kernel, share.sizes) = (name.clone(), sizes);
            share.calls += 1;
            share.seconds += seconds;
            share.flops += call.kernel.flops();
            share.traffic += traffic(call);
        }
    }
    let sorted = |map: BTreeMap<_, Share>| {
        let mut shares: Vec<Share> = map.into_values().collect();
        shares.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
        shares
    };
    Ok(Profile { kernels: sorted(kernels), shapes: sorted(shapes), step })
}

/// The median of the step's time, and of each call's. A run as it is and a run call by call take turns, so that both see
/// the same machine.
fn times(loaded: &Loaded, runs: Runs, device: &mut dyn Device) -> Result<(f64, Vec<f64>)> {
    let few = Runs { seconds: 0.0, least: 1, most: 1 };
    let mut steps = loaded.times(device, few)?;
    let mut profiles = vec![loaded.profile(device)?];
    let begun = std::time::Instant::now();
    while profiles.len() < runs.least || begun.elapsed().as_secs_f64() < runs.seconds && profiles.len() < runs.most {
        steps.push(loaded.time(device)?);
        profiles.push(loaded.profile(device)?);
    }
    let calls = (0..profiles[0].len()).map(|call| median(profiles.iter().map(|profile| profile[call])));
    let calls = calls.collect();
    Ok((median(steps), calls))
}

fn median(times: impl IntoIterator<Item = f64>) -> f64 {
    let mut times: Vec<f64> = times.into_iter().collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

//! Timing a plan.

use super::{Bench, Work};
use crate::device::{Device, PlanId};
use crate::error::Result;
use crate::plan::{Access, Call, Element, Plan, Step, Storage};
use std::time::Instant;

/// How often a row is run.
#[derive(Clone, Copy, Debug)]
pub struct Runs {
    /// Seconds after which no run is begun.
    pub seconds: f64,
    /// Runs to take in spite of that, unless one of them takes longer than [`Runs::PATIENCE`].
    pub least: usize,
    /// Runs that are enough.
    pub most: usize,
}

impl Runs {
    /// Seconds of a single run after which another is not worth the wait.
    pub const PATIENCE: f64 = 20.0;

    /// At least three, at most fifty, and no more than this time allows.
    pub fn within(seconds: f64) -> Self {
        Self { seconds, least: 3, most: 50 }
    }
}

/// What was measured of a row.
#[derive(Clone, Debug)]
pub struct Measurement {
    /// Seconds of each run, the shortest first.
    pub seconds: Vec<f64>,
    /// Floating-point operations of a run.
    pub flops: u64,
    /// Bytes that a run reads and writes.
    pub traffic: u64,
    /// Bytes that were planned.
    pub planned: u64,
    /// The most memory that was in use, where the device can tell.
    pub peak: Option<u64>,
}

impl Measurement {
    /// Seconds of the run in the middle.
    pub fn median(&self) -> f64 {
        self.seconds[self.seconds.len() / 2]
    }

    /// Floating-point operations in a second.
    pub fn flop_rate(&self) -> f64 {
        self.flops as f64 / self.median()
    }

    /// Bytes in a second.
    pub fn byte_rate(&self) -> f64 {
        self.traffic as f64 / self.median()
    }
}

/// Bytes that a call reads and writes: what it updates counts twice, what is bound twice to be read, once.
pub fn traffic(call: &Call) -> u64 {
    let mut read = Vec::new();
    let bytes = |((region, element), binding): ((_, Element), crate::plan::Binding)| {
        let times = match binding.access {
            Access::Read if read.contains(region) => 0,
            Access::Read => {
                read.push(*region);
                1
            }
            Access::Write => 1,
            Access::ReadWrite => 2,
        };
        times * (element.bytes() * binding.len) as u64
    };
    call.regions.iter().zip(call.elements()).zip(call.kernel.bindings()).map(bytes).sum()
}

/// A row on a device, ready to run.
pub struct Loaded {
    plan: PlanId,
    step: Step,
    storages: Vec<Storage>,
}

impl Loaded {
    /// Allocates, fills and loads.
    ///
    /// # Errors
    /// The device's.
    pub fn new(work: &Work, device: &mut dyn Device) -> Result<Self> {
        let storages: Vec<Storage> = work.plan.storages().cloned().collect();
        let loaded = device.load(&work.plan).and_then(|plan| {
            let loaded = Self { plan, step: work.step, storages: storages.clone() };
            match (work.prepare)(device) {
                Ok(()) => Ok(loaded),
                Err(error) => {
                    device.unload(plan);
                    Err(error)
                }
            }
        });
        if loaded.is_err() {
            storages.iter().for_each(|storage| device.release(storage));
        }
        loaded
    }

    /// The same storages with every call `times` times in a row instead.
    fn repeat(&mut self, plan: &Plan, times: usize, device: &mut dyn Device) -> Result<()> {
        let repeated = device.load(&plan.repeated(times))?;
        device.unload(std::mem::replace(&mut self.plan, repeated));
        Ok(())
    }

    /// Runs it and waits for the end; how many seconds that took.
    ///
    /// # Errors
    /// The device's.
    pub fn time(&self, device: &mut dyn Device) -> Result<f64> {
        let begun = Instant::now();
        device.run(self.plan, &self.step)?;
        device.wait()?;
        Ok(begun.elapsed().as_secs_f64())
    }

    /// Runs it call by call; how many seconds each took.
    ///
    /// # Errors
    /// The device's.
    pub(super) fn profile(&self, device: &mut dyn Device) -> Result<Vec<f64>> {
        Ok(device.profile(self.plan, &self.step)?.iter().map(|time| time.as_secs_f64()).collect())
    }

    /// Frees everything.
    pub fn unload(self, device: &mut dyn Device) {
        device.unload(self.plan);
        self.storages.iter().for_each(|storage| device.release(storage));
    }

    /// Warms it up, then times it as often as asked; the shortest run comes first.
    pub(super) fn times(&self, device: &mut dyn Device, runs: Runs) -> Result<Vec<f64>> {
        let warm = self.time(device)?;
        if warm < 1.0 {
            // The first run may compile, and a GPU learns in it how to cut the plan into submissions.
            self.time(device)?;
        }
        let begun = Instant::now();
        let mut seconds = Vec::new();
        let enough = |seconds: &[f64]| {
            let slow = seconds.last().is_some_and(|&last| last > Runs::PATIENCE);
            let spent = begun.elapsed().as_secs_f64() > runs.seconds;
            slow || seconds.len() >= runs.most || spent && seconds.len() >= runs.least
        };
        while !enough(&seconds) {
            seconds.push(self.time(device)?);
        }
        seconds.sort_by(f64::total_cmp);
        Ok(seconds)
    }
}

/// Kernels are repeated until a run takes this long: what it costs to start a run then does not count.
const RUN_SECONDS: f64 = 3e-3;
/// Calls of a run at most.
const CALLS: usize = 4096;

/// Measures a row.
///
/// # Errors
/// The device's, or what the network says of the batch.
pub fn measure(bench: &Bench, runs: Runs, device: &mut dyn Device) -> Result<Measurement> {
    let work = bench.work()?;
    device.reset_peak_memory();
    let mut loaded = Loaded::new(&work, device)?;
    let outcome = times(bench, &work, &mut loaded, runs, device);
    let peak = device.peak_memory();
    loaded.unload(device);
    Ok(Measurement {
        seconds: outcome?,
        flops: work.plan.flops(),
        traffic: work.plan.calls.iter().map(traffic).sum(),
        planned: work.plan.memory().total(),
        peak,
    })
}

fn times(bench: &Bench, work: &Work, loaded: &mut Loaded, runs: Runs, device: &mut dyn Device) -> Result<Vec<f64>> {
    let mut times = 1;
    if !bench.whole {
        let first = loaded.time(device)?;
        let once = if first < 1.0 { loaded.time(device)? } else { first };
        let most = (CALLS / work.plan.calls.len().max(1)).max(1);
        times = ((RUN_SECONDS / once) as usize).clamp(1, most);
        if times > 1 {
            loaded.repeat(&work.plan, times, device)?;
        }
    }
    let seconds = loaded.times(device, runs)?;
    Ok(seconds.iter().map(|seconds| seconds / times as f64).collect())
}

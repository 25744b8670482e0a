//! Measuring which variant of a kernel is fastest on this GPU.

use super::Gpu;
use crate::device::{Choices, Device};
use crate::error::{Error, Result};
use crate::plan::{Access, Binding, Call, Element, Plan, Step, Storage, Variant};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// When measuring ends and the remaining calls follow what was measured.
const BUDGET: Duration = Duration::from_secs(40);
/// Time spent on one variant at one shape.
const PER_VARIANT: Duration = Duration::from_millis(20);
/// What is faster is put several times into one run of about this time: what it costs to start a run then does not count.
const PER_RUN: Duration = Duration::from_millis(2);
/// Calls in such a run at most.
const CALLS: u32 = 256;

/// The calls that can be computed in several ways, one for each shape, the largest first.
fn open_choices<'a>(gpu: &Gpu, plans: &[&'a Plan]) -> Vec<&'a Call> {
    let mut seen = BTreeSet::new();
    let mut open: Vec<&Call> = (plans.iter().flat_map(|plan| &plan.calls))
        .filter(|call| gpu.variants_of(call).len() > 1 && !gpu.choices.has(call) && seen.insert(call.key()))
        .collect();
    open.sort_by_key(|call| std::cmp::Reverse(call.kernel.flops()));
    open
}

/// [`Device::tune`].
pub(super) fn tune(gpu: &mut Gpu, plans: &[&Plan], watch: &mut dyn FnMut(usize, usize)) -> Result<Choices> {
    let open = open_choices(gpu, plans);
    let begun = Instant::now();
    let mut measured = Choices::default();
    let mut winners: Vec<(&'static str, &'static str)> = Vec::new();
    for (done, call) in open.iter().enumerate() {
        let mut variants = gpu.variants_of(call);
        let kernel = call.kernel.shader().name;
        let best = if begun.elapsed() < BUDGET { fastest(gpu, call, variants.len(), begun)? } else { None };
        // Out of time, or no room to try it: what won most often for the other sizes of this kernel.
        let guess = || most_frequent(&winners, kernel, &variants);
        let chosen = variants.swap_remove(best.unwrap_or_else(guess));
        if best.is_some() {
            winners.push((kernel, chosen.name));
            measured.choose(call, &chosen);
        }
        gpu.choices.choose(call, &chosen);
        watch(done + 1, open.len());
    }
    Ok(measured)
}

fn most_frequent(winners: &[(&str, &str)], kernel: &str, variants: &[Variant]) -> usize {
    let wins = |variant: &Variant| winners.iter().filter(|&&won| won == (kernel, variant.name)).count();
    // The first of the best: `max_by_key` would take the last.
    (0..variants.len()).rev().max_by_key(|&index| wins(&variants[index])).unwrap_or(0)
}

/// One call with arbitrary data, and what its first variant makes of them.
struct Trial<'a> {
    call: &'a Call,
    plan: Plan,
    storages: Vec<Storage>,
    expected: Option<Vec<Vec<f32>>>,
}

impl<'a> Trial<'a> {
    fn new(call: &'a Call) -> Self {
        let (plan, storages) = Plan::of_call(call);
        Self { call, plan, storages, expected: None }
    }

    /// Each storage with how it is used; what is bound twice is only read.
    fn bindings(&self) -> impl Iterator<Item = (&Storage, Binding)> {
        let regions = self.plan.calls.iter().flat_map(|call| &call.regions).zip(self.call.kernel.bindings());
        regions.map(|(region, binding)| (&self.storages[region.buffer], binding))
    }

    /// Numbers without a pattern between -1 and 1, NaN where a variant is to write; what is only read is uploaded for
    /// the first. Integers stay 0, which is a valid index into anything.
    fn upload(&self, gpu: &mut Gpu) -> Result<()> {
        /// No multiple of anything that sizes are multiples of.
        const BLOCK: u32 = 65_521;
        let number = |index: u32| (index.wrapping_mul(0x9E37_79B9) >> 8) as f32 / (1 << 23) as f32 - 1.0;
        let block: Vec<f32> = (1..=BLOCK).map(number).collect();
        for (storage, binding) in self.bindings().filter(|(_, binding)| binding.element == Element::F32) {
            if binding.access == Access::Read && self.expected.is_some() {
                continue;
            }
            let data: Vec<f32> = match binding.access {
                Access::Write => vec![f32::NAN; storage.len()],
                _ => block.iter().copied().cycle().take(storage.len()).collect(),
            };
            gpu.upload(storage, 0, &data)?;
        }
        Ok(())
    }

    /// Whether the outputs are those of the variant before: a driver that computes one of them wrongly is not to be
    /// trusted with it, however fast it is.
    fn agrees(&mut self, gpu: &mut Gpu) -> Result<bool> {
        let written = self.bindings().filter(|(_, b)| b.access != Access::Read && b.element == Element::F32);
        let found = written.map(|(storage, _)| gpu.download(storage)).collect::<Result<Vec<_>>>()?;
        let expected = self.expected.get_or_insert_with(|| found.clone());
        Ok(found.iter().zip(expected).all(|(found, expected)| close(found, expected)))
    }

    /// The least time of a few runs, the first of which (it compiles) does not count. Gives up early on what takes
    /// twice as long as the best before; `None` for wrong results.
    fn time(&mut self, gpu: &mut Gpu, best: Option<Duration>) -> Result<Option<Duration>> {
        self.upload(gpu)?;
        let once = self.least(gpu, 1, best)?;
        if !self.agrees(gpu)? {
            return Ok(None);
        }
        let times = (PER_RUN.as_nanos() / once.as_nanos().max(1)).min(CALLS.into()) as u32;
        Ok(Some(if times > 1 { self.least(gpu, times, best)? } else { once }))
    }

    /// The least time of the call, `times` of which are in a run.
    fn least(&self, gpu: &mut Gpu, times: u32, best: Option<Duration>) -> Result<Duration> {
        let id = gpu.load(&self.plan.repeated(times as usize))?;
        let timed = (|| {
            let run = |gpu: &mut Gpu| {
                let begun = Instant::now();
                gpu.run(id, &Step::default())?;
                gpu.wait_for(0)?;
                Ok(begun.elapsed() / times)
            };
            run(gpu)?;
            // What adds to its output is compared after as many runs of each variant.
            if times == 1 && self.adds() {
                return run(gpu);
            }
            let begun = Instant::now();
            let mut least = run(gpu)?;
            while begun.elapsed() < PER_VARIANT && best.is_none_or(|best| least < 2 * best) {
                least = least.min(run(gpu)?);
            }
            Ok(least)
        })();
        gpu.unload(id);
        timed
    }

    fn adds(&self) -> bool {
        self.bindings().any(|(_, binding)| binding.access == Access::ReadWrite)
    }
}

/// Whether two variants' sums of the same terms differ by no more than rounding.
fn close(found: &[f32], expected: &[f32]) -> bool {
    let largest = expected.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
    found.iter().zip(expected).all(|(found, expected)| (found - expected).abs() <= 1e-3 * largest)
}

/// The number of the variant that took the least time. One that the driver refuses or computes wrongly is passed over;
/// `None` if there is no room to try them.
fn fastest(gpu: &mut Gpu, call: &Call, variants: usize, begun: Instant) -> Result<Option<usize>> {
    let mut trial = Trial::new(call);
    let mut best: Option<(usize, Duration)> = None;
    let mut refused = None;
    for number in 0..variants {
        if best.is_some() && begun.elapsed() >= BUDGET {
            break;
        }
        let forced = gpu.forced.replace(number);
        let time = trial.time(gpu, best.map(|(_, time)| time));
        gpu.forced = forced;
        match time {
            Ok(Some(time)) if best.is_none_or(|(_, least)| time < least) => best = Some((number, time)),
            Ok(_) | Err(Error::OutOfMemory(_)) => {}
            Err(error) => refused = Some(error),
        }
    }
    trial.storages.iter().for_each(|storage| gpu.release(storage));
    match (best, refused) {
        (None, Some(error)) => Err(error),
        (best, _) => Ok(best.map(|(number, _)| number)),
    }
}

//! Measuring which variant of a kernel is fastest on this GPU.

use super::Gpu;
use crate::device::Device;
use crate::error::Result;
use crate::plan::{Access, Binding, Call, Element, Plan, Step, Storage, Variant};
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
        .filter(|call| call.variants().len() > 1 && !gpu.choices.has(call) && seen.insert(call.key()))
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
        let mut variants = call.variants();
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

    /// Numbers without a pattern between -1 and 1; integers stay 0, which is a valid index into anything.
    fn upload(&self, gpu: &mut Gpu) -> Result<()> {
        let mut state = 1u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        for (storage, binding) in self.bindings().filter(|(_, binding)| binding.element == Element::F32) {
            let data: Vec<f32> = match binding.access {
                Access::Write => vec![f32::NAN; storage.len()],
                _ => (0..storage.len()).map(|_| next()).collect(),
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
        let id = gpu.load(&self.plan)?;
        let timed = (|| {
            let run = |gpu: &mut Gpu| {
                let begun = Instant::now();
                gpu.run(id, &Step::default())?;
                gpu.wait_for(0)?;
                Ok(begun.elapsed())
            };
            self.upload(gpu)?;
            run(gpu)?;
            if !self.agrees(gpu)? {
                return Ok(None);
            }
            let begun = Instant::now();
            let mut least = run(gpu)?;
            while begun.elapsed() < PER_VARIANT && best.is_none_or(|best| least < 2 * best) {
                least = least.min(run(gpu)?);
            }
            Ok(Some(least))
        })();
        gpu.unload(id);
        timed
    }
}

/// Whether two variants' sums of the same terms differ by no more than rounding.
fn close(found: &[f32], expected: &[f32]) -> bool {
    let largest = expected.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
    found.iter().zip(expected).all(|(found, expected)| (found - expected).abs() <= 1e-3 * largest)
}

/// The number of the variant that took the least time. One that the driver refuses or computes wrongly is passed over.
fn fastest(gpu: &mut Gpu, call: &Call, variants: &[Variant], begun: Instant) -> Result<usize> {
    let mut trial = Trial::new(call);
    let mut best: Option<(usize, Duration)> = None;
    let mut refused = None;
    for (number, variant) in variants.iter().enumerate() {
        if best.is_some() && begun.elapsed() >= BUDGET {
            break;
        }
        if !super::can_run(&gpu.device, variant) {
            continue;
        }
        let forced = gpu.forced.replace(number);
        let time = trial.time(gpu, best.map(|(_, time)| time));
        gpu.forced = forced;
        match time {
            Ok(Some(time)) if best.is_none_or(|(_, least)| time < least) => best = Some((number, time)),
            Ok(_) => {}
            Err(error) => refused = Some(error),
        }
    }
    trial.storages.iter().for_each(|storage| gpu.release(storage));
    match (best, refused) {
        (Some((number, _)), _) => Ok(number),
        (None, Some(error)) => Err(error),
        (None, None) => Ok(0),
    }
}

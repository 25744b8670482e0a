//! What is measured, and how: every case of the kernel registry, the shapes that the reference networks run, blocks
//! that other programs are compared on, and whole steps. `aquatint bench` and the criterion benches both take
//! [`list`].

mod blocks;
mod ceilings;
mod label;
mod measure;
mod networks;
mod profile;
mod shapes;
mod steps;

pub use ceilings::Ceilings;
pub use label::label;
pub use measure::{Loaded, Measurement, Runs, measure, traffic};
pub use networks::{Reference, references};
pub use profile::{Profile, Share, profile};

use crate::check;
use crate::device::Device;
use crate::error::Result;
use crate::kernels::{Case, cases};
use crate::nn::Recompute;
use crate::plan::{Plan, Step};
use crate::training::Precision;

/// What can be chosen for the networks' rows.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Pictures in a step, instead of each network's own number.
    pub batch: Option<usize>,
    /// What training steps compute again in their backward calls.
    pub recompute: Recompute,
    /// What training steps keep activations in.
    pub precision: Precision,
}

impl Options {
    /// What a training step's name says of them.
    fn suffix(&self) -> String {
        let recompute = match self.recompute {
            Recompute::None => "",
            Recompute::Norm => "+norm",
            Recompute::Block => "+block",
        };
        let precision = match self.precision {
            Precision::F32 => "",
            Precision::Mixed => "+mixed",
        };
        format!("{recompute}{precision}")
    }
}

/// One row: a name, and how to make what is timed.
pub struct Bench {
    /// `group/what/sizes`, unique and the same from run to run.
    pub name: String,
    /// Whether it is a step or a block, timed as it is; a kernel is timed in long rows of repetitions.
    pub whole: bool,
    make: Box<dyn Fn() -> Result<Work>>,
}

type Prepare = Box<dyn Fn(&mut dyn Device) -> Result<()>>;

/// A recorded plan with what it needs to be run.
pub struct Work {
    /// What is timed.
    pub plan: Plan,
    /// What it is given in every run.
    pub step: Step,
    /// Fills its storages.
    pub prepare: Prepare,
}

impl Bench {
    fn new(name: impl Into<String>, whole: bool, make: impl Fn() -> Result<Work> + 'static) -> Self {
        Self { name: name.into(), whole, make: Box::new(make) }
    }

    /// The forward calls of a case or, with `backward`, these and the backward calls.
    fn of_case(name: impl Into<String>, whole: bool, backward: bool, mut case: Case) -> Self {
        if !backward {
            case.inputs.iter_mut().for_each(|input| input.differentiate = false);
        }
        Self::new(name, whole, move || {
            let built = check::build(&case, check::Position::Alone)?;
            let (plan, step, case) = (built.plan.clone(), case.step, case.clone());
            Ok(Work { plan, step, prepare: Box::new(move |device| check::upload(&case, &built, device)) })
        })
    }

    /// Records it.
    ///
    /// # Errors
    /// What the network says of the batch.
    pub fn work(&self) -> Result<Work> {
        (self.make)()
    }
}

/// Everything that can be measured, whole steps first.
///
/// # Errors
/// What the networks say of the options.
pub fn list(options: &Options) -> Result<Vec<Bench>> {
    let mut benches = Vec::new();
    for network in references() {
        benches.extend(steps::steps(&network, options));
    }
    benches.extend(blocks::blocks());
    for network in references() {
        benches.extend(shapes::shapes(&network, options)?);
    }
    for case in cases() {
        let name = case.name.replace(' ', "_");
        benches.push(Bench::of_case(format!("case/{name}/forward"), false, false, case.clone()));
        if case.differentiable() {
            benches.push(Bench::of_case(format!("case/{name}/train"), false, true, case));
        }
    }
    Ok(benches)
}

/// The step block that every row but the registry's cases runs with: the middle of a training, or of a sampling.
fn any_step() -> Step {
    Step {
        step: 1000,
        learning_rate: 1e-4,
        bias_correction1: 1.0,
        bias_correction2: 0.6,
        ema_decay: 0.999,
        clip_norm: 1.0,
        sampler_row: 500,
        sampler_noise: 499,
        ..Step::seeded(0)
    }
}

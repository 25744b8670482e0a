//! The teacher in a training step: frozen networks that say what the student is to predict.

use super::{DistillationMethod, rules};
use crate::device::Device;
use crate::error::Result;
use crate::kernels::distillation::{Lesson, distillation_levels};
use crate::kernels::levels::Drawn;
use crate::kernels::loss_scale::copy_weights;
use crate::kernels::scale::scale;
use crate::nn::{Network, Recompute, UNet};
use crate::plan::{Recorder, Storage, Value, add};
use crate::training::{Precision, RunConfig};

/// The teacher's network, its weights and the student's steps.
pub(in crate::training) struct Teacher {
    network: UNet,
    weights: Storage,
    /// In mixed precision, the copies of the teacher's weights and of the average's.
    halves: Option<[Storage; 2]>,
    table: Storage,
    rows: Vec<f32>,
    clip_range: f32,
    /// Whether the teacher takes a step between the two runs.
    steps_on: bool,
    /// Whether the second run is that of the student's moving average.
    consistency: bool,
    /// s, and labels that say no class.
    guidance: Option<(f32, u32, Storage)>,
}

/// Weights that are asked and do not learn.
struct Frozen<'a> {
    network: &'a UNet,
    weights: &'a Storage,
    halves: Option<&'a Storage>,
}

impl Frozen<'_> {
    /// In mixed precision, makes the copy that products read.
    fn copy(&self, r: &mut Recorder) {
        if let Some(halves) = self.halves {
            copy_weights(r, self.weights, halves);
        }
    }

    fn record(&self, r: &mut Recorder, [x, told]: [Value; 2], labels: Option<Value>) -> Result<Value> {
        let Self { network, weights, halves } = *self;
        let parameters = network.parameters();
        let mut net = Network { r, parameters, weights, gradients: None, halves, recompute: Recompute::None };
        network.record(&mut net, x, told, labels)
    }
}

/// What is known of a batch before the teacher is asked.
#[derive(Clone, Copy, Debug)]
pub(in crate::training) struct Taught {
    table: Value,
    told_after: Value,
}

impl Teacher {
    /// That of a configuration, if it has one.
    pub(in crate::training) fn new(config: &RunConfig) -> Result<Option<Self>> {
        let Some(table) = &config.training.distillation else { return Ok(None) };
        rules::check(config, table)?;
        let network = UNet::new(&config.unet)?;
        let rows: Vec<f32> =
            (table.rows(&config.scheduler)?.iter()).flat_map(|row| row.numbers().map(|number| number as f32)).collect();
        let len = network.parameters().len();
        let mixed = config.training.precision == Precision::Mixed;
        let halves = ["teacher's weights in half precision", "moving average in half precision"];
        let batch = config.training.train_batch_size;
        let unconditional = config.unet.unconditional_class.unwrap_or(0) as u32;
        Ok(Some(Self {
            network,
            weights: Storage::f32("teacher's weights", len),
            halves: mixed.then(|| halves.map(|name| Storage::f16(name, len))),
            table: Storage::f32("distillation's steps", rows.len()),
            rows,
            clip_range: match config.scheduler.clip_sample {
                true => config.scheduler.clip_sample_range,
                false => f32::INFINITY,
            },
            steps_on: table.teacher_steps != table.steps || table.method == DistillationMethod::Consistency,
            consistency: table.method == DistillationMethod::Consistency,
            guidance: table.guidance.map(|s| (s, unconditional, Storage::u32("labels of no class", batch))),
        }))
    }

    /// The flat buffer of its weights, which are to be uploaded.
    pub(in crate::training) fn weights(&self) -> &Storage {
        &self.weights
    }

    /// Draws the pictures' steps.
    pub(in crate::training) fn levels(&self, r: &mut Recorder, pictures: usize) -> Result<(Drawn, Taught)> {
        use crate::kernels::distillation::NUMBERS;
        let table = r.input(&self.table, &[self.rows.len() / NUMBERS, NUMBERS]);
        let (drawn, told_after) = distillation_levels(r, table, pictures)?;
        Ok((drawn, Taught { table, told_after }))
    }

    /// What the student is to predict of x. `average` is the student's moving average.
    pub(in crate::training) fn target(
        &self,
        r: &mut Recorder,
        taught: Taught,
        drawn: Drawn,
        x: Value,
        labels: Option<Value>,
        average: &Storage,
    ) -> Result<Value> {
        let lesson = Lesson { table: taught.table, levels: drawn.levels, x, clip_range: self.clip_range };
        let frozen = |index: usize, weights| Frozen {
            network: &self.network,
            weights,
            halves: self.halves.as_ref().map(|halves| &halves[index]),
        };
        let teacher = frozen(0, &self.weights);
        teacher.copy(r);
        let output = self.guided(r, &teacher, [x, drawn.told], labels)?;
        let made = lesson.step(r, output)?;
        let output = match (self.steps_on, self.consistency) {
            // The share of the second run is 0.
            (false, _) => output,
            (true, false) => self.guided(r, &teacher, [made[1], taught.told_after], labels)?,
            (true, true) => {
                let average = frozen(1, average);
                average.copy(r);
                average.record(r, [made[1], taught.told_after], labels)?
            }
        };
        lesson.target(r, made, output)
    }

    /// What the teacher says, with its guidance: uncond + s (cond - uncond) (Ho & Salimans 2022).
    fn guided(&self, r: &mut Recorder, teacher: &Frozen, of: [Value; 2], labels: Option<Value>) -> Result<Value> {
        let conditional = teacher.record(r, of, labels)?;
        let Some((s, _, none)) = &self.guidance else { return Ok(conditional) };
        let none = r.input(none, &[none.len()]);
        let unconditional = teacher.record(r, of, Some(none))?;
        let parts = [scale(r, conditional, *s), scale(r, unconditional, 1.0 - s)];
        add(r, parts[0], parts[1])
    }

    /// Uploads what the plan reads, but for the weights.
    pub(in crate::training) fn upload(&self, device: &mut dyn Device) -> Result<()> {
        if let Some((_, class, labels)) = &self.guidance {
            device.upload_integers(labels, 0, &vec![*class; labels.len()])?;
        }
        device.upload(&self.table, 0, &self.rows)
    }
}

//! The training step: one plan from the pictures to the new weights.

use super::averages::Averages;
use super::config::Precision;
use super::network::Trained;
use super::objective::Objective;
use super::run_config::RunConfig;
use crate::device::{Device, PlanId};
use crate::error::{Error, Result};
use crate::kernels::accumulate::accumulate;
use crate::kernels::adam::{Adam, OptimizerState, adam_step_over, bias_correction};
use crate::kernels::class_dropout::class_dropout;
use crate::kernels::ema::{ema_step_of_rate, ema_step_scaled};
use crate::kernels::gradient_norm::gradient_norm;
use crate::kernels::loss_scale;
use crate::kernels::step_report::{self, step_report};
use crate::nn::{Network, Parameters};
use crate::plan::{Element, Plan, Recorder, Step, Storage, Value};
use std::collections::BTreeMap;

/// Planned bytes of a training run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryTable {
    /// The weights and their averages.
    pub parameters: u64,
    /// Gradients, their sum over micro-batches where there are several, and both moments of Adam.
    pub optimizer: u64,
    /// Activations, their gradients and the batch.
    pub activations: u64,
}

impl MemoryTable {
    /// Everything together.
    pub fn total(&self) -> u64 {
        self.parameters + self.optimizer + self.activations
    }
}

struct Mixed {
    halves: Storage,
    scale: Storage,
    /// What the device holds in `scale` between two steps; `None` until it was read.
    state: Option<ScaleState>,
}

#[derive(Clone, Copy, Debug)]
struct ScaleState {
    scale: f32,
    skipped: usize,
}

/// The second half of a step that is made of several micro-batches.
struct Accumulation {
    /// The mean of the micro-batches' gradients.
    gradients: Storage,
    /// From them to the new weights.
    update: Plan,
    loaded: Option<PlanId>,
}

/// What a step tells of itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepRecord {
    /// The loss, in the mean over the micro-batches.
    pub loss: f32,
    /// The norm of the whole gradient, before clipping; not finite in a step that mixed precision has skipped.
    pub gradient_norm: f32,
    /// The root of the mean of the squared norms of the micro-batches' gradients, where there are several.
    pub micro_batch_norm: Option<f32>,
    /// The learning rate.
    pub learning_rate: f32,
}

/// Takes training steps on a device.
pub struct Trainer {
    config: RunConfig,
    network: Trained,
    state: OptimizerState,
    ema: Storage,
    averages: Averages,
    pictures: Storage,
    labels: Storage,
    one: Storage,
    objective: Objective,
    /// In mixed precision: the weights' copy, and the scale of the loss with what it is told by.
    mixed: Option<Mixed>,
    /// Loss and gradient norm of every micro-batch; the whole gradient's norm is in the last row.
    report: Storage,
    /// From the pictures to the new weights, or with several micro-batches to the sum of their gradients.
    plan: Plan,
    loaded: Option<PlanId>,
    accumulation: Option<Accumulation>,
    /// What the scale was before the step that was begun.
    before: Option<ScaleState>,
}

impl Trainer {
    /// Records the step for batches of `[height, width]`.
    ///
    /// # Errors
    /// [`Input`](Error::Input) or [`Shape`](Error::Shape) if the configuration does not fit together.
    pub fn new(config: &RunConfig, [height, width]: [usize; 2]) -> Result<Self> {
        config.training.validate()?;
        let network = config.network()?;
        let training = &config.training;
        let batch = training.train_batch_size;
        let shape = [batch, height, width, config.unet.in_channels];
        let state = OptimizerState::new(network.parameters().len());
        let ema = Storage::f32("moving average", network.parameters().len());
        let averages = Averages::new(training, network.parameters().len());
        let pictures = Storage::f32("pictures", shape.iter().product());
        let one = Storage::f32("one", 1);

        let mixed = (training.precision == Precision::Mixed).then(|| Mixed {
            halves: Storage::f16("weights in half precision", network.parameters().len()),
            scale: Storage::f32("loss scale", loss_scale::INITIAL.len()),
            state: None,
        });

        let mut r = Recorder::new();
        if let Some(Mixed { halves, .. }) = &mixed {
            loss_scale::copy_weights(&mut r, &state.parameters, halves);
            r.set_activations(Element::F16);
        }
        let x0 = r.input(&pictures, &shape);
        let objective = Objective::new(config, batch * training.gradient_accumulation_steps)?;
        let mut noised = objective.noise(&mut r, x0)?;
        let labels = Storage::u32("labels", batch * objective.copies());
        let mut label_value = network.classes().map(|_| r.input(&labels, &[labels.len()]));
        if let (Some(before), Some(dropout)) = (label_value, config.class_dropout()?) {
            label_value = Some(class_dropout(&mut r, before, batch, dropout)?);
        }
        objective.teach(&mut r, &mut noised, label_value, &ema)?;
        let mut net = Network {
            r: &mut r,
            parameters: network.parameters(),
            weights: &state.parameters,
            gradients: Some(&state.gradients),
            halves: mixed.as_ref().map(|mixed| &mixed.halves),
            recompute: training.recompute,
        };
        let output = network.record(&mut net, [noised.sample, noised.told], label_value)?;
        let loss = objective.loss(&mut r, &noised, output, label_value)?;
        let upstream = r.bind(mixed.as_ref().map_or(&one, |mixed| &mixed.scale), 0, &[1]);
        r.backward(loss, upstream)?;
        let norm = gradient_norm(&mut r, &state.gradients);
        let micro_batches = training.gradient_accumulation_steps;
        let rows = if micro_batches == 1 { 1 } else { micro_batches + 1 };
        let report = Storage::f32("report", step_report::COLUMNS * rows);
        step_report(&mut r, loss, norm, &report);

        let mut trainer = Self {
            config: config.clone(),
            network,
            state,
            ema,
            averages,
            pictures,
            labels,
            one,
            objective,
            mixed,
            report,
            plan: Plan::default(),
            loaded: None,
            accumulation: None,
            before: None,
        };
        if micro_batches == 1 {
            trainer.update(&mut r, &trainer.state.gradients, norm);
            trainer.plan = r.finish();
        } else {
            let gradients = Storage::f32("accumulated gradients", trainer.state.gradients.len());
            accumulate(&mut r, &trainer.state.gradients, &gradients, (micro_batches as f32).recip());
            trainer.plan = r.finish();
            let mut r = Recorder::new();
            let norm = gradient_norm(&mut r, &gradients);
            step_report(&mut r, norm, norm, &trainer.report);
            trainer.update(&mut r, &gradients, norm);
            trainer.accumulation = Some(Accumulation { gradients, update: r.finish(), loaded: None });
        }
        Ok(trainer)
    }

    /// Records what the whole gradient, of this norm, does to the weights and their average.
    fn update(&self, r: &mut Recorder, gradients: &Storage, norm: Value) {
        let training = &self.config.training;
        let adam = Adam {
            beta1: training.adam_beta1,
            beta2: training.adam_beta2,
            epsilon: training.adam_epsilon,
            weight_decay: training.adam_weight_decay,
            decoupled: true,
        };
        let control = self.mixed.as_ref().map(|mixed| loss_scale::loss_scale(r, norm, &mixed.scale));
        let state = OptimizerState { gradients: gradients.clone(), ..self.state.clone() };
        adam_step_over(r, &state, &self.network.parameters().trained_runs(), control.unwrap_or(norm), adam);
        ema_step_scaled(r, &state.parameters, &self.ema, control);
        for (row, (.., average)) in self.averages.all.iter().enumerate() {
            ema_step_of_rate(r, &state.parameters, average, control, &self.averages.rates, row);
        }
    }

    /// The network.
    pub fn network(&self) -> &Trained {
        &self.network
    }

    /// The network's parameters.
    pub fn parameters(&self) -> &Parameters {
        self.network.parameters()
    }

    /// The flat buffer of the moving average of the weights.
    pub fn ema(&self) -> &Storage {
        &self.ema
    }

    /// The flat buffer of the weights of a teacher, where the run has one: to be uploaded.
    pub fn teacher(&self) -> Option<&Storage> {
        self.objective.teacher()
    }

    /// Weights, moving average, first and second moments: what a run is resumed from.
    pub fn buffers(&self) -> [(&'static str, &Storage); 4] {
        [
            ("parameters", &self.state.parameters),
            ("ema", &self.ema),
            ("first_moments", &self.state.first_moments),
            ("second_moments", &self.state.second_moments),
        ]
    }

    /// The averages beside the model's own, by the names of [`AverageKind::name`](super::AverageKind::name): a run is
    /// resumed from them too.
    pub fn more_averages(&self) -> impl Iterator<Item = (&str, &Storage)> {
        self.averages.all.iter().map(|(_, name, storage)| (name.as_str(), storage))
    }

    /// In mixed precision, the scale of the loss, the good steps since it changed, and the steps that were skipped. What is
    /// uploaded to it counts if no step was taken since [`Trainer::load`].
    pub fn loss_scale(&self) -> Option<&Storage> {
        self.mixed.as_ref().map(|mixed| &mixed.scale)
    }

    /// The last losses of every timestep, where timesteps are drawn by them; else nothing.
    pub fn timestep_losses(&self) -> &[f32] {
        self.objective.timestep_losses()
    }

    /// Draws timesteps by losses that were recorded before; to be called before [`Trainer::load`].
    ///
    /// # Errors
    /// [`Input`](Error::Input) if they are of another schedule.
    pub fn set_timestep_losses(&mut self, losses: Vec<f32>) -> Result<()> {
        self.objective.set_timestep_losses(losses)
    }

    /// The recorded step; with gradient accumulation, what runs for each of its micro-batches.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Everything that a step runs: the plan, and with gradient accumulation what follows the last micro-batch.
    pub fn plans(&self) -> impl Iterator<Item = &Plan> {
        std::iter::once(&self.plan).chain(self.accumulation.as_ref().map(|accumulation| &accumulation.update))
    }

    /// Planned bytes.
    pub fn memory(&self) -> MemoryTable {
        let flat = self.state.parameters.bytes();
        let halves = self.mixed.as_ref().map_or(0, |mixed| mixed.halves.bytes());
        let sums = self.accumulation.as_ref().map_or(0, |accumulation| accumulation.gradients.bytes());
        let teacher = self.teacher().map_or(0, Storage::bytes);
        let (parameters, optimizer) = (2 * flat + teacher + self.averages.bytes() + halves, 3 * flat + sums);
        let slots: u64 = self.plans().map(|plan| plan.memory().activations).sum();
        let storages: BTreeMap<u64, u64> = self.storages().map(|storage| (storage.id(), storage.bytes())).collect();
        let total = slots + storages.values().sum::<u64>();
        MemoryTable { parameters, optimizer, activations: total - parameters - optimizer }
    }

    /// What the plans' storages are; one that both use comes twice.
    fn storages(&self) -> impl Iterator<Item = &Storage> {
        self.plans().flat_map(Plan::storages)
    }

    /// Allocates everything, all zeros: the buffers of [`Trainer::buffers`] are to be uploaded.
    ///
    /// # Errors
    /// The device's.
    pub fn load(&mut self, device: &mut dyn Device) -> Result<()> {
        self.loaded = Some(device.load(&self.plan)?);
        if let Some(accumulation) = &mut self.accumulation {
            accumulation.loaded = Some(device.load(&accumulation.update)?);
        }
        if let Some(mixed) = &mut self.mixed {
            mixed.state = None;
            device.upload(&mixed.scale, 0, &loss_scale::INITIAL)?;
        }
        self.objective.upload(device)?;
        device.upload(&self.one, 0, &[1.0])
    }

    /// Frees everything.
    pub fn unload(&mut self, device: &mut dyn Device) {
        let of_update = self.accumulation.as_mut().and_then(|accumulation| accumulation.loaded.take());
        self.loaded.take().into_iter().chain(of_update).for_each(|plan| device.unload(plan));
        self.storages().for_each(|storage| device.release(storage));
    }

    /// From now on steps leave the weights as they are.
    pub(super) fn hold_weights(&mut self) {
        self.config.training.learning_rate = 0.0;
    }

    /// The numbers of a step: `n` is 0 for the first. As with PyTorch's GradScaler, the steps before that were skipped do
    /// not count, in Adam's moments, in the warm-up and in the average: only the numbers that are drawn go on.
    fn step_block(&self, n: usize, skipped: usize) -> Step {
        let training = &self.config.training;
        let taken = n.saturating_sub(skipped);
        let warm = (taken + 1) as f64 / training.lr_warmup_steps.max(1) as f64;
        // A stage of distillation ends at rest (Salimans & Ho 2022, appendix E).
        let left = match training.distillation {
            Some(_) => 1.0 - (taken as f64 / training.max_train_steps as f64).min(1.0),
            None => 1.0,
        };
        let ema_decay = training.ema_warmup.decay(training.ema_max_decay, taken);
        Step {
            step: n as u32,
            learning_rate: (training.learning_rate * warm.min(1.0) * left) as f32,
            bias_correction1: bias_correction(training.adam_beta1, taken),
            bias_correction2: bias_correction(training.adam_beta2, taken),
            ema_decay: ema_decay as f32,
            clip_norm: training.max_grad_norm.min(f32::MAX),
            ..Step::seeded(training.seed)
        }
    }

    /// Takes step `n` on the pictures of all its micro-batches, NHWC in [-1, 1], and returns the loss.
    ///
    /// # Errors
    /// Those of [`Trainer::begin`] and [`Trainer::finish`].
    pub fn step(&mut self, device: &mut dyn Device, n: usize, pictures: &[f32], labels: &[u32]) -> Result<f32> {
        let micro_batches = self.config.training.gradient_accumulation_steps;
        if !pictures.len().is_multiple_of(micro_batches) || !labels.len().is_multiple_of(micro_batches) {
            let (found, labels) = (pictures.len(), labels.len());
            return Err(Error::input(format!(
                "step {n}: pictures of {found} numbers and {labels} labels, expected {micro_batches} micro-batches"
            )));
        }
        let (len, labelled) = (pictures.len() / micro_batches, labels.len() / micro_batches);
        for micro_batch in 0..micro_batches {
            let pictures = &pictures[micro_batch * len..][..len];
            self.begin(device, n, micro_batch, pictures, &labels[micro_batch * labelled..][..labelled])?;
        }
        Ok(self.finish(device, n)?.loss)
    }

    /// Begins a micro-batch of step `n`, NHWC in [-1, 1]; the only one has number 0, and the last also updates the
    /// weights. A GPU works on it until [`Trainer::finish`]; the batch may be written over meanwhile.
    ///
    /// # Errors
    /// The device's; [`Input`](Error::Input) if the batch is not what the network takes.
    pub fn begin(
        &mut self,
        device: &mut dyn Device,
        n: usize,
        micro_batch: usize,
        pictures: &[f32],
        labels: &[u32],
    ) -> Result<()> {
        let plan = self.loaded.ok_or_else(|| Error::Device("the trainer is not loaded".into()))?;
        if pictures.len() != self.pictures.len() {
            let (found, expected) = (pictures.len(), self.pictures.len());
            return Err(Error::input(format!("step {n}: pictures of {found} numbers, expected {expected}")));
        }
        device.upload(&self.pictures, 0, pictures)?;
        if let Some(classes) = self.network.classes() {
            // The shaders index with them, unchecked.
            if let Some(label) = labels.iter().find(|&&label| label as usize >= classes) {
                return Err(Error::input(format!("step {n}: label {label}, expected 0 to {}", classes - 1)));
            }
            for copy in 0..self.objective.copies() {
                device.upload_integers(&self.labels, copy * labels.len(), labels)?;
            }
        }
        if micro_batch == 0 {
            self.before = self.scale_state(device)?;
            if !self.averages.all.is_empty() {
                let taken = n.saturating_sub(self.before.map_or(0, |state| state.skipped));
                let rates = self.averages.rates(self.config.training.ema_warmup, taken);
                device.upload(&self.averages.rates, 0, &rates)?;
            }
        }
        let batch = self.config.training.train_batch_size;
        // The noise of a picture follows from its place in the whole step.
        let mut step = Step {
            first_picture: (micro_batch * batch) as u32,
            micro_batch: micro_batch as u32,
            ..self.step_block(n, self.before.map_or(0, |state| state.skipped))
        };
        device.run(plan, &step)?;
        let micro_batches = self.config.training.gradient_accumulation_steps;
        match self.accumulation.as_ref().and_then(|accumulation| accumulation.loaded) {
            Some(update) if micro_batch + 1 == micro_batches => {
                step.micro_batch = micro_batches as u32;
                device.run(update, &step)
            }
            _ => Ok(()),
        }
    }

    /// Waits for step `n`, whose micro-batches were [begun](Trainer::begin), and returns what it tells.
    ///
    /// # Errors
    /// The device's; [`Input`](Error::Input) if the loss is not finite, with what to try, or in mixed precision the
    /// gradient at the smallest scale of the loss.
    pub fn finish(&mut self, device: &mut dyn Device, n: usize) -> Result<StepRecord> {
        let before = self.before;
        let report = device.download(&self.report)?;
        if let Some(mixed) = &mut self.mixed {
            mixed.state = None;
        }
        let after = self.scale_state(device)?;
        // A gradient that is not finite at a larger scale is what the next step's smaller one is for.
        let diverged = (before.zip(after))
            .is_some_and(|(before, after)| before.scale <= loss_scale::SMALLEST && after.skipped > before.skipped);
        let scale = before.map_or(1.0, |state| state.scale);
        let micro_batches = self.config.training.gradient_accumulation_steps;
        let rows = report.chunks_exact(step_report::COLUMNS).take(micro_batches);
        let mean = |sum: f64| sum / micro_batches as f64;
        let loss = mean(rows.clone().map(|row| f64::from(row[0])).sum()) as f32;
        let squared = mean(rows.map(|row| f64::from(row[1] / scale).powi(2)).sum());
        let record = StepRecord {
            loss,
            gradient_norm: report[report.len() - 1] / scale,
            micro_batch_norm: (micro_batches > 1).then_some(squared.sqrt() as f32),
            learning_rate: self.step_block(n, before.map_or(0, |state| state.skipped)).learning_rate,
        };
        if !loss.is_finite() || diverged {
            let norm = record.gradient_norm;
            return Err(Error::input(format!(
                "step {n}: the loss is {loss} and the gradient's norm {norm}; a smaller learning rate may help, \
                 and the last checkpoint is whole"
            )));
        }
        self.objective.observe(device)?;
        Ok(record)
    }

    /// In mixed precision, what the device holds in the loss's scale.
    fn scale_state(&mut self, device: &mut dyn Device) -> Result<Option<ScaleState>> {
        let Some(mixed) = &mut self.mixed else { return Ok(None) };
        if mixed.state.is_none() {
            let state = device.download(&mixed.scale)?;
            mixed.state = Some(ScaleState { scale: state[0], skipped: state[2] as usize });
        }
        Ok(mixed.state)
    }
}

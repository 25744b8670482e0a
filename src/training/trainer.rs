//! The training step: one plan from the pictures to the new weights.

use super::config::{Precision, RunConfig};
use super::objective::Objective;
use crate::device::{Device, PlanId};
use crate::error::{Error, Result};
use crate::kernels::adam::{Adam, OptimizerState, adam_step_over, bias_correction};
use crate::kernels::ema::ema_step_scaled;
use crate::kernels::gradient_norm::gradient_norm;
use crate::kernels::loss_scale;
use crate::nn::{Network, UNet};
use crate::plan::{Element, Plan, Recorder, Step, Storage};

/// Planned bytes of a training run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryTable {
    /// The weights and their moving average.
    pub parameters: u64,
    /// Gradients and both moments of Adam.
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

/// Takes training steps on a device.
pub struct Trainer {
    config: RunConfig,
    unet: UNet,
    state: OptimizerState,
    ema: Storage,
    pictures: Storage,
    labels: Storage,
    one: Storage,
    objective: Objective,
    /// In mixed precision: the weights' copy, and the scale of the loss with what it is told by.
    mixed: Option<Mixed>,
    loss: Storage,
    norm: Storage,
    plan: Plan,
    loaded: Option<PlanId>,
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
        let unet = UNet::new(&config.unet)?;
        let last = config.scheduler.num_train_timesteps as f32 - 1.0;
        config.unet.check_timesteps(&[last], "num_train_timesteps")?;
        let training = &config.training;
        let batch = training.train_batch_size;
        let shape = [batch, height, width, config.unet.in_channels];
        let state = OptimizerState::new(unet.parameters().len());
        let ema = Storage::f32("moving average", unet.parameters().len());
        let pictures = Storage::f32("pictures", shape.iter().product());
        let labels = Storage::u32("labels", batch);
        let one = Storage::f32("one", 1);

        let mixed = (training.precision == Precision::Mixed).then(|| Mixed {
            halves: Storage::f16("weights in half precision", unet.parameters().len()),
            scale: Storage::f32("loss scale", loss_scale::INITIAL.len()),
            state: None,
        });

        let mut r = Recorder::new();
        if let Some(Mixed { halves, .. }) = &mixed {
            loss_scale::copy_weights(&mut r, &state.parameters, halves);
            r.set_activations(Element::F16);
        }
        let x0 = r.input(&pictures, &shape);
        let objective = Objective::new(config, batch)?;
        let noised = objective.noise(&mut r, x0)?;
        let label_value = config.unet.classes().map(|_| r.input(&labels, &[batch]));
        let mut net = Network {
            r: &mut r,
            parameters: unet.parameters(),
            weights: &state.parameters,
            gradients: Some(&state.gradients),
            halves: mixed.as_ref().map(|mixed| &mixed.halves),
            recompute: training.recompute,
        };
        let prediction = unet.record(&mut net, noised.sample, noised.told, label_value)?;
        let loss = objective.loss(&mut r, &noised, prediction)?;
        let upstream = r.bind(mixed.as_ref().map_or(&one, |mixed| &mixed.scale), 0, &[1]);
        r.backward(loss, upstream)?;
        let norm = gradient_norm(&mut r, &state.gradients);
        let adam = Adam {
            beta1: training.adam_beta1,
            beta2: training.adam_beta2,
            epsilon: training.adam_epsilon,
            weight_decay: training.adam_weight_decay,
            decoupled: true,
        };
        let control = mixed.as_ref().map(|mixed| loss_scale::loss_scale(&mut r, norm, &mixed.scale));
        adam_step_over(&mut r, &state, &unet.parameters().trained_runs(), control.unwrap_or(norm), adam);
        ema_step_scaled(&mut r, &state.parameters, &ema, control);
        let (loss, norm) = (r.export("loss", loss), r.export("gradient norm", norm));
        let plan = r.finish();
        let config = config.clone();
        Ok(Self {
            config,
            unet,
            state,
            ema,
            pictures,
            labels,
            one,
            objective,
            mixed,
            loss,
            norm,
            plan,
            loaded: None,
            before: None,
        })
    }

    /// The network.
    pub fn unet(&self) -> &UNet {
        &self.unet
    }

    /// The flat buffer of the moving average of the weights.
    pub fn ema(&self) -> &Storage {
        &self.ema
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

    /// In mixed precision, the scale of the loss, the good steps since it changed, and the steps that were skipped. What is
    /// uploaded to it counts if no step was taken since [`Trainer::load`].
    pub fn loss_scale(&self) -> Option<&Storage> {
        self.mixed.as_ref().map(|mixed| &mixed.scale)
    }

    /// The recorded step.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Planned bytes.
    pub fn memory(&self) -> MemoryTable {
        let flat = self.state.parameters.bytes();
        let halves = self.mixed.as_ref().map_or(0, |mixed| mixed.halves.bytes());
        let (parameters, optimizer) = (2 * flat + halves, 3 * flat);
        MemoryTable { parameters, optimizer, activations: self.plan.memory().total() - parameters - optimizer }
    }

    /// Allocates everything, all zeros: the buffers of [`Trainer::buffers`] are to be uploaded.
    ///
    /// # Errors
    /// The device's.
    pub fn load(&mut self, device: &mut dyn Device) -> Result<()> {
        self.loaded = Some(device.load(&self.plan)?);
        if let Some(mixed) = &mut self.mixed {
            mixed.state = None;
            device.upload(&mixed.scale, 0, &loss_scale::INITIAL)?;
        }
        self.objective.upload(device)?;
        device.upload(&self.one, 0, &[1.0])
    }

    /// Frees everything.
    pub fn unload(&mut self, device: &mut dyn Device) {
        if let Some(plan) = self.loaded.take() {
            device.unload(plan);
        }
        self.plan.storages().for_each(|storage| device.release(storage));
    }

    /// The numbers of a step: `n` is 0 for the first. As with PyTorch's GradScaler, the steps before that were skipped do
    /// not count, in Adam's moments, in the warm-up and in the average: only the numbers that are drawn go on.
    fn step_block(&self, n: usize, skipped: usize) -> Step {
        let training = &self.config.training;
        let taken = n.saturating_sub(skipped);
        let warm = (taken + 1) as f64 / training.lr_warmup_steps.max(1) as f64;
        // As diffusers' EMAModel: no average after the first step, (1 + n) / (10 + n) until the limit is reached.
        let growing = (1 + taken) as f64 / (10 + taken) as f64;
        let ema_decay = if taken == 0 { 0.0 } else { growing.min(training.ema_max_decay) };
        Step {
            step: n as u32,
            learning_rate: (training.learning_rate * warm.min(1.0)) as f32,
            bias_correction1: bias_correction(training.adam_beta1, taken),
            bias_correction2: bias_correction(training.adam_beta2, taken),
            ema_decay: ema_decay as f32,
            clip_norm: training.max_grad_norm.min(f32::MAX),
            ..Step::seeded(training.seed)
        }
    }

    /// Takes step `n` on a batch, NHWC in [-1, 1], and returns the loss.
    ///
    /// # Errors
    /// Those of [`Trainer::begin`] and [`Trainer::finish`].
    pub fn step(&mut self, device: &mut dyn Device, n: usize, pictures: &[f32], labels: &[u32]) -> Result<f32> {
        self.begin(device, n, pictures, labels)?;
        self.finish(device, n)
    }

    /// Begins step `n` on a batch, NHWC in [-1, 1]. A GPU works on it until [`Trainer::finish`]; the batch may be written
    /// over meanwhile.
    ///
    /// # Errors
    /// The device's; [`Input`](Error::Input) if the batch is not what the network takes.
    pub fn begin(&mut self, device: &mut dyn Device, n: usize, pictures: &[f32], labels: &[u32]) -> Result<()> {
        let plan = self.loaded.ok_or_else(|| Error::Device("the trainer is not loaded".into()))?;
        if pictures.len() != self.pictures.len() {
            let (found, expected) = (pictures.len(), self.pictures.len());
            return Err(Error::input(format!("step {n}: pictures of {found} numbers, expected {expected}")));
        }
        device.upload(&self.pictures, 0, pictures)?;
        if let Some(classes) = self.config.unet.classes() {
            // The shaders index with them, unchecked.
            if let Some(label) = labels.iter().find(|&&label| label as usize >= classes) {
                return Err(Error::input(format!("step {n}: label {label}, expected 0 to {}", classes - 1)));
            }
            device.upload_integers(&self.labels, 0, labels)?;
        }
        self.before = self.scale_state(device)?;
        device.run(plan, &self.step_block(n, self.before.map_or(0, |state| state.skipped)))
    }

    /// Waits for step `n`, which was [begun](Trainer::begin), and returns its loss.
    ///
    /// # Errors
    /// The device's; [`Input`](Error::Input) if the loss is not finite, with what to try, or in mixed precision the
    /// gradient at the smallest scale of the loss.
    pub fn finish(&mut self, device: &mut dyn Device, n: usize) -> Result<f32> {
        let before = self.before;
        let loss = device.download(&self.loss)?[0];
        if let Some(mixed) = &mut self.mixed {
            mixed.state = None;
        }
        let after = self.scale_state(device)?;
        // A gradient that is not finite at a larger scale is what the next step's smaller one is for.
        let diverged = (before.zip(after))
            .is_some_and(|(before, after)| before.scale <= loss_scale::SMALLEST && after.skipped > before.skipped);
        if !loss.is_finite() || diverged {
            let norm = device.download(&self.norm)?[0] / before.map_or(1.0, |state| state.scale);
            return Err(Error::input(format!(
                "step {n}: the loss is {loss} and the gradient's norm {norm}; a smaller learning rate may help, \
                 and the last checkpoint is whole"
            )));
        }
        Ok(loss)
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

//! From a batch of pictures to the number that is made small: what the network is given, and what its output costs.

mod choices;
mod shares;

use super::RunConfig;
use crate::device::Device;
use crate::diffusion::{NoiseSchedule, SchedulerConfig, VarianceType};
use crate::error::{Error, Result};
use crate::kernels::forward_process::forward_process;
use crate::kernels::levels::{self, DiscreteLevels, TimestepDraw, levels};
use crate::kernels::picture_loss::{ElementLoss, Factors, picture_loss, weighted_mean};
use crate::kernels::schedule_tables::{TABLES, schedule_tables};
use crate::kernels::weighting::Weighting;
use crate::plan::{Recorder, Storage, Value};
pub use choices::{LossName, TimestepSampler, WeightingName};

/// What a run is trained on.
pub(super) struct Objective {
    scheduler: SchedulerConfig,
    levels: DiscreteLevels,
    loss: ElementLoss,
    factors: Factors,
    /// The noise schedule's tables, where the device does not compute them.
    tables: Option<Storage>,
    shares: Option<Shares>,
}

/// How often each timestep is drawn, where they are not all alike.
struct Shares {
    weights: Vec<f64>,
    last_bits: Storage,
    corrections: Storage,
}

/// A batch with noise.
pub(super) struct Noised {
    /// x_t, what the network is given.
    pub sample: Value,
    /// What it is told of the noise, `[pictures]`.
    pub told: Value,
    target: Value,
    levels: Value,
}

impl Objective {
    /// What a configuration describes; `whole` pictures make a step, in all of its micro-batches.
    ///
    /// # Errors
    /// [`Input`](Error::Input) naming what does not fit together.
    pub fn new(config: &RunConfig, whole: usize) -> Result<Self> {
        let (training, scheduler) = (&config.training, &config.scheduler);
        let schedule = NoiseSchedule::new(scheduler);
        let weights = match training.timestep_sampler {
            TimestepSampler::Uniform => None,
            TimestepSampler::Stratified => Some(vec![1.0; schedule.timesteps()]),
            TimestepSampler::LogNormal => {
                Some(shares::log_normal(&schedule, training.log_normal_mean, training.log_normal_std)?)
            }
        };
        let draw = match training.timestep_sampler {
            TimestepSampler::Uniform => TimestepDraw::Uniform,
            TimestepSampler::Stratified => TimestepDraw::StratifiedShares(whole),
            TimestepSampler::LogNormal => TimestepDraw::Shares,
        };
        let weighting = training.weighting_of_timesteps();
        let large_variance =
            matches!(scheduler.variance_type, Some(VarianceType::FixedLarge | VarianceType::FixedLargeLog));
        let levels = DiscreteLevels { draw, prediction: scheduler.prediction_type, weighting, large_variance };
        let tables = schedule.tables();
        if let Some(t) = (0..schedule.timesteps()).find(|&t| !levels.weight(&tables, t).is_finite()) {
            let word = |value: serde_json::Value| value.to_string();
            let prediction = word(scheduler.to_json()["prediction_type"].clone());
            let weighting = word(serde_json::to_value(training.weighting).unwrap_or_default());
            return Err(Error::input(format!(
                "training: weighting {weighting} of prediction_type {prediction} has no finite weight at timestep {t}, \
                 where the signal is {}; expected another weighting, or \"sample\" or \"v_prediction\"",
                schedule.alphas_cumprod[t]
            )));
        }
        let timesteps = schedule.timesteps();
        let on_device = NoiseSchedule::on_device(scheduler).is_some();
        Ok(Self {
            scheduler: scheduler.clone(),
            levels,
            loss: training.element_loss(),
            factors: Factors { weight: weighting != Weighting::None, correction: false },
            tables: (!on_device).then(|| Storage::f32("noise schedule", TABLES * timesteps)),
            shares: weights.map(|weights| Shares {
                weights,
                last_bits: Storage::u32("shares of timesteps", timesteps),
                corrections: Storage::f32("corrections of timesteps", timesteps),
            }),
        })
    }

    /// Draws timesteps and noise for the batch `[pictures, height, width, channels]`.
    ///
    /// # Errors
    /// [`Shape`](Error::Shape) if the sizes do not fit together.
    pub fn noise(&self, r: &mut Recorder, x0: Value) -> Result<Noised> {
        let timesteps = self.scheduler.num_train_timesteps;
        let tables = match (&self.tables, NoiseSchedule::on_device(&self.scheduler)) {
            (Some(tables), _) => r.input(tables, &[TABLES, timesteps]),
            (None, Some(schedule)) => schedule_tables(r, schedule),
            (None, None) => return Err(Error::Device("the noise schedule has no tables".into())),
        };
        let shares = (self.shares.as_ref())
            .map(|shares| [&shares.last_bits, &shares.corrections].map(|storage| r.input(storage, &[timesteps])));
        let pictures = r.shape(x0)[0];
        let drawn = levels(r, tables, shares, pictures, self.levels)?;
        let noisy = forward_process(r, drawn.levels, x0)?;
        Ok(Noised { sample: noisy.sample, told: drawn.told, target: noisy.target, levels: drawn.levels })
    }

    /// What the network's output for the batch costs, `[1]`.
    ///
    /// # Errors
    /// [`Shape`](Error::Shape) if the sizes do not fit together.
    pub fn loss(&self, r: &mut Recorder, noised: &Noised, output: Value) -> Result<Value> {
        let losses = picture_loss(r, output, noised.target, self.loss)?;
        weighted_mean(r, losses, noised.levels, self.factors)
    }

    /// Uploads what the plan reads.
    ///
    /// # Errors
    /// The device's.
    pub fn upload(&self, device: &mut dyn Device) -> Result<()> {
        if let Some(tables) = &self.tables {
            device.upload(tables, 0, &NoiseSchedule::new(&self.scheduler).tables())?;
        }
        if let Some(shares) = &self.shares {
            let (last_bits, corrections) = levels::shares(&shares.weights);
            device.upload_integers(&shares.last_bits, 0, &last_bits)?;
            device.upload(&shares.corrections, 0, &corrections)?;
        }
        Ok(())
    }
}

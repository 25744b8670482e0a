//! From a batch of pictures to the number that is made small: what the network is given, and what its output costs.

mod choices;
mod continuous;
mod importance;
mod rules;
mod shares;

use super::RunConfig;
use super::distillation::{Taught, Teacher};
use crate::device::Device;
use crate::diffusion::{DeviceTables, NoiseSchedule};
use crate::error::{Error, Result};
use crate::kernels::continuous_levels::{ContinuousLevels, continuous_levels};
use crate::kernels::cross_entropy::cross_entropy;
use crate::kernels::forward_process::forward_process;
use crate::kernels::levels::{self, COLUMNS, DiscreteLevels, Drawn, TimestepDraw, levels};
use crate::kernels::loss_record::{self, loss_record};
use crate::kernels::picture_loss::{ElementLoss, picture_loss};
use crate::kernels::sliced_score::{sliced_inputs, sliced_score};
use crate::kernels::variational_bound::{BoundOperands, Decoder, Variance, VariationalBound, variational_bound};
use crate::kernels::weighted_mean::{Factors, weighted_mean};
use crate::kernels::weighting::Weighting;
use crate::plan::{Recorder, Storage, Value};
pub use choices::{LossName, ObjectiveName, TimestepSampler, WeightingName};
use importance::Importance;

/// What a run is trained on.
pub(super) struct Objective {
    levels: Levels,
    terms: Terms,
    shares: Option<Shares>,
    importance: Option<Learning>,
}

/// How pictures' levels of noise are drawn.
enum Levels {
    /// As timesteps, which the schedule's tables know.
    Discrete(DiscreteLevels, DeviceTables),
    Continuous(ContinuousLevels),
    /// There is no noise, and what the network is told is 0.
    Clean,
    /// As the steps of a student, whose teacher says what is to be predicted.
    Taught(Box<Teacher>),
}

/// What is added up.
#[derive(Clone, Copy)]
enum Terms {
    /// L_simple and its relatives.
    Simple(ElementLoss),
    /// The variational bound, and the factor of its terms.
    Bound(VariationalBound, f32),
    /// Both.
    Hybrid(ElementLoss, VariationalBound, f32),
    Sliced,
    /// Cross-entropy with the pictures' labels.
    Classes,
}

/// How often each timestep is drawn, where they are not all alike.
struct Shares {
    weights: Vec<f64>,
    last_bits: Storage,
    corrections: Storage,
}

/// Shares that are learned from the losses.
struct Learning {
    importance: Importance,
    record: Storage,
}

/// A batch with noise.
pub(super) struct Noised {
    /// x_t, what the network is given; for sliced score matching what is ahead of it and then what is behind it.
    pub sample: Value,
    /// What it is told of the noise of each.
    pub told: Value,
    /// Where that is.
    directions: Option<Value>,
    x0: Value,
    target: Value,
    levels: Value,
    tables: Option<Value>,
    taught: Option<Taught>,
}

impl Objective {
    /// What a configuration describes; `whole` pictures make a step, in all of its micro-batches.
    ///
    /// # Errors
    /// [`Input`](Error::Input) naming what does not fit together.
    pub fn new(config: &RunConfig, whole: usize) -> Result<Self> {
        let (training, scheduler) = (&config.training, &config.scheduler);
        scheduler.check("scheduler")?;
        rules::check_told(config)?;
        if let Some(table) = &training.classifier {
            rules::check_classifier(config)?;
            if table.noiseless {
                return Ok(Self { levels: Levels::Clean, terms: Terms::Classes, shares: None, importance: None });
            }
        }
        if let Some(teacher) = Teacher::new(config)? {
            let (levels, terms) = (Levels::Taught(Box::new(teacher)), Terms::Simple(training.element_loss()));
            return Ok(Self { levels, terms, shares: None, importance: None });
        }
        if let Some(process) = scheduler.process() {
            return Self::continuous(config, process, whole);
        }
        let schedule = NoiseSchedule::new(scheduler);
        let timesteps = schedule.timesteps();
        rules::check(config, &schedule)?;
        let sampler = training.timestep_sampler_for(scheduler);
        let (draw, weights) = match sampler {
            TimestepSampler::Uniform => (TimestepDraw::Uniform, None),
            TimestepSampler::Stratified => (TimestepDraw::StratifiedShares(whole), Some(vec![1.0; timesteps])),
            TimestepSampler::Importance => (TimestepDraw::Shares, Some(vec![1.0; timesteps])),
            TimestepSampler::LogNormal => {
                let (mean, deviation) = (training.log_normal_mean, training.log_normal_std);
                (TimestepDraw::Shares, Some(shares::log_normal(&schedule, mean, deviation)?))
            }
        };
        let variance = rules::variance(scheduler);
        let levels = DiscreteLevels {
            draw,
            prediction: scheduler.prediction_type,
            weighting: training.weighting_of_timesteps(scheduler),
            large_variance: variance == Variance::Large,
        };
        rules::check_weights(config, &schedule, levels)?;
        let bound = |stop_mean: bool| VariationalBound {
            prediction: scheduler.prediction_type,
            variance,
            decoder: Decoder::Safe,
            clip: None,
            stop_mean,
        };
        let loss = training.element_loss();
        // T E_t[L_t] is the sum over all t.
        let all = timesteps as f32;
        let terms = match training.objective {
            _ if training.classifier.is_some() => Terms::Classes,
            ObjectiveName::Simple => Terms::Simple(loss),
            ObjectiveName::Sliced => Terms::Sliced,
            ObjectiveName::Vlb => Terms::Bound(bound(false), all),
            ObjectiveName::Hybrid => Terms::Hybrid(loss, bound(true), training.vlb_weight * all),
        };
        let learns = sampler == TimestepSampler::Importance;
        Ok(Self {
            levels: Levels::Discrete(levels, DeviceTables::new(scheduler)),
            terms,
            shares: weights.map(|weights| Shares {
                weights,
                last_bits: Storage::u32("shares of timesteps", timesteps),
                corrections: Storage::f32("corrections of timesteps", timesteps),
            }),
            importance: learns.then(|| Learning {
                importance: Importance::new(timesteps),
                record: Storage::f32("losses of pictures", loss_record::ROW * whole),
            }),
        })
    }

    /// How often the network is given each picture of a batch: the whole batch, then the whole batch again.
    pub fn copies(&self) -> usize {
        if matches!(self.terms, Terms::Sliced) { 2 } else { 1 }
    }

    /// Draws timesteps and noise for the batch `[pictures, height, width, channels]`.
    ///
    /// # Errors
    /// [`Shape`](Error::Shape) if the sizes do not fit together.
    pub fn noise(&self, r: &mut Recorder, x0: Value) -> Result<Noised> {
        let shares = (self.shares.as_ref())
            .map(|shares| [&shares.last_bits, &shares.corrections].map(|storage| r.input(storage, &[storage.len()])));
        let pictures = r.shape(x0)[0];
        let mut taught = None;
        let (drawn, tables) = match &self.levels {
            Levels::Discrete(discrete, tables) => {
                let tables = tables.record(r)?;
                (levels(r, tables, shares, pictures, *discrete)?, Some(tables))
            }
            Levels::Continuous(continuous) => (continuous_levels(r, pictures, *continuous), None),
            Levels::Taught(teacher) => {
                let (drawn, of_batch) = teacher.levels(r, pictures)?;
                taught = Some(of_batch);
                (drawn, None)
            }
            Levels::Clean => {
                // A device's storages begin as zeros.
                let [told, levels] = [1, COLUMNS].map(|columns| Storage::f32("no noise", pictures * columns));
                let [told, levels] = [r.input(&told, &[pictures]), r.input(&levels, &[pictures, COLUMNS])];
                let (directions, tables) = (None, None);
                return Ok(Noised { sample: x0, told, directions, x0, target: x0, levels, tables, taught });
            }
        };
        let noisy = forward_process(r, drawn.levels, x0)?;
        let (mut sample, mut told, mut directions) = (noisy.sample, drawn.told, None);
        if let Terms::Sliced = self.terms {
            let inputs = sliced_inputs(r, drawn.levels, sample)?;
            (sample, told, directions) = (inputs.sample, inputs.told, Some(inputs.directions));
        }
        Ok(Noised { sample, told, directions, x0, target: noisy.target, levels: drawn.levels, tables, taught })
    }

    /// Asks the teacher, where there is one, what the network is to predict. `average` is the network's moving average.
    ///
    /// # Errors
    /// [`Shape`](Error::Shape) if the sizes do not fit together.
    pub fn teach(&self, r: &mut Recorder, noised: &mut Noised, labels: Option<Value>, average: &Storage) -> Result<()> {
        if let (Levels::Taught(teacher), Some(taught)) = (&self.levels, noised.taught) {
            let drawn = Drawn { levels: noised.levels, told: noised.told };
            noised.target = teacher.target(r, taught, drawn, noised.sample, labels, average)?;
        }
        Ok(())
    }

    /// The flat buffer of the teacher's weights, where there is one.
    pub fn teacher(&self) -> Option<&Storage> {
        match &self.levels {
            Levels::Taught(teacher) => Some(teacher.weights()),
            _ => None,
        }
    }

    /// What the network's output for the batch costs, `[1]`: of a classifier the scores, with the pictures' labels.
    ///
    /// # Errors
    /// [`Shape`](Error::Shape) if the sizes do not fit together.
    pub fn loss(&self, r: &mut Recorder, noised: &Noised, output: Value, labels: Option<Value>) -> Result<Value> {
        let Noised { sample: x_t, x0, target, levels, tables, .. } = *noised;
        let weight = match &self.levels {
            Levels::Discrete(levels, _) => levels.weighting != Weighting::None,
            Levels::Continuous(levels) => levels.weighting != Weighting::None,
            Levels::Clean => false,
            Levels::Taught(_) => true,
        };
        let correction = self.importance.is_some();
        let weighted = Factors { weight, correction, scale: 1.0 };
        let bound = |r: &mut Recorder, bound: VariationalBound| {
            let tables = tables.ok_or_else(|| Error::Device("a bound of no timesteps".into()))?;
            variational_bound(r, bound, BoundOperands { tables, indices: levels, output, x0, x_t })
        };
        let plain = Factors { weight: false, correction: false, scale: 1.0 };
        let (losses, other, factors) = match self.terms {
            Terms::Classes => {
                let labels = labels.ok_or_else(|| Error::Device("classes of no labels".into()))?;
                (cross_entropy(r, output, labels)?, None, plain)
            }
            Terms::Simple(loss) => (picture_loss(r, output, target, loss)?, None, weighted),
            Terms::Bound(terms, scale) => (bound(r, terms)?, None, Factors { weight: false, correction, scale }),
            Terms::Hybrid(loss, terms, factor) => {
                let losses = picture_loss(r, output, target, loss)?;
                (losses, Some((bound(r, terms)?, factor)), weighted)
            }
            Terms::Sliced => {
                let directions = noised.directions.ok_or_else(|| Error::Device("slices of no directions".into()))?;
                let losses = sliced_score(r, output, directions, levels)?;
                (losses, None, plain)
            }
        };
        if let Some(Learning { record, .. }) = &self.importance {
            loss_record(r, losses, factors.weight, other, levels, record)?;
        }
        weighted_mean(r, losses, other, levels, factors)
    }

    /// Uploads what the plan reads.
    ///
    /// # Errors
    /// The device's.
    pub fn upload(&self, device: &mut dyn Device) -> Result<()> {
        match &self.levels {
            Levels::Discrete(_, tables) => tables.upload(device)?,
            Levels::Taught(teacher) => teacher.upload(device)?,
            Levels::Continuous(_) | Levels::Clean => {}
        }
        self.upload_shares(device)
    }

    fn upload_shares(&self, device: &mut dyn Device) -> Result<()> {
        let Some(shares) = &self.shares else { return Ok(()) };
        let learned = self.importance.as_ref().map(|learning| learning.importance.weights());
        let (last_bits, corrections) = levels::shares(learned.as_ref().unwrap_or(&shares.weights));
        device.upload_integers(&shares.last_bits, 0, &last_bits)?;
        device.upload(&shares.corrections, 0, &corrections)
    }

    /// After a step: learns from its losses how the next one's timesteps are to be drawn, where that is learned.
    ///
    /// # Errors
    /// The device's.
    pub fn observe(&mut self, device: &mut dyn Device) -> Result<()> {
        let Some(Learning { importance, record }) = &mut self.importance else { return Ok(()) };
        importance.observe(&device.download(record)?);
        self.upload_shares(device)
    }

    /// What was learned of the timesteps' losses; nothing where nothing is.
    pub fn timestep_losses(&self) -> &[f32] {
        self.importance.as_ref().map_or(&[], |learning| learning.importance.history())
    }

    /// Goes on with what was learned before.
    ///
    /// # Errors
    /// [`Input`](Error::Input) if that is of another schedule.
    pub fn set_timestep_losses(&mut self, losses: Vec<f32>) -> Result<()> {
        match &mut self.importance {
            Some(learning) => learning.importance.restore(losses),
            None => Ok(()),
        }
    }
}

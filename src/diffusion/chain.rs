//! A chain from noise to pictures: what every run of the network is told, and what is made of its output.

use super::samplers::{ddim, ddpm, dpmpp_2m, euler, heun};
use super::{NoiseSchedule, PredictionType, SchedulerClass, SchedulerConfig, VarianceType};
use crate::error::{Error, Result};
use crate::kernels::dynamic_threshold::DynamicThreshold;
use crate::kernels::sampler_step::{COLUMNS, Clipping, Deviation, SamplerStep, Weights};

/// How a chain is sampled, beside what the scheduler's configuration says.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ChainOptions {
    /// Sampling steps; if not given, all timesteps for ancestral sampling and at most 50 for the rest.
    pub steps: Option<usize>,
    /// Noise of DDIM's steps: 0 is none, 1 as much as in ancestral sampling (Song et al. 2021, eq. 16).
    pub eta: f64,
    /// Where diffusers is wrong, be wrong with it.
    pub diffusers_exact: bool,
}

/// A run of the network, and what is made of its output.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stage {
    /// The sampling step that it belongs to, from 0 on.
    pub step: usize,
    /// What the network is told.
    pub timestep: f64,
    /// What becomes of x and the output. The state is kept as the network takes it: of variance 1 if pictures had.
    pub weights: Weights,
}

/// All stages from noise to pictures.
#[derive(Clone, Debug)]
pub struct Chain {
    pub(super) stages: Vec<Stage>,
    /// Standard deviation of x at the beginning.
    pub(super) initial_deviation: f64,
    pub(super) kernel: SamplerStep,
    pub(super) threshold: Option<DynamicThreshold>,
    pub(super) learned_variances: Option<bool>,
}

/// What a sampler makes of a schedule: its stages, and the standard deviation of x at the beginning.
pub(super) struct Stages {
    pub(super) stages: Vec<Stage>,
    pub(super) initial_deviation: f64,
    pub(super) history: usize,
}

impl Stages {
    pub(super) fn new(stages: Vec<Stage>) -> Self {
        Self { stages, initial_deviation: 1.0, history: 0 }
    }
}

/// What a sampler is given.
pub(super) struct Plan<'a> {
    pub(super) config: &'a SchedulerConfig,
    pub(super) schedule: NoiseSchedule,
    pub(super) steps: usize,
    pub(super) options: ChainOptions,
}

/// Steps of the samplers that need few.
const FEW_STEPS: usize = 50;

impl Chain {
    /// The chain that a scheduler's configuration describes.
    ///
    /// # Errors
    /// [`Input`](Error::Input) if it has not this many steps, or cannot be taken.
    pub fn new(config: &SchedulerConfig, options: ChainOptions) -> Result<Self> {
        let all = config.num_train_timesteps;
        let class = config.class;
        let default = match class {
            SchedulerClass::Ddpm => all,
            // Its spacing has one timestep more, at the end.
            SchedulerClass::DpmSolverMultistep => FEW_STEPS.min(all.max(2) - 1),
            _ => FEW_STEPS.min(all),
        };
        let steps = options.steps.unwrap_or(default);
        if !(1..=all).contains(&steps) {
            return Err(Error::input(format!("{steps} sampling steps, expected 1 to {all}, the model's timesteps")));
        }
        if !(0.0..=1.0).contains(&options.eta) {
            return Err(Error::input(format!("eta is {}, expected 0 to 1", options.eta)));
        }
        if options.eta > 0.0 && class != SchedulerClass::Ddim {
            return Err(Error::input(format!("eta is {}, {} has none, only DDIM has", options.eta, class.name())));
        }
        let plan = Plan { config, schedule: NoiseSchedule::new(config), steps, options };
        let Stages { stages, initial_deviation, history } = match class {
            SchedulerClass::Ddpm => ddpm::stages(&plan),
            SchedulerClass::Ddim => ddim::stages(&plan),
            SchedulerClass::DpmSolverMultistep => dpmpp_2m::stages(&plan),
            SchedulerClass::EulerDiscrete => euler::stages(&plan),
            SchedulerClass::HeunDiscrete => heun::stages(&plan),
        }?;
        for stage in &stages {
            if stage.weights.row().iter().any(|weight| !(*weight as f32).is_finite()) {
                return Err(plan.impossible(stage));
            }
        }
        let deviation = match (class, config.variance_type) {
            (SchedulerClass::Ddpm, Some(VarianceType::Learned)) => Deviation::Learned,
            (SchedulerClass::Ddpm, Some(VarianceType::LearnedRange)) => Deviation::LearnedRange,
            _ => Deviation::Fixed,
        };
        let thresholds = !matches!(class, SchedulerClass::EulerDiscrete | SchedulerClass::HeunDiscrete);
        let clips = !matches!(class, SchedulerClass::EulerDiscrete | SchedulerClass::DpmSolverMultistep);
        let threshold = (config.thresholding && thresholds)
            .then_some(DynamicThreshold { ratio: config.dynamic_thresholding_ratio, most: config.sample_max_value });
        let clipping = match threshold {
            Some(_) => Clipping::Threshold,
            None if config.clip_sample && clips => Clipping::Range(config.clip_sample_range),
            None => Clipping::None,
        };
        let kernel = SamplerStep { clipping, deviation, history };
        let learned_variances = (class == SchedulerClass::Ddpm).then_some(deviation != Deviation::Fixed);
        Ok(Self { stages, initial_deviation, kernel, threshold, learned_variances })
    }

    /// The runs of the network, in order.
    pub fn stages(&self) -> &[Stage] {
        &self.stages
    }

    /// Sampling steps.
    pub fn steps(&self) -> usize {
        self.stages.last().map_or(0, |stage| stage.step + 1)
    }

    /// What x is multiplied by at the beginning, as standard normal noise: diffusers' `init_noise_sigma`, in the scale
    /// that the network takes.
    pub fn initial_deviation(&self) -> f64 {
        self.initial_deviation
    }

    /// What all its stages have in common.
    pub fn kernel(&self) -> SamplerStep {
        self.kernel
    }

    /// Whether the network says the variances of the steps; `None` for samplers that have no use for them.
    pub fn learned_variances(&self) -> Option<bool> {
        self.learned_variances
    }

    /// How x_0 is thresholded, where it is.
    pub fn threshold(&self) -> Option<DynamicThreshold> {
        self.threshold
    }

    /// The table that the kernel reads, a row for each stage.
    pub fn table(&self) -> Vec<f32> {
        let mut table = Vec::with_capacity(self.stages.len() * COLUMNS);
        self.stages.iter().for_each(|stage| table.extend(stage.weights.row().map(|weight| weight as f32)));
        table
    }
}

impl Plan<'_> {
    /// x_0 and eps, each of x and of the network's output, where x = signal x_0 + noise eps.
    pub(super) fn predictions(&self, signal: f64, noise: f64) -> [[f64; 2]; 2] {
        match self.config.prediction_type {
            PredictionType::Epsilon => [[1.0 / signal, -noise / signal], [0.0, 1.0]],
            PredictionType::Sample => [[0.0, 1.0], [1.0 / noise, -signal / noise]],
            PredictionType::VPrediction => [[signal, -noise], [noise, signal]],
        }
    }

    /// Why a stage has no finite weights.
    fn impossible(&self, stage: &Stage) -> Error {
        let (class, timestep) = (self.config.class.name(), stage.timestep);
        let signal = self.schedule.alphas_cumprod.get(timestep as usize).copied().unwrap_or(1.0);
        if signal == 0.0 && self.config.prediction_type == PredictionType::Epsilon {
            return Error::input(format!(
                "{class}: timestep {timestep} is pure noise (rescale_betas_zero_snr), of which prediction_type \"epsilon\" \
                 says no x_0; expected steps or a timestep_spacing that leave it out"
            ));
        }
        let steps = self.steps;
        Error::input(format!("{class}: {steps} steps put two on the same noise, at timestep {timestep}; expected fewer steps"))
    }

    /// Refuses what diffusers itself does not get to the end of.
    pub(super) fn no_diffusers(&self, why: String) -> Error {
        Error::input(format!("--diffusers-exact: {}: {why}", self.config.class.name()))
    }
}

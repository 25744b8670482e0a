//! diffusers' `DDPMScheduler` configuration, as in `scheduler_config.json`.

use crate::error::{Error, Result};
use crate::kernels::reverse_step::{Prediction, ReverseProcess, Variance};
use crate::kernels::schedule_tables::{BetaSchedule, ScheduleTables};
use crate::nn::DiffusersClass;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// diffusers' names of the noise schedules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BetaScheduleName {
    /// Ho et al. 2020.
    Linear,
    /// Rombach et al. 2022.
    ScaledLinear,
    /// Nichol & Dhariwal 2021.
    #[serde(rename = "squaredcos_cap_v2")]
    SquaredCosine,
}

/// diffusers' names of the reverse variances.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VarianceType {
    /// beta~_t.
    FixedSmall,
    /// beta_t.
    FixedLarge,
}

/// diffusers' names of what the network predicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PredictionType {
    /// The noise.
    Epsilon,
    /// x_0.
    Sample,
    /// sqrt(abar) eps - sqrt(1 - abar) x_0.
    VPrediction,
}

/// What describes the noise and the way back; keys and defaults are those of diffusers' `DDPMScheduler`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SchedulerConfig {
    /// T.
    pub num_train_timesteps: usize,
    /// First beta of the linear schedules.
    #[serde(serialize_with = "crate::decimal::shortest")]
    pub beta_start: f32,
    /// Last beta of the linear schedules.
    #[serde(serialize_with = "crate::decimal::shortest")]
    pub beta_end: f32,
    /// How the betas grow.
    pub beta_schedule: BetaScheduleName,
    /// Variance of a reverse step.
    pub variance_type: VarianceType,
    /// What the network predicts.
    pub prediction_type: PredictionType,
    /// Whether the predicted x_0 is clipped.
    pub clip_sample: bool,
    /// To what, on both sides of zero.
    #[serde(serialize_with = "crate::decimal::shortest")]
    pub clip_sample_range: f32,
}

impl Default for SchedulerConfig {
    fn default() -> Self {
        Self {
            num_train_timesteps: 1000,
            beta_start: 1e-4,
            beta_end: 0.02,
            beta_schedule: BetaScheduleName::Linear,
            variance_type: VarianceType::FixedSmall,
            prediction_type: PredictionType::Epsilon,
            clip_sample: true,
            clip_sample_range: 1.0,
        }
    }
}

const CLASS: DiffusersClass = DiffusersClass {
    name: "DDPMScheduler",
    fixed: &[
        ("trained_betas", &["null"]),
        ("thresholding", &["false"]),
        ("timestep_spacing", &["\"leading\""]),
        ("steps_offset", &["0"]),
        ("rescale_betas_zero_snr", &["false"]),
    ],
    // They say nothing while thresholding is off.
    idle: &[("dynamic_thresholding_ratio", "0.995"), ("sample_max_value", "1.0")],
};

impl SchedulerConfig {
    /// Reads a `scheduler_config.json` or a TOML table that was turned into JSON. `source` is named in errors.
    ///
    /// # Errors
    /// [`Input`](Error::Input) naming the key, what was found and what was expected.
    pub fn from_json(json: &Value, source: &str) -> Result<Self> {
        let config: Self = CLASS.read(json, source)?;
        config.validate(source)?;
        Ok(config)
    }

    fn validate(&self, source: &str) -> Result<()> {
        let wrong = |message: String| Err(Error::input(format!("{source}: {message}")));
        if !(1..=1_000_000).contains(&self.num_train_timesteps) {
            return wrong(format!("num_train_timesteps is {}, expected 1 to 1000000", self.num_train_timesteps));
        }
        for (key, beta) in [("beta_start", self.beta_start), ("beta_end", self.beta_end)] {
            if !(beta > 0.0 && beta < 1.0) {
                return wrong(format!("{key} is {beta}, expected a number between 0 and 1"));
            }
        }
        if self.last_alphas_cumprod() < 1e-30 {
            let steps = self.num_train_timesteps;
            return wrong(format!(
                "alphas_cumprod falls below 1e-30 in {steps} steps, expected smaller betas or fewer steps"
            ));
        }
        if self.clip_sample_range.is_nan() || self.clip_sample_range <= 0.0 {
            return wrong(format!("clip_sample_range is {}, expected more than 0", self.clip_sample_range));
        }
        Ok(())
    }

    /// alphas_cumprod of the last timestep; the linear schedules' can be too small for single precision.
    fn last_alphas_cumprod(&self) -> f64 {
        let (start, end) = (f64::from(self.beta_start), f64::from(self.beta_end));
        let part = |t: usize| t as f64 / (self.num_train_timesteps - 1).max(1) as f64;
        let line = |start: f64, end: f64, t: usize| start + (end - start) * part(t);
        let beta = |t: usize| match self.beta_schedule {
            BetaScheduleName::Linear => line(start, end, t),
            BetaScheduleName::ScaledLinear => line(start.sqrt(), end.sqrt(), t).powi(2),
            BetaScheduleName::SquaredCosine => 0.0,
        };
        (0..self.num_train_timesteps).map(|t| 1.0 - beta(t)).product()
    }

    /// As diffusers' `scheduler_config.json`.
    pub fn to_json(&self) -> Value {
        CLASS.write(self)
    }

    /// What the tables are computed from.
    pub fn tables(&self) -> ScheduleTables {
        ScheduleTables {
            schedule: match self.beta_schedule {
                BetaScheduleName::Linear => BetaSchedule::Linear,
                BetaScheduleName::ScaledLinear => BetaSchedule::ScaledLinear,
                BetaScheduleName::SquaredCosine => BetaSchedule::SquaredCosine,
            },
            timesteps: self.num_train_timesteps,
            beta_start: self.beta_start,
            beta_end: self.beta_end,
        }
    }

    /// How the reverse process is run.
    pub fn reverse_process(&self) -> ReverseProcess {
        ReverseProcess {
            prediction: match self.prediction_type {
                PredictionType::Epsilon => Prediction::Epsilon,
                PredictionType::Sample => Prediction::Sample,
                PredictionType::VPrediction => Prediction::VPrediction,
            },
            variance: match self.variance_type {
                VarianceType::FixedSmall => Variance::FixedSmall,
                VarianceType::FixedLarge => Variance::FixedLarge,
            },
            clip_range: self.clip_sample.then_some(self.clip_sample_range),
        }
    }

    /// The (timestep, previous timestep) pairs of `steps` sampling steps, the first to be taken first: every
    /// (T / steps)-th timestep from 0 on, which diffusers calls "leading". -1 is x_0.
    ///
    /// # Errors
    /// [`Input`](Error::Input) unless there are 1 to T steps.
    pub fn leading_timesteps(&self, steps: usize) -> Result<Vec<(u32, i32)>> {
        let all = self.num_train_timesteps;
        if !(1..=all).contains(&steps) {
            return Err(Error::input(format!("{steps} sampling steps, expected 1 to {all}, the model's timesteps")));
        }
        let stride = all / steps;
        Ok((0..steps)
            .rev()
            .map(|i| ((i * stride) as u32, (i * stride) as i32 - stride as i32))
            .map(|(timestep, previous)| (timestep, previous.max(-1)))
            .collect())
    }
}

//! The flags of `train` that say what is made small.

use crate::diffusion::{PredictionType, SchedulerConfig, VarianceType};
use crate::error::Result;
use crate::training::{LossName, ObjectiveName, TimestepSampler, TrainingConfig, WeightingName};

/// What a run is trained on, where the flags go before the file.
#[derive(clap::Args)]
#[command(next_help_heading = "Objective")]
pub(super) struct ObjectiveFlags {
    /// What is made small
    #[arg(long, value_enum)]
    objective: Option<ObjectiveName>,
    /// What the network predicts
    #[arg(long, value_enum)]
    prediction: Option<PredictionType>,
    /// What an error of one element costs
    #[arg(long, value_enum)]
    loss: Option<LossName>,
    /// How the timesteps' losses are weighted, SNR being the signal-to-noise ratio; if nothing is said, a score's by snr,
    /// which is sigma^2, and all others' not at all
    #[arg(long, value_enum)]
    weighting: Option<WeightingName>,
    /// How timesteps are drawn; if nothing is said, EDM's levels of noise are log-normal and all others uniform
    #[arg(long, value_enum)]
    timestep_sampler: Option<TimestepSampler>,
    /// The variance of an ancestral step; learned ones take --objective hybrid or vlb
    #[arg(long, value_enum)]
    variance: Option<VarianceType>,
}

impl ObjectiveFlags {
    /// Lays the flags over what a file says, or over the defaults.
    pub(super) fn apply(&self, t: &mut TrainingConfig) {
        set(&mut t.objective, self.objective);
        set(&mut t.loss, self.loss);
        t.weighting = self.weighting.or(t.weighting);
        t.timestep_sampler = self.timestep_sampler.or(t.timestep_sampler);
    }

    /// Whether the flags ask for learned variances.
    pub(super) fn learns_variances(&self) -> bool {
        matches!(self.variance, Some(VarianceType::Learned | VarianceType::LearnedRange))
    }

    /// A scheduler with what the flags say of it.
    pub(super) fn scheduler(&self, scheduler: SchedulerConfig) -> Result<SchedulerConfig> {
        let scheduler = match self.prediction {
            Some(prediction) => scheduler.with_prediction(prediction, "--prediction")?,
            None => scheduler,
        };
        match self.variance {
            Some(variance) => scheduler.with_variance(variance, "--variance"),
            None => Ok(scheduler),
        }
    }

    /// Whether every flag that was given says what the run was started with.
    pub(super) fn check(&self, t: &TrainingConfig, scheduler: &SchedulerConfig) -> Result<()> {
        differs("--prediction", self.prediction.as_ref(), &scheduler.prediction_type)?;
        differs("--variance", self.variance.map(Some).as_ref(), &scheduler.variance_type)?;
        differs("--objective", self.objective.as_ref(), &t.objective)?;
        differs("--loss", self.loss.as_ref(), &t.loss)?;
        differs("--weighting", self.weighting.map(Some).as_ref(), &t.weighting)?;
        differs("--timestep-sampler", self.timestep_sampler.map(Some).as_ref(), &t.timestep_sampler)
    }
}

/// Writes what was given over a value.
pub(super) fn set<T: Copy>(value: &mut T, given: Option<T>) {
    if let Some(given) = given {
        *value = given;
    }
}

/// Refuses a flag that says another thing than the run was started with.
pub(super) fn differs<T: PartialEq + serde::Serialize>(flag: &str, given: Option<&T>, was: &T) -> Result<()> {
    // As the configuration's file says it.
    let said = |value: &T| serde_json::to_value(value).map_or_else(|_| "?".into(), |value| value.to_string());
    match given {
        Some(given) if given != was => {
            let (given, was) = (said(given), said(was));
            Err(crate::Error::input(format!("--resume: {flag} is {given}, the run was started with {was}")))
        }
        _ => Ok(()),
    }
}

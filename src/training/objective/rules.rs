//! What can be trained together, and what cannot: one line that names the keys.

use super::super::{RunConfig, TrainingConfig};
use super::choices::{LossName, ObjectiveName, WeightingName};
use crate::diffusion::{NoiseSchedule, PredictionType, SchedulerConfig, VarianceType};
use crate::error::{Error, Result};
use crate::kernels::levels::DiscreteLevels;
use crate::kernels::variational_bound::Variance;

/// A value as the configuration's file says it.
fn word(value: impl serde::Serialize) -> String {
    serde_json::to_value(value).unwrap_or_default().to_string()
}

/// The reverse process's variances.
pub(super) fn variance(scheduler: &SchedulerConfig) -> Variance {
    scheduler.variance_type.unwrap_or(VarianceType::FixedSmall).into()
}

/// Whether objective, variances and loss fit together.
///
/// # Errors
/// [`Input`](Error::Input) naming what does not.
pub(super) fn check(config: &RunConfig, schedule: &NoiseSchedule) -> Result<()> {
    let (training, scheduler) = (&config.training, &config.scheduler);
    let TrainingConfig { objective, loss, weighting, .. } = *training;
    let wrong = |message: String| Err(Error::input(format!("training: {message}")));
    let learned = variance(scheduler).is_learned();
    let variance_type = word(scheduler.variance_type);
    match objective {
        ObjectiveName::Simple if learned => {
            return wrong(format!(
                "objective \"simple\" leaves the variances of variance_type {variance_type} untrained; expected \
                 \"hybrid\" or \"vlb\", or a fixed variance"
            ));
        }
        // With the mean's gradient stopped, nothing of the bound would be left.
        ObjectiveName::Hybrid if !learned => {
            return wrong(format!(
                "objective \"hybrid\" is for learned variances, variance_type is {variance_type}; expected \
                 \"learned_range\" or \"learned\", or objective \"simple\" or \"vlb\""
            ));
        }
        ObjectiveName::Vlb if loss != LossName::L2 || weighting != WeightingName::None => {
            return wrong(format!(
                "objective \"vlb\" is the variational bound, with loss {} and weighting {}; expected \"l2\" and \"none\"",
                word(loss),
                word(weighting)
            ));
        }
        _ => {}
    }
    let of_noise = matches!(scheduler.prediction_type, PredictionType::Epsilon | PredictionType::Score);
    if objective != ObjectiveName::Simple
        && of_noise
        && let Some(t) = schedule.alphas_cumprod.iter().position(|&signal| signal == 0.0)
    {
        return wrong(format!(
            "objective {} has no value at timestep {t}, which is pure noise (rescale_betas_zero_snr): \
             prediction_type {} says no x_0 of it; expected \"v_prediction\" or \"sample\"",
            word(objective),
            word(scheduler.prediction_type)
        ));
    }
    Ok(())
}

/// Whether every timestep has a finite weight.
///
/// # Errors
/// [`Input`](Error::Input) naming the weighting and the timestep.
pub(super) fn check_weights(config: &RunConfig, schedule: &NoiseSchedule, levels: DiscreteLevels) -> Result<()> {
    let tables = schedule.tables();
    match (0..schedule.timesteps()).find(|&t| !levels.weight(&tables, t).is_finite()) {
        Some(t) => Err(Error::input(format!(
            "training: weighting {} of prediction_type {} has no finite weight at timestep {t}, where \
             alphas_cumprod is {}; expected another weighting, or \"sample\" or \"v_prediction\"",
            word(config.training.weighting),
            word(config.scheduler.prediction_type),
            schedule.alphas_cumprod[t]
        ))),
        None => Ok(()),
    }
}

//! What can be trained together, and what cannot: one line that names the keys.

use super::super::{Precision, RunConfig, TrainingConfig};
use super::choices::{LossName, ObjectiveName, TimestepSampler, WeightingName};
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
        ObjectiveName::Simple | ObjectiveName::Sliced if learned => {
            return wrong(format!(
                "objective {} leaves the variances of variance_type {variance_type} untrained; expected \
                 \"hybrid\" or \"vlb\", or a fixed variance",
                word(objective)
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
        ObjectiveName::Sliced => check_sliced(config)?,
        _ => {}
    }
    let of_noise = matches!(scheduler.prediction_type, PredictionType::Epsilon | PredictionType::Score);
    if matches!(objective, ObjectiveName::Vlb | ObjectiveName::Hybrid)
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

/// Whether sliced score matching can be trained so.
///
/// # Errors
/// [`Input`](Error::Input) naming what it does not take.
pub(super) fn check_sliced(config: &RunConfig) -> Result<()> {
    let (training, unet) = (&config.training, &config.unet);
    let prediction = config.scheduler.prediction_type;
    let of_noise = matches!(prediction, PredictionType::Epsilon | PredictionType::Score);
    let is_even = matches!(training.weighting, WeightingName::None | WeightingName::Snr);
    let rules = [
        (of_noise, "prediction_type", word(prediction), "\"epsilon\" or \"score\""),
        (training.loss == LossName::L2, "loss", word(training.loss), "\"l2\""),
        (is_even, "weighting", word(training.weighting), "\"none\" or \"snr\": sigma^2 is a part of it"),
        (
            training.timestep_sampler != TimestepSampler::Importance,
            "timestep_sampler",
            word(training.timestep_sampler),
            "another: its losses are negative too",
        ),
        (training.precision == Precision::F32, "precision", word(training.precision), "\"f32\": it takes differences"),
        (unet.dropout == 0.0, "dropout", unet.dropout.to_string(), "0: it takes differences"),
        (
            unet.out_channels == unet.in_channels,
            "out_channels",
            unet.out_channels.to_string(),
            "as many as in_channels",
        ),
    ];
    match rules.into_iter().find(|(allowed, ..)| !allowed) {
        Some((_, key, found, expected)) => {
            Err(Error::input(format!("training: {key} is {found}, with objective \"sliced\" expected {expected}")))
        }
        None => Ok(()),
    }
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

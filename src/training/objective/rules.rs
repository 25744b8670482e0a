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
    let TrainingConfig { objective, loss, .. } = *training;
    let (weighting, sampler) = (training.weighting_for(scheduler), training.timestep_sampler_for(scheduler));
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
        // That draws some timesteps more often and does not divide by it: what is made small would not be the bound.
        ObjectiveName::Vlb | ObjectiveName::Hybrid if sampler == TimestepSampler::LogNormal => {
            return wrong(format!(
                "timestep_sampler \"log_normal\" does not go with objective {}; expected \"uniform\", \"stratified\" or \
                 \"importance\"",
                word(objective)
            ));
        }
        ObjectiveName::Sliced => check_sliced(config)?,
        _ => {}
    }
    let of_noise = matches!(scheduler.prediction_type, PredictionType::Epsilon | PredictionType::Score);
    if of_noise && let Some(t) = schedule.alphas_cumprod.iter().position(|&signal| signal == 0.0) {
        return wrong(format!(
            "timestep {t} is pure noise (a beta of 1, as jsd ends with, or rescale_betas_zero_snr): prediction_type {} says \
             no x_0 of it, and nothing could be drawn; expected \"v_prediction\" or \"sample\"",
            word(scheduler.prediction_type)
        ));
    }
    Ok(())
}

/// Whether the network can be told what the noise is.
///
/// # Errors
/// [`Input`](Error::Input) naming the time embedding, and what it would be told.
pub(super) fn check_told(config: &RunConfig) -> Result<()> {
    let (unet, scheduler) = (&config.unet, &config.scheduler);
    let Some(process) = scheduler.process() else {
        return unet.check_timesteps(&[scheduler.num_train_timesteps as f32 - 1.0], "num_train_timesteps");
    };
    let [first, last] = [process.first(), 1.0].map(|t| process.network_level(t).told);
    let source = format!("unet: time_embedding_type is {}", word(unet.time_embedding_type));
    // Between the ends there are others, which are not whole.
    let between = 0.5 * (first + last);
    unet.check_timesteps(&[first, last, between].map(|told| told as f32), &source).map_err(|_| {
        let class = scheduler.class.name();
        Error::input(format!("{source}, {class} tells it {first:.4} to {last:.4}; expected \"positional\""))
    })
}

/// Whether a classifier can be trained so.
///
/// # Errors
/// [`Input`](Error::Input) naming what it does not take.
pub(super) fn check_classifier(config: &RunConfig) -> Result<()> {
    let training = &config.training;
    let own = TrainingConfig { weighting: None, ..training.clone() }.weighting_for(&config.scheduler);
    let rules = [
        (training.objective == ObjectiveName::Simple, "objective", word(training.objective), "\"simple\""),
        (training.loss == LossName::L2, "loss", word(training.loss), "none: its loss is the cross-entropy"),
        (training.weighting.is_none_or(|given| given == own), "weighting", word(training.weighting), "none"),
        (training.class_dropout == 0.0, "class_dropout", training.class_dropout.to_string(), "0"),
        (
            training.timestep_sampler != Some(TimestepSampler::Importance),
            "timestep_sampler",
            word(training.timestep_sampler),
            "another",
        ),
    ];
    match rules.into_iter().find(|(allowed, ..)| !allowed) {
        Some((_, key, found, expected)) => {
            Err(Error::input(format!("training: {key} is {found}, of a classifier expected {expected}")))
        }
        None => Ok(()),
    }
}

/// Whether sliced score matching can be trained so.
///
/// # Errors
/// [`Input`](Error::Input) naming what it does not take.
pub(super) fn check_sliced(config: &RunConfig) -> Result<()> {
    let (training, unet) = (&config.training, &config.unet);
    let prediction = config.scheduler.prediction_type;
    let of_noise = matches!(prediction, PredictionType::Epsilon | PredictionType::Score);
    let is_even = matches!(training.weighting, None | Some(WeightingName::None | WeightingName::Snr));
    let rules = [
        (of_noise, "prediction_type", word(prediction), "\"epsilon\" or \"score\""),
        (training.loss == LossName::L2, "loss", word(training.loss), "\"l2\""),
        (is_even, "weighting", word(training.weighting), "\"none\" or \"snr\": sigma^2 is a part of it"),
        (
            training.timestep_sampler != Some(TimestepSampler::Importance),
            "timestep_sampler",
            word(training.timestep_sampler),
            "\"uniform\", \"stratified\" or \"log_normal\": its losses are negative too",
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
            word(config.training.weighting_for(&config.scheduler)),
            word(config.scheduler.prediction_type),
            schedule.alphas_cumprod[t]
        ))),
        None => Ok(()),
    }
}

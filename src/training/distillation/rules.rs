//! What can be distilled, and in which stages.

use super::DistillationTable;
use super::rows::can_halve_to;
use crate::diffusion::{NoiseSchedule, PredictionType, SchedulerConfig, TimestepSpacing, VarianceType};
use crate::error::{Error, Result};
use crate::training::{LossName, ObjectiveName, RunConfig, TimestepSampler, WeightingName};

/// The noise of a teacher's scheduler, with what a student predicts and the timesteps that it is taught at: those that it
/// draws with. x_0 is clipped as the teacher's class does it.
///
/// # Errors
/// [`Input`](Error::Input) naming `source`, and the key of what cannot be distilled.
pub fn distilled_scheduler(teacher: &SchedulerConfig, source: &str) -> Result<SchedulerConfig> {
    if teacher.class.is_continuous() {
        let class = teacher.class.name();
        return Err(Error::input(format!(
            "{source}: the network was trained for {class}, in continuous time; expected a teacher that was trained on \
             timesteps"
        )));
    }
    let has = |key: &str| teacher.class.keys().contains(&key);
    if teacher.thresholding && has("thresholding") {
        return Err(Error::input(format!(
            "{source}: thresholding is true, which a student cannot be taught; expected false"
        )));
    }
    let mut scheduler = teacher.for_training(source)?;
    scheduler.clip_sample = teacher.clip_sample && has("clip_sample");
    scheduler.timestep_spacing = TimestepSpacing::Trailing;
    scheduler.steps_offset = 0;
    scheduler.variance_type = Some(VarianceType::FixedSmall);
    scheduler.with_prediction(PredictionType::VPrediction, source)
}

/// Steps of the teacher and of the students after it, each half of those before: from the given number, or the largest that
/// the noise of [`distilled_scheduler`] allows, down to `to`. The timesteps of each are every other of those before.
///
/// # Errors
/// [`Input`](Error::Input) naming the flags.
pub fn stages(noise: &SchedulerConfig, from: Option<usize>, to: usize) -> Result<Vec<usize>> {
    let timesteps = noise.num_train_timesteps;
    if !(1..=timesteps / 2).contains(&to) {
        let most = timesteps / 2;
        return Err(Error::input(format!(
            "--to is {to}, expected 1 to {most}: half of the teacher's {timesteps} timesteps"
        )));
    }
    let mut all = vec![to];
    let mut steps = to;
    while steps <= timesteps / 2 && can_halve_to(noise, steps)? {
        steps *= 2;
        all.push(steps);
    }
    if all.len() == 1 {
        // A single step is at the last timestep, where all begin.
        let fits = (1..to).rev().find(|&steps| can_halve_to(noise, steps).unwrap_or(false)).unwrap_or(1);
        return Err(Error::input(format!(
            "--to is {to}, whose timesteps, rounded, are not every other of those of {} steps; expected {fits}, say, for {timesteps} \
             timesteps",
            2 * to
        )));
    }
    let count = match from {
        None => all.len(),
        Some(from) => match all.iter().position(|&steps| steps == from) {
            Some(index) if index > 0 => index + 1,
            _ => {
                let expected: Vec<String> = all[1..].iter().map(usize::to_string).collect();
                return Err(Error::input(format!(
                    "--from is {from}, expected --to times a power of two whose timesteps, of {timesteps}, hold those of all \
                     stages: {}",
                    expected.join(", ")
                )));
            }
        },
    };
    Ok(all[..count].iter().rev().copied().collect())
}

/// Whether a configuration of a run that distils fits together.
pub(super) fn check(config: &RunConfig, table: &DistillationTable) -> Result<()> {
    let t = &config.training;
    let wrong = |message: String| Err(Error::input(format!("training: {message}")));
    let word = |value: serde_json::Value| value.to_string();
    let own = [
        (t.objective == ObjectiveName::Simple, "objective", "\"simple\""),
        (t.loss == LossName::L2, "loss", "\"l2\""),
        (matches!(t.weighting, None | Some(WeightingName::None)), "weighting", "\"none\": it has one of its own"),
        (matches!(t.timestep_sampler, None | Some(TimestepSampler::Uniform)), "timestep_sampler", "\"uniform\""),
        (t.classifier.is_none(), "classifier", "none"),
    ];
    if let Some((_, key, expected)) = own.into_iter().find(|(allowed, ..)| !allowed) {
        let found = serde_json::to_value(t).ok().and_then(|all| all.get(key).cloned()).unwrap_or_default();
        return wrong(format!("{key} is {}, with [training.distillation] expected {expected}", word(found)));
    }
    if config.scheduler.class.is_continuous() || config.scheduler.prediction_type != PredictionType::VPrediction {
        return wrong("[training.distillation] expects timesteps, and prediction_type \"v_prediction\"".into());
    }
    let all = config.scheduler.num_train_timesteps;
    let (teacher, steps) = (table.teacher_steps, table.steps);
    let fits = match table.method {
        super::DistillationMethod::Progressive => steps > 0 && (teacher == steps || teacher == 2 * steps),
        super::DistillationMethod::Consistency => (1..=teacher).contains(&steps),
    };
    if !fits || teacher > all {
        return wrong(format!("distillation from {teacher} steps to {steps}, of {all} timesteps"));
    }
    if let Some(s) = table.guidance {
        if config.unet.unconditional_class.is_none() {
            return wrong(format!("guidance is {s}, expected a network with an unconditional_class"));
        }
        if !s.is_finite() || s < 0.0 {
            return wrong(format!("guidance is {s}, expected 0 or more"));
        }
    }
    let schedule = NoiseSchedule::new(&config.scheduler);
    match schedule.alphas_cumprod[..all - 1].contains(&0.0) {
        true => wrong("the noise has pure noise before the last timestep, expected betas below 1".into()),
        false => Ok(()),
    }
}

//! What is trained in continuous time.

use super::{Levels, Objective, ObjectiveName, Terms, TimestepSampler, WeightingName, rules};
use crate::diffusion::Process;
use crate::error::{Error, Result};
use crate::kernels::continuous_levels::{ContinuousLevels, ContinuousProcess, TimeDraw};
use crate::training::RunConfig;

impl Objective {
    /// Denoising score matching at all times of a process (Song et al. 2021, eq. 7; Karras et al. 2022, eq. 2), with the
    /// weight of the prediction that the network makes: of eps, and of a score with the weighting snr, that is
    /// lambda(t) = b(t)^2.
    pub(super) fn continuous(config: &RunConfig, process: Process, whole: usize) -> Result<Self> {
        let (training, scheduler) = (&config.training, &config.scheduler);
        let class = scheduler.class.name();
        let wrong = |key: &str, found: serde_json::Result<serde_json::Value>, expected: &str| {
            let found = found.unwrap_or_default();
            Err(Error::input(format!("training: {key} is {found}, with {class} expected {expected}")))
        };
        let edm = matches!(process, Process::Edm { .. });
        let sliced = training.objective == ObjectiveName::Sliced;
        if sliced && edm {
            return wrong("objective", serde_json::to_value(training.objective), "\"simple\"");
        }
        if !sliced && training.objective != ObjectiveName::Simple {
            let expected = if edm { "\"simple\"" } else { "\"simple\" or \"sliced\"" };
            return wrong("objective", serde_json::to_value(training.objective), expected);
        }
        if sliced {
            rules::check_sliced(config)?;
        }
        if training.weighting == Some(WeightingName::Kl) {
            return wrong("weighting", serde_json::to_value(training.weighting), "another: it is for steps");
        }
        let explodes = edm || matches!(process, Process::Ve { .. });
        let normal = [training.log_normal_mean, training.log_normal_std].map(|number| number as f32);
        let sampler = training.timestep_sampler_for(scheduler);
        let not_here = |expected: &str| wrong("timestep_sampler", serde_json::to_value(sampler), expected);
        if scheduler.noise_levels() != 0 && sampler == TimestepSampler::LogNormal {
            return not_here("\"uniform\" or \"stratified\" where num_noise_levels is set");
        }
        let draw = match sampler {
            TimestepSampler::LogNormal if explodes => TimeDraw::LogNormal(normal),
            TimestepSampler::Uniform => TimeDraw::Uniform,
            // At equal distances in t, that would be another loss than EDM's.
            TimestepSampler::Stratified | TimestepSampler::Importance if edm => {
                return not_here("\"log_normal\" or \"uniform\"");
            }
            TimestepSampler::Stratified => TimeDraw::Stratified(whole),
            TimestepSampler::Importance | TimestepSampler::LogNormal => {
                let expected = if explodes {
                    "\"uniform\", \"stratified\" or \"log_normal\""
                } else {
                    "\"uniform\" or \"stratified\""
                };
                return not_here(expected);
            }
        };
        let (prediction, is_turned) = process.prediction(scheduler.prediction_type);
        let both = |low: f64, high: f64| [low as f32, high as f32];
        let kernel = match process {
            Process::Vp { beta_min, beta_max, .. } => ContinuousProcess::Vp(both(beta_min, beta_max)),
            Process::SubVp { beta_min, beta_max, .. } => ContinuousProcess::SubVp(both(beta_min, beta_max)),
            Process::Ve { sigma_min, sigma_max, .. } => ContinuousProcess::Ve(both(sigma_min, sigma_max)),
            Process::Edm { sigma_min, sigma_max, sigma_data, rho } => {
                ContinuousProcess::Edm { sigmas: both(sigma_min, sigma_max), data: sigma_data as f32, rho: rho as f32 }
            }
        };
        let levels = ContinuousLevels {
            process: kernel,
            first: process.first() as f32,
            times: scheduler.noise_levels(),
            draw,
            prediction,
            is_turned,
            weighting: training.weighting_of_timesteps(scheduler),
        };
        Ok(Self {
            levels: Levels::Continuous(levels),
            terms: match training.classifier {
                Some(_) => Terms::Classes,
                None if sliced => Terms::Sliced,
                None => Terms::Simple(training.element_loss()),
            },
            shares: None,
            importance: None,
        })
    }
}

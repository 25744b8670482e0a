//! The classes in continuous time.

use super::{FinalSigmas, SchedulerClass, SchedulerConfig, SigmaSchedule};
use crate::diffusion::{PredictionType, Process};
use crate::error::{Error, Result};
use crate::kernels::continuous_levels::MOST_TIMES;

impl SchedulerConfig {
    /// The process of a class in continuous time.
    pub fn process(&self) -> Option<Process> {
        let &Self { beta_min, beta_max, sampling_eps: first, sigma_data, rho, .. } = self;
        let (sigma_min, sigma_max) = (self.sigma_min.unwrap_or(0.01), self.sigma_max.unwrap_or(80.0));
        match self.class {
            SchedulerClass::SdeVp if self.sub_vp => Some(Process::SubVp { beta_min, beta_max, first }),
            SchedulerClass::SdeVp => Some(Process::Vp { beta_min, beta_max, first }),
            SchedulerClass::SdeVe => Some(Process::Ve { sigma_min, sigma_max, first }),
            SchedulerClass::EdmEuler => Some(Process::Edm { sigma_min, sigma_max, sigma_data, rho }),
            _ => None,
        }
    }

    /// How many levels of noise the network knows; 0 for timesteps, and for all levels.
    pub fn noise_levels(&self) -> u32 {
        if self.class == SchedulerClass::SdeVe { self.num_noise_levels } else { 0 }
    }

    /// The most sampling steps: on every timestep or level one.
    pub fn most_steps(&self) -> usize {
        match self.noise_levels() {
            0 => self.num_train_timesteps,
            levels => self.num_train_timesteps.min(levels as usize),
        }
    }

    /// What no process can run with, naming the key.
    pub(super) fn validate_continuous(&self, source: &str) -> Result<()> {
        let wrong = |key: &str, found: String, expected: String| {
            Err(Error::input(format!("{source}: {key} is {found}, expected {expected}")))
        };
        let (sigma_min, sigma_max) = (self.sigma_min.unwrap_or(0.01), self.sigma_max.unwrap_or(80.0));
        let numbers = [
            (
                "beta_min",
                self.beta_min,
                self.beta_min > 0.0 && self.beta_min <= self.beta_max,
                "more than 0, at most beta_max",
            ),
            ("beta_max", self.beta_max, self.beta_max <= 100.0, "at most 100"),
            ("sampling_eps", self.sampling_eps, self.sampling_eps > 0.0 && self.sampling_eps < 1.0, "between 0 and 1"),
            ("sigma_min", sigma_min, sigma_min > 0.0 && sigma_min < sigma_max, "more than 0, less than sigma_max"),
            ("sigma_max", sigma_max, sigma_max <= 1e6, "at most 1000000"),
            (
                "sigma_data",
                self.sigma_data,
                self.sigma_data > 0.0 && self.sigma_data <= 1e3,
                "more than 0, at most 1000",
            ),
            ("rho", self.rho, (1.0..=100.0).contains(&self.rho), "1 to 100"),
        ];
        if let Some((key, found, _, expected)) = numbers.into_iter().find(|(_, _, allowed, _)| !allowed) {
            return wrong(key, found.to_string(), expected.into());
        }
        if self.num_noise_levels != 0 && !(2..=MOST_TIMES).contains(&self.num_noise_levels) {
            let expected = format!("2 to {MOST_TIMES}, or 0 for all");
            return wrong("num_noise_levels", self.num_noise_levels.to_string(), expected);
        }
        if self.class == SchedulerClass::EdmEuler {
            let word = |value: serde_json::Result<serde_json::Value>| value.unwrap_or_default().to_string();
            if !matches!(self.prediction_type, PredictionType::Epsilon | PredictionType::VPrediction) {
                let found = word(serde_json::to_value(self.prediction_type));
                return wrong(
                    "prediction_type",
                    found,
                    format!("\"epsilon\" or \"v_prediction\" with {}", self.class.name()),
                );
            }
            if self.sigma_schedule != SigmaSchedule::Karras {
                return wrong("sigma_schedule", word(serde_json::to_value(self.sigma_schedule)), "\"karras\"".into());
            }
            if self.final_sigmas_type != FinalSigmas::Zero {
                return wrong(
                    "final_sigmas_type",
                    word(serde_json::to_value(self.final_sigmas_type)),
                    "\"zero\"".into(),
                );
            }
        }
        Ok(())
    }
}

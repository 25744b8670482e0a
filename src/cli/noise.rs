//! The noise that a flag names.

use crate::diffusion::{BetaSchedule, SchedulerConfig, read_betas};
use crate::error::Result;
use clap::ValueEnum;
use serde_json::json;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// A noise schedule by name, or betas from a file.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Noise {
    /// A schedule in closed form.
    Named(BetaSchedule),
    /// `file:PATH`
    File(PathBuf),
    /// A process in continuous time.
    Continuous(Continuous),
}

/// Processes in continuous time, by the flag's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Continuous {
    Vp,
    SubVp,
    Ve,
    Ncsn,
    Edm,
}

/// The largest sigma of VE for pictures in [-1, 1] of 32 pixels (Song & Ermon 2020, technique 1); diffusers' is for 1024.
const VE_SIGMA_MAX: f64 = 50.0;
/// How many levels of noise there are up to it (the same, appendix B: CIFAR-10's).
const NCSN_LEVELS: u32 = 232;

impl Continuous {
    /// The keys that its scheduler has; the rest is its class's.
    fn keys(self) -> serde_json::Value {
        match self {
            Self::Vp => json!({ "_class_name": "ScoreSdeVpScheduler" }),
            Self::SubVp => json!({ "_class_name": "ScoreSdeVpScheduler", "sub_vp": true }),
            Self::Ve => json!({ "_class_name": "ScoreSdeVeScheduler", "sigma_max": VE_SIGMA_MAX }),
            Self::Ncsn => json!({
                "_class_name": "ScoreSdeVeScheduler", "sigma_max": VE_SIGMA_MAX, "num_noise_levels": NCSN_LEVELS,
            }),
            Self::Edm => json!({ "_class_name": "EDMEulerScheduler" }),
        }
    }
}

impl FromStr for Noise {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("file:") {
            return Ok(Self::File(path.into()));
        }
        if let Ok(continuous) = Continuous::from_str(text, false) {
            return Ok(Self::Continuous(continuous));
        }
        BetaSchedule::from_str(text, false).map(Self::Named).map_err(|_| {
            let names = BetaSchedule::value_variants().iter().copied().map(name);
            let names: Vec<String> = names.chain(Continuous::value_variants().iter().copied().map(name)).collect();
            format!("expected {} or file:BETAS", names.join(", "))
        })
    }
}

fn name(schedule: impl ValueEnum) -> String {
    schedule.to_possible_value().map_or_else(String::new, |value| value.get_name().into())
}

impl fmt::Display for Noise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(schedule) => f.write_str(&name(*schedule)),
            Self::Continuous(continuous) => f.write_str(&name(*continuous)),
            Self::File(path) => write!(f, "file:{}", path.display()),
        }
    }
}

impl Noise {
    /// The scheduler with this noise, whatever it had before. `source` is named in errors.
    pub(super) fn apply(&self, scheduler: SchedulerConfig, source: &str) -> Result<SchedulerConfig> {
        let is_continuous = scheduler.class.is_continuous();
        // What is in continuous time has no betas, and what has betas no such process.
        let scheduler = if is_continuous { SchedulerConfig::default() } else { scheduler };
        match self {
            Self::Continuous(continuous) => SchedulerConfig::from_json(&continuous.keys(), source),
            Self::Named(schedule) => scheduler.with_beta_schedule(*schedule, source),
            Self::File(path) => scheduler.with_betas(read_betas(path)?, &path.display().to_string()),
        }
    }

    /// Whether the network learns a score and is told sigma.
    pub(super) fn explodes(&self) -> bool {
        matches!(self, Self::Continuous(Continuous::Ve | Continuous::Ncsn))
    }

    /// What a scheduler's noise is called.
    pub(super) fn of(scheduler: &SchedulerConfig) -> String {
        if scheduler.class.is_continuous() {
            return scheduler.class.name().into();
        }
        let rescaled = if scheduler.rescale_betas_zero_snr { " to zero SNR" } else { "" };
        match scheduler.trained_betas {
            Some(_) => format!("trained_betas{rescaled}"),
            None => format!("{}{rescaled}", name(scheduler.beta_schedule)),
        }
    }
}

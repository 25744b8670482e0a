//! The noise that a flag names.

use crate::diffusion::{BetaSchedule, SchedulerConfig, read_betas};
use crate::error::Result;
use clap::ValueEnum;
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
}

impl FromStr for Noise {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("file:") {
            return Ok(Self::File(path.into()));
        }
        BetaSchedule::from_str(text, false).map(Self::Named).map_err(|_| {
            let names: Vec<String> = BetaSchedule::value_variants().iter().map(|schedule| name(*schedule)).collect();
            format!("expected {} or file:BETAS", names.join(", "))
        })
    }
}

fn name(schedule: BetaSchedule) -> String {
    schedule.to_possible_value().map_or_else(String::new, |value| value.get_name().into())
}

impl fmt::Display for Noise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(schedule) => f.write_str(&name(*schedule)),
            Self::File(path) => write!(f, "file:{}", path.display()),
        }
    }
}

impl Noise {
    /// The scheduler with this noise, whatever it had before. `source` is named in errors.
    pub(super) fn apply(&self, scheduler: SchedulerConfig, source: &str) -> Result<SchedulerConfig> {
        match self {
            Self::Named(schedule) => scheduler.with_beta_schedule(*schedule, source),
            Self::File(path) => scheduler.with_betas(read_betas(path)?, &path.display().to_string()),
        }
    }

    /// What a scheduler's noise is called.
    pub(super) fn of(scheduler: &SchedulerConfig) -> String {
        let rescaled = if scheduler.rescale_betas_zero_snr { " to zero SNR" } else { "" };
        match scheduler.trained_betas {
            Some(_) => format!("trained_betas{rescaled}"),
            None => format!("{}{rescaled}", name(scheduler.beta_schedule)),
        }
    }
}

//! The noise that a flag names.

use crate::diffusion::{BetaSchedule, Process, SchedulerClass, SchedulerConfig, read_betas};
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

/// The largest sigma of VE is to be about the largest distance between pictures (Song & Ermon 2020, technique 1): that of
/// CIFAR-10, which grows as the root of a picture's values.
const CIFAR_SIGMA_MAX: f64 = 50.0;
const CIFAR_VALUES: f64 = 3072.0;
/// How many levels of noise there are up to it (the same, appendix B: CIFAR-10's).
const NCSN_LEVELS: u32 = 232;

impl Continuous {
    /// Its class laid over a scheduler: what was given of the class's keys stays, the rest is the class's.
    fn apply(self, scheduler: &SchedulerConfig, values: usize, source: &str) -> Result<SchedulerConfig> {
        let sub_vp = |is: bool| [("sub_vp", json!(is))];
        // Two digits say enough.
        let exact = CIFAR_SIGMA_MAX * (values as f64 / CIFAR_VALUES).sqrt();
        let unit = 10_f64.powi(exact.log10().floor() as i32 - 1);
        let sigma_max = ("sigma_max", json!((exact / unit).round() * unit));
        match self {
            Self::Vp => scheduler.with_process(SchedulerClass::SdeVp, [], sub_vp(false), source),
            Self::SubVp => scheduler.with_process(SchedulerClass::SdeVp, [], sub_vp(true), source),
            Self::Ve => {
                let all_levels = [("num_noise_levels", json!(0))];
                scheduler.with_process(SchedulerClass::SdeVe, [sigma_max], all_levels, source)
            }
            Self::Ncsn => {
                let given = scheduler.num_noise_levels;
                let levels = [("num_noise_levels", json!(if given == 0 { NCSN_LEVELS } else { given }))];
                scheduler.with_process(SchedulerClass::SdeVe, [sigma_max], levels, source)
            }
            Self::Edm => scheduler.with_process(SchedulerClass::EdmEuler, [], [], source),
        }
    }

    /// What a process is called here.
    fn of(scheduler: &SchedulerConfig) -> Option<Self> {
        Some(match scheduler.process()? {
            Process::Vp { .. } => Self::Vp,
            Process::SubVp { .. } => Self::SubVp,
            Process::Ve { .. } if scheduler.num_noise_levels == 0 => Self::Ve,
            Process::Ve { .. } => Self::Ncsn,
            Process::Edm { .. } => Self::Edm,
        })
    }
}

impl FromStr for Noise {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("file:") {
            if path.is_empty() {
                return Err("expected a file of betas after file:".into());
            }
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
    /// The scheduler with this noise, whatever it had before, for pictures of so many `values`. `source` is named in errors.
    pub(super) fn apply(&self, scheduler: SchedulerConfig, values: usize, source: &str) -> Result<SchedulerConfig> {
        // What is in continuous time has no betas.
        let scheduler = match self {
            Self::Named(_) | Self::File(_) if scheduler.class.is_continuous() => {
                scheduler.with_process(SchedulerClass::Ddpm, [], [], source)?
            }
            _ => scheduler,
        };
        match self {
            Self::Continuous(continuous) => continuous.apply(&scheduler, values, source),
            Self::Named(schedule) => scheduler.with_beta_schedule(*schedule, source),
            Self::File(path) => scheduler.with_betas(read_betas(path)?, &path.display().to_string()),
        }
    }

    /// What a scheduler's noise is called.
    pub(super) fn of(scheduler: &SchedulerConfig) -> String {
        if let Some(continuous) = Continuous::of(scheduler) {
            return name(continuous);
        }
        let rescaled = if scheduler.rescale_betas_zero_snr { " to zero SNR" } else { "" };
        match scheduler.trained_betas {
            Some(_) => format!("trained_betas{rescaled}"),
            None => format!("{}{rescaled}", name(scheduler.beta_schedule)),
        }
    }
}

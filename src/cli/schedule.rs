//! `aquatint schedule`

use super::model::note_default_scheduler;
use super::noise::Noise;
use super::output::{check_png, note, say};
use crate::checkpoint::ModelFolder;
use crate::diffusion::{BetaSchedule, NoiseSchedule, SchedulerConfig};
use crate::error::{Error, Result};
use crate::pictures::{PlottedSchedule, schedule_plot};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Prints and plots noise schedules: betas, alphas_cumprod, signal-to-noise ratios, posterior variances
#[derive(clap::Args)]
#[command(
    allow_negative_numbers = true,
    after_help = "Examples:\n  aquatint schedule\n  aquatint schedule linear cosine sigmoid --plot schedules.png\n  \
    aquatint schedule runs/digits file:betas.txt --json\n\n\
    Timesteps are counted from 0, as files and networks count them; SNR is alphas_cumprod / (1 - alphas_cumprod), and \
    log-SNR its natural logarithm."
)]
pub(super) struct Schedule {
    /// linear, scaled-linear (or quadratic, which is the same), cosine, sigmoid, laplace, exp, const, jsd, file:BETAS (text
    /// with a number on each line, or a JSON list), or models, whose own noise it is
    #[arg(default_values = ["linear", "cosine"], value_name = "SCHEDULE|MODEL")]
    schedules: Vec<String>,
    /// Timesteps of the schedules that are named; 1000 if not given
    #[arg(long, value_name = "T")]
    timesteps: Option<usize>,
    /// First beta of the schedules that go from one to another
    #[arg(long, value_name = "BETA")]
    beta_start: Option<f32>,
    /// Last beta of these, and the constant one
    #[arg(long, value_name = "BETA")]
    beta_end: Option<f32>,
    /// Moves and stretches all of them so that the last timestep is pure noise (Lin et al. 2023)
    #[arg(long)]
    zero_snr: bool,
    /// Draws all of them, side by side
    #[arg(long, value_name = "PNG")]
    plot: Option<PathBuf>,
    /// Prints all timesteps as JSON
    #[arg(long)]
    json: bool,
}

/// Rows of a table.
const ROWS: usize = 11;

/// A schedule and everything that is told of it.
struct Told {
    name: String,
    schedule: NoiseSchedule,
    signal_to_noise: Vec<f64>,
    posterior_variance: Vec<f64>,
}

impl Schedule {
    pub(super) fn run(&self) -> Result<ExitCode> {
        self.plot.as_deref().map_or(Ok(()), check_png)?;
        self.check_flags()?;
        let all = self.schedules.iter().map(|name| self.told(name)).collect::<Result<Vec<_>>>()?;
        if self.json {
            let all: Vec<Value> = all.iter().map(Told::json).collect();
            say!("{:#}", Value::Array(all));
        } else {
            for (number, told) in all.iter().enumerate() {
                if number > 0 {
                    say!("");
                }
                told.table().iter().for_each(|line| say!("{line}"));
            }
        }
        if let Some(path) = &self.plot {
            schedule_plot(path, &all.iter().map(Told::plotted).collect::<Vec<_>>())?;
            note!("{}: {} schedules", path.display(), all.len());
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Refuses flags that none of the schedules looks at.
    fn check_flags(&self) -> Result<()> {
        let named = || self.schedules.iter().filter_map(|name| name.parse::<Noise>().ok());
        let grows = |noise: &Noise, with_start: bool| match noise {
            Noise::Named(BetaSchedule::Constant) => !with_start,
            Noise::Named(BetaSchedule::Linear | BetaSchedule::ScaledLinear | BetaSchedule::Sigmoid) => true,
            _ => false,
        };
        let rules = [
            ("--timesteps", self.timesteps.is_some(), named().any(|noise| matches!(noise, Noise::Named(_)))),
            ("--beta-start", self.beta_start.is_some(), named().any(|noise| grows(&noise, true))),
            ("--beta-end", self.beta_end.is_some(), named().any(|noise| grows(&noise, false))),
        ];
        match rules.into_iter().find(|(_, given, used)| *given && !used) {
            Some((flag, ..)) => {
                Err(Error::input(format!("{flag}: no schedule of {} has it", self.schedules.join(", "))))
            }
            None => Ok(()),
        }
    }

    fn told(&self, name: &str) -> Result<Told> {
        let scheduler = match name.parse::<Noise>() {
            Ok(noise) => noise.apply(self.bare()?, 1, name)?,
            Err(_) if Path::new(name).exists() => {
                note_default_scheduler(Path::new(name))?;
                ModelFolder::read_scheduler(Path::new(name))?.unwrap_or_default()
            }
            Err(expected) => return Err(Error::input(format!("{name}: no such schedule or model, {expected}"))),
        };
        if scheduler.class.is_continuous() {
            return Err(Error::input(format!("{name}: in continuous time, expected a schedule of timesteps")));
        }
        let scheduler = if self.zero_snr { scheduler.with_zero_snr(name)? } else { scheduler };
        let schedule = NoiseSchedule::new(&scheduler);
        let (signal_to_noise, posterior_variance) = (schedule.signal_to_noise(), schedule.posterior_variances());
        Ok(Told { name: name.into(), schedule, signal_to_noise, posterior_variance })
    }

    /// What the flags say of the schedules that are named.
    fn bare(&self) -> Result<SchedulerConfig> {
        let mut keys =
            json!({ "num_train_timesteps": self.timesteps.unwrap_or(1000), "beta_schedule": "squaredcos_cap_v2" });
        for (key, beta) in [("beta_start", self.beta_start), ("beta_end", self.beta_end)] {
            if let Some(beta) = beta {
                if !beta.is_finite() {
                    return Err(Error::input(format!("{key} is {beta}, expected a number")));
                }
                keys[key] = json!(beta);
            }
        }
        SchedulerConfig::from_json(&keys, "aquatint schedule")
    }
}

impl Told {
    fn table(&self) -> Vec<String> {
        let (steps, t) = (self.schedule.timesteps(), "t");
        let mut lines = vec![
            format!("{}, {steps} timesteps", self.name),
            format!(
                "{t:>8} {:>12} {:>16} {:>12} {:>10} {:>20}",
                "beta", "alphas_cumprod", "SNR", "log-SNR", "posterior variance"
            ),
        ];
        let rows = ROWS.min(steps);
        for row in 0..rows {
            let t = if rows > 1 { row * (steps - 1) / (rows - 1) } else { 0 };
            let snr = self.signal_to_noise[t];
            lines.push(format!(
                "{t:>8} {:>12.4e} {:>16.8} {snr:>12.4e} {:>10.3} {:>20.4e}",
                self.schedule.betas[t],
                self.schedule.alphas_cumprod[t],
                snr.ln(),
                self.posterior_variance[t]
            ));
        }
        lines
    }

    /// Every timestep; a logarithm of zero, which JSON lacks, is null.
    fn json(&self) -> Value {
        json!({
            "name": self.name,
            "timesteps": self.schedule.timesteps(),
            "betas": self.schedule.betas,
            "alphas_cumprod": self.schedule.alphas_cumprod,
            "snr": self.signal_to_noise,
            "log_snr": self.signal_to_noise.iter().map(|snr| snr.ln()).collect::<Vec<_>>(),
            "posterior_variance": self.posterior_variance,
        })
    }

    fn plotted(&self) -> PlottedSchedule {
        PlottedSchedule {
            name: self.name.clone(),
            alphas_cumprod: self.schedule.alphas_cumprod.clone(),
            signal_to_noise: self.signal_to_noise.clone(),
            posterior_variance: self.posterior_variance.clone(),
        }
    }
}

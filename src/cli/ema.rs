//! `aquatint ema`

use super::model::{note_for_diffusers, refuse_model};
use super::output::{note, say};
use crate::checkpoint::{ModelFolder, WeightType};
use crate::error::{Error, Result};
use crate::training::{AverageKind, TrainingState, reconstruct};
use std::path::PathBuf;
use std::process::ExitCode;

/// Writes a model with another average of a run's weights, or lists the averages that there are
#[derive(clap::Args)]
#[command(
    allow_negative_numbers = true,
    after_help = "Examples:\n  aquatint train --data photos/ --out runs/photos --ema 0.9999,0.999 --ema-power 0.05,0.10\n  \
    aquatint ema runs/photos\n  \
    aquatint ema runs/photos --decay 0.999 --out models/short\n  \
    aquatint ema runs/photos --sigma-rel 0.13 --out models/wide\n\n\
    --sigma-rel makes an average of any width from the snapshots that a run with --ema-power has stored (Karras et al. \
    2024): 0.05 is narrow, 0.25 nearly all of the run."
)]
pub(super) struct Ema {
    /// The run's folder
    run: PathBuf,
    /// The moving average of this decay, one of those that the run was told to keep
    #[arg(long, value_name = "DECAY", conflicts_with = "sigma_rel", requires = "out")]
    decay: Option<f64>,
    /// The average over this share of the run, from 0.001 to less than 0.2887
    #[arg(long, value_name = "WIDTH", requires = "out")]
    sigma_rel: Option<f64>,
    /// The folder to write, which holds no model yet
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// What the weights are written as
    #[arg(long, value_enum, default_value_t = WeightType::F32, value_name = "TYPE")]
    dtype: WeightType,
}

impl Ema {
    pub(super) fn run(&self) -> Result<ExitCode> {
        if !self.run.is_dir() {
            return Err(Error::input(format!("{}: no such folder, expected that of a run", self.run.display())));
        }
        let state = TrainingState::read(&self.run)?;
        let Some(out) = &self.out else {
            list(&state);
            return Ok(ExitCode::SUCCESS);
        };
        refuse_model(out)?;
        let (weights, what) = match (self.decay, self.sigma_rel) {
            (Some(decay), _) => (self.of_decay(&state, decay)?, format!("the moving average of decay {decay}")),
            (None, Some(sigma)) => {
                let made = reconstruct(&self.run, &state, sigma)?;
                note!("made of {} stored averages; its profile is {:.2} % off", made.stored, 100.0 * made.error);
                if made.error > 0.1 {
                    note!(
                        "note: that is far off; more snapshots (--ema-snapshot-every) or a --sigma-rel nearer to the run's come closer"
                    );
                }
                (made.weights, format!("the average of relative width {sigma}"))
            }
            (None, None) => return Err(Error::input("--out takes --decay or --sigma-rel, found neither")),
        };
        let unet = state.config.network()?.unet()?.clone();
        let model = ModelFolder { unet, scheduler: state.config.drawing_scheduler()?, weights };
        model.write_as(out, self.dtype)?;
        say!("{}: {what} after {} steps", out.display(), state.step);
        note_for_diffusers(&model.scheduler);
        Ok(ExitCode::SUCCESS)
    }

    fn of_decay(&self, state: &TrainingState, decay: f64) -> Result<Vec<f32>> {
        let training = &state.config.training;
        let name = if decay == training.ema_max_decay { "ema".into() } else { AverageKind::Decay(decay).name() };
        state.buffers.get(&name).cloned().ok_or_else(|| {
            let kept: Vec<String> = training.ema_decays().iter().map(f64::to_string).collect();
            Error::input(format!("{}: --decay is {decay}, the run keeps {}", self.run.display(), kept.join(", ")))
        })
    }
}

fn list(state: &TrainingState) {
    let training = &state.config.training;
    for (index, decay) in training.ema_decays().iter().enumerate() {
        say!("--decay {decay}{}", if index == 0 { "   the model's" } else { "" });
    }
    match training.ema_sigma_rel.as_slice() {
        [] => say!("no power-function averages: train with --ema-power 0.05,0.10"),
        sigmas => {
            let sigmas: Vec<String> = sigmas.iter().map(f64::to_string).collect();
            say!("--sigma-rel of any width, from snapshots of {}", sigmas.join(" and "));
        }
    }
}

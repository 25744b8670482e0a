//! The power-function averages of a run that are stored on its way, and what is made of them afterwards.

use super::TrainingState;
use super::averages::AverageKind;
use super::power_ema::{NARROWEST, Profile, WIDEST, combine, gamma_of};
use crate::checkpoint::{Tensors, WeightType, deferred, write_deferred};
use crate::error::{Error, Result};
use crate::nn::Parameters;
use std::fs;
use std::path::{Path, PathBuf};

/// The folder of the snapshots in a run's folder.
pub const FOLDER: &str = "snapshots";

/// Writes the averages after `step`, `taken` of which changed the weights. The file is named by the step, so that a run which
/// is resumed writes it over.
pub(super) fn write(
    folder: &Path,
    [step, taken]: [usize; 2],
    averages: &[(String, Vec<f32>)],
    parameters: &Parameters,
    of: WeightType,
) -> Result<()> {
    let path = folder.join(FOLDER).join(format!("step-{step:07}.safetensors"));
    let mut tensors = Vec::new();
    for (name, flat) in averages {
        let why = |error| Error::input(format!("{}: {error}; ema_snapshot_dtype = \"f32\" holds it", path.display()));
        of.check(parameters, flat).map_err(why)?;
        tensors.extend(deferred(parameters, flat, &format!("{name}."), of));
    }
    write_deferred(&path, tensors, &[("step", step.to_string()), ("taken", taken.to_string())])
}

/// An average of the weights, made from what a run has stored.
pub struct Reconstruction {
    /// The flat buffer of the weights.
    pub weights: Vec<f32>,
    /// Stored averages that it was made of.
    pub stored: usize,
    /// How far its profile is from the wanted one; see [`Combination`](super::power_ema::Combination).
    pub error: f64,
}

/// Where a stored average lies.
struct Stored {
    profile: Profile,
    name: String,
    /// A snapshot's file; the state's own have none.
    file: Option<PathBuf>,
}

/// What is stored up to the state's step: its own averages, then those of the snapshots that are of other steps.
fn stored(folder: &Path, state: &TrainingState) -> Result<Vec<Stored>> {
    let sigmas = &state.config.training.ema_sigma_rel;
    let now = state.taken();
    let averages = |time: usize, file: Option<&PathBuf>| {
        let average = |&sigma: &f64| Stored {
            profile: Profile { time, gamma: gamma_of(sigma) },
            name: AverageKind::SigmaRel(sigma).name(),
            file: file.cloned(),
        };
        sigmas.iter().map(average).collect::<Vec<_>>()
    };
    let mut all = if now == 0 { Vec::new() } else { averages(now, None) };
    let snapshots = folder.join(FOLDER);
    let mut files: Vec<PathBuf> =
        fs::read_dir(&snapshots).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    files.retain(|path| {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        name.starts_with("step-") && name.ends_with(".safetensors")
    });
    files.sort();
    let mut times = vec![0, now];
    for file in files {
        let tensors = Tensors::open(&file)?;
        let text = tensors.metadata().get("taken");
        let time: usize = text.and_then(|text| text.parse().ok()).ok_or_else(|| {
            Error::input(format!("{}: the metadata's taken is {text:?}, expected a number of steps", file.display()))
        })?;
        // Later ones are of a run that went on from an earlier state; skipped steps leave everything as it was.
        if time < now && !times.contains(&time) {
            times.push(time);
            all.extend(averages(time, Some(&file)));
        }
    }
    Ok(all)
}

/// Makes the power-function average of this relative width at the state's step.
///
/// # Errors
/// [`Input`](Error::Input) if the run has tracked none, or a snapshot is not what it should be.
pub fn reconstruct(folder: &Path, state: &TrainingState, sigma_rel: f64) -> Result<Reconstruction> {
    if !(NARROWEST..WIDEST).contains(&sigma_rel) {
        return Err(Error::input(format!("--sigma-rel is {sigma_rel}, expected {NARROWEST} to less than {WIDEST:.4}")));
    }
    let run = folder.display();
    if state.config.training.ema_sigma_rel.is_empty() {
        return Err(Error::input(format!("{run}: has no power-function averages; train with --ema-power 0.05,0.10")));
    }
    let stored = stored(folder, state)?;
    if stored.is_empty() {
        return Err(Error::input(format!("{run}: no step was taken yet, so that there is nothing to average")));
    }
    let profiles: Vec<Profile> = stored.iter().map(|stored| stored.profile).collect();
    let combination = combine(&profiles, Profile { time: state.taken(), gamma: gamma_of(sigma_rel) })?;
    let network = state.config.network()?;
    let mut sum = vec![0.0f64; network.parameters().len()];
    for (stored, &weight) in stored.iter().zip(&combination.weights) {
        let mut add = |flat: &[f32]| sum.iter_mut().zip(flat).for_each(|(sum, &x)| *sum += weight * f64::from(x));
        match (&stored.file, state.buffers.get(&stored.name)) {
            (None, Some(flat)) => add(flat),
            (None, None) => return Err(Error::input(format!("{run}: the state has no {}", stored.name))),
            (Some(file), _) => {
                let tensors = Tensors::open(file)?;
                let source = format!("{}: {}", file.display(), stored.name);
                add(&network.parameters().flatten(&tensors.with_prefix(&format!("{}.", stored.name)), &source)?);
            }
        }
    }
    let weights = sum.into_iter().map(|x| x as f32).collect();
    Ok(Reconstruction { weights, stored: stored.len(), error: combination.error })
}

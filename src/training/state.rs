//! `training_state.safetensors`: everything that a run is continued from, in one file. Its renaming is the commit.

use super::config::RunConfig;
use crate::checkpoint::{Deferred, deferred, read_tensors, write_deferred};
use crate::error::{Error, Result};
use crate::nn::Parameters;
use std::collections::BTreeMap;
use std::path::Path;

/// The name of the file in a run's folder.
pub const FILE: &str = "training_state.safetensors";

/// A run as it is on disk.
#[derive(Clone, Debug)]
pub struct TrainingState {
    /// What the run was started with.
    pub config: RunConfig,
    /// Optimiser steps taken.
    pub step: usize,
    /// Size of the pictures.
    pub height_width: [usize; 2],
    /// Number and checksum of the pictures and their labels.
    pub fingerprint: String,
    /// The flat buffers, by the names of [`Trainer::buffers`](super::Trainer::buffers).
    pub buffers: BTreeMap<String, Vec<f32>>,
    /// The loss of every step.
    pub losses: Vec<f32>,
}

impl TrainingState {
    /// Writes the file: under a temporary name, synced, renamed.
    ///
    /// # Errors
    /// [`Io`](Error::Io).
    pub fn write(&self, folder: &Path, parameters: &Parameters) -> Result<()> {
        let mut tensors: Vec<_> = (self.buffers.iter())
            .flat_map(|(buffer, flat)| deferred(parameters, flat, &format!("{buffer}.")))
            .collect();
        let losses = Deferred { shape: vec![self.losses.len()], make: Box::new(|| self.losses.clone()) };
        tensors.push(("losses".into(), losses));
        let metadata = [
            ("config", self.config.to_toml()?),
            ("step", self.step.to_string()),
            ("height", self.height_width[0].to_string()),
            ("width", self.height_width[1].to_string()),
            ("pictures", self.fingerprint.clone()),
            ("version", env!("CARGO_PKG_VERSION").into()),
            // Choices that were measured on the device; none are yet.
            ("tuned", "{}".into()),
        ];
        write_deferred(&folder.join(FILE), tensors, &metadata)
    }

    /// Reads the file.
    ///
    /// # Errors
    /// [`Io`](Error::Io) or [`Input`](Error::Input) naming the file and what does not fit.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(FILE);
        if !path.is_file() {
            let folder = folder.display();
            return Err(Error::input(format!("{folder}: no {FILE} to resume from; was a checkpoint written?")));
        }
        let file = read_tensors(&path)?;
        let source = path.display().to_string();
        let text = |key: &str| {
            let missing = || Error::input(format!("{source}: the metadata has no {key}"));
            file.metadata.get(key).ok_or_else(missing)
        };
        let number = |key: &str| {
            let text = text(key)?;
            text.parse::<usize>().map_err(|_| Error::input(format!("{source}: {key} is {text}, expected a number")))
        };
        let config = RunConfig::from_toml(text("config")?, &source)?;
        let (step, height_width) = (number("step")?, [number("height")?, number("width")?]);
        let fingerprint = text("pictures")?.clone();
        let losses = file.get("losses", &path)?.1.clone();
        if losses.len() != step {
            return Err(Error::input(format!("{source}: {} losses for {step} steps", losses.len())));
        }
        let unet = crate::nn::UNet::new(&config.unet)?;
        let mut buffers = BTreeMap::new();
        for buffer in ["parameters", "ema", "first_moments", "second_moments"] {
            let tensors = (file.tensors.iter())
                .filter_map(|(name, tensor)| {
                    Some((name.strip_prefix(buffer)?.strip_prefix('.')?.to_string(), tensor.clone()))
                })
                .collect();
            buffers.insert(buffer.to_string(), unet.parameters().flatten(&tensors, &format!("{source}: {buffer}"))?);
        }
        Ok(Self { config, step, height_width, fingerprint, buffers, losses })
    }
}

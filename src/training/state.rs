//! `training_state.safetensors`: everything that a run is continued from, in one file. Its renaming is the commit.

use super::config::RunConfig;
use crate::checkpoint::{read_tensors, write_tensors};
use crate::error::{Error, Result};
use crate::nn::Parameters;
use std::collections::HashMap;
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
    /// The flat buffers, by the names of [`Trainer::buffers`](super::Trainer::buffers).
    pub buffers: HashMap<String, Vec<f32>>,
    /// The loss of every step.
    pub losses: Vec<f32>,
}

impl TrainingState {
    /// Writes the file: under a temporary name, synced, renamed.
    ///
    /// # Errors
    /// [`Io`](Error::Io).
    pub fn write(&self, folder: &Path, parameters: &Parameters) -> Result<()> {
        let mut tensors = Vec::new();
        for (buffer, flat) in &self.buffers {
            for (name, shape, data) in parameters.unflatten(flat) {
                tensors.push((format!("{buffer}.{name}"), shape, data));
            }
        }
        tensors.push(("losses".into(), vec![self.losses.len()], self.losses.clone()));
        let metadata = [
            ("config", self.config.to_toml()?),
            ("step", self.step.to_string()),
            ("height", self.height_width[0].to_string()),
            ("width", self.height_width[1].to_string()),
            ("version", env!("CARGO_PKG_VERSION").into()),
            // Choices that were measured on the device; none are yet.
            ("tuned", "{}".into()),
        ];
        write_tensors(&folder.join(FILE), &tensors, &metadata)
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
        let losses = file.get("losses", &path)?.1.clone();
        if losses.len() != step {
            return Err(Error::input(format!("{source}: {} losses for {step} steps", losses.len())));
        }
        let unet = crate::nn::UNet::new(&config.unet)?;
        let mut buffers = HashMap::new();
        for buffer in ["parameters", "ema", "first_moments", "second_moments"] {
            let tensors = (file.tensors.iter())
                .filter_map(|(name, tensor)| {
                    Some((name.strip_prefix(buffer)?.strip_prefix('.')?.to_string(), tensor.clone()))
                })
                .collect();
            buffers.insert(buffer.to_string(), unet.parameters().flatten(&tensors, &format!("{source}: {buffer}"))?);
        }
        Ok(Self { config, step, height_width, buffers, losses })
    }
}

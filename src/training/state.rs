//! `training_state.safetensors`: everything that a run is continued from, in one file. Its renaming is the commit.

use super::averages::AverageKind;
use super::config::Precision;
use super::history::History;
use super::objective::TimestepSampler;
use super::run_config::RunConfig;
use crate::checkpoint::{Deferred, Tensors, WeightType, deferred, write_deferred};
use crate::device::{Choices, Device};
use crate::error::{Error, Result};
use crate::nn::{Parameters, TensorSource};
use crate::plan::Plan;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// The name of the file in a run's folder.
pub const FILE: &str = "training_state.safetensors";

/// The variants of the kernels that a run was computed with, and on what device: going on there, it takes them again,
/// so that every sum is added up in the same order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tuned {
    device: String,
    choices: Choices,
}

impl Tuned {
    /// What a device computes these plans with.
    pub(super) fn of_plans(device: &dyn Device, plans: &[&Plan]) -> Self {
        match device.has_variants() {
            true => Self { device: device.description(), choices: device.choices().of_plans(plans) },
            false => Self::default(),
        }
    }

    /// The choices, if they were made on this device; on another one they mean nothing.
    pub(super) fn choices_on(&self, device: &dyn Device) -> Option<&Choices> {
        (self.device == device.description()).then_some(&self.choices)
    }
}

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
    /// What it was computed with.
    pub tuned: Tuned,
    /// The flat buffers, by the names of [`Trainer::buffers`](super::Trainer::buffers).
    pub buffers: BTreeMap<String, Vec<f32>>,
    /// The loss of every step.
    pub losses: Vec<f32>,
    /// What else the steps have told.
    pub history: History,
    /// What [`Trainer::loss_scale`](super::Trainer::loss_scale) holds; nothing in single precision.
    pub loss_scale: Vec<f32>,
    /// What [`Trainer::timestep_losses`](super::Trainer::timestep_losses) gives.
    pub timestep_losses: Vec<f32>,
}

impl TrainingState {
    /// Steps that changed the weights: those that mixed precision has skipped do not count.
    pub fn taken(&self) -> usize {
        let skipped = self.loss_scale.get(2).map_or(0, |&skipped| skipped as usize);
        self.step.saturating_sub(skipped)
    }

    /// Writes the file: under a temporary name, synced, renamed.
    ///
    /// # Errors
    /// [`Io`](Error::Io).
    pub fn write<'a>(&'a self, folder: &Path, parameters: &'a Parameters) -> Result<()> {
        let mut tensors: Vec<_> = (self.buffers.iter())
            .flat_map(|(buffer, flat)| deferred(parameters, flat, &format!("{buffer}."), WeightType::F32))
            .collect();
        let mut list = |name: &str, list: &'a [f32]| {
            let make = Box::new(|| list.to_vec());
            tensors.push((name.into(), Deferred { shape: vec![list.len()], of: WeightType::F32, make }));
        };
        list("losses", &self.losses);
        History::NAMES.iter().zip(self.history.lists()).for_each(|(name, values)| list(name, values));
        if !self.loss_scale.is_empty() {
            list("loss_scale", &self.loss_scale);
        }
        if !self.timestep_losses.is_empty() {
            list("timestep_losses", &self.timestep_losses);
        }
        let metadata = [
            ("config", self.config.to_toml()?),
            ("step", self.step.to_string()),
            ("height", self.height_width[0].to_string()),
            ("width", self.height_width[1].to_string()),
            ("pictures", self.fingerprint.clone()),
            ("version", env!("CARGO_PKG_VERSION").into()),
            ("tuned", serde_json::to_string(&self.tuned).map_err(|error| Error::input(error.to_string()))?),
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
        let file = Tensors::open(&path)?;
        let source = path.display().to_string();
        let text = |key: &str| {
            let missing = || Error::input(format!("{source}: the metadata has no {key}"));
            file.metadata().get(key).ok_or_else(missing)
        };
        let number = |key: &str| {
            let text = text(key)?;
            text.parse::<usize>().map_err(|_| Error::input(format!("{source}: {key} is {text}, expected a number")))
        };
        let config = RunConfig::from_toml(text("config")?, &source)?;
        let (step, height_width) = (number("step")?, [number("height")?, number("width")?]);
        let fingerprint = text("pictures")?.clone();
        let losses = file.get("losses")?.1.into_owned();
        if losses.len() != step {
            return Err(Error::input(format!("{source}: {} losses for {step} steps", losses.len())));
        }
        let mut lists = [None, None, None];
        for (list, name) in lists.iter_mut().zip(History::NAMES) {
            // Runs from before there was a history have none.
            if file.shape(name).is_some() {
                let values = file.get(name)?.1.into_owned();
                if values.len() != step {
                    return Err(Error::input(format!("{source}: {} {name} for {step} steps", values.len())));
                }
                *list = Some(values);
            }
        }
        let history = History::from_lists(lists, step);
        let loss_scale = match config.training.precision {
            Precision::F32 => Vec::new(),
            Precision::Mixed => file.get("loss_scale")?.1.into_owned(),
        };
        let timestep_losses = match config.training.timestep_sampler {
            Some(TimestepSampler::Importance) => file.get("timestep_losses")?.1.into_owned(),
            _ => Vec::new(),
        };
        let sensible = |scale: &[f32]| scale.len() == 3 && scale.iter().all(|x| x.is_finite()) && scale[0] >= 1.0;
        if !loss_scale.is_empty() && !sensible(&loss_scale) {
            return Err(Error::input(format!(
                "{source}: loss_scale is {loss_scale:?}, expected 3 numbers, the first from 1 on"
            )));
        }
        let network = config.network()?;
        let mut buffers = BTreeMap::new();
        let own = ["parameters", "ema", "first_moments", "second_moments"].map(String::from);
        for buffer in own.into_iter().chain(config.training.more_averages().map(AverageKind::name)) {
            let prefix = format!("{buffer}.");
            let flat = network.parameters().flatten(&file.with_prefix(&prefix), &format!("{source}: {buffer}"))?;
            buffers.insert(buffer, flat);
        }
        let tuned = serde_json::from_str(file.metadata().get("tuned").map_or("{}", String::as_str))
            .map_err(|error| Error::input(format!("{source}: the metadata's tuned: {error}")))?;
        Ok(Self {
            config,
            step,
            height_width,
            fingerprint,
            tuned,
            buffers,
            losses,
            history,
            loss_scale,
            timestep_losses,
        })
    }
}

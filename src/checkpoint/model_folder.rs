//! A model on disk, in diffusers' layouts; what is written is a pipeline folder: `model_index.json`, `unet/`, `scheduler/`.

use super::layout::ModelFiles;
use super::tensors::Tensors;
use super::write_tensors::{WeightType, deferred, write_deferred};
use crate::atomic_file;
use crate::diffusers_config::{self, DIFFUSERS_VERSION};
use crate::diffusion::{SchedulerClass, SchedulerConfig};
use crate::error::{Error, Result};
use crate::nn::{UNet, UNetConfig};
use serde_json::{Value, json};
use std::fs;
use std::io::{ErrorKind, Read};
use std::path::Path;

const WEIGHTS: &str = "unet/diffusion_pytorch_model.safetensors";
const UNET_CONFIG: &str = "unet/config.json";
const SCHEDULER_CONFIG: &str = "scheduler/scheduler_config.json";
const INDEX: &str = "model_index.json";

/// A model as it is on disk.
pub struct ModelFolder {
    /// The network.
    pub unet: UNet,
    /// Its noise schedule and reverse process.
    pub scheduler: SchedulerConfig,
    /// The flat buffer of its weights.
    pub weights: Vec<f32>,
}

/// Bytes of a configuration at the most: more is no configuration.
const LONGEST_JSON: u64 = 1 << 24;

pub(super) fn read_json(path: &Path) -> Result<Value> {
    let mut text = String::new();
    let file = fs::File::open(path).map_err(Error::io(path))?;
    file.take(LONGEST_JSON + 1).read_to_string(&mut text).map_err(Error::io(path))?;
    if text.len() as u64 > LONGEST_JSON {
        return Err(Error::input(format!("{}: longer than {LONGEST_JSON} bytes, expected JSON", path.display())));
    }
    diffusers_config::parse(&text).map_err(|error| Error::input(format!("{}: not JSON: {error}", path.display())))
}

pub(super) fn write_json(path: &Path, value: &Value) -> Result<()> {
    atomic_file::write(path, format!("{value:#}\n").as_bytes())
}

fn scheduler(files: &ModelFiles) -> Result<Option<SchedulerConfig>> {
    files.scheduler.as_deref().map(read_scheduler_config).transpose()
}

/// A `scheduler_config.json`.
pub(super) fn read_scheduler_config(path: &Path) -> Result<SchedulerConfig> {
    let (json, source) = (read_json(path)?, path.display().to_string());
    SchedulerConfig::check_class(&json, &source)?;
    SchedulerConfig::from_json(&json, &source)
}

impl ModelFolder {
    /// Reads a model: a pipeline's folder, a folder with everything in it, a network's own folder, or a file of weights
    /// beside its `config.json`. Without a scheduler's configuration it is diffusers' DDPMScheduler as it is by default;
    /// [`read_scheduler`](Self::read_scheduler) tells whether there is one.
    ///
    /// # Errors
    /// [`Io`](Error::Io) or [`Input`](Error::Input) naming the file, the key or the tensor that does not fit.
    pub fn read(path: &Path) -> Result<Self> {
        let files = ModelFiles::find(path)?;
        let scheduler = scheduler(&files)?.unwrap_or_default();
        Self::read_files(&files, scheduler)
    }

    /// The scheduler alone, of whatever [`read`](Self::read) takes; `None` where there is no configuration of one.
    ///
    /// # Errors
    /// [`Io`](Error::Io) or [`Input`](Error::Input) naming the file or the key that does not fit.
    pub fn read_scheduler(path: &Path) -> Result<Option<SchedulerConfig>> {
        scheduler(&ModelFiles::find(path)?)
    }

    /// As [`read`](Self::read) for what needs no scheduler: it is a DDPMScheduler's default, whatever the folder says.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_network(path: &Path) -> Result<Self> {
        Self::read_files(&ModelFiles::find(path)?, SchedulerConfig::default())
    }

    fn read_files(files: &ModelFiles, scheduler: SchedulerConfig) -> Result<Self> {
        let config = UNetConfig::from_json(&read_json(&files.config)?, &files.config.display().to_string())?;
        let unet = UNet::new(&config)?;
        let mut tensors = Tensors::open(&files.weights)?;
        tensors.modernize_attention();
        let weights = unet.parameters().flatten(&tensors, tensors.source())?;
        Ok(Self { unet, scheduler, weights })
    }

    /// Leaves out what the network says of variances, where it does.
    ///
    /// # Errors
    /// [`Input`](Error::Input) if that cannot be cut from the network.
    pub fn drop_variances(&mut self) -> Result<()> {
        let config = self.unet.config();
        if config.out_channels == 2 * config.in_channels {
            (self.unet, self.weights) = self.unet.with_half_the_outputs(&self.weights)?;
        }
        Ok(())
    }

    /// Where diffusers' pipelines cannot draw with the scheduler, and another class has the same noise, takes the [`SchedulerClass::Ddpm`] of the same noise
    /// instead; the class that it was.
    ///
    /// # Errors
    /// [`Input`](Error::Input) naming the key, if that class cannot run with a value.
    pub fn make_for_pipelines(&mut self, source: &str) -> Result<Option<SchedulerClass>> {
        let class = self.scheduler.class;
        if self.scheduler.pipeline().is_some() || class.is_continuous() {
            return Ok(None);
        }
        self.scheduler = self.scheduler.for_training(source)?;
        Ok(Some(class))
    }

    /// Writes a folder, its weights in single precision; each file whole or not at all.
    ///
    /// # Errors
    /// [`Io`](Error::Io).
    pub fn write(&self, folder: &Path) -> Result<()> {
        self.write_as(folder, WeightType::F32)
    }

    /// Writes a folder; each file whole or not at all. It has a `model_index.json` if a pipeline of diffusers draws with it.
    ///
    /// # Errors
    /// [`Input`](Error::Input) naming a tensor with a number too large for the type, before anything is written;
    /// [`Io`](Error::Io).
    pub fn write_as(&self, folder: &Path, of: WeightType) -> Result<()> {
        of.check(self.unet.parameters(), &self.weights)?;
        for part in ["unet", "scheduler"] {
            let part = folder.join(part);
            fs::create_dir_all(&part).map_err(Error::io(&part))?;
        }
        let tensors = deferred(self.unet.parameters(), &self.weights, "", of);
        write_deferred(&folder.join(WEIGHTS), tensors, &[("format", "pt".into())])?;
        write_json(&folder.join(UNET_CONFIG), &self.unet.config().to_json())?;
        write_json(&folder.join(SCHEDULER_CONFIG), &self.scheduler.for_diffusers().to_json())?;
        let index = folder.join(INDEX);
        let Some(pipeline) = self.scheduler.pipeline() else {
            return match fs::remove_file(&index) {
                Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::io(&index)(error)),
                _ => Ok(()),
            };
        };
        let parts = json!({
            "_class_name": pipeline,
            "_diffusers_version": DIFFUSERS_VERSION,
            "scheduler": ["diffusers", self.scheduler.class.name()],
            "unet": ["diffusers", "UNet2DModel"],
        });
        write_json(&index, &parts)
    }
}

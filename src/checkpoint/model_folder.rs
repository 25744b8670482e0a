//! A diffusers pipeline folder: `model_index.json`, `unet/` and `scheduler/`.

use super::tensors::{deferred, read_tensors, write_deferred};
use crate::atomic_file;
use crate::diffusion::{self, SchedulerClass, SchedulerConfig};
use crate::error::{Error, Result};
use crate::nn::{UNet, UNetConfig};
use serde_json::{Value, json};
use std::fs;
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

fn read_json(path: &Path) -> Result<Value> {
    let text = fs::read_to_string(path).map_err(Error::io(path))?;
    diffusion::parse(&text).map_err(|error| Error::input(format!("{}: not JSON: {error}", path.display())))
}

fn write_json(path: &Path, value: &Value) -> Result<()> {
    atomic_file::write(path, format!("{value:#}\n").as_bytes())
}

impl ModelFolder {
    /// Reads a folder.
    ///
    /// # Errors
    /// [`Io`](Error::Io) or [`Input`](Error::Input) naming the file, the key or the tensor that does not fit.
    pub fn read(folder: &Path) -> Result<Self> {
        if !folder.is_dir() {
            let found = if folder.exists() { "is a file" } else { "does not exist" };
            return Err(Error::input(format!("{}: {found}, expected a model folder", folder.display())));
        }
        let unet_config = folder.join(UNET_CONFIG);
        if !unet_config.is_file() {
            let expected = format!("expected {INDEX}, {UNET_CONFIG}, {WEIGHTS} and {SCHEDULER_CONFIG}");
            return Err(Error::input(format!("{}: not a diffusers model folder, {expected}", folder.display())));
        }
        let config = UNetConfig::from_json(&read_json(&unet_config)?, &unet_config.display().to_string())?;
        let scheduler_config = folder.join(SCHEDULER_CONFIG);
        let scheduler =
            SchedulerConfig::from_json(&read_json(&scheduler_config)?, &scheduler_config.display().to_string())?;
        let path = folder.join(WEIGHTS);
        let unet = UNet::new(&config)?;
        let weights = unet.parameters().flatten(&read_tensors(&path)?.tensors, &path.display().to_string())?;
        Ok(Self { unet, scheduler, weights })
    }

    /// Writes a folder; each file whole or not at all.
    ///
    /// # Errors
    /// [`Io`](Error::Io).
    pub fn write(&self, folder: &Path) -> Result<()> {
        for part in ["unet", "scheduler"] {
            let part = folder.join(part);
            fs::create_dir_all(&part).map_err(Error::io(&part))?;
        }
        let tensors = deferred(self.unet.parameters(), &self.weights, "");
        write_deferred(&folder.join(WEIGHTS), tensors, &[("format", "pt".into())])?;
        write_json(&folder.join(UNET_CONFIG), &self.unet.config().to_json())?;
        write_json(&folder.join(SCHEDULER_CONFIG), &self.scheduler.to_json())?;
        let class = self.scheduler.class;
        let index = json!({
            "_class_name": if class == SchedulerClass::Ddim { "DDIMPipeline" } else { "DDPMPipeline" },
            "_diffusers_version": "0.42.1",
            "scheduler": ["diffusers", class.name()],
            "unet": ["diffusers", "UNet2DModel"],
        });
        write_json(&folder.join(INDEX), &index)
    }
}

//! Which files make up a model: the layouts in which diffusers and its users keep them.

use super::model_folder::read_json;
use crate::error::{Error, Result};
use serde_json::Value;
use std::path::{Path, PathBuf};

const INDEX: &str = "model_index.json";
const CONFIG: &str = "config.json";
const SCHEDULER: &str = "scheduler_config.json";

/// Names of weights that diffusers writes, those in single precision and those that execute nothing first.
const WEIGHTS: [&str; 14] = [
    "diffusion_pytorch_model.safetensors",
    "diffusion_pytorch_model.safetensors.index.json",
    "diffusion_pytorch_model.bin",
    "diffusion_pytorch_model.bin.index.json",
    "diffusion_pytorch_model.fp16.safetensors",
    "diffusion_pytorch_model.safetensors.index.fp16.json",
    "diffusion_pytorch_model.fp16.bin",
    "diffusion_pytorch_model.bin.index.fp16.json",
    "diffusion_pytorch_model.bf16.safetensors",
    "diffusion_pytorch_model.safetensors.index.bf16.json",
    "diffusion_pytorch_model.bf16.bin",
    "diffusion_pytorch_model.bin.index.bf16.json",
    "model.safetensors",
    "pytorch_model.bin",
];

/// The files of a model.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ModelFiles {
    /// The network's configuration.
    pub(super) config: PathBuf,
    /// Its weights, or their index.
    pub(super) weights: PathBuf,
    /// The scheduler's configuration, if there is one.
    pub(super) scheduler: Option<PathBuf>,
}

impl ModelFiles {
    /// Finds them: `path` is a pipeline's folder, a network's folder, both in one, or a file of weights.
    ///
    /// # Errors
    /// [`Input`](Error::Input) saying what was looked for.
    pub(super) fn find(path: &Path) -> Result<Self> {
        if path.is_file() {
            return Self::of_file(path);
        }
        if !path.is_dir() {
            let found = if path.exists() { "is neither a folder nor a file" } else { "does not exist" };
            return Err(Error::input(format!("{}: {found}, expected a model folder or file", path.display())));
        }
        if path.join(INDEX).is_file() {
            return Self::of_pipeline(path);
        }
        let parts = path.join("unet");
        let folder = if parts.join(CONFIG).is_file() { &parts } else { path };
        if !folder.join(CONFIG).is_file() {
            return Err(Error::input(format!(
                "{}: not a diffusers model folder, expected {INDEX} with unet/{CONFIG}, or {CONFIG}, or a file of weights",
                path.display()
            )));
        }
        Self::of_network(folder, scheduler_near(folder))
    }

    /// A file of weights with its configuration beside it.
    fn of_file(path: &Path) -> Result<Self> {
        let folder = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let name = path.file_name().unwrap_or_default();
        if name == INDEX || name == CONFIG {
            return Self::find(folder);
        }
        let config = folder.join(CONFIG);
        if !config.is_file() {
            return Err(Error::input(format!(
                "{}: no {CONFIG} beside it, which describes the network; expected {}",
                path.display(),
                config.display()
            )));
        }
        Ok(Self { config, weights: path.to_path_buf(), scheduler: scheduler_near(folder) })
    }

    /// A folder with an index of its parts, which are in folders of their own or all in this one.
    fn of_pipeline(folder: &Path) -> Result<Self> {
        let path = folder.join(INDEX);
        let source = path.display();
        let index = read_json(&path)?;
        let Value::Object(index) = index else {
            return Err(Error::input(format!("{source}: expected an object of the pipeline's parts")));
        };
        let (mut unet, mut scheduler) = (None, None);
        for (name, value) in &index {
            let Some(class) = value.as_array().and_then(|pair| pair.get(1)).and_then(Value::as_str) else { continue };
            if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
                return Err(Error::input(format!("{source}: {name:?} is no name of a part")));
            }
            let place = match () {
                () if class == "UNet2DModel" || name == "unet" => &mut unet,
                () if class.ends_with("Scheduler") => &mut scheduler,
                () => {
                    return Err(Error::input(format!(
                        "{source}: the pipeline has {name} ({class:?}), this program draws with a unet and a scheduler \
                         alone; the network's own folder can be opened"
                    )));
                }
            };
            if let Some(other) = place.replace(name) {
                return Err(Error::input(format!(
                    "{source}: both {other} and {name}, expected one unet and one scheduler"
                )));
            }
        }
        let Some(unet) = unet else {
            return Err(Error::input(format!("{source}: no unet of class UNet2DModel among the pipeline's parts")));
        };
        let of_part = |name: &str| Some(folder.join(name)).filter(|part| part.is_dir());
        let unet = of_part(unet).unwrap_or_else(|| folder.to_path_buf());
        let scheduler = match scheduler {
            None => scheduler_near(&unet),
            Some(name) => {
                let scheduler = of_part(name).unwrap_or_else(|| folder.to_path_buf()).join(SCHEDULER);
                if !scheduler.is_file() {
                    let expected = scheduler.display();
                    return Err(Error::input(format!("{source}: names a {name}, but there is no {expected}")));
                }
                Some(scheduler)
            }
        };
        Self::of_network(&unet, scheduler)
    }

    /// A folder with a network's configuration and weights.
    fn of_network(folder: &Path, scheduler: Option<PathBuf>) -> Result<Self> {
        let config = folder.join(CONFIG);
        if !config.is_file() {
            return Err(Error::input(format!("{}: no {CONFIG}, which describes the network", folder.display())));
        }
        let Some(weights) = WEIGHTS.iter().map(|name| folder.join(name)).find(|path| path.is_file()) else {
            let names = WEIGHTS.join(", ");
            return Err(Error::input(format!("{}: no weights; looked for {names}", folder.display())));
        };
        Ok(Self { config, weights, scheduler })
    }
}

/// The scheduler's configuration in a folder, in its `scheduler/` or beside it in another `scheduler/`.
fn scheduler_near(folder: &Path) -> Option<PathBuf> {
    let places = [folder.join(SCHEDULER), folder.join("scheduler").join(SCHEDULER)];
    places.into_iter().chain([folder.join("..").join("scheduler").join(SCHEDULER)]).find(|path| path.is_file())
}

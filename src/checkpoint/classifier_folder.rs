//! A classifier on disk: `config.json`, `diffusion_pytorch_model.safetensors` and `scheduler/`, in the manner of diffusers,
//! which has no such class.

use super::model_folder::{read_json, read_scheduler_config, write_json};
use super::tensors::Tensors;
use super::write_tensors::{WeightType, deferred, write_deferred};
use crate::diffusers_config::{self, keys_of};
use crate::diffusion::SchedulerConfig;
use crate::error::{Error, Result};
use crate::nn::{Classifier, UNetConfig};
use serde_json::{Map, Value, json};
use std::fs;
use std::path::Path;

const CLASS: &str = "UNet2DClassifier";
const CONFIG: &str = "config.json";
const WEIGHTS: &str = "diffusion_pytorch_model.safetensors";
const SCHEDULER: &str = "scheduler/scheduler_config.json";
/// The keys that a classifier has beside those of its encoder.
const OWN: [&str; 3] = ["_class_name", "class_names", "noiseless"];
/// The keys that describe a U-Net's way up, which it has not.
const OF_THE_WAY_UP: [&str; 3] = ["up_block_types", "out_channels", "upsample_type"];

/// A classifier as it is on disk.
pub struct ClassifierFolder {
    /// The network.
    pub classifier: Classifier,
    /// The classes' names, by label.
    pub class_names: Vec<String>,
    /// The noise that it knows; none if it has learnt clean pictures alone.
    pub scheduler: Option<SchedulerConfig>,
    /// The flat buffer of its weights.
    pub weights: Vec<f32>,
}

impl ClassifierFolder {
    /// Reads a folder.
    ///
    /// # Errors
    /// [`Io`](Error::Io) or [`Input`](Error::Input) naming the file, the key or the tensor that does not fit.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(CONFIG);
        let source = path.display().to_string();
        if !path.is_file() {
            let folder = folder.display();
            return Err(Error::input(format!(
                "{folder}: no {CONFIG}, expected a classifier's folder, as `aquatint train-classifier` writes it"
            )));
        }
        let json = read_json(&path)?;
        let keys = keys_of(&json, CLASS, &source)?;
        if keys.get("_class_name") != Some(&CLASS.into()) {
            let found = keys.get("_class_name").unwrap_or(&Value::Null);
            return Err(Error::input(format!("{source}: _class_name is {found}, expected \"{CLASS}\", a classifier")));
        }
        let wrong = |key: &str, expected: &str| {
            let found = keys.get(key).unwrap_or(&Value::Null);
            Error::input(format!("{source}: {key} is {found}, expected {expected}"))
        };
        let names = keys.get("class_names").and_then(|names| serde_json::from_value::<Vec<String>>(names.clone()).ok());
        let class_names = names.ok_or_else(|| wrong("class_names", "a list of names"))?;
        let noiseless = keys.get("noiseless").and_then(Value::as_bool);
        let noiseless = noiseless.ok_or_else(|| wrong("noiseless", "true or false"))?;
        let config = encoder(keys, &source)?;
        let classifier = Classifier::new(&config, class_names.len()).map_err(|error| naming(&source, error))?;
        let scheduler = (!noiseless).then(|| read_scheduler_config(&folder.join(SCHEDULER))).transpose()?;
        let tensors = Tensors::open(&folder.join(WEIGHTS))?;
        let weights = classifier.parameters().flatten(&tensors, tensors.source())?;
        Ok(Self { classifier, class_names, scheduler, weights })
    }

    /// Writes a folder; each file whole or not at all, the configuration last.
    ///
    /// # Errors
    /// [`Io`](Error::Io).
    pub fn write(&self, folder: &Path) -> Result<()> {
        fs::create_dir_all(folder).map_err(Error::io(folder))?;
        let tensors = deferred(self.classifier.parameters(), &self.weights, "", WeightType::F32);
        write_deferred(&folder.join(WEIGHTS), tensors, &[("format", "pt".into())])?;
        if let Some(scheduler) = &self.scheduler {
            let path = folder.join(SCHEDULER);
            let parent = folder.join("scheduler");
            fs::create_dir_all(&parent).map_err(Error::io(&parent))?;
            write_json(&path, &scheduler.for_diffusers().to_json())?;
        }
        let encoder = self.classifier.config().to_json();
        let kept = encoder.as_object().into_iter().flatten();
        let kept = kept.filter(|(key, _)| !OF_THE_WAY_UP.contains(&key.as_str()) && !key.starts_with('_'));
        let mut keys: Map<String, Value> = kept.map(|(key, value)| (key.clone(), value.clone())).collect();
        keys.insert("class_names".into(), json!(self.class_names));
        keys.insert("noiseless".into(), self.scheduler.is_none().into());
        write_json(&folder.join(CONFIG), &diffusers_config::configuration(CLASS, keys))
    }
}

/// The U-Net whose way down is a classifier's; its way up is anything that fits.
fn encoder(keys: &Map<String, Value>, source: &str) -> Result<UNetConfig> {
    let own = keys.iter().filter(|(key, _)| !OWN.contains(&key.as_str()));
    let mut own: Map<String, Value> = own.map(|(key, value)| (key.clone(), value.clone())).collect();
    let levels = own.get("block_out_channels").and_then(Value::as_array).map_or(0, Vec::len);
    for key in OF_THE_WAY_UP {
        if own.contains_key(key) {
            return Err(Error::input(format!("{source}: {key} is no key of {CLASS}")));
        }
    }
    own.insert("up_block_types".into(), vec!["UpBlock2D"; levels].into());
    if let Some(channels) = own.get("in_channels").cloned() {
        own.insert("out_channels".into(), channels);
    }
    UNetConfig::from_json(&Value::Object(own), source)
}

fn naming(source: &str, error: Error) -> Error {
    match error {
        Error::Input(why) => Error::input(format!("{source}: {why}")),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::{BlockType, SampleSize};

    fn folder(noiseless: bool) -> ClassifierFolder {
        let config = UNetConfig {
            sample_size: Some(SampleSize::new([8, 12])),
            in_channels: 1,
            out_channels: 1,
            block_out_channels: vec![8, 16],
            down_block_types: vec![BlockType::DownBlock2D, BlockType::AttnDownBlock2D],
            up_block_types: vec![BlockType::UpBlock2D, BlockType::UpBlock2D],
            norm_num_groups: Some(4),
            attention_head_dim: Some(4),
            ..UNetConfig::default()
        };
        let classifier = Classifier::new(&config, 3).unwrap();
        let weights = classifier.parameters().initialize(3);
        let scheduler = (!noiseless).then(SchedulerConfig::default);
        let class_names = ["a cat", "a dog", "3"].map(String::from).to_vec();
        ClassifierFolder { classifier, class_names, scheduler, weights }
    }

    #[test]
    fn a_folder_is_read_back_whole() {
        for noiseless in [false, true] {
            let place = tempfile::tempdir().unwrap();
            let written = folder(noiseless);
            written.write(place.path()).unwrap();
            let read = ClassifierFolder::read(place.path()).unwrap();
            assert_eq!((read.class_names, read.scheduler), (written.class_names, written.scheduler));
            assert_eq!(read.weights, written.weights);
            assert_eq!(read.classifier.config(), written.classifier.config());
        }
    }

    #[test]
    fn a_folder_of_something_else_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let refusal = || ClassifierFolder::read(place.path()).err().unwrap().to_string();
        assert!(refusal().contains("no config.json"));
        folder(false).write(place.path()).unwrap();
        let path = place.path().join(CONFIG);
        let text = fs::read_to_string(&path).unwrap();
        for (from, to, words) in [
            (CLASS, "UNet2DModel", "_class_name is \"UNet2DModel\", expected \"UNet2DClassifier\""),
            ("\"a dog\",", "7,", "class_names is"),
            ("\"noiseless\": false", "\"noiseless\": 1", "noiseless is 1, expected true or false"),
            ("\"layers_per_block\"", "\"layers\"", "layers is 2"),
            ("\"3\"", "\"3\", \"4\"", "head.weight has shape [3, 16], expected [4, 16]"),
        ] {
            assert!(text.contains(from), "{text}");
            fs::write(&path, text.replace(from, to)).unwrap();
            assert!(refusal().contains(words), "{}", refusal());
        }
    }
}

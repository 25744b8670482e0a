//! What describes a run: the tables `[unet]`, `[scheduler]` and `[training]` of a TOML file, with diffusers' key names.

use super::averages::EmaWarmup;
use super::network::ClassifierTable;
use super::objective::{LossName, ObjectiveName, TimestepSampler, WeightingName};
use super::power_ema;
use crate::checkpoint::WeightType;
use crate::data::Fit;
use crate::diffusers_config;
use crate::diffusion::SchedulerConfig;
use crate::error::{Error, Result};
use crate::kernels::class_dropout::ClassDropout;
use crate::nn::{BlockType, Recompute, SampleSize, UNetConfig};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What activations are held in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// Single precision.
    #[default]
    F32,
    /// Half precision, as are the weights in products; sums, norms and the optimiser are single. GPUs only.
    Mixed,
}

/// The `[training]` table; names as in diffusers' training scripts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainingConfig {
    /// Where the pictures come from: `digits`, IDX files or a folder.
    pub dataset: String,
    /// Height and width; none takes the pictures as they are.
    pub resolution: Option<usize>,
    /// How pictures of another shape are brought to it.
    pub fit: Fit,
    /// Without a resolution, IDX pictures are padded to a multiple of this; none is what the network needs.
    pub pad_to_multiple: Option<usize>,
    /// Mirrors half of the pictures.
    pub random_flip: bool,
    /// Whether the pictures' labels are learnt with them.
    pub class_conditional: bool,
    /// How probable it is that a picture's label is replaced by the class that stands for none: Ho & Salimans 2022, p_uncond.
    #[serde(serialize_with = "crate::decimal::shortest")]
    pub class_dropout: f32,
    /// Optimiser steps in all.
    pub max_train_steps: usize,
    /// Pictures in a step, or in each of its micro-batches.
    pub train_batch_size: usize,
    /// Micro-batches whose gradients make a step.
    pub gradient_accumulation_steps: usize,
    /// Learning rate after the warm-up.
    pub learning_rate: f64,
    /// Steps over which the learning rate rises from zero.
    pub lr_warmup_steps: usize,
    /// Adam's decay of the first moment.
    pub adam_beta1: f64,
    /// Adam's decay of the second moment.
    pub adam_beta2: f64,
    /// Adam's epsilon.
    #[serde(serialize_with = "crate::decimal::shortest")]
    pub adam_epsilon: f32,
    /// Decay of the weights, apart from the gradient (AdamW).
    #[serde(serialize_with = "crate::decimal::shortest")]
    pub adam_weight_decay: f32,
    /// Largest norm of the gradient.
    #[serde(serialize_with = "crate::decimal::shortest")]
    pub max_grad_norm: f32,
    /// Decay of the moving average of the weights, once it has warmed up.
    pub ema_max_decay: f64,
    /// Decays of further moving averages that are kept beside the model's.
    pub ema_more_decays: Vec<f64>,
    /// How the decays begin.
    pub ema_warmup: EmaWarmup,
    /// Relative widths of power-function averages that are kept and stored on the way.
    pub ema_sigma_rel: Vec<f64>,
    /// Steps between the snapshots of these; 0 writes one with every checkpoint.
    pub ema_snapshot_every: usize,
    /// What the snapshots hold.
    pub ema_snapshot_dtype: WeightType,
    /// Steps between checkpoints; 0 writes one at the end only.
    pub checkpointing_steps: usize,
    /// Makes everything random.
    pub seed: u64,
    /// What is made small.
    pub objective: ObjectiveName,
    /// Factor of the bound in the hybrid objective.
    #[serde(serialize_with = "crate::decimal::shortest")]
    pub vlb_weight: f32,
    /// What an error of one element costs.
    pub loss: LossName,
    /// Where Huber's loss becomes straight.
    #[serde(serialize_with = "crate::decimal::shortest")]
    pub huber_delta: f32,
    /// How timesteps are weighted; none is what fits the objective and the prediction.
    pub weighting: Option<WeightingName>,
    /// Where min-SNR cuts the signal-to-noise ratio.
    #[serde(serialize_with = "crate::decimal::shortest")]
    pub snr_gamma: f32,
    /// P2's power.
    #[serde(serialize_with = "crate::decimal::shortest")]
    pub p2_gamma: f32,
    /// What P2 adds to the signal-to-noise ratio.
    #[serde(serialize_with = "crate::decimal::shortest")]
    pub p2_k: f32,
    /// How timesteps are drawn; none is what fits the noise.
    pub timestep_sampler: Option<TimestepSampler>,
    /// Mean of the logarithm of noise / signal, for the log-normal draw.
    pub log_normal_mean: f64,
    /// Its standard deviation.
    pub log_normal_std: f64,
    /// What is computed twice to save memory.
    pub recompute: Recompute,
    /// What activations are held in.
    pub precision: Precision,
    /// Trains a classifier, with the `[unet]` table's way down, instead of a network that predicts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub classifier: Option<ClassifierTable>,
}

impl Default for TrainingConfig {
    fn default() -> Self {
        Self {
            dataset: "digits".into(),
            resolution: None,
            fit: Fit::Crop,
            pad_to_multiple: None,
            random_flip: false,
            class_conditional: false,
            class_dropout: 0.0,
            max_train_steps: 10_000,
            train_batch_size: 64,
            gradient_accumulation_steps: 1,
            learning_rate: 2e-4,
            lr_warmup_steps: 500,
            adam_beta1: 0.9,
            adam_beta2: 0.999,
            adam_epsilon: 1e-8,
            adam_weight_decay: 0.0,
            max_grad_norm: 1.0,
            ema_max_decay: 0.9999,
            ema_more_decays: Vec::new(),
            ema_warmup: EmaWarmup::Ratio,
            ema_sigma_rel: Vec::new(),
            ema_snapshot_every: 0,
            ema_snapshot_dtype: WeightType::F16,
            checkpointing_steps: 1000,
            seed: 0,
            objective: ObjectiveName::Simple,
            vlb_weight: 0.001,
            loss: LossName::L2,
            huber_delta: 1.0,
            weighting: None,
            snr_gamma: 5.0,
            p2_gamma: 1.0,
            p2_k: 1.0,
            timestep_sampler: None,
            log_normal_mean: -1.2,
            log_normal_std: 1.2,
            recompute: Recompute::None,
            precision: Precision::F32,
            classifier: None,
        }
    }
}

impl TrainingConfig {
    /// The decays of all moving averages, the model's first.
    pub fn ema_decays(&self) -> Vec<f64> {
        [&[self.ema_max_decay], &self.ema_more_decays[..]].concat()
    }

    /// Pictures in a step, in all its micro-batches.
    pub fn pictures_in_a_step(&self) -> usize {
        self.train_batch_size * self.gradient_accumulation_steps
    }

    /// Whether the numbers make sense.
    ///
    /// # Errors
    /// [`Input`](Error::Input) naming the key.
    pub fn validate(&self) -> Result<()> {
        let wrong = |key: &str, found: String, expected: &str| {
            Err(Error::input(format!("training: {key} is {found}, expected {expected}")))
        };
        if i64::try_from(self.seed).is_err() {
            return wrong("seed", self.seed.to_string(), "at most 9223372036854775807, the largest integer of TOML");
        }
        if !(1..=1 << 20).contains(&self.train_batch_size) {
            return wrong("train_batch_size", self.train_batch_size.to_string(), "1 to 1048576");
        }
        let most = (1 << 31) / self.train_batch_size;
        if !(1..=most).contains(&self.gradient_accumulation_steps) {
            let expected = format!("1 to {most} with batches of {}", self.train_batch_size);
            return wrong("gradient_accumulation_steps", self.gradient_accumulation_steps.to_string(), &expected);
        }
        if !(1..=u32::MAX as usize).contains(&self.max_train_steps) {
            return wrong("max_train_steps", self.max_train_steps.to_string(), "1 to 4294967295");
        }
        if self.resolution.is_some_and(|size| !(1..=4096).contains(&size)) {
            return wrong("resolution", format!("{:?}", self.resolution.unwrap_or(0)), "1 to 4096");
        }
        if self.pad_to_multiple.is_some_and(|multiple| !(1..=4096).contains(&multiple)) {
            return wrong("pad_to_multiple", format!("{:?}", self.pad_to_multiple.unwrap_or(0)), "1 to 4096");
        }
        if !(0.0..=1.0).contains(&self.class_dropout) {
            return wrong("class_dropout", self.class_dropout.to_string(), "0 to 1");
        }
        if !(self.learning_rate > 0.0 && self.learning_rate <= 10.0) {
            return wrong("learning_rate", self.learning_rate.to_string(), "more than 0, at most 10");
        }
        for (key, value) in [("adam_beta1", self.adam_beta1), ("adam_beta2", self.adam_beta2)] {
            if !(0.0..1.0).contains(&value) {
                return wrong(key, value.to_string(), "0 or more, less than 1");
            }
        }
        for (index, decay) in self.ema_decays().into_iter().enumerate() {
            let key = if index == 0 { "ema_max_decay" } else { "ema_more_decays" };
            if !(0.0..1.0).contains(&decay) {
                return wrong(key, decay.to_string(), "0 or more, less than 1");
            }
            if self.ema_decays()[..index].contains(&decay) {
                return wrong(key, format!("{decay} twice"), "each decay once");
            }
        }
        for (index, sigma) in self.ema_sigma_rel.iter().enumerate() {
            if !(power_ema::NARROWEST..power_ema::WIDEST).contains(sigma) {
                return wrong("ema_sigma_rel", sigma.to_string(), "0.001 to less than 0.2887");
            }
            if self.ema_sigma_rel[..index].contains(sigma) {
                return wrong("ema_sigma_rel", format!("{sigma} twice"), "each width once");
            }
        }
        if self.ema_snapshot_every > 0 && self.ema_sigma_rel.is_empty() {
            let found = self.ema_snapshot_every.to_string();
            return wrong(
                "ema_snapshot_every",
                found,
                "0 without ema_sigma_rel (--ema-power), whose averages it stores",
            );
        }
        for (key, value) in [("adam_epsilon", self.adam_epsilon), ("max_grad_norm", self.max_grad_norm)] {
            if !value.is_finite() || value <= 0.0 {
                return wrong(key, value.to_string(), "more than 0, and finite");
            }
        }
        if !(0.0..1.0).contains(&self.adam_weight_decay) {
            return wrong("adam_weight_decay", self.adam_weight_decay.to_string(), "0 or more, less than 1");
        }
        self.validate_objective()
    }
}

/// A whole run's configuration, as saved in its folder.
#[derive(Clone, Debug, PartialEq)]
pub struct RunConfig {
    /// The network.
    pub unet: UNetConfig,
    /// The noise schedule and the reverse process.
    pub scheduler: SchedulerConfig,
    /// Everything else.
    pub training: TrainingConfig,
}

/// The tables of a TOML file, any of which may be missing.
#[derive(Clone, Debug, Default)]
pub struct Tables {
    /// `[unet]`
    pub unet: Option<UNetConfig>,
    /// `[scheduler]`, as it was given: [`for_training`](SchedulerConfig::for_training) is still to be done.
    pub scheduler: Option<SchedulerConfig>,
    /// `[training]`
    pub training: TrainingConfig,
}

impl Tables {
    /// Reads a TOML file's text. TOML has no null: the text "null" stands for it.
    ///
    /// # Errors
    /// [`Input`](Error::Input) naming the file and the key.
    pub fn parse(text: &str, source: &str) -> Result<Self> {
        Self::parse_over(text, source, &TrainingConfig::default())
    }

    /// As [`parse`](Self::parse), with other defaults of `[training]`.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn parse_over(text: &str, source: &str, defaults: &TrainingConfig) -> Result<Self> {
        let wrong = |error: String| Error::input(format!("{source}: {}", error.trim().replace('\n', " ")));
        let mut table: toml::Table = toml::from_str(text).map_err(|error| wrong(not_toml(text, &error)))?;
        let mut take = |name: &str| -> Result<Option<Value>> {
            let Some(value) = table.remove(name) else { return Ok(None) };
            check_numbers(&value, name).map_err(wrong)?;
            let json = serde_json::to_value(value).map_err(|error| wrong(error.to_string()))?;
            Ok(Some(with_nulls(json)))
        };
        let (unet, scheduler, training) = (take("unet")?, take("scheduler")?, take("training")?);
        if let Some(other) = table.keys().next() {
            return Err(wrong(format!("unknown table or key {other}, expected [unet], [scheduler] or [training]")));
        }
        let name = |table: &str| format!("{source}: [{table}]");
        let unet = unet.map(|json| UNetConfig::from_json(&json, &name("unet"))).transpose()?;
        let scheduler = scheduler.map(|json| SchedulerConfig::from_json(&json, &name("scheduler"))).transpose()?;
        let training = match training {
            Some(json) => {
                let name = name("training");
                let mut all = serde_json::to_value(defaults).map_err(|error| wrong(error.to_string()))?;
                if let Some(all) = all.as_object_mut() {
                    all.extend(diffusers_config::keys_of(&json, "training", &name)?.clone());
                }
                diffusers_config::read_keys(diffusers_config::keys_of(&all, "training", &name)?, "[training]", &name)?
            }
            None => defaults.clone(),
        };
        Ok(Self { unet, scheduler, training })
    }
}

/// What is wrong with the text, and in which line.
fn not_toml(text: &str, error: &toml::de::Error) -> String {
    let before = error.span().and_then(|span| text.get(..span.start));
    let line = before.map_or(String::new(), |before| format!(" in line {}", 1 + before.matches('\n').count()));
    format!("not TOML{line}: {}", error.message())
}

/// Refuses NaN and infinities, which JSON would make nulls of; a bound may be minus infinity, and null is that.
fn check_numbers(value: &toml::Value, key: &str) -> Result<(), String> {
    match value {
        toml::Value::Float(number) if !number.is_finite() && !key.ends_with("lambda_min_clipped") => {
            Err(format!("{key} is {number}, expected a finite number"))
        }
        toml::Value::Array(all) => all.iter().try_for_each(|value| check_numbers(value, key)),
        toml::Value::Table(all) => {
            all.iter().try_for_each(|(inner, value)| check_numbers(value, &format!("[{key}]: {inner}")))
        }
        _ => Ok(()),
    }
}

/// Null for the text "null" in a table, but for the data set, which may be called so.
fn with_nulls(json: Value) -> Value {
    let Value::Object(object) = json else { return json };
    let null = |key: &str, value: &Value| key != "dataset" && *value == Value::String("null".into());
    object.into_iter().map(|(key, value)| if null(&key, &value) { (key, Value::Null) } else { (key, value) }).collect()
}

fn without_nulls(json: Value) -> Value {
    match json {
        Value::Null => "null".into(),
        Value::Object(object) => object.into_iter().map(|(key, value)| (key, without_nulls(value))).collect(),
        other => other,
    }
}

impl RunConfig {
    /// As TOML; [`Tables::parse`] reads it back.
    ///
    /// # Errors
    /// Only if a value cannot be written as TOML.
    pub fn to_toml(&self) -> Result<String> {
        let training = serde_json::to_value(&self.training).map_err(|error| Error::Device(error.to_string()))?;
        let tables = [("unet", self.unet.to_json()), ("scheduler", self.scheduler.to_json()), ("training", training)];
        let all: serde_json::Map<String, Value> =
            tables.into_iter().map(|(name, table)| (name.to_string(), without_nulls(table))).collect();
        toml::to_string(&all).map_err(|error| Error::Device(error.to_string()))
    }

    /// Reads what [`RunConfig::to_toml`] has written.
    ///
    /// # Errors
    /// [`Input`](Error::Input) naming the key.
    pub fn from_toml(text: &str, source: &str) -> Result<Self> {
        let Tables { unet, scheduler, training } = Tables::parse(text, source)?;
        let unet = unet.ok_or_else(|| Error::input(format!("{source}: the table [unet] is missing")))?;
        let scheduler = scheduler.unwrap_or_default().for_training(&format!("{source}: [scheduler]"))?;
        Ok(Self { unet, scheduler, training })
    }

    /// The same with all that was left to the program, as a run keeps it.
    pub fn resolved(mut self) -> Self {
        self.training.weighting = Some(self.training.weighting_for(&self.scheduler));
        self.training.timestep_sampler = Some(self.training.timestep_sampler_for(&self.scheduler));
        self
    }

    /// How labels are dropped, where they are.
    ///
    /// # Errors
    /// [`Input`](Error::Input) if the network has no class that stands for none.
    pub fn class_dropout(&self) -> Result<Option<ClassDropout>> {
        let probability = self.training.class_dropout;
        let expected = match (self.unet.unconditional_class, self.unet.classes()) {
            _ if probability == 0.0 => return Ok(None),
            (Some(class), _) => return Ok(Some(ClassDropout { probability, unconditional: class as u32 })),
            (None, None) => "--classes (class_conditional) with it".into(),
            (None, Some(classes)) => {
                format!("one that stands for no class (unconditional_class) beside the network's {classes} classes")
            }
        };
        Err(Error::input(format!("training: class_dropout is {probability}, expected {expected}")))
    }

    /// Whether what is written of a run reads back as the run: it could not be continued otherwise.
    ///
    /// # Errors
    /// [`Input`](Error::Input) naming the table that does not.
    pub fn check_written(&self) -> Result<()> {
        let read = Self::from_toml(&self.to_toml()?, "config.toml, as this run would write it")?;
        let tables = [
            ("unet", read.unet == self.unet),
            ("scheduler", read.scheduler == self.scheduler),
            ("training", read.training == self.training),
        ];
        match tables.into_iter().find(|(_, same)| !same) {
            Some((table, _)) => Err(Error::input(format!(
                "config.toml cannot say all of [{table}], and a run that it does not describe is never resumed; expected \
                 keys that go together"
            ))),
            None => Ok(()),
        }
    }
}

/// A network for pictures of this size, where none is described: levels down to 8 pixels or less with attention at the
/// last, as many channels as a day of training on one machine can fill.
pub fn default_unet(height: usize, width: usize, channels: usize, classes: Option<usize>) -> UNetConfig {
    let size = height.max(width);
    // The largest number of levels that leaves at least 4 pixels, down to 8 where the size allows it.
    let divides = |levels: usize| [height, width].iter().all(|size| size.is_multiple_of(1 << (levels - 1)));
    let wanted = (1..=6).find(|levels| size >> (levels - 1) <= 8).unwrap_or(6).max(2);
    let levels = (1..=wanted).rev().find(|&levels| divides(levels)).unwrap_or(1);
    let base = if channels == 1 || size <= 16 { 32 } else { 64 };
    let with_attention = |level: usize, attention: BlockType, plain: BlockType| {
        if level + 1 == levels { attention } else { plain }
    };
    UNetConfig {
        sample_size: Some(SampleSize::new([height, width])),
        in_channels: channels,
        out_channels: channels,
        block_out_channels: (0..levels).map(|level| (base << level).min(8 * base).min(512)).collect(),
        down_block_types: (0..levels)
            .map(|level| with_attention(level, BlockType::AttnDownBlock2D, BlockType::DownBlock2D))
            .collect(),
        up_block_types: (0..levels)
            .rev()
            .map(|level| with_attention(level, BlockType::AttnUpBlock2D, BlockType::UpBlock2D))
            .collect(),
        layers_per_block: if size <= 16 { 1 } else { 2 },
        attention_head_dim: None,
        norm_num_groups: Some(8),
        num_class_embeds: classes,
        ..UNetConfig::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_goes_through_toml_and_back() {
        let run = RunConfig {
            unet: default_unet(32, 32, 1, Some(10)),
            scheduler: SchedulerConfig::default(),
            training: TrainingConfig { resolution: Some(32), ..TrainingConfig::default() },
        };
        assert_eq!(RunConfig::from_toml(&run.to_toml().unwrap(), "run").unwrap(), run);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, words) in [
            ("[unet\n", &["line 1"][..]),
            ("[training]\nfit = 5\n\nseed = = 2", &["line 4"]),
            ("[training]\nresolution = \"x\"", &["[training]", "resolution", "\"x\""]),
            ("[training]\nfit = \"x\"", &["[training]", "fit", "crop"]),
            ("[training]\np2_k = nan", &["[training]: p2_k is NaN"]),
            ("[scheduler]\ntrained_betas = [0.1, inf]", &["[scheduler]: trained_betas is inf"]),
            ("[training]\nnone = 1", &["none", "no key of [training]"]),
        ] {
            let error = Tables::parse(text, "run.toml").unwrap_err().to_string();
            assert!(error.starts_with("run.toml") && words.iter().all(|word| error.contains(word)), "{text}: {error}");
        }
        Tables::parse("[scheduler]\nlambda_min_clipped = -inf", "run.toml").unwrap();
        let snapshots = TrainingConfig { ema_snapshot_every: 3, ..TrainingConfig::default() };
        assert!(snapshots.validate().unwrap_err().to_string().contains("--ema-power"));
    }

    #[test]
    fn default_networks_fit_their_pictures() {
        for (height, width) in [(8, 8), (16, 16), (28, 28), (32, 32), (24, 40), (64, 64), (7, 9), (256, 256), (1, 1)] {
            let unet = default_unet(height, width, 3, None);
            unet.validate("default").unwrap();
        }
        assert_eq!(default_unet(32, 32, 1, None).block_out_channels, [32, 64, 128]);
        assert_eq!(default_unet(8, 8, 1, None).block_out_channels, [32, 64]);
    }
}

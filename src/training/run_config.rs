//! A run's configuration as a TOML file: the tables `[unet]`, `[scheduler]` and `[training]`, with diffusers' key names.

use super::TrainingConfig;
use crate::diffusers_config;
use crate::diffusion::SchedulerConfig;
use crate::error::{Error, Result};
use crate::kernels::class_dropout::ClassDropout;
use crate::nn::UNetConfig;
use serde_json::Value;

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::training::default_unet;

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
}

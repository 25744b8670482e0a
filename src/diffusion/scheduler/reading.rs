//! Reading and writing a scheduler's configuration, and what another class makes of it.

use super::super::noise_schedule;
use super::{BetaSchedule, Given, PredictionType, SchedulerClass, SchedulerConfig, VarianceType};
use crate::diffusers_config::{self, MINUS_INFINITY};
use crate::error::{Error, Result};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

/// Keys of other classes of diffusers and of its first versions, which say nothing to ours.
const IDLE: [&str; 8] = [
    "flow_shift",
    "shift_terminal",
    "skip_prk_steps",
    "solver_p",
    "tensor_format",
    "time_shift_type",
    "timestep_values",
    "variance_scale",
];
/// A number; null is what a written minus infinity reads as.
pub(super) fn number_or_minus_infinity<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    match Value::deserialize(from)? {
        Value::Null => Ok(f64::NEG_INFINITY),
        Value::String(name) if name == MINUS_INFINITY => Ok(f64::NEG_INFINITY),
        Value::Number(number) => Ok(number.as_f64().unwrap_or(f64::NEG_INFINITY)),
        other => Err(serde::de::Error::custom(format!("expected a number, found {other}"))),
    }
}

/// diffusers lets some switches be null.
pub(super) fn null_is_false<'de, D: Deserializer<'de>>(from: D) -> Result<bool, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or(false))
}

/// diffusers lets this list be null.
pub(super) fn null_is_none_of_them<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<usize>, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

impl SchedulerConfig {
    /// Reads a `scheduler_config.json` or a TOML table that was turned into JSON. `source` is named in errors.
    ///
    /// # Errors
    /// [`Input`](Error::Input) naming the key, what was found and what was expected.
    pub fn from_json(json: &Value, source: &str) -> Result<Self> {
        let object = diffusers_config::keys_of(json, "a scheduler", source)?;
        let class = match object.get("_class_name") {
            None => SchedulerClass::default(),
            Some(name) => SchedulerClass::deserialize(name).map_err(|_| {
                let ours =
                    SchedulerClass::ALL.into_iter().chain([SchedulerClass::Lcm]).chain(SchedulerClass::CONTINUOUS);
                let ours = ours.map(SchedulerClass::name).collect::<Vec<_>>().join(", ");
                Error::input(format!("{source}: _class_name is {name}, this program has {ours}"))
            })?,
        };
        let unset: Vec<&str> = match object.get("_use_default_values") {
            Some(Value::Array(keys)) => keys.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        let mut own = Map::new();
        for (key, value) in object {
            if key == "predict_epsilon" && *value != Value::Bool(true) {
                return Err(Error::input(format!("{source}: {key} is {value}, expected true; set prediction_type")));
            }
            let idle = key == "predict_epsilon" || key.starts_with('_') || IDLE.contains(&key.as_str());
            if !idle && !unset.contains(&key.as_str()) {
                own.insert(key.clone(), value.clone());
            }
        }
        diffusers_config::read_keys::<Self>(&own, "a scheduler", source)?;
        Self::of_class(class, own, source)
    }

    /// Whether a file that names no class can be one of [`SchedulerClass::Ddpm`], which diffusers' first versions have
    /// written without a name.
    ///
    /// # Errors
    /// [`Input`](Error::Input) naming a key that only classes in continuous time have.
    pub fn check_class(json: &Value, source: &str) -> Result<()> {
        let object = diffusers_config::keys_of(json, "a scheduler", source)?;
        if object.contains_key("_class_name") {
            return Ok(());
        }
        let of_steps = |key: &str| SchedulerClass::ALL.into_iter().any(|class| class.keys().contains(&key));
        let of = |key: &str| SchedulerClass::CONTINUOUS.into_iter().find(|class| class.keys().contains(&key));
        match object.keys().find_map(|key| of(key).filter(|_| !of_steps(key)).map(|class| (key, class.name()))) {
            Some((key, class)) => {
                Err(Error::input(format!("{source}: _class_name is missing, and {key} is a key of {class} alone")))
            }
            None => Ok(()),
        }
    }

    /// A class's defaults with these values laid over them.
    fn of_class(class: SchedulerClass, given: Map<String, Value>, source: &str) -> Result<Self> {
        let mut all = class.defaults().values();
        let names = given.keys().cloned().collect();
        all.extend(given);
        let config: Self = serde_json::from_value(Value::Object(all))
            .map_err(|error| Error::input(format!("{source}: {}", error.to_string().replace('\n', " "))))?;
        let config = Self { class, given: Given(names), ..config };
        config.validate(source)?;
        Ok(config)
    }

    fn values(&self) -> Map<String, Value> {
        match serde_json::to_value(self) {
            Ok(Value::Object(values)) => values,
            _ => Map::new(),
        }
    }

    /// What `class.from_config(..)` of diffusers makes of this configuration: values that were given are kept, where the
    /// class has the key; the rest is the class's default.
    ///
    /// # Errors
    /// [`Input`](Error::Input) naming the key, if the class cannot run with a value.
    pub fn with_class(&self, class: SchedulerClass, source: &str) -> Result<Self> {
        if (self.class.is_continuous() || class.is_continuous()) && self.class != class {
            let (own, class) = (self.class.name(), class.name());
            return Err(Error::input(format!(
                "{source}: the network was trained for {own}, {class} does not draw with it"
            )));
        }
        Self::of_class(class, self.said_for(class), source)
    }

    /// What was given, where the class has the key.
    fn said_for(&self, class: SchedulerClass) -> Map<String, Value> {
        let (defaults, keys) = (self.class.defaults().values(), class.keys());
        let said = |key: &str, value: &Value| self.given.0.contains(key) || defaults.get(key) != Some(value);
        self.values().into_iter().filter(|(key, value)| keys.contains(&key.as_str()) && said(key, value)).collect()
    }

    /// Another process: the class with what was given of its keys, which goes before `defaults`; `fixed` goes before that.
    ///
    /// # Errors
    /// As of [`with_class`](Self::with_class).
    pub fn with_process<const D: usize, const F: usize>(
        &self,
        class: SchedulerClass,
        defaults: [(&str, Value); D],
        fixed: [(&str, Value); F],
        source: &str,
    ) -> Result<Self> {
        let mut all: Map<String, Value> = defaults.map(|(key, value)| (key.into(), value)).into_iter().collect();
        all.extend(self.said_for(class));
        all.extend(fixed.map(|(key, value)| (key.into(), value)));
        Self::of_class(class, all, source)
    }

    /// Whether a run can be trained with it, and be kept: all values make sense, and the class has a key for all that is not
    /// its default.
    ///
    /// # Errors
    /// [`Input`](Error::Input) naming the key.
    pub fn check(&self, source: &str) -> Result<()> {
        self.validate(source)?;
        let (keys, defaults) = (self.class.keys(), self.class.defaults().values());
        let lost = |(key, value): &(String, Value)| !keys.contains(&key.as_str()) && defaults.get(key) != Some(value);
        match self.values().into_iter().find(lost) {
            Some((key, value)) => {
                let class = self.class.name();
                Err(Error::input(format!("{source}: {key} is {value}, which {class} does not have")))
            }
            None => Ok(()),
        }
    }

    /// The same with betas that grow in this way, whatever they were.
    ///
    /// # Errors
    /// [`Input`](Error::Input) naming the key, if nothing can be done with the noise that this makes.
    pub fn with_beta_schedule(self, beta_schedule: BetaSchedule, source: &str) -> Result<Self> {
        let config = Self { beta_schedule, trained_betas: None, ..self };
        config.validate(source)?;
        Ok(config)
    }

    /// The same with these betas, as many timesteps as there are.
    ///
    /// # Errors
    /// As of [`with_beta_schedule`](Self::with_beta_schedule).
    pub fn with_betas(self, betas: Vec<f64>, source: &str) -> Result<Self> {
        let config = Self { num_train_timesteps: betas.len(), trained_betas: Some(betas), ..self };
        config.validate(source)?;
        Ok(config)
    }

    /// The same with the noise moved and stretched so that the last timestep is pure noise.
    ///
    /// # Errors
    /// As of [`with_beta_schedule`](Self::with_beta_schedule).
    pub fn with_zero_snr(self, source: &str) -> Result<Self> {
        let config = Self { rescale_betas_zero_snr: true, ..self };
        config.check_own(source, "rescale_betas_zero_snr")?;
        Ok(config)
    }

    /// The same with a network that predicts this.
    ///
    /// # Errors
    /// [`Input`](Error::Input) if networks of the class cannot.
    pub fn with_prediction(self, prediction_type: PredictionType, source: &str) -> Result<Self> {
        let config = Self { prediction_type, ..self };
        config.check_own(source, "prediction_type")?;
        Ok(config)
    }

    /// The same with these variances of ancestral steps.
    ///
    /// # Errors
    /// [`Input`](Error::Input) if the class has none.
    pub fn with_variance(self, variance_type: VarianceType, source: &str) -> Result<Self> {
        let config = Self { variance_type: Some(variance_type), ..self };
        config.check_own(source, "variance_type")?;
        Ok(config)
    }

    /// Whether the values make sense and the class has the key.
    fn check_own(&self, source: &str, key: &str) -> Result<()> {
        if !self.class.keys().contains(&key) {
            let value = self.values().remove(key).unwrap_or_default();
            return Err(Error::input(format!("{source}: {key} is {value}, which {} does not have", self.class.name())));
        }
        self.validate(source)
    }

    /// The same noise and the same prediction as training writes them: a [`SchedulerClass::Ddpm`], or the same in continuous time. Unlike with
    /// [`with_class`](Self::with_class), what was not given stays as this class has it.
    ///
    /// # Errors
    /// As of [`with_class`](Self::with_class).
    pub fn for_training(&self, source: &str) -> Result<Self> {
        if self.class.is_continuous() {
            return Ok(self.clone());
        }
        self.as_class(SchedulerClass::Ddpm, [], source)
    }

    /// The same noise for another class that steps between timesteps, and `fixed` values. Unlike with
    /// [`with_class`](Self::with_class), all that both classes have a key for is kept, given or not.
    ///
    /// # Errors
    /// As of [`with_class`](Self::with_class).
    pub fn as_class<const N: usize>(
        &self,
        class: SchedulerClass,
        fixed: [(&str, Value); N],
        source: &str,
    ) -> Result<Self> {
        let (own, keys) = (self.class.keys(), class.keys());
        let both = |key: &str| own.contains(&key) && keys.contains(&key);
        // Only ancestral steps have variances, and DPM-Solver names those that it ignores.
        let mut kept: Map<String, Value> = (self.values().into_iter())
            .filter(|(key, value)| both(key) && !(key == "variance_type" && value.is_null()))
            .collect();
        kept.extend(fixed.map(|(key, value)| (key.into(), value)));
        Self::of_class(class, kept, source)
    }

    /// The same for a folder that diffusers opens: where its class does not know the `beta_schedule` by name, the betas
    /// are written down as `trained_betas`.
    pub fn for_diffusers(&self) -> Self {
        let mut config = self.clone();
        if !self.class.has_in_diffusers(self.beta_schedule) {
            config.trained_betas.get_or_insert_with(|| noise_schedule::betas(self));
        }
        config
    }

    /// As diffusers' `scheduler_config.json`: the keys of the class.
    pub fn to_json(&self) -> Value {
        let keys = self.class.keys();
        let own = self.values().into_iter().filter(|(key, value)| {
            // Minus infinity, which JSON lacks, and bounds that are not set are the default.
            const UNSET: [&str; 4] = ["lambda_min_clipped", "sigma_min", "sigma_max", "num_inference_steps"];
            let unset = value.is_null() && UNSET.contains(&key.as_str());
            keys.contains(&key.as_str()) && !unset
        });
        diffusers_config::configuration(self.class.name(), own.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn minus_infinity_goes_there_and_back() {
        let text = r#"{"lambda_min_clipped": -Infinity, "_class_name": "DPMSolverMultistepScheduler"}"#;
        let json = diffusers_config::parse(text).unwrap();
        let config = SchedulerConfig::from_json(&json, "test").unwrap();
        assert_eq!(config.lambda_min_clipped, f64::NEG_INFINITY);
        assert_eq!(SchedulerConfig::from_json(&config.to_json(), "test").unwrap(), config);
    }

    #[test]
    fn another_class_keeps_what_was_given_and_has_defaults_of_its_own() {
        let read = |json: Value| SchedulerConfig::from_json(&json, "test").unwrap();
        let heun = read(json!({ "_class_name": "HeunDiscreteScheduler", "clip_sample": true }));
        assert_eq!((heun.beta_start, heun.clip_sample), (0.00085, true));
        let ddim = heun.with_class(SchedulerClass::Ddim, "test").unwrap();
        assert_eq!((ddim.beta_start, ddim.clip_sample), (1e-4, true));
        // A network is trained further with the noise that it knows.
        assert_eq!(heun.for_training("test").unwrap().beta_start, 0.00085);
        // What Python lists as not given is not given, and what equals a default but was given is.
        let ddpm =
            read(json!({ "beta_start": 0.001, "timestep_spacing": "leading", "_use_default_values": ["beta_start"] }));
        let euler = ddpm.with_class(SchedulerClass::EulerDiscrete, "test").unwrap();
        assert_eq!((euler.beta_start, euler.timestep_spacing), (1e-4, super::super::TimestepSpacing::Leading));
        let euler = read(json!({})).with_class(SchedulerClass::EulerDiscrete, "test").unwrap();
        assert_eq!(euler.timestep_spacing, super::super::TimestepSpacing::Linspace);
    }

    #[test]
    fn a_schedule_by_name_replaces_betas_and_is_spelled_out_where_diffusers_has_no_such_name() {
        let read = |json: Value| SchedulerConfig::from_json(&json, "test").unwrap();
        let own = read(json!({ "num_train_timesteps": 2, "trained_betas": [0.1, 0.2] }));
        let cosine = own.with_beta_schedule(BetaSchedule::SquaredCosine, "test").unwrap();
        let plain = read(json!({ "num_train_timesteps": 2, "beta_schedule": "squaredcos_cap_v2" }));
        assert_eq!(cosine, plain);
        let large = read(json!({ "num_train_timesteps": 100, "beta_start": 0.9, "beta_end": 0.9,
            "trained_betas": vec![0.01; 100] }));
        let message = large.with_beta_schedule(BetaSchedule::Linear, "--schedule").unwrap_err().to_string();
        assert!(message.starts_with("--schedule: ") && message.contains("alphas_cumprod"), "{message}");

        let heun = read(json!({ "_class_name": "HeunDiscreteScheduler", "beta_schedule": "exp" }));
        assert_eq!(heun.for_diffusers(), heun);
        let ddpm = heun.for_training("test").unwrap().for_diffusers();
        assert_eq!(ddpm.trained_betas, Some(crate::diffusion::NoiseSchedule::new(&heun).betas));
        assert!(ddpm.pipeline() == Some("DDPMPipeline") && heun.pipeline().is_none());
    }

    #[test]
    fn what_cannot_be_run_is_refused_by_name() {
        let dpm = "DPMSolverMultistepScheduler";
        for (json, words) in [
            (json!({ "beta_shedule": "linear" }), &["beta_shedule", "linear"][..]),
            (json!({ "beta_schedule": "wavy" }), &["beta_schedule", "wavy", "sigmoid"]),
            (json!({ "clip_sample": "yes" }), &["clip_sample", "yes", "boolean"]),
            (json!({ "trained_betas": [0.1, 0.2] }), &["trained_betas", "2", "1000"]),
            (json!({ "num_train_timesteps": 2, "trained_betas": [0.1, 1.2] }), &["trained_betas", "1.2"]),
            (json!({ "num_train_timesteps": -4 }), &["num_train_timesteps", "-4"]),
            (json!({ "steps_offset": 1000 }), &["steps_offset", "1000"]),
            (json!({ "_class_name": "PNDMScheduler" }), &["_class_name", "PNDMScheduler", "DDIMScheduler"]),
            (json!({ "_class_name": dpm, "solver_order": 4 }), &["solver_order", "4"]),
            (json!({ "_class_name": dpm, "algorithm_type": "dpmsolver" }), &["final_sigmas_type", "zero"]),
            (json!({ "_class_name": dpm, "use_flow_sigmas": true }), &["use_flow_sigmas", "true"]),
            (json!({ "_class_name": dpm, "prediction_type": "flow_prediction" }), &["flow_prediction"]),
        ] {
            let message = SchedulerConfig::from_json(&json, "here").unwrap_err().to_string();
            assert!(words.iter().all(|word| message.contains(word)) && message.starts_with("here: "), "{message}");
            assert!(!message.contains('\n'));
        }
    }
}

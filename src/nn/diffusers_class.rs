//! The configuration files of diffusers' classes: which keys are ours, which must have one value, which say nothing.

use crate::error::{Error, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// A class of diffusers, as far as this program has it.
pub(crate) struct DiffusersClass {
    /// Its name, `_class_name`.
    pub(crate) name: &'static str,
    /// Keys whose other values this program does not have, with the values that it has, as JSON: diffusers' own default
    /// first, then what means the same.
    pub(crate) fixed: &'static [(&'static str, &'static [&'static str])],
    /// Keys that are not looked at, with what is written for them.
    pub(crate) idle: &'static [(&'static str, &'static str)],
}

impl DiffusersClass {
    /// Reads our keys from a configuration file, or from a TOML table that was turned into JSON.
    ///
    /// # Errors
    /// [`Input`](Error::Input) naming the key, what was found and what was expected.
    pub(crate) fn read<T: DeserializeOwned>(&self, json: &Value, source: &str) -> Result<T> {
        let Value::Object(object) = json else {
            return Err(Error::input(format!("{source}: expected an object of {}'s keys", self.name)));
        };
        let class = format!("\"{}\"", self.name);
        let mut own = Map::new();
        for (key, value) in object {
            let found = value.to_string();
            let fixed = self.fixed.iter().find(|(name, _)| name == key).map(|(_, expected)| *expected);
            let expected = if key == "_class_name" { Some(&[class.as_str()][..]) } else { fixed };
            match expected {
                Some(expected) if !expected.contains(&found.as_str()) => {
                    let expected = expected[0];
                    return Err(Error::input(format!("{source}: {key} is {found}, this program has only {expected}")));
                }
                Some(_) => {}
                None if key.starts_with('_') || self.idle.iter().any(|(idle, _)| idle == key) => {}
                None => {
                    own.insert(key.clone(), value.clone());
                }
            }
        }
        let parse = |object| serde_json::from_value(Value::Object(object));
        parse(own.clone()).map_err(|error: serde_json::Error| {
            // The message says nothing of the key: it is the one that cannot be read alone either.
            let alone = |(key, value): (&String, &Value)| parse([(key.clone(), value.clone())].into_iter().collect());
            let key = own
                .iter()
                .find(|&pair| alone(pair).is_err_and(|wrong| !wrong.to_string().starts_with("unknown field")));
            let key = key.map_or_else(String::new, |(key, _)| format!("{key}: "));
            Error::input(format!("{source}: {key}{}", error.to_string().lines().next().unwrap_or_default()))
        })
    }

    /// A whole configuration file from our keys.
    pub(crate) fn write(&self, own: &impl Serialize) -> Value {
        let mut object = Map::new();
        object.insert("_class_name".into(), self.name.into());
        object.insert("_diffusers_version".into(), "0.42.1".into());
        if let Ok(Value::Object(own)) = serde_json::to_value(own) {
            object.extend(own);
        }
        let fixed = self.fixed.iter().map(|(key, values)| (*key, values[0]));
        for (key, value) in fixed.chain(self.idle.iter().copied()) {
            if let Ok(value) = serde_json::from_str(value) {
                object.insert(key.into(), value);
            }
        }
        Value::Object(object)
    }
}

//! Configuration files of diffusers' classes: JSON as Python writes it, keys that errors name, and how they are written.

use crate::error::{Error, Result};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// The version of diffusers whose keys and defaults these are.
pub(crate) const DIFFUSERS_VERSION: &str = "0.42.1";
/// What stands for Python's -Infinity, which JSON does not have.
pub(crate) const MINUS_INFINITY: &str = "-Infinity";

/// Parses JSON as Python writes it: the numbers that JSON lacks become strings.
pub(crate) fn parse(text: &str) -> serde_json::Result<Value> {
    if !["Infinity", "NaN"].iter().any(|name| text.contains(name)) {
        return serde_json::from_str(text);
    }
    let mut quoted = String::with_capacity(text.len() + 16);
    let (mut in_string, mut escaped) = (false, false);
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let name = [MINUS_INFINITY, "Infinity", "NaN"].into_iter().find(|name| !in_string && rest.starts_with(name));
        if let Some(name) = name {
            quoted.extend(["\"", name, "\""]);
            rest = &rest[name.len()..];
            continue;
        }
        in_string ^= next == '"' && !escaped;
        escaped = next == '\\' && !escaped;
        quoted.push(next);
        rest = &rest[next.len_utf8()..];
    }
    serde_json::from_str(&quoted)
}

/// The keys of a configuration of `what`.
///
/// # Errors
/// [`Input`](Error::Input) if it is no object.
pub(crate) fn keys_of<'a>(json: &'a Value, what: &str, source: &str) -> Result<&'a Map<String, Value>> {
    json.as_object().ok_or_else(|| Error::input(format!("{source}: expected an object of {what}'s keys")))
}

/// Reads the keys of `what`. They are tried one by one first: serde's message says nothing of the key.
///
/// # Errors
/// [`Input`](Error::Input) naming the key, what was found and what was expected.
pub(crate) fn read_keys<T: DeserializeOwned>(keys: &Map<String, Value>, what: &str, source: &str) -> Result<T> {
    let read = |keys: Map<String, Value>| serde_json::from_value(Value::Object(keys));
    let line = |error: serde_json::Error| error.to_string().replace('\n', " ");
    for (key, value) in keys {
        let alone = [(key.clone(), value.clone())].into_iter().collect();
        read(alone).map(|_: T| ()).map_err(line).map_err(|error| match error.starts_with("unknown field") {
            true => Error::input(format!("{source}: {key} is {value}, which is no key of {what}")),
            false => Error::input(format!("{source}: {key}: {error}")),
        })?;
    }
    read(keys.clone()).map_err(|error| Error::input(format!("{source}: {}", line(error))))
}

/// A class's configuration as diffusers writes it.
pub(crate) fn configuration(class: &str, keys: Map<String, Value>) -> Value {
    let mut object = Map::new();
    object.insert("_class_name".into(), class.into());
    object.insert("_diffusers_version".into(), DIFFUSERS_VERSION.into());
    object.extend(keys);
    Value::Object(object)
}

#[cfg(test)]
mod tests {
    #[test]
    fn pythons_infinities_are_read_and_strings_left_alone() {
        let json =
            super::parse(r#"{"note": "NaN \" Infinity", "least": -Infinity, "others": [Infinity, NaN]}"#).unwrap();
        assert_eq!(json["note"], "NaN \" Infinity");
        assert_eq!(json["least"], super::MINUS_INFINITY);
        assert_eq!(json["others"], serde_json::json!(["Infinity", "NaN"]));
    }
}

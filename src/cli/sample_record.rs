//! `sampling.json`: what a folder's pictures were asked to be. A run that finds the same goes on where another has ended.

use crate::atomic_file;
use crate::error::{Error, Result};
use crate::fingerprint::Fingerprint;
use serde_json::{Map, Value};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// In the folder of the pictures.
const FILE: &str = "sampling.json";
/// How a folder with other pictures can be left alone or not.
pub(super) const CHOICE: &str = "give another --out, or --overwrite";

/// Everything that decides pictures, by the names of flags; what is not there is null.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Record(pub(super) Map<String, Value>);

impl Record {
    pub(super) fn path(folder: &Path) -> PathBuf {
        folder.join(FILE)
    }

    /// The record of a folder, if there is one.
    pub(super) fn read(folder: &Path) -> Result<Option<Self>> {
        let path = Self::path(folder);
        let text = match std::fs::read_to_string(&path) {
            Err(error) if [ErrorKind::NotFound, ErrorKind::NotADirectory].contains(&error.kind()) => return Ok(None),
            Err(error) => return Err(Error::io(&path)(error)),
            Ok(text) => text,
        };
        match serde_json::from_str(&text) {
            Ok(Value::Object(keys)) => Ok(Some(Self(keys))),
            _ => Err(Error::input(format!("{}: not a record of pictures as JSON; {CHOICE}", path.display()))),
        }
    }

    /// Writes it, unless there is one: of several shards that begin at once, the first one's stays.
    pub(super) fn create(&self, folder: &Path) -> Result<()> {
        let path = Self::path(folder);
        let text = format!("{:#}\n", Value::Object(self.0.clone()));
        atomic_file::create(&path, text.as_bytes())
    }

    /// Of all that it says.
    pub(super) fn fingerprint(&self) -> String {
        Fingerprint::default().bytes(Value::Object(self.0.clone()).to_string().as_bytes()).text()
    }

    /// A whole number of it.
    pub(super) fn number(&self, key: &str) -> Option<usize> {
        self.0.get(key).and_then(Value::as_u64).and_then(|number| number.try_into().ok())
    }

    /// Refuses pictures that were asked to be something else.
    pub(super) fn check(&self, folder: &Path, expected: &Self) -> Result<()> {
        let keys = expected.0.keys().chain(self.0.keys().filter(|key| !expected.0.contains_key(*key)));
        for key in keys {
            let [found, expected] = [self, expected].map(|record| record.0.get(key).unwrap_or(&Value::Null));
            if found != expected {
                let [found, expected] = [found, expected].map(|value| match value {
                    Value::Null => "not given".into(),
                    Value::String(text) => text.clone(),
                    other => other.to_string(),
                });
                let path = Self::path(folder);
                return Err(Error::input(format!(
                    "{}: {key} is {found}, expected {expected}; {CHOICE}",
                    path.display()
                )));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn record(value: Value) -> Record {
        Record(value.as_object().unwrap().clone())
    }

    #[test]
    fn the_first_record_stays_and_others_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        assert_eq!(Record::read(folder).unwrap(), None);
        let first = record(json!({ "seed": 1, "eta": 0.5, "sampler": "ddim" }));
        first.create(folder).unwrap();
        record(json!({ "seed": 2 })).create(folder).unwrap();
        let found = Record::read(folder).unwrap().unwrap();
        assert_eq!(found, first);
        assert!(found.check(folder, &first).is_ok());
        for (other, words) in [
            (json!({ "seed": 2, "eta": 0.5, "sampler": "ddim" }), "seed is 1, expected 2"),
            (json!({ "seed": 1, "eta": 0.5, "sampler": "ddpm" }), "sampler is ddim, expected ddpm"),
            (json!({ "seed": 1, "sampler": "ddim" }), "eta is 0.5, expected not given"),
            (json!({ "seed": 1, "eta": 0.5, "sampler": "ddim", "class": [1] }), "class is not given, expected [1]"),
        ] {
            let error = found.check(folder, &record(other)).unwrap_err().to_string();
            let path = Record::path(folder);
            assert_eq!(error, format!("{}: {words}; give another --out, or --overwrite", path.display()));
        }
    }

    #[test]
    fn what_is_no_record_is_named() {
        let folder = tempfile::tempdir().unwrap();
        for text in ["", "[1]", "{"] {
            std::fs::write(Record::path(folder.path()), text).unwrap();
            let error = Record::read(folder.path()).unwrap_err().to_string();
            assert!(error.contains("sampling.json: not a record"), "{error}");
        }
    }
}

//! `*.index.json`: which of several files a tensor is in.

use super::unique_map::UniqueMap;
use crate::error::{Error, Result};
use serde::Deserialize;
use std::path::{Component, Path};

#[derive(Deserialize)]
struct Index {
    weight_map: UniqueMap<String>,
}

/// The tensors and their files, which are names in the index's own folder. `source` is named in errors.
///
/// # Errors
/// [`Input`](Error::Input) if it is no index, names a tensor twice, or a file elsewhere.
pub(super) fn parse(text: &[u8], source: &str) -> Result<Vec<(String, String)>> {
    let Index { weight_map: UniqueMap(map) } = serde_json::from_slice(text)
        .map_err(|error| Error::input(format!("{source}: not an index of checkpoint files: {error}")))?;
    for (name, file) in &map {
        let mut parts = Path::new(file).components();
        let plain =
            matches!((parts.next(), parts.next()), (Some(Component::Normal(part)), None) if part == file.as_str());
        if !plain || file.contains(['\\', ':']) || file.len() > 255 {
            let file: String = file.chars().take(100).collect();
            return Err(Error::input(format!(
                "{source}: tensor {name:?} is in {file:?}, expected the name of a file in the same folder"
            )));
        }
    }
    Ok(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_in_the_same_folder() {
        let parse = |file: &str| parse(format!(r#"{{"weight_map": {{"a": {file:?}}}}}"#).as_bytes(), "index");
        assert_eq!(parse("a-1.bin").unwrap(), [("a".to_string(), "a-1.bin".to_string())]);
        for file in ["../a", "/etc/passwd", "b/a", ".", "", "./a", "a/", "a/.", "c:a", "..\\a"] {
            assert!(parse(file).unwrap_err().to_string().contains("same folder"), "{file}");
        }
        let twice = super::parse(br#"{"weight_map": {"a": "x", "a": "y"}}"#, "index").unwrap_err().to_string();
        assert!(twice.contains("\"a\" is there twice"), "{twice}");
    }
}

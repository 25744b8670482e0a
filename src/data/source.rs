//! What a data set's name means.

use std::path::{Path, PathBuf};

use super::fit::Grey;
use super::idx_files::{self, Part};
use super::{Dataset, Options, digits, folder, npz};
use crate::error::{Error, Result};

/// The data sets that come with the program.
pub const BUILT_IN: [&str; 3] = ["digits", "digits:even", "digits:odd"];

pub(super) fn open(spec: &str, options: &Options, progress: &mut dyn FnMut(usize, usize)) -> Result<Dataset> {
    match spec {
        "digits" => return digits::load(|_| true)?.into_dataset(spec.into(), options),
        "digits:even" => return digits::load(|index| index % 2 == 0)?.into_dataset(spec.into(), options),
        "digits:odd" => return digits::load(|index| index % 2 == 1)?.into_dataset(spec.into(), options),
        _ => {}
    }
    let (path, part) = split_part(spec);
    let found = match path.metadata() {
        Ok(found) => found,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(not_found(spec)),
        Err(error) => return Err(Error::io(&path)(error)),
    };
    let name = name_of(&path, part);
    if found.is_dir() {
        if let Some(grey) = idx_files::open_folder(&path, part)? {
            return grey.into_dataset(name, options);
        }
        return match part {
            Part::All => folder::open(&path, name, options, progress),
            Part::Train | Part::Test => Err(Error::input(format!(
                "{spec}: {} has no IDX files (*-images-idx3-ubyte), and only those have a train and a test part",
                path.display()
            ))),
        };
    }
    if !found.is_file() {
        return Err(Error::input(format!("{spec}: neither a file nor a folder")));
    }
    if part != Part::All {
        return Err(Error::input(format!("{spec}: {} is a file, expected a folder of IDX files", path.display())));
    }
    if folder::is_picture(&path) {
        return Err(Error::input(format!("{spec}: one picture, expected the folder that holds the pictures")));
    }
    if path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("npz")) {
        return npz::open(&path, name, options);
    }
    let grey: Grey = idx_files::open_file(&path)?;
    grey.into_dataset(name, options)
}

/// The path and the part, `:train` or `:test`, that a data set's name ends with. A path that exists as it is written
/// has no part.
fn split_part(spec: &str) -> (PathBuf, Part) {
    let whole = Path::new(spec);
    for (ending, part) in [(":train", Part::Train), (":test", Part::Test)] {
        if let Some(folder) = spec.strip_suffix(ending)
            && !whole.exists()
        {
            return (folder.into(), part);
        }
    }
    (whole.into(), Part::All)
}

fn not_found(spec: &str) -> Error {
    Error::input(format!(
        "{spec}: no such file or folder, and not one of the built-in data sets ({})",
        BUILT_IN.join(", ")
    ))
}

/// The last part of the path, without the endings of IDX files.
fn name_of(path: &Path, part: Part) -> String {
    // `.` and `..` have a name only once they are resolved.
    let resolved = path.file_name().is_none().then(|| path.canonicalize().ok()).flatten();
    let name = resolved.as_deref().unwrap_or(path).file_name().map_or("pictures".into(), |name| name.to_string_lossy());
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    match part {
        Part::All => name.to_string(),
        Part::Train => format!("{name}:train"),
        Part::Test => format!("{name}:test"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_of_the_digits() {
        let open = |spec| Dataset::open(spec, &Options::default()).unwrap();
        let (all, even, odd) = (open("digits"), open("digits:even"), open("digits:odd"));
        assert_eq!((all.len(), even.len(), odd.len()), (1797, 899, 898));
        assert_eq!((all.shape(), all.classes(), odd.name.as_str()), ([8, 8, 1], 10, "digits:odd"));
        assert_eq!((odd.bytes(7), odd.labels.as_ref().unwrap()[7]), (all.bytes(15), all.labels.as_ref().unwrap()[15]));
        let even = Dataset { name: all.name.clone(), ..even };
        assert_eq!(even, all.rows(|index| index % 2 == 0));
    }

    #[test]
    fn a_missing_path_lists_what_is_built_in() {
        for spec in ["/no/such/place", "/no/such/place:train", "digits:third", ""] {
            let error = Dataset::open(spec, &Options::default()).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{spec}: no such file or folder")), "{error}");
            assert!(error.contains("digits, digits:even, digits:odd"), "{error}");
        }
    }

    #[test]
    fn a_part_of_something_without_parts_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let spec = format!("{}:train", folder.path().display());
        let error = Dataset::open(&spec, &Options::default()).unwrap_err().to_string();
        assert!(error.contains("has no IDX files"), "{error}");
        let file = folder.path().join("some-ubyte");
        std::fs::write(&file, b"x").unwrap();
        let error = Dataset::open(&format!("{}:test", file.display()), &Options::default()).unwrap_err().to_string();
        assert!(error.contains("is a file, expected a folder"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn a_device_is_refused() {
        let error = Dataset::open("/dev/zero", &Options::default()).unwrap_err().to_string();
        assert_eq!(error, "/dev/zero: neither a file nor a folder");
    }
}

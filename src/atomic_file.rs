//! Files that appear whole or not at all: a crash, a full disk or Ctrl-C never leaves half a file under the final name.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use tempfile::{NamedTempFile, TempPath};

use crate::error::{Error, Result};

/// Writes `contents` to `path`, replacing what was there, in one step.
///
/// # Errors
/// [`Error::Io`] naming `path`, or its folder where that is missing; what was at `path` before is then untouched.
pub fn write(path: &Path, contents: &[u8]) -> Result<()> {
    write_with(path, |file| file.write_all(contents))
}

/// As [`write`](fn@write), with the contents streamed by `fill`; an error from `fill` leaves nothing behind.
///
/// # Errors
/// [`Error::Io`] naming `path`, or its folder where that is missing; what was at `path` before is then untouched.
pub fn write_with(path: &Path, fill: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) -> Result<()> {
    write_at(path, |unfinished| {
        let mut writer = BufWriter::new(File::create(unfinished).map_err(Error::io(path))?);
        fill(&mut writer).and_then(|()| writer.flush()).map_err(Error::io(path))
    })
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Whether a file of this name could be written, for work that is long before there is something to write.
///
/// # Errors
/// [`Error::Input`] naming `path`, if its folder is missing, or it is a folder, a device or a pipe, which are nobody's to
/// replace.
pub fn check(path: &Path) -> Result<()> {
    let path = &path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    let (name, folder) = (path.display(), folder_of(path));
    if path.exists() && !path.is_file() {
        return Err(Error::input(format!("{name}: is no ordinary file, and is not replaced")));
    }
    if !folder.is_dir() {
        return Err(Error::input(format!("{name}: cannot be written: {} is not a folder", folder.display())));
    }
    Ok(())
}

const PREFIX: &str = ".aquatint-";
const SUFFIX: &str = ".part";

/// As [`write`](fn@write), but what is at `path` already stays; of several programs at once, one writes it.
///
/// # Errors
/// [`Error::Io`] naming `path`, or its folder where that is missing.
pub fn create(path: &Path, contents: &[u8]) -> Result<()> {
    let fill = |unfinished: &Path| std::fs::write(unfinished, contents).map_err(Error::io(path));
    place(path, fill, |unfinished, path| match unfinished.persist_noclobber(path) {
        Err(error) if error.error.kind() != io::ErrorKind::AlreadyExists => Err(error.error),
        _ => Ok(()),
    })
}

/// As [`write`](fn@write), with `fill` writing a file of the name that it is given.
///
/// # Errors
/// [`Error::Io`] or [`Error::Input`] naming `path`, or what `fill` says; what was at `path` before is then untouched.
pub fn write_at(path: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    place(path, fill, |unfinished, path| unfinished.persist(path).map_err(|error| error.error))
}

/// A file in a folder that is not yet finished, with the permissions of any other.
pub(crate) fn begin_in(folder: &Path) -> io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(PREFIX).suffix(SUFFIX);
    #[cfg(unix)]
    {
        // The kernel takes the user's umask off this; tempfile's own choice, 0600, would hide the result from others.
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    builder.tempfile_in(folder)
}

fn place(
    path: &Path,
    fill: impl FnOnce(&Path) -> Result<()>,
    rename: impl FnOnce(TempPath, &Path) -> io::Result<()>,
) -> Result<()> {
    check(path)?;
    // What a link points to is replaced, not the link.
    let path = &path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    let folder = folder_of(path);
    // In the same folder, as a rename is only one step within one file system. Windows renames no open file, so the handle
    // is closed at once.
    let unfinished = begin_in(folder).map_err(Error::io(path))?.into_temp_path();
    fill(&unfinished)?;
    let file = File::options().write(true).open(&unfinished).map_err(Error::io(path))?;
    file.sync_all().map_err(Error::io(path))?;
    drop(file);
    rename(unfinished, path).map_err(Error::io(path))?;

    // The new name is durable once its folder is. Some file systems refuse to sync a folder, and the file itself is
    // whole either way, so a refusal is no error.
    #[cfg(unix)]
    if let Ok(folder) = File::open(folder) {
        let _ = folder.sync_all();
    }
    Ok(())
}

/// Removes what a killed program has left of unfinished files in a folder.
pub fn sweep(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(PREFIX) && name.ends_with(SUFFIX) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn writes_and_replaces() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.bin");
        write(&path, b"first").unwrap();
        write(&path, b"second, longer").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"second, longer");
        assert_eq!(names(folder.path()), ["a.bin"]);
    }

    #[test]
    fn what_was_created_first_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.bin");
        create(&path, b"first").unwrap();
        create(&path, b"second").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"first");
        assert_eq!(names(folder.path()), ["a.bin"]);
    }

    #[test]
    fn a_failed_write_leaves_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.bin");
        write(&path, b"whole").unwrap();
        let error = write_with(&path, |file| {
            file.write_all(b"half")?;
            Err(io::Error::other("disk is full"))
        })
        .unwrap_err();
        assert!(error.to_string().contains("a.bin: disk is full"), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), b"whole");
        assert_eq!(names(folder.path()), ["a.bin"]);
    }

    #[test]
    fn a_missing_folder_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = write(&folder.path().join("none/a.bin"), b"x").unwrap_err().to_string();
        assert!(error.contains("none is not a folder"), "{error}");
    }

    #[test]
    fn a_folder_in_the_way_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("taken");
        std::fs::create_dir(&path).unwrap();
        assert!(write(&path, b"x").unwrap_err().to_string().contains("taken"));
        assert_eq!(names(folder.path()), ["taken"]);
    }

    #[cfg(unix)]
    #[test]
    fn has_the_mode_of_an_ordinary_file() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let (ours, plain) = (folder.path().join("ours"), folder.path().join("plain"));
        write(&ours, b"x").unwrap();
        std::fs::write(&plain, b"x").unwrap();
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode();
        assert_eq!(mode(&ours), mode(&plain));
    }
}

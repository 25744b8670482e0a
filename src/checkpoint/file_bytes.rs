//! A file's bytes, mapped into memory: what is not looked at is not read.

use crate::error::{Error, Result};
use memmap2::Mmap;
use std::fs::File;
use std::ops::Deref;
use std::path::Path;

pub(super) enum FileBytes {
    Mapped(Mmap),
    Owned(Vec<u8>),
}

impl FileBytes {
    /// Maps a file.
    ///
    /// # Errors
    /// [`Io`](Error::Io), [`Input`](Error::Input) for a folder.
    pub(super) fn open(path: &Path) -> Result<Self> {
        // Opening a pipe would wait for somebody to write to it.
        let about = std::fs::metadata(path).map_err(Error::io(path))?;
        if !about.is_file() {
            return Err(Error::input(format!("{}: is no ordinary file", path.display())));
        }
        let file = File::open(path).map_err(Error::io(path))?;
        // An empty file cannot be mapped.
        if about.len() == 0 {
            return Ok(Self::Owned(Vec::new()));
        }
        // SAFETY: the map is only read, as bytes. Another program that shortens the file in these seconds would end this
        // one with a signal, as with any program that maps files; it cannot make it read anything else.
        unsafe { Mmap::map(&file) }.map(Self::Mapped).map_err(Error::io(path))
    }
}

impl Deref for FileBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Owned(bytes) => bytes,
        }
    }
}

//! Floats of batches that are drawn, kept beside the pictures until all are there to be put into one file.

use crate::atomic_file;
use crate::error::{Error, Result};
use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::PathBuf;
use tempfile::NamedTempFile;

/// The folder that they are in, which is there as long as there are any.
pub(super) struct Parts {
    pub(super) folder: PathBuf,
}

impl Parts {
    fn path(&self, name: &str, pictures: &Range<usize>) -> PathBuf {
        self.folder.join(format!("{name}-{}-{}.part", pictures.start, pictures.end))
    }

    /// Whether the part of these pictures is there, of so many numbers.
    pub(super) fn has(&self, name: &str, pictures: &Range<usize>, len: usize) -> bool {
        self.path(name, pictures).metadata().is_ok_and(|file| file.len() == 4 * len as u64)
    }

    /// Begins a part, which is there once it is finished.
    pub(super) fn begin(&self, name: &str, pictures: &Range<usize>) -> Result<Part> {
        std::fs::create_dir_all(&self.folder).map_err(Error::io(&self.folder))?;
        let path = self.path(name, pictures);
        let file = atomic_file::begin_in(&self.folder).map_err(Error::io(&path))?;
        Ok(Part { file: BufWriter::new(file), path })
    }

    /// So many numbers of a part.
    pub(super) fn read(&self, name: &str, pictures: &Range<usize>, numbers: Range<usize>) -> Result<Vec<f32>> {
        let path = self.path(name, pictures);
        let mut bytes = vec![0; 4 * numbers.len()];
        let mut file = File::open(&path).map_err(Error::io(&path))?;
        let read = file.seek(SeekFrom::Start(4 * numbers.start as u64)).and_then(|_| file.read_exact(&mut bytes));
        read.map_err(Error::io(&path))?;
        Ok(bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
    }

    /// Removes all of them.
    pub(super) fn remove(&self) {
        // They are in nobody's way.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A part that is written.
pub(super) struct Part {
    file: BufWriter<NamedTempFile>,
    path: PathBuf,
}

impl Part {
    pub(super) fn write(&mut self, numbers: &[f32]) -> Result<()> {
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        self.file.write_all(&bytes).map_err(Error::io(&self.path))
    }

    pub(super) fn finish(self) -> Result<()> {
        let path = self.path;
        let file = self.file.into_inner().map_err(|error| Error::io(&path)(error.into_error()))?;
        file.as_file().sync_all().map_err(Error::io(&path))?;
        file.persist(&path).map_err(|error| Error::io(&path)(error.error))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_there_once_it_is_finished() {
        let folder = tempfile::tempdir().unwrap();
        let parts = Parts { folder: folder.path().join("parts") };
        let mut part = parts.begin("x", &(3..5)).unwrap();
        part.write(&[1.0, 2.0]).unwrap();
        part.write(&[3.0]).unwrap();
        assert!(!parts.has("x", &(3..5), 3));
        part.finish().unwrap();
        assert!(parts.has("x", &(3..5), 3) && !parts.has("x", &(3..5), 2) && !parts.has("x", &(3..6), 3));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let plain = folder.path().join("plain");
            std::fs::write(&plain, b"x").unwrap();
            let mode = |path: PathBuf| path.metadata().unwrap().permissions().mode();
            assert_eq!(mode(parts.path("x", &(3..5))), mode(plain));
        }
        assert_eq!(parts.read("x", &(3..5), 1..3).unwrap(), [2.0, 3.0]);
        assert!(parts.read("x", &(3..5), 1..4).is_err());
        parts.remove();
        assert!(!parts.folder.exists());
    }
}

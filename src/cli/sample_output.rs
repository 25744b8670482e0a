//! What `sample` writes: PNGs as batches are drawn, and in the end a sheet and the files that were asked for. What is on disk
//! says what is left to draw.

use super::output::say;
use super::sample::{SHEET, to_nchw};
use super::sample_job::{Batch, Job};
use super::sample_parts::Parts;
use super::sample_path::{self, PathFile};
use super::sample_record::{CHOICE, Record};
use crate::atomic_file;
use crate::checkpoint::write_in_parts;
use crate::data::is_named;
use crate::diffusion::Look;
use crate::error::{Error, Result};
use crate::fingerprint::Fingerprint;
use crate::pictures::{Label, Pictures, save_npz, save_png, shown_on_sheet};
use rayon::prelude::*;
use serde_json::{Map, Value, json};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// What every PNG ends with: an empty IEND chunk and its checksum.
const END_OF_PNG: [u8; 8] = *b"IEND\xae\x42\x60\x82";
/// The name of the floats' parts.
const FLOATS: &str = "sample";

/// Where a run's pictures go.
pub(super) struct Output {
    folder: PathBuf,
    job: Job,
    /// Of a picture: height, width and channels.
    shape: [usize; 3],
    parts: Parts,
    /// Files that are finished, by their paths: what they hold, their fingerprint, and that of the record at that time.
    finished: Map<String, Value>,
    /// The fingerprint of the record of its pictures.
    pub(super) record: String,
    pub(super) tensors: Option<PathBuf>,
    pub(super) npz: Option<PathBuf>,
    pub(super) paths: Vec<PathFile>,
}

impl Output {
    /// Of a folder, whether it is there or not.
    pub(super) fn new(folder: &Path, job: Job, shape: [usize; 3]) -> Self {
        let parts = Parts { folder: job.file(&folder.join("sampling.parts")) };
        let mut output = Self {
            folder: folder.to_path_buf(),
            job,
            shape,
            parts,
            finished: Map::new(),
            record: String::new(),
            tensors: None,
            npz: None,
            paths: Vec::new(),
        };
        let known = std::fs::read(output.list()).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        output.finished = known.unwrap_or_default();
        output
    }

    fn list(&self) -> PathBuf {
        self.job.file(&self.folder.join("sampling-files.json"))
    }

    fn png(&self, picture: usize) -> PathBuf {
        self.folder.join(self.job.png(picture))
    }

    fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// Refuses pictures of which nothing says how they were drawn. Who asks first, and then finds no record, knows that there
    /// was none when they were written.
    pub(super) fn refuse_strays(&self) -> Result<()> {
        let entries = std::fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let pictures = entries.filter_map(|entry| self.job.picture(entry.file_name().to_str()?));
        match pictures.min().map(|picture| self.png(picture)) {
            Some(png) => {
                let record = Record::path(&self.folder);
                let (png, record) = (png.display(), record.display());
                Err(Error::input(format!("{png}: is there, but no {record} says how it was drawn; {CHOICE}")))
            }
            None => Ok(()),
        }
    }

    /// Removes what an earlier run has left, which drew so many pictures; its record at last.
    pub(super) fn clear(&self, earlier: Option<usize>) -> Result<()> {
        let remove = |path: &Path| match std::fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io(path)(error)),
            _ => Ok(()),
        };
        let before = earlier.map(|count| Job::new(count, [1, 1], None));
        for entry in std::fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            let is_picture = |job: &Job| name.to_str().and_then(|name| job.picture(name)).is_some();
            if is_named(&path, "sampling", "parts") {
                Parts { folder: path }.remove();
            } else if is_named(&path, "sheet", "png")
                || is_named(&path, "sampling-files", "json")
                || before.iter().chain([&self.job]).any(is_picture)
            {
                remove(&path)?;
            }
        }
        remove(&Record::path(&self.folder))
    }

    /// The batches of which not all is on disk.
    pub(super) fn missing(&self) -> Vec<Batch> {
        let elements = self.elements();
        // Whether a file is finished is asked once, for all of it is read.
        let tensors = self.tensors.as_ref().is_some_and(|file| !self.is_finished(file, &self.holds()));
        let unfinished = |path: &&PathFile| !self.is_finished(&path.file, &path.holds());
        let paths: Vec<&PathFile> = self.paths.iter().filter(unfinished).collect();
        let has = |batch: &Batch| {
            batch.kept.clone().all(|picture| is_whole_png(&self.png(picture)))
                && (!tensors || self.parts.has(FLOATS, &batch.kept, batch.kept.len() * elements))
                && paths.iter().all(|path| path.has(&self.parts, batch, elements))
        };
        self.job.batches().filter(|batch| !has(batch)).collect()
    }

    /// Draws a batch with `draw`, which is given what to do after every stage, and writes it.
    pub(super) fn take(
        &self,
        batch: &Batch,
        draw: impl FnOnce(&mut dyn FnMut(usize, &mut Look) -> Result<()>) -> Result<Vec<f32>>,
    ) -> Result<()> {
        let elements = self.elements();
        let mut writing = Vec::new();
        for path in &self.paths {
            writing.extend(path.begin(&self.parts, batch, elements)?);
        }
        let drawn = draw(&mut |done, look| sample_path::watch(&mut writing, done, look))?;
        let kept = batch.kept_of(&drawn, elements);
        writing.into_iter().try_for_each(|(_, part, _)| part.finish())?;
        if self.tensors.is_some() {
            let mut part = self.parts.begin(FLOATS, &batch.kept)?;
            part.write(kept)?;
            part.finish()?;
        }
        let pictures = Pictures::new(kept, batch.kept.len(), self.shape)?;
        let numbers: Vec<usize> = batch.kept.clone().collect();
        let save = |(index, picture): (usize, &usize)| pictures.save_png(&self.png(*picture), index);
        numbers.par_iter().enumerate().map(save).collect()
    }

    /// Writes the sheet, with labels if there are any, and the files that were asked for.
    pub(super) fn finish(&mut self, label: Option<&dyn Fn(usize) -> Label>) -> Result<()> {
        let [height, width, channels] = self.shape;
        let count = self.job.range.len();
        if let Some(file) = self.tensors.clone() {
            let holds = self.holds();
            self.make(&file, &holds, |output| {
                let parts = output.job.batches().map(|batch| {
                    let pictures = batch.kept.len();
                    let part = output.parts.read(FLOATS, &batch.kept, 0..pictures * height * width * channels)?;
                    Ok(to_nchw(&part, [pictures, channels, height, width]))
                });
                let metadata = [("holds", holds.clone())];
                write_in_parts(&file, "sample", &[count, channels, height, width], &metadata, parts)
            })?;
        }
        if let Some(file) = self.npz.clone() {
            let holds = self.holds();
            self.make(&file, &holds, |output| {
                let pictures = output.job.range.clone().map(|picture| output.bytes(picture));
                save_npz(&file, [count, height, width, channels], pictures)
            })?;
        }
        for path in std::mem::take(&mut self.paths) {
            self.make(&path.file, &path.holds(), |output| {
                path.write(&output.parts, output.job.batches(), output.shape)
            })?;
        }
        self.parts.remove();
        let sheet = self.job.file(&self.folder.join("sheet.png"));
        let most = shown_on_sheet(count.min(SHEET), [height, width]);
        let shown: Vec<usize> = self.job.range.clone().take(most).collect();
        let bytes: Vec<Vec<u8>> = shown.par_iter().map(|&picture| self.bytes(picture)).collect::<Result<_>>()?;
        let floats: Vec<f32> = bytes.iter().flatten().map(|&byte| f32::from(byte) / 127.5 - 1.0).collect();
        let pictures = Pictures::new(&floats, shown.len(), self.shape)?;
        let picture = match label {
            Some(label) => pictures.labelled_sheet(&shown.into_iter().map(label).collect::<Vec<_>>())?,
            None => pictures.contact_sheet(0, None)?,
        };
        save_png(&sheet, &picture.into())?;
        // Others of a job may still be writing.
        if self.job.is_whole() {
            atomic_file::sweep(&self.folder);
        }
        say!("{} and {}", self.job.describe(), sheet.display());
        Ok(())
    }

    /// Makes a file, unless it is there as it was made.
    fn make(&mut self, file: &Path, holds: &str, make: impl FnOnce(&Self) -> Result<()>) -> Result<()> {
        if !self.is_finished(file, holds) {
            make(self)?;
            let fingerprint = fingerprint(file)?;
            let known = json!({ "holds": holds, "fingerprint": fingerprint, "record": self.record });
            self.finished.insert(key(file), known);
            atomic_file::write(&self.list(), format!("{:#}\n", Value::Object(self.finished.clone())).as_bytes())?;
        }
        say!("{}: {holds}", file.display());
        Ok(())
    }

    fn is_finished(&self, file: &Path, holds: &str) -> bool {
        self.finished.get(&key(file)).is_some_and(|known| {
            known["holds"] == holds
                && known["record"] == self.record.as_str()
                && fingerprint(file).is_ok_and(|found| known["fingerprint"] == found.as_str())
        })
    }

    fn holds(&self) -> String {
        self.job.describe()
    }

    /// A picture as it is on disk.
    fn bytes(&self, picture: usize) -> Result<Vec<u8>> {
        let path = self.png(picture);
        let wrong = |why: String| Error::input(format!("{}: {why}", path.display()));
        let read = image::open(&path).map_err(|error| wrong(format!("cannot be decoded: {error}")))?;
        let bytes = read.into_bytes();
        match bytes.len() == self.elements() {
            true => Ok(bytes),
            false => Err(wrong(format!("{} numbers, expected {}", bytes.len(), self.elements()))),
        }
    }
}

fn key(file: &Path) -> String {
    std::path::absolute(file).unwrap_or_else(|_| file.to_path_buf()).display().to_string()
}

fn fingerprint(file: &Path) -> Result<String> {
    Fingerprint::default().file(file).map(Fingerprint::text)
}

/// Whether there is a PNG with an end: ours appear whole, but who copies them may be interrupted.
fn is_whole_png(path: &Path) -> bool {
    let end = || -> std::io::Result<[u8; 8]> {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::End(-8))?;
        let mut end = [0; 8];
        file.read_exact(&mut end)?;
        Ok(end)
    };
    end().is_ok_and(|end| end == END_OF_PNG)
}

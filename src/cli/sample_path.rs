//! The way from noise to pictures: x_t, or the x_0 predicted from it, as an animation or as numbers.

use super::sample::to_nchw;
use super::sample_job::Batch;
use super::sample_parts::{Part, Parts};
use crate::checkpoint::write_in_parts;
use crate::diffusion::Look;
use crate::error::{Error, Result};
use crate::pictures::{Pictures, save_animation};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Frames of an animation at the most.
const MOST_FRAMES: usize = 100;
/// Milliseconds that an animation of many frames takes.
const WHOLE_MS: usize = 5000;
/// Milliseconds that a frame stays at the most.
const LONGEST_MS: usize = 250;
/// Pictures whose way can be shown.
pub(super) const MOST_PICTURES: usize = 64;

/// A file that shows the way of some pictures.
pub(super) struct PathFile {
    pub(super) file: PathBuf,
    /// Whether it shows the predicted x_0.
    predicted: bool,
    /// How many stages are done at its frames.
    frames: Vec<usize>,
    pictures: Range<usize>,
}

/// A path whose frames of a batch are being written, and the place of those within the batch's numbers.
type Writing<'a> = (&'a PathFile, Part, Range<usize>);

impl PathFile {
    /// The file's ending says what it is.
    pub(super) fn new(file: &Path, predicted: bool, stages: usize, pictures: Range<usize>) -> Self {
        // No x_0 is predicted before the first stage.
        let all = usize::from(predicted)..=stages;
        let frames = if is_tensor(file) { all.collect() } else { evenly(all.collect(), MOST_FRAMES) };
        Self { file: file.to_path_buf(), predicted, frames, pictures }
    }

    /// Refuses a name that does not say what to write.
    pub(super) fn check_name(flag: &str, file: &Path) -> Result<()> {
        if is_tensor(file) || has_ending(file, "gif") || has_ending(file, "png") {
            return Ok(());
        }
        let file = file.display();
        Err(Error::input(format!("{flag} is {file}, expected a name that ends with .gif, .png or .safetensors")))
    }

    /// What it holds, in words.
    pub(super) fn holds(&self) -> String {
        let Self { frames, pictures, .. } = self;
        let what = if self.predicted { "the predicted x_0" } else { "x_t" };
        format!("{what} of pictures {} to {} at {} stages", pictures.start, pictures.end - 1, frames.len())
    }

    fn name(&self) -> String {
        format!("{}-{}", if self.predicted { "x0" } else { "x" }, self.frames.len())
    }

    /// Its pictures of a batch.
    fn part_of(&self, batch: &Batch) -> Range<usize> {
        self.pictures.start.max(batch.kept.start)..self.pictures.end.min(batch.kept.end)
    }

    /// Whether nothing of a batch has to be drawn for it.
    pub(super) fn has(&self, parts: &Parts, batch: &Batch, elements: usize) -> bool {
        let pictures = self.part_of(batch);
        pictures.is_empty() || parts.has(&self.name(), &pictures, self.frames.len() * pictures.len() * elements)
    }

    /// Begins its part of a batch, if it has one.
    pub(super) fn begin(&self, parts: &Parts, batch: &Batch, elements: usize) -> Result<Option<Writing<'_>>> {
        let pictures = self.part_of(batch);
        if pictures.is_empty() {
            return Ok(None);
        }
        let first = batch.drawn.start;
        let numbers = (pictures.start - first) * elements..(pictures.end - first) * elements;
        Ok(Some((self, parts.begin(&self.name(), &pictures)?, numbers)))
    }

    /// Puts the parts together.
    pub(super) fn write(
        &self,
        parts: &Parts,
        batches: impl Iterator<Item = Batch>,
        [height, width, channels]: [usize; 3],
    ) -> Result<()> {
        let elements = height * width * channels;
        let ranges: Vec<Range<usize>> =
            batches.map(|batch| self.part_of(&batch)).filter(|range| !range.is_empty()).collect();
        let frame = |number: usize| -> Result<Vec<f32>> {
            let mut all = Vec::new();
            for range in &ranges {
                let len = range.len() * elements;
                all.extend(parts.read(&self.name(), range, number * len..(number + 1) * len)?);
            }
            Ok(all)
        };
        let (count, frames) = (self.pictures.len(), self.frames.len());
        if is_tensor(&self.file) {
            let shape = [count, channels, height, width];
            let metadata = [("holds", self.holds())];
            let frames = (0..frames).map(|number| frame(number).map(|x| to_nchw(&x, shape)));
            let all = [&[self.frames.len()][..], &shape].concat();
            return write_in_parts(&self.file, "path", &all, &metadata, frames);
        }
        let sheet = |number| {
            let x = frame(number)?;
            Pictures::new(&x, count, [height, width, channels])?.contact_sheet(0, None)
        };
        let delay = (WHOLE_MS / frames).min(LONGEST_MS) as u32;
        save_animation(&self.file, (0..frames).map(sheet), delay)
    }
}

/// Writes what is seen after so many stages to the files that show it.
pub(super) fn watch(writing: &mut [Writing], done: usize, look: &mut Look) -> Result<()> {
    for (path, part, numbers) in writing.iter_mut().filter(|(path, ..)| path.frames.contains(&done)) {
        let seen = if path.predicted { look.predicted()? } else { look.x()? };
        part.write(&seen[numbers.clone()])?;
    }
    Ok(())
}

/// At most so many, evenly chosen, the first and the last among them.
fn evenly(all: Vec<usize>, most: usize) -> Vec<usize> {
    if all.len() <= most {
        return all;
    }
    (0..most).map(|number| all[number * (all.len() - 1) / (most - 1)]).collect()
}

fn has_ending(file: &Path, ending: &str) -> bool {
    file.extension().is_some_and(|found| found.eq_ignore_ascii_case(ending))
}

fn is_tensor(file: &Path) -> bool {
    has_ending(file, "safetensors")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_chosen_evenly() {
        let frames = |file: &str, predicted, stages| PathFile::new(Path::new(file), predicted, stages, 0..1).frames;
        assert_eq!(frames("a.gif", false, 3), [0, 1, 2, 3]);
        assert_eq!(frames("a.gif", true, 3), [1, 2, 3]);
        let many = frames("a.PNG", false, 1000);
        assert_eq!((many.len(), many[0], many[99]), (100, 0, 1000));
        assert!(many.windows(2).all(|pair| (9..=11).contains(&(pair[1] - pair[0]))));
        assert_eq!(frames("a.safetensors", false, 1000).len(), 1001);
        assert!(PathFile::check_name("--path", Path::new("a.webp")).is_err());
    }
}

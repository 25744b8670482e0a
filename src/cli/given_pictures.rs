//! The flags of `sample` for pictures that drawing begins with, or of which a part is known.

use crate::data::{Dataset, Fit, Options};
use crate::diffusion::{Known, Request, Resampling};
use crate::error::{Error, Result};
use crate::fingerprint::Fingerprint;
use crate::kernels::known_part::Projection;
use std::path::{Path, PathBuf};

/// Pictures in.
#[derive(clap::Args)]
#[command(next_help_heading = "From pictures")]
pub(super) struct GivenFlags {
    /// Begins with this picture, or in turn with those of a folder, noised as --strength says (SDEdit), instead of with
    /// noise
    #[arg(long, value_name = "IMAGE")]
    init: Option<PathBuf>,
    /// The part of the steps, up to 1, that is taken from --init; less stays nearer to it; 0.5 if not given
    #[arg(long, value_name = "S", requires = "init", allow_negative_numbers = true)]
    strength: Option<f64>,
    /// Draws the white parts of --mask anew and keeps the rest of this picture, or of those of a folder in turn
    #[arg(long, value_name = "IMAGE", requires = "mask")]
    inpaint: Option<PathBuf>,
    /// What --inpaint draws: white is drawn, black is kept; of the picture's size, or a folder of them, in turn
    #[arg(long, value_name = "IMAGE", requires = "inpaint")]
    mask: Option<PathBuf>,
    /// Draws a colour picture whose grey is that of this one, or of those of a folder in turn
    #[arg(long, value_name = "IMAGE", conflicts_with = "inpaint")]
    colorize: Option<PathBuf>,
    /// Draws a picture of which this smaller one is the mean over squares of pixels, or those of a folder in turn
    #[arg(long, value_name = "IMAGE", conflicts_with_all = ["inpaint", "colorize"])]
    upscale: Option<PathBuf>,
    /// How often every part of the chain is taken with --inpaint, --colorize or --upscale (RePaint): what is drawn fits what
    /// is given the better, and takes so many times as long; 1 if not given
    #[arg(long, value_name = "TIMES")]
    resample: Option<usize>,
    /// Steps in such a part, RePaint's jump length; a twenty-fifth of all if not given, as its 10 of 250
    #[arg(long, value_name = "STEPS", requires = "resample")]
    jump: Option<usize>,
}

/// Of the steps, where only a picture was given.
const STRENGTH: f64 = 0.5;

/// What the flags say is given.
pub(super) struct Given {
    begin: Option<Dataset>,
    known: Option<(Dataset, Option<Dataset>)>,
    /// What of it is known.
    pub(super) projection: Option<Projection>,
}

impl GivenFlags {
    /// The part of the steps that is taken.
    pub(super) fn strength(&self) -> Option<f64> {
        self.init.as_ref().map(|_| self.strength.unwrap_or(STRENGTH))
    }

    /// How often parts are taken.
    pub(super) fn resampling(&self) -> Result<Resampling> {
        if self.resample.is_some() && self.inpaint.is_none() && self.colorize.is_none() && self.upscale.is_none() {
            return Err(Error::input(
                "--resample is for pictures of which a part is known; expected --inpaint, --colorize or --upscale with it",
            ));
        }
        Ok(Resampling { times: self.resample.unwrap_or(1), jump: self.jump })
    }

    /// Reads the pictures for a model of these.
    pub(super) fn read(&self, shape: [usize; 3]) -> Result<Given> {
        let [height, width, channels] = shape;
        let any = [&self.init, &self.inpaint, &self.colorize, &self.upscale].into_iter().flatten().next();
        if let Some(path) = any.filter(|_| ![1, 3].contains(&channels)) {
            let path = path.display();
            return Err(Error::input(format!("{path}: the model draws {channels} channels, expected 1 or 3")));
        }
        let begin = self.init.as_deref().map(|path| pictures(path, shape)).transpose()?;
        let (known, projection) = if let (Some(picture), Some(mask)) = (&self.inpaint, &self.mask) {
            same_size(picture, mask)?;
            let mask = pictures(mask, [height, width, 1])?;
            (Some((pictures(picture, shape)?, Some(mask))), Projection::Pixels)
        } else if let Some(path) = &self.colorize {
            if channels != 3 {
                let path = path.display();
                return Err(Error::input(format!("--colorize {path}: the model draws grey, expected one of colours")));
            }
            (Some((pictures(path, shape)?, None)), Projection::Grey)
        } else if let Some(path) = &self.upscale {
            let small = smaller(path, shape)?;
            let side = height / small.height;
            (Some((enlarged(&small, side)?, None)), Projection::Means(side))
        } else {
            (None, Projection::Pixels)
        };
        let projection = known.as_ref().map(|_| projection);
        Ok(Given { begin, known, projection })
    }
}

impl Given {
    /// A fingerprint of all that is given, if anything is.
    pub(super) fn fingerprint(&self) -> Option<String> {
        let known = self.known.iter().flat_map(|(pictures, mask)| [Some(pictures), mask.as_ref()]);
        let all: Vec<&Dataset> = self.begin.iter().chain(known.flatten()).collect();
        let mut fingerprint = Fingerprint::default().bytes(format!("{:?}", self.projection).as_bytes());
        for data in &all {
            fingerprint = (0..data.len()).fold(fingerprint, |so_far, picture| so_far.bytes(data.bytes(picture)));
        }
        (!all.is_empty()).then(|| fingerprint.text())
    }

    /// Writes what is given of so many pictures, the first of which has this number.
    pub(super) fn request(&self, request: &mut Request) {
        let numbers = || (0..request.count).map(|i| request.first_picture as usize + i);
        let floats = |data: &Dataset| -> Vec<f32> {
            let mut all = vec![0.0; request.count * data.picture_len()];
            for (number, out) in numbers().zip(all.chunks_exact_mut(data.picture_len())) {
                data.picture(number % data.len(), false, out);
            }
            all
        };
        request.begin = self.begin.as_ref().map(floats);
        request.known = self.known.as_ref().map(|(pictures, mask)| Known {
            pictures: floats(pictures),
            mask: match mask {
                // White is drawn: 1 where it is black.
                Some(mask) => floats(mask).into_iter().map(|white| 0.5 - 0.5 * white).collect(),
                None => vec![1.0; request.count * pictures.height * pictures.width],
            },
        });
    }
}

/// A picture, or all of a folder, brought to size and colour.
fn pictures(path: &Path, shape: [usize; 3]) -> Result<Dataset> {
    if !path.is_dir() {
        return Dataset::open_picture(path, shape, Fit::Crop);
    }
    let [height, width, channels] = shape;
    let image_size = (height == width).then_some(height);
    let options = Options { image_size, grayscale: Some(channels == 1), ..Options::default() };
    let found = folder(path, &options)?;
    if found.shape() != shape {
        let path = path.display();
        return Err(Error::input(format!(
            "{path}: {} x {} pixels (height x width), expected {height} x {width}",
            found.height, found.width
        )));
    }
    Ok(found)
}

/// Holds a mask to its picture's size, by which both are brought to the model's alike.
fn same_size(picture: &Path, mask: &Path) -> Result<()> {
    if picture.is_dir() || mask.is_dir() {
        return Ok(());
    }
    let [expected, found] = [Dataset::size_of_picture(picture)?, Dataset::size_of_picture(mask)?];
    if found == expected {
        return Ok(());
    }
    let ([h, w], [height, width]) = (found, expected);
    let (picture, mask) = (picture.display(), mask.display());
    Err(Error::input(format!(
        "--mask {mask}: {h} x {w} pixels (height x width), expected {height} x {width} as {picture}"
    )))
}

/// The pictures of a folder, whatever it is called.
fn folder(path: &Path, options: &Options) -> Result<Dataset> {
    Dataset::open(&Path::new(".").join(path).display().to_string(), options)
}

/// Pictures as they are, of sizes that the model's are a multiple of.
fn smaller(path: &Path, [height, width, channels]: [usize; 3]) -> Result<Dataset> {
    let found = if path.is_dir() {
        let options = Options { grayscale: Some(channels == 1), ..Options::default() };
        folder(path, &options)?
    } else {
        Dataset::open_picture_as_is(path, channels)?
    };
    let (h, w) = (found.height, found.width);
    let fits = h < height && height.is_multiple_of(h) && width == height / h * w;
    if !fits {
        let path = path.display();
        return Err(Error::input(format!(
            "--upscale {path}: {h} x {w} pixels (height x width), expected {height} x {width} over 2 or another whole number"
        )));
    }
    Ok(found)
}

/// Every pixel as a square of so many a side.
fn enlarged(small: &Dataset, side: usize) -> Result<Dataset> {
    let [h, w, c] = small.shape();
    let row = |bytes: &[u8]| -> Vec<u8> { bytes.chunks_exact(c).flat_map(|pixel| pixel.repeat(side)).collect() };
    let pixels = (0..small.len()).flat_map(|picture| {
        small.bytes(picture).chunks_exact(w * c).flat_map(|bytes| row(bytes).repeat(side)).collect::<Vec<u8>>()
    });
    Dataset::from_bytes(small.name.clone(), [h * side, w * side, c], pixels.collect(), None, Vec::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_become_squares() {
        let small = Dataset::from_bytes("x", [1, 2, 3], vec![1, 2, 3, 4, 5, 6], None, Vec::new()).unwrap();
        let large = enlarged(&small, 2).unwrap();
        assert_eq!(large.shape(), [2, 4, 3]);
        let row = [1, 2, 3, 1, 2, 3, 4, 5, 6, 4, 5, 6];
        assert_eq!(large.bytes(0), [row, row].concat());
    }
}

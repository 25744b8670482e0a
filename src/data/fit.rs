//! Brings pictures to one size.

use clap::ValueEnum;
use image::imageops::{self, FilterType};
use image::{ImageBuffer, Luma, Pixel};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{Dataset, Options};
use crate::error::{Error, Result};

/// The largest side a picture may be brought to. Beyond it the size is a slip of the hand, and memory would go first.
const LARGEST_SIDE: usize = 8192;

/// How a picture of another size or shape becomes a square of side S.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Fit {
    /// Takes the central square and scales it to S x S, up or down: fills the square, loses the edges of the longer
    /// side.
    #[default]
    Crop,
    /// Shrinks the picture, if a side is longer than S, until it fits, and centres it on black: loses nothing, and
    /// never enlarges (28 x 28 with S = 32 gets a border of 2 pixels).
    Pad,
}

/// Grey pictures of one size, as IDX files and the digits have them.
pub(super) struct Grey {
    pub height: usize,
    pub width: usize,
    /// N x height x width.
    pub pixels: Vec<u8>,
    pub labels: Option<Vec<u32>>,
}

impl Grey {
    /// The data set in the size and colour that `options` ask for; its classes are called by their number, up to the
    /// highest label.
    pub fn into_dataset(self, name: String, options: &Options) -> Result<Dataset> {
        let (height, width) = (self.height, self.width);
        let [tall, wide] = match options.image_size {
            Some(side) => [check_side(side, options.multiple_of)?; 2],
            None => [height, width].map(|side| side.next_multiple_of(options.multiple_of.max(1))),
        };
        let only_pad = options.image_size.is_none() || (options.fit == Fit::Pad && height <= tall && width <= wide);

        let count = self.pixels.len() / (height * width);
        let mut pixels = self.pixels;
        if [tall, wide] != [height, width] {
            let mut fitted = zeros(&name, count, [tall, wide, 1])?;
            fitted.par_chunks_exact_mut(tall * wide).zip(pixels.par_chunks_exact(height * width)).for_each(
                |(out, picture)| {
                    if only_pad {
                        pad(picture, [height, width, 1], out, [tall, wide]);
                    } else if let Some(picture) =
                        ImageBuffer::<Luma<u8>, _>::from_raw(width as u32, height as u32, picture.to_vec())
                    {
                        square(picture, tall, options.fit, out);
                    }
                },
            );
            pixels = fitted;
        }

        let channels = if options.grayscale == Some(false) { 3 } else { 1 };
        if channels == 3 {
            let mut colour = zeros(&name, count, [tall, wide, 3])?;
            colour.par_chunks_exact_mut(3).zip(&pixels).for_each(|(out, &value)| out.fill(value));
            pixels = colour;
        }
        let classes = self.labels.iter().flatten().max().map_or(0, |&highest| highest + 1);
        let class_names = (0..classes).map(|label| label.to_string()).collect();
        Dataset::from_bytes(name, [tall, wide, channels], pixels, self.labels, class_names)
    }
}

/// `side` again, if pictures can have it.
pub(super) fn check_side(side: usize, multiple_of: usize) -> Result<usize> {
    let step = multiple_of.max(1);
    if side == 0 || side > LARGEST_SIDE {
        return Err(Error::input(format!("--image-size {side}: expected 1 to {LARGEST_SIDE} pixels")));
    }
    if !side.is_multiple_of(step) {
        return Err(Error::input(format!(
            "--image-size {side}: the model needs a multiple of {step}, for example {}",
            side.next_multiple_of(step)
        )));
    }
    Ok(side)
}

/// Room for `count` black pictures, or an error where the memory is not there.
pub(super) fn zeros(name: &str, count: usize, [height, width, channels]: [usize; 3]) -> Result<Vec<u8>> {
    let mut room = Vec::new();
    let size = [height, width, channels].into_iter().try_fold(count, usize::checked_mul);
    match size.filter(|&size| room.try_reserve_exact(size).is_ok()) {
        Some(size) => {
            room.resize(size, 0);
            Ok(room)
        }
        None => Err(Error::OutOfMemory(format!(
            "{name}: {count} pictures of {height} x {width} x {channels} bytes do not fit into memory"
        ))),
    }
}

/// Brings `picture` to a square of `side` and writes its bytes to `out`, which is side x side x channels and black.
pub(super) fn square<P>(picture: ImageBuffer<P, Vec<u8>>, side: usize, fit: Fit, out: &mut [u8])
where
    P: Pixel<Subpixel = u8> + 'static,
{
    let (width, height) = picture.dimensions();
    let target = side as u32;
    let fitted = match fit {
        Fit::Crop => {
            // Cut before scaling: a strip of 1 x 10,000 pixels would else grow to something huge on the way.
            let short = width.min(height);
            let (left, top) = ((width - short) / 2, (height - short) / 2);
            let cut = imageops::crop_imm(&picture, left, top, short, short).to_image();
            resize(cut, target, target)
        }
        Fit::Pad => {
            let long = width.max(height);
            if long > target {
                let scaled = |length: u32| {
                    let length = (f64::from(length) * f64::from(target) / f64::from(long)).round();
                    (length as u32).clamp(1, target)
                };
                resize(picture, scaled(width), scaled(height))
            } else {
                picture
            }
        }
    };
    let (width, height) = fitted.dimensions();
    let shape = [height as usize, width as usize, usize::from(P::CHANNEL_COUNT)];
    pad(fitted.as_raw(), shape, out, [side, side]);
}

/// Scales with a filter that averages when it shrinks and does not ring when it enlarges.
fn resize<P>(picture: ImageBuffer<P, Vec<u8>>, width: u32, height: u32) -> ImageBuffer<P, Vec<u8>>
where
    P: Pixel<Subpixel = u8> + 'static,
{
    let filter = match picture.dimensions() {
        same if same == (width, height) => return picture,
        (wide, _) if wide > width => FilterType::Lanczos3,
        _ => FilterType::Triangle,
    };
    imageops::resize(&picture, width, height, filter)
}

/// Copies a picture to the middle of a larger black one (an odd pixel goes to the right and the bottom).
fn pad(picture: &[u8], [height, width, channels]: [usize; 3], out: &mut [u8], [tall, wide]: [usize; 2]) {
    let (top, left) = ((tall - height) / 2, (wide - width) / 2);
    let rows = out.chunks_exact_mut(wide * channels).skip(top);
    for (out, row) in rows.zip(picture.chunks_exact(width * channels)) {
        out[left * channels..][..row.len()].copy_from_slice(row);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{GrayImage, Rgb, RgbImage};

    fn grey(height: usize, width: usize, pixels: Vec<u8>) -> Grey {
        Grey { height, width, pixels, labels: None }
    }

    fn options(image_size: Option<usize>, fit: Fit, multiple_of: usize) -> Options {
        Options { image_size, fit, multiple_of, ..Options::default() }
    }

    #[test]
    fn pads_up_to_a_multiple() {
        let set = grey(3, 5, vec![9; 15]).into_dataset("x".into(), &options(None, Fit::Crop, 4)).unwrap();
        assert_eq!(set.shape(), [4, 8, 1]);
        assert_eq!(set.bytes(0)[..8], [0, 9, 9, 9, 9, 9, 0, 0]);
        assert_eq!(set.bytes(0)[24..], [0; 8]);
        let set = grey(28, 28, vec![9; 784]).into_dataset("x".into(), &options(None, Fit::Crop, 4)).unwrap();
        assert_eq!(set.shape(), [28, 28, 1]);
    }

    #[test]
    fn pad_keeps_small_pictures_and_crop_enlarges_them() {
        let padded = grey(28, 28, vec![7; 784]).into_dataset("x".into(), &options(Some(32), Fit::Pad, 8)).unwrap();
        assert_eq!(padded.shape(), [32, 32, 1]);
        assert_eq!(padded.bytes(0).iter().filter(|&&v| v == 7).count(), 784);
        assert_eq!(padded.bytes(0)[2 * 32 + 1..2 * 32 + 3], [0, 7]);
        let cropped = grey(28, 28, vec![7; 784]).into_dataset("x".into(), &options(Some(32), Fit::Crop, 8)).unwrap();
        assert!(cropped.bytes(0).iter().all(|&v| v == 7));
    }

    #[test]
    fn a_wide_picture_is_cut_or_bordered() {
        let wide = RgbImage::from_fn(40, 20, |x, _| if x < 10 { Rgb([255, 0, 0]) } else { Rgb([0, 0, 255]) });
        let mut out = vec![0; 300];
        square(wide.clone(), 10, Fit::Crop, &mut out);
        assert!(out.chunks(3).all(|p| p == [0, 0, 255]), "the left quarter is cut off");
        out.fill(0);
        square(wide, 10, Fit::Pad, &mut out);
        let black = |row: usize| out[row * 30..][..30].iter().all(|&v| v == 0);
        assert!(black(0) && black(1) && !black(2) && !black(6) && black(7) && black(9));
    }

    #[test]
    fn extreme_shapes_stay_small() {
        for (width, height) in [(1, 5000), (5000, 1), (1, 1)] {
            for fit in [Fit::Crop, Fit::Pad] {
                square(GrayImage::new(width, height), 8, fit, &mut [0; 64]);
            }
        }
    }

    #[test]
    fn grey_becomes_colour_when_asked() {
        let asked = Options { grayscale: Some(false), ..Options::default() };
        let set = grey(1, 2, vec![3, 4]).into_dataset("x".into(), &asked).unwrap();
        assert_eq!((set.shape(), set.bytes(0)), ([1, 2, 3], &[3, 3, 3, 4, 4, 4][..]));
    }

    #[test]
    fn sides_that_do_not_fit_are_refused() {
        assert_eq!(
            check_side(30, 4).unwrap_err().to_string(),
            "--image-size 30: the model needs a multiple of 4, for example 32"
        );
        assert!(check_side(0, 1).is_err() && check_side(usize::MAX, 1).is_err() && check_side(7, 0).is_ok());
        assert!(zeros("x", usize::MAX, [2, 2, 1]).unwrap_err().to_string().starts_with("out of memory: x: "));
    }
}

//! Pictures for people: PNG files, contact sheets, animations, and plots of losses and noise schedules.

mod animation;
mod axis;
mod bound_plot;
mod labels;
mod loss_curve;
mod npz;
mod schedule_plot;
mod sheet;

use std::io::Cursor;
use std::path::Path;

use image::{DynamicImage, GrayImage, ImageFormat, RgbImage, RgbaImage};

use crate::atomic_file;
use crate::error::{Error, Result};

pub use animation::save_animation;
pub use bound_plot::bound_plot;
pub use labels::Label;
pub use loss_curve::loss_curve;
pub use npz::save_npz;
pub use schedule_plot::{PlottedSchedule, schedule_plot};
pub use sheet::shown_on_sheet;

/// Generated pictures as they come from a model.
#[derive(Clone, Copy, Debug)]
pub struct Pictures<'a> {
    /// Count x height x width x channels; [-1, 1] is black to white.
    data: &'a [f32],
    count: usize,
    height: usize,
    width: usize,
    channels: usize,
}

/// The byte of a value: -1 is 0 and 1 is 255, what lies beyond is clamped, and NaN is 0.
pub fn to_byte(value: f32) -> u8 {
    // `as` maps NaN to 0 and stops at the ends.
    ((value + 1.0) * 127.5).round() as u8
}

impl<'a> Pictures<'a> {
    /// Looks at `data` as `count` x `height` x `width` x `channels` numbers, where [-1, 1] is black to white and
    /// `channels` is 1 (grey), 3 (red, green, blue) or 4 (and opacity).
    ///
    /// # Errors
    /// Where there is no picture, `data` has another length, or there is another number of channels.
    pub fn new(data: &'a [f32], count: usize, [height, width, channels]: [usize; 3]) -> Result<Self> {
        if ![1, 3, 4].contains(&channels) {
            return Err(Error::input(format!("pictures of {channels} channels, expected 1, 3 or 4")));
        }
        let sides_fit = [height, width].iter().all(|&side| u32::try_from(side).is_ok());
        let expected = [count, height, width].into_iter().try_fold(channels, usize::checked_mul);
        if !sides_fit || data.is_empty() || expected != Some(data.len()) {
            return Err(Error::input(format!(
                "{} numbers for pictures, expected {count} x {height} x {width} x {channels} and at least one picture",
                data.len()
            )));
        }
        Ok(Self { data, count, height, width, channels })
    }

    /// How many pictures there are, at least 1.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Picture `index` with 8 bits per channel: grey, RGB or RGBA as the channels say.
    ///
    /// # Errors
    /// Where `index` is not below [`count`](Self::count).
    pub fn picture(&self, index: usize) -> Result<DynamicImage> {
        let (width, height) = (self.width as u32, self.height as u32);
        let bytes: Option<Vec<u8>> = self.values(index).map(|values| values.iter().map(|&v| to_byte(v)).collect());
        bytes
            .and_then(|bytes| match self.channels {
                1 => GrayImage::from_raw(width, height, bytes).map(DynamicImage::from),
                3 => RgbImage::from_raw(width, height, bytes).map(DynamicImage::from),
                _ => RgbaImage::from_raw(width, height, bytes).map(DynamicImage::from),
            })
            .ok_or_else(|| Error::input(format!("picture {index}, expected one below {}", self.count)))
    }

    /// Writes picture `index` to `path` as PNG, whole or not at all.
    ///
    /// # Errors
    /// Where `index` is not below [`count`](Self::count), or `path` cannot be written.
    pub fn save_png(&self, path: &Path, index: usize) -> Result<()> {
        save_png(path, &self.picture(index)?)
    }

    fn values(&self, index: usize) -> Option<&'a [f32]> {
        self.data.chunks_exact(self.height * self.width * self.channels).nth(index)
    }
}

/// Writes a picture or a contact sheet to `path` as PNG, whole or not at all.
///
/// # Errors
/// Where `path` cannot be written.
pub fn save_png(path: &Path, picture: &DynamicImage) -> Result<()> {
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, ImageFormat::Png).map_err(not_encoded(path))?;
    atomic_file::write(path, bytes.get_ref())
}

fn not_encoded(path: &Path) -> impl FnOnce(image::ImageError) -> Error + '_ {
    move |error| Error::input(format!("{}: cannot be encoded: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_become_bytes() {
        let values = [-1.0, 1.0, 0.0, -7.0, 7.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
        assert_eq!(values.map(to_byte), [0, 255, 128, 0, 255, 0, 255, 0]);
        // There and back again.
        assert!((0..=255).all(|byte: u8| to_byte(f32::from(byte) / 127.5 - 1.0) == byte));
    }

    #[test]
    fn files_hold_the_pictures() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        for (channels, colour) in [(1, image::ColorType::L8), (3, image::ColorType::Rgb8), (4, image::ColorType::Rgba8)]
        {
            let data: Vec<f32> = (0..2 * 6 * channels).map(|i| i as f32 / 127.5 - 1.0).collect();
            let pictures = Pictures::new(&data, 2, [2, 3, channels]).unwrap();
            pictures.save_png(&path, 1).unwrap();
            let read = image::open(&path).unwrap();
            assert_eq!((read.color(), read.width(), read.height()), (colour, 3, 2));
            assert!(read.as_bytes().iter().zip(6 * channels..).all(|(&byte, expected)| usize::from(byte) == expected));
        }
    }

    #[test]
    fn bad_requests_are_named() {
        let refuse = |numbers, count, shape| Pictures::new(&vec![0.0; numbers], count, shape).unwrap_err().to_string();
        assert_eq!(refuse(8, 1, [2, 2, 2]), "pictures of 2 channels, expected 1, 3 or 4");
        assert!(refuse(5, 1, [2, 2, 1]).starts_with("5 numbers for pictures, expected 1 x 2 x 2 x 1"));
        assert!(refuse(0, 0, [2, 2, 1]).starts_with("0 numbers"));
        assert!(refuse(1, usize::MAX, [2, 2, 1]).starts_with("1 numbers"));
        let pictures = Pictures::new(&[0.0; 4], 1, [2, 2, 1]).unwrap();
        assert_eq!(pictures.picture(1).unwrap_err().to_string(), "picture 1, expected one below 1");
        let error = pictures.save_png(Path::new("/no/such/folder/a.png"), 0).unwrap_err().to_string();
        assert_eq!(error, "/no/such/folder/a.png: cannot be written: /no/such/folder is not a folder");
    }
}

//! One PNG or JPEG picture.

use std::path::Path;

use image::{ImageBuffer, Pixel};

use super::fit::square;
use super::folder::is_picture;
use super::{Dataset, Fit, decode};
use crate::error::{Error, Result};

impl Dataset {
    /// Whether a file's name ends as those of pictures do.
    pub fn is_picture(path: &Path) -> bool {
        is_picture(path)
    }

    /// The picture of a file alone, brought to `[height, width, channels]`.
    ///
    /// # Errors
    /// One line naming the file: not found, unreadable, or not of this size where that is no square.
    pub fn open_picture(path: &Path, shape: [usize; 3], fit: Fit) -> Result<Self> {
        let pixels = match shape[2] {
            1 => fitted(decode::grey(path)?, shape, fit, path)?,
            _ => fitted(decode::colour(path)?, shape, fit, path)?,
        };
        Self::from_bytes(path.display().to_string(), shape, pixels, None, Vec::new())
    }

    /// Height and width of a file's picture, as it is to be looked at.
    ///
    /// # Errors
    /// One line naming the file: not found or unreadable.
    pub fn size_of_picture(path: &Path) -> Result<[usize; 2]> {
        let decode::Header { width, height, .. } = decode::header(path)?;
        Ok([height as usize, width as usize])
    }

    /// The picture of a file alone, of its own size, in 1 or 3 channels.
    ///
    /// # Errors
    /// One line naming the file: not found or unreadable.
    pub fn open_picture_as_is(path: &Path, channels: usize) -> Result<Self> {
        let (size, pixels) = match channels {
            1 => decode::grey(path).map(|picture| (picture.dimensions(), picture.into_raw()))?,
            _ => decode::colour(path).map(|picture| (picture.dimensions(), picture.into_raw()))?,
        };
        let shape = [size.1 as usize, size.0 as usize, if channels == 1 { 1 } else { 3 }];
        Self::from_bytes(path.display().to_string(), shape, pixels, None, Vec::new())
    }
}

fn fitted<P>(
    picture: ImageBuffer<P, Vec<u8>>,
    [height, width, channels]: [usize; 3],
    fit: Fit,
    path: &Path,
) -> Result<Vec<u8>>
where
    P: Pixel<Subpixel = u8> + 'static,
{
    let (wide, tall) = picture.dimensions();
    if [tall as usize, wide as usize] == [height, width] {
        return Ok(picture.into_raw());
    }
    if height != width {
        let path = path.display();
        return Err(Error::input(format!(
            "{path}: {tall} x {wide} pixels (height x width), expected {height} x {width}"
        )));
    }
    let mut out = vec![0; height * width * channels];
    square(picture, height, fit, &mut out);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{Rgb, RgbImage};

    #[cfg(unix)]
    #[test]
    fn a_device_is_refused() {
        let message = Dataset::open_picture(Path::new("/dev/zero"), [8, 8, 1], Fit::Crop).unwrap_err().to_string();
        assert_eq!(message, "/dev/zero: not a file, expected a PNG or JPEG picture");
    }

    #[test]
    fn a_picture_is_brought_to_size_and_colour() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("red.png");
        RgbImage::from_pixel(6, 4, Rgb([200, 0, 0])).save(&path).unwrap();
        let open = |shape| Dataset::open_picture(&path, shape, Fit::Pad);
        let set = open([4, 6, 3]).unwrap();
        assert_eq!((set.len(), set.shape(), &set.bytes(0)[..3]), (1, [4, 6, 3], &[200, 0, 0][..]));
        let set = open([8, 8, 1]).unwrap();
        assert!(set.bytes(0)[0] == 0 && set.bytes(0)[3 * 8 + 3] > 0);
        let message = open([8, 4, 3]).unwrap_err().to_string();
        assert!(message.ends_with("red.png: 4 x 6 pixels (height x width), expected 8 x 4"), "{message}");
    }
}

//! Contact sheets one after the other, as a GIF.

use std::path::Path;

use image::codecs::gif::{GifEncoder, Repeat};
use image::{Delay, DynamicImage, Frame, RgbImage};

use super::not_encoded;
use crate::atomic_file;
use crate::error::{Error, Result};

/// Milliseconds the last frame, the finished pictures, stays before the animation starts again.
const LAST_FRAME_MS: u32 = 2_000;
/// Between 1 (best palettes, slow) and 30. Pictures in at most 256 colours, as all grey ones, are exact at any.
const PALETTE_SPEED: i32 = 10;

/// Writes `frames`, all of one size, to `path` as a GIF that repeats for ever, whole or not at all. Each frame stays
/// for `delay_ms` milliseconds (GIF knows steps of 10, and viewers take less than 20 for 100), the last for two
/// seconds at least.
///
/// # Errors
/// Where there is no frame, frames differ in size or have sides beyond GIF's 65,535, or `path` cannot be written.
pub fn save_animation(path: &Path, frames: &[RgbImage], delay_ms: u32) -> Result<()> {
    let refuse = |what: String| Error::input(format!("{}: {what}", path.display()));
    let Some((last, first)) = frames.len().checked_sub(1).zip(frames.first()) else {
        return Err(refuse("no frames, expected at least one".into()));
    };
    let (width, height) = first.dimensions();
    if width.min(height) == 0 || width.max(height) > u16::MAX.into() {
        return Err(refuse(format!("frames of {width} x {height} pixels, expected sides of 1 to 65535")));
    }
    if let Some((index, frame)) = frames.iter().enumerate().find(|(_, frame)| frame.dimensions() != (width, height)) {
        let (wide, tall) = frame.dimensions();
        return Err(refuse(format!("frame {index} is {wide} x {tall} pixels, expected {width} x {height} as frame 0")));
    }

    let mut bytes = Vec::new();
    let mut encoder = GifEncoder::new_with_speed(&mut bytes, PALETTE_SPEED);
    encoder.set_repeat(Repeat::Infinite).map_err(not_encoded(path))?;
    for (index, frame) in frames.iter().enumerate() {
        let delay_ms = if index == last { delay_ms.max(LAST_FRAME_MS) } else { delay_ms.max(20) };
        let picture = DynamicImage::from(frame.clone()).into_rgba8();
        let frame = Frame::from_parts(picture, 0, 0, Delay::from_numer_denom_ms(delay_ms, 1));
        encoder.encode_frame(frame).map_err(not_encoded(path))?;
    }
    // Writes the GIF's last byte.
    drop(encoder);
    atomic_file::write(path, &bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::codecs::gif::GifDecoder;
    use image::{AnimationDecoder, Rgb};

    #[test]
    fn holds_its_frames_and_the_last_one_longer() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.gif");
        // All the greys at once stay exact.
        let frames: Vec<_> =
            (0..3).map(|frame| RgbImage::from_fn(16, 16, |x, y| Rgb([(x + 16 * y + frame) as u8; 3]))).collect();
        save_animation(&path, &frames, 50).unwrap();
        let file = std::io::BufReader::new(std::fs::File::open(&path).unwrap());
        let read = GifDecoder::new(file).unwrap().into_frames().collect_frames().unwrap();
        let delays: Vec<_> = read.iter().map(|frame| frame.delay().numer_denom_ms().0).collect();
        assert_eq!(delays, [50, 50, 2000]);
        for (read, frame) in read.into_iter().zip(&frames) {
            assert_eq!(&DynamicImage::from(read.into_buffer()).into_rgb8(), frame);
        }
        assert_eq!(std::fs::read(&path).unwrap().last(), Some(&0x3b));
    }

    #[test]
    fn bad_frames_are_named() {
        let refuse = |frames: &[RgbImage]| save_animation(Path::new("x.gif"), frames, 50).unwrap_err().to_string();
        assert_eq!(refuse(&[]), "x.gif: no frames, expected at least one");
        let error = refuse(&[RgbImage::new(2, 3), RgbImage::new(3, 3)]);
        assert_eq!(error, "x.gif: frame 1 is 3 x 3 pixels, expected 2 x 3 as frame 0");
        assert!(refuse(&[RgbImage::new(70_000, 1)]).contains("70000 x 1"));
    }
}

//! Contact sheets one after the other, as a GIF or an animated PNG.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufWriter, Write};
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

/// Writes `frames`, all of one size, to `path` as an animation that repeats for ever, whole or not at all: an animated PNG
/// if the name ends with .png, else a GIF. Each frame stays for `delay_ms` milliseconds (GIF knows steps of 10, and viewers
/// take less than 20 for 100), the last for two seconds at least. Frames are taken one at a time.
///
/// # Errors
/// Where there is no frame, frames differ in size or have sides beyond GIF's 65,535, or `path` cannot be written; those of
/// the frames.
pub fn save_animation(
    path: &Path,
    frames: impl ExactSizeIterator<Item = Result<RgbImage>>,
    delay_ms: u32,
) -> Result<()> {
    let refuse = |what: String| Error::input(format!("{}: {what}", path.display()));
    let count = frames.len();
    let mut frames = frames.enumerate();
    let Some((_, first)) = frames.next() else {
        return Err(refuse("no frames, expected at least one".into()));
    };
    let first = first?;
    let (width, height) = first.dimensions();
    if width.min(height) == 0 || width.max(height) > u16::MAX.into() {
        return Err(refuse(format!("frames of {width} x {height} pixels, expected sides of 1 to 65535")));
    }
    let rest = frames.map(|(index, frame)| {
        let frame = frame?;
        if frame.dimensions() != (width, height) {
            let (wide, tall) = frame.dimensions();
            let expected = format!("expected {width} x {height} as frame 0");
            return Err(refuse(format!("frame {index} is {wide} x {tall} pixels, {expected}")));
        }
        Ok((index, frame))
    });
    let delay = |index| if index + 1 == count { delay_ms.max(LAST_FRAME_MS) } else { delay_ms.max(20) };
    let frames = std::iter::once(Ok((0, first))).chain(rest).map(|frame| {
        let (index, frame) = frame?;
        Ok((frame, delay(index)))
    });
    let is_png = path.extension().and_then(OsStr::to_str).is_some_and(|end| end.eq_ignore_ascii_case("png"));
    atomic_file::write_at(path, |unfinished| {
        let file = BufWriter::new(File::create(unfinished).map_err(Error::io(path))?);
        if is_png { write_png(path, file, (width, height), count, frames) } else { write_gif(path, file, frames) }
    })
}

fn write_gif(path: &Path, mut file: impl Write, frames: impl Iterator<Item = Result<(RgbImage, u32)>>) -> Result<()> {
    let mut encoder = GifEncoder::new_with_speed(&mut file, PALETTE_SPEED);
    encoder.set_repeat(Repeat::Infinite).map_err(not_encoded(path))?;
    for frame in frames {
        let (picture, delay) = frame?;
        let picture = DynamicImage::from(picture).into_rgba8();
        let frame = Frame::from_parts(picture, 0, 0, Delay::from_numer_denom_ms(delay, 1));
        encoder.encode_frame(frame).map_err(not_encoded(path))?;
    }
    // Writes the GIF's last byte.
    drop(encoder);
    file.flush().map_err(Error::io(path))
}

fn write_png(
    path: &Path,
    mut file: impl Write,
    (width, height): (u32, u32),
    count: usize,
    frames: impl Iterator<Item = Result<(RgbImage, u32)>>,
) -> Result<()> {
    let wrong = |error: png::EncodingError| Error::input(format!("{}: cannot be encoded: {error}", path.display()));
    let mut encoder = png::Encoder::new(&mut file, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_animated(count as u32, 0).map_err(wrong)?;
    let mut writer = encoder.write_header().map_err(wrong)?;
    for frame in frames {
        let (picture, delay) = frame?;
        writer.set_frame_delay(delay.min(u16::MAX.into()) as u16, 1000).map_err(wrong)?;
        writer.write_image_data(&picture).map_err(wrong)?;
    }
    writer.finish().map_err(wrong)?;
    file.flush().map_err(Error::io(path))
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
        save_animation(&path, frames.iter().cloned().map(Ok), 50).unwrap();
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
    fn an_animated_png_holds_its_frames() {
        use image::codecs::png::PngDecoder;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        let frames: Vec<_> =
            (0..3).map(|frame| RgbImage::from_fn(5, 4, |x, y| Rgb([x as u8, 60 * y as u8, frame]))).collect();
        save_animation(&path, frames.iter().cloned().map(Ok), 50).unwrap();
        let file = std::io::BufReader::new(std::fs::File::open(&path).unwrap());
        let read = PngDecoder::new(file).unwrap().apng().unwrap().into_frames().collect_frames().unwrap();
        let delays: Vec<_> = read.iter().map(|frame| frame.delay().numer_denom_ms().0).collect();
        assert_eq!(delays, [50, 50, 2000]);
        for (read, frame) in read.into_iter().zip(&frames) {
            assert_eq!(&DynamicImage::from(read.into_buffer()).into_rgb8(), frame);
        }
    }

    #[test]
    fn bad_frames_are_named() {
        let refuse = |frames: &[RgbImage]| {
            save_animation(Path::new("x.gif"), frames.iter().cloned().map(Ok), 50).unwrap_err().to_string()
        };
        assert_eq!(refuse(&[]), "x.gif: no frames, expected at least one");
        let error = refuse(&[RgbImage::new(2, 3), RgbImage::new(3, 3)]);
        assert_eq!(error, "x.gif: frame 1 is 3 x 3 pixels, expected 2 x 3 as frame 0");
        assert!(refuse(&[RgbImage::new(70_000, 1)]).contains("70000 x 1"));
    }
}

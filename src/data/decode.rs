//! One PNG or JPEG file.

use std::fs::File;
use std::io::{BufRead, BufReader, Cursor, Seek};
use std::path::Path;

use image::metadata::Orientation;
use image::{DynamicImage, GrayImage, ImageDecoder, ImageError, ImageFormat, ImageReader, RgbImage};

use crate::error::{Error, Result};

/// The longest side to decode. A few hundred bytes of PNG can claim billions of pixels; `image` also stops at 512 MiB.
const LONGEST_SIDE: u32 = 1 << 16;

/// What a picture's first bytes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// As it is to be looked at, which for a camera held sideways is not how it is stored.
    pub width: u32,
    pub height: u32,
    /// Stored without colour.
    pub grey: bool,
}

/// Reads the size and whether there is colour.
pub(super) fn header(path: &Path) -> Result<Header> {
    let file = BufReader::new(File::open(path).map_err(Error::io(path))?);
    let mut decoder = decoder(path, file)?;
    let (width, height) = decoder.dimensions();
    let grey = !decoder.color_type().has_color();
    let sideways = matches!(
        orientation(&mut decoder),
        Orientation::Rotate90 | Orientation::Rotate270 | Orientation::Rotate90FlipH | Orientation::Rotate270FlipH
    );
    let (width, height) = if sideways { (height, width) } else { (width, height) };
    Ok(Header { width, height, grey })
}

/// Decodes to 8 bits of grey.
pub(super) fn grey(path: &Path) -> Result<GrayImage> {
    let picture = decode(path)?;
    if !picture.color().has_alpha() {
        return Ok(picture.into_luma8());
    }
    let picture = picture.into_luma_alpha8();
    let pixels = picture.pixels().map(|pixel| over_white(pixel[0], pixel[1])).collect();
    GrayImage::from_raw(picture.width(), picture.height(), pixels).ok_or_else(|| too_large(path))
}

/// Decodes to 8 bits each of red, green and blue.
pub(super) fn colour(path: &Path) -> Result<RgbImage> {
    let picture = decode(path)?;
    if !picture.color().has_alpha() {
        return Ok(picture.into_rgb8());
    }
    let picture = picture.into_rgba8();
    let pixels = picture.pixels().flat_map(|pixel| [0, 1, 2].map(|i| over_white(pixel[i], pixel[3]))).collect();
    RgbImage::from_raw(picture.width(), picture.height(), pixels).ok_or_else(|| too_large(path))
}

fn decode(path: &Path) -> Result<DynamicImage> {
    // A device may have no end.
    if !path.metadata().map_err(Error::io(path))?.is_file() {
        return Err(Error::input(format!("{}: not a file, expected a PNG or JPEG picture", path.display())));
    }
    let bytes = std::fs::read(path).map_err(Error::io(path))?;
    let mut decoder = decoder(path, Cursor::new(&bytes))?;
    if jpeg_is_cut(&bytes) {
        return Err(Error::input(format!("{}: cannot be decoded: the JPEG file is truncated", path.display())));
    }
    let orientation = orientation(&mut decoder);
    let mut picture = DynamicImage::from_decoder(decoder).map_err(refuse(path))?;
    picture.apply_orientation(orientation);
    Ok(picture)
}

fn decoder<'a>(path: &Path, source: impl BufRead + Seek + 'a) -> Result<impl ImageDecoder + 'a> {
    // By content first: many a .png is a JPEG. The name tells only where the content does not.
    let named = ImageFormat::from_path(path).map_err(refuse(path))?;
    let mut reader = ImageReader::with_format(source, named).with_guessed_format().map_err(Error::io(path))?;
    if !matches!(reader.format(), Some(ImageFormat::Png | ImageFormat::Jpeg)) {
        return Err(Error::input(format!("{}: its content is neither PNG nor JPEG", path.display())));
    }
    let mut limits = image::Limits::default();
    limits.max_image_width = Some(LONGEST_SIDE);
    limits.max_image_height = Some(LONGEST_SIDE);
    reader.limits(limits.clone());
    let decoder = reader.into_decoder().map_err(refuse(path))?;
    // The decoder minds its own memory only, not the room for the picture.
    limits.reserve(decoder.total_bytes()).map_err(refuse(path))?;
    Ok(decoder)
}

/// Whether a JPEG file has no end-of-image marker after its picture data. Its decoder would give the missing part as
/// grey, without a word. (A thumbnail before that data has an end marker of its own.)
fn jpeg_is_cut(bytes: &[u8]) -> bool {
    const START_OF_SCAN: u8 = 0xda;
    let Some(mut rest) = bytes.strip_prefix(&[0xff, 0xd8]) else { return false };
    loop {
        match rest {
            // Any number of 0xff may come before a marker.
            [0xff, 0xff, ..] => rest = &rest[1..],
            [0xff, START_OF_SCAN, data @ ..] => return !data.windows(2).any(|pair| pair == [0xff, 0xd9]),
            [0xff, _, high, low, ..] => {
                let segment = 2 + usize::from(u16::from_be_bytes([*high, *low]));
                rest = rest.get(segment..).unwrap_or_default();
            }
            // Not the structure expected: the decoder's to judge.
            [_, ..] => return false,
            [] => return true,
        }
    }
}

/// Damaged EXIF data is no reason to refuse the picture.
fn orientation(decoder: &mut impl ImageDecoder) -> Orientation {
    decoder.orientation().unwrap_or(Orientation::NoTransforms)
}

fn over_white(value: u8, alpha: u8) -> u8 {
    let (value, alpha) = (u32::from(value), u32::from(alpha));
    ((value * alpha + 255 * (255 - alpha) + 127) / 255) as u8
}

fn refuse(path: &Path) -> impl FnOnce(ImageError) -> Error + '_ {
    move |error| match error {
        ImageError::Limits(_) => too_large(path),
        error => {
            let reason = error.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
            Error::input(format!("{}: cannot be decoded: {reason}", path.display()))
        }
    }
}

fn too_large(path: &Path) -> Error {
    Error::input(format!(
        "{}: too large, expected sides of at most {LONGEST_SIDE} pixels and 512 MiB decoded",
        path.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{GrayAlphaImage, ImageBuffer, Luma, LumaA, Rgb, Rgba, RgbaImage};
    use std::path::PathBuf;

    fn place(name: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        (folder, path)
    }

    #[test]
    fn transparency_lies_on_white() {
        let (_folder, path) = place("a.png");
        RgbaImage::from_fn(3, 1, |x, _| Rgba([200, 0, 100, [0, 255, 128][x as usize]])).save(&path).unwrap();
        assert_eq!(header(&path).unwrap(), Header { width: 3, height: 1, grey: false });
        let picture = colour(&path).unwrap();
        assert_eq!(picture.as_raw()[..6], [255, 255, 255, 200, 0, 100]);
        assert_eq!(picture.get_pixel(2, 0), &Rgb([227, 127, 177]));
        GrayAlphaImage::from_pixel(1, 1, LumaA([10, 0])).save(&path).unwrap();
        assert_eq!(header(&path).unwrap(), Header { width: 1, height: 1, grey: true });
        assert_eq!(grey(&path).unwrap().as_raw(), &[255]);
    }

    #[test]
    fn sixteen_bits_become_eight() {
        let (_folder, path) = place("a.png");
        ImageBuffer::<Luma<u16>, _>::from_raw(2, 1, vec![0u16, 65535]).unwrap().save(&path).unwrap();
        assert_eq!(grey(&path).unwrap().as_raw(), &[0, 255]);
        assert_eq!(colour(&path).unwrap().as_raw(), &[0, 0, 0, 255, 255, 255]);
    }

    #[test]
    fn a_picture_is_turned_as_its_exif_data_says() {
        let (_folder, path) = place("a.jpg");
        let mut jpeg = Vec::new();
        let picture = GrayImage::from_fn(16, 8, |x, _| Luma([if x < 8 { 0 } else { 255 }]));
        picture.write_to(&mut Cursor::new(&mut jpeg), ImageFormat::Jpeg).unwrap();
        // An APP1 segment after the start marker: a TIFF of one entry, orientation (0x0112) 6, turn right to view.
        let mut exif =
            b"\xff\xe1\x00\x22Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0".to_vec();
        exif[3] = (exif.len() - 2) as u8;
        jpeg.splice(2..2, exif);
        std::fs::write(&path, jpeg).unwrap();
        assert_eq!(header(&path).unwrap(), Header { width: 8, height: 16, grey: true });
        let picture = grey(&path).unwrap();
        assert_eq!(picture.dimensions(), (8, 16));
        assert!(picture.get_pixel(4, 2)[0] < 20 && picture.get_pixel(4, 13)[0] > 235);
    }

    #[test]
    fn content_counts_and_not_the_name() {
        let (_folder, path) = place("a.png");
        RgbImage::from_pixel(8, 8, Rgb([9, 9, 9])).save_with_format(&path, ImageFormat::Jpeg).unwrap();
        assert_eq!(colour(&path).unwrap().dimensions(), (8, 8));
        std::fs::write(&path, b"GIF89a").unwrap();
        let error = header(&path).unwrap_err().to_string();
        assert!(error.ends_with("a.png: its content is neither PNG nor JPEG"), "{error}");
    }

    #[test]
    fn a_bomb_is_refused() {
        let (_folder, path) = place("bomb.png");
        GrayImage::new(1, 1).save(&path).unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        // Width and height in the IHDR chunk, and its checksum to match.
        for side in [100_000u32, 60_000] {
            bytes[16..20].copy_from_slice(&side.to_be_bytes());
            bytes[20..24].copy_from_slice(&side.to_be_bytes());
            let mut checksum = flate2::Crc::new();
            checksum.update(&bytes[12..29]);
            bytes[29..33].copy_from_slice(&checksum.sum().to_be_bytes());
            std::fs::write(&path, &bytes).unwrap();
            let error = grey(&path).unwrap_err().to_string();
            assert!(error.contains("bomb.png: too large"), "{error}");
        }
    }

    #[test]
    fn a_cut_file_is_named() {
        for name in ["a.png", "a.jpg"] {
            let (_folder, path) = place(name);
            RgbImage::from_fn(64, 64, |x, y| Rgb([(x * y) as u8, (x + y) as u8, 7])).save(&path).unwrap();
            let whole = std::fs::read(&path).unwrap();
            for keep in [0, 1, 10, whole.len() / 2, whole.len() * 9 / 10] {
                std::fs::write(&path, &whole[..keep]).unwrap();
                let error = colour(&path).map(|_| keep).unwrap_err().to_string();
                assert!(error.contains(name) && !error.contains('\n'), "{error}");
            }
        }
    }
}

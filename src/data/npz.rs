//! A NumPy archive of pictures: `arr_0`, bytes [N, H, W, C], and `arr_1`, whole numbers [N], the labels if there are any:
//! what the published sampling scripts write.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use image::{GrayImage, RgbImage, imageops};
use rayon::prelude::*;
use zip::ZipArchive;

use super::fit::{Grey, check_side, square, zeros};
use super::{Dataset, Options};
use crate::error::{Error, Result};

/// The longest header of an array: more is none.
const LONGEST_HEADER: usize = 1 << 16;

/// What an array's header says.
struct Header {
    descr: String,
    shape: Vec<usize>,
}

pub(super) fn open(path: &Path, name: String, options: &Options) -> Result<Dataset> {
    let wrong = |why: String| Error::input(format!("{}: {why}", path.display()));
    let file = BufReader::new(File::open(path).map_err(Error::io(path))?);
    let mut archive = ZipArchive::new(file).map_err(|error| wrong(format!("no NumPy archive: {error}")))?;
    let (header, pixels) = array(&mut archive, "arr_0", path)?
        .ok_or_else(|| wrong("has no array arr_0, expected bytes [N, H, W, C] there".into()))?;
    let shape = match *header.shape {
        [n, height, width] => [n, height, width, 1],
        [n, height, width, channels @ (1 | 3)] => [n, height, width, channels],
        _ => [0; 4],
    };
    if header.descr != "|u1" || shape.contains(&0) {
        let Header { descr, shape } = header;
        return Err(wrong(format!("arr_0 is {descr} of {shape:?}, expected bytes (|u1) of [N, H, W, 1 or 3]")));
    }
    let labels = match array(&mut archive, "arr_1", path)? {
        Some((header, bytes)) if header.shape == [shape[0]] => Some(
            labels(&header.descr, &bytes)
                .ok_or_else(|| wrong(format!("arr_1 is {}, expected whole numbers from 0 to 65535", header.descr)))?,
        ),
        Some((header, _)) => {
            let (found, expected) = (header.shape, shape[0]);
            return Err(wrong(format!("arr_1 has shape {found:?}, expected [{expected}], the pictures' labels")));
        }
        None => None,
    };
    if shape[3] == 1 {
        return Grey { height: shape[1], width: shape[2], pixels, labels }.into_dataset(name, options);
    }
    coloured(path, shape, pixels, labels, name, options)
}

/// An array of the archive, in C's order.
fn array(archive: &mut ZipArchive<BufReader<File>>, name: &str, path: &Path) -> Result<Option<(Header, Vec<u8>)>> {
    let wrong = |why: &str| Error::input(format!("{}: {name}: {why}", path.display()));
    let mut file = match archive.by_name(&format!("{name}.npy")) {
        Ok(file) => file,
        Err(zip::result::ZipError::FileNotFound) => return Ok(None),
        Err(error) => return Err(wrong(&error.to_string())),
    };
    let mut read = |len: usize| -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(len).map_err(|_| Error::OutOfMemory(format!("{}: {len} bytes", path.display())))?;
        (&mut file).take(len as u64).read_to_end(&mut bytes).map_err(Error::io(path))?;
        if bytes.len() == len { Ok(bytes) } else { Err(wrong("is truncated")) }
    };
    let start = read(8)?;
    let length = match start[..] {
        [0x93, b'N', b'U', b'M', b'P', b'Y', 1, _] => {
            read(2)?.iter().rev().fold(0, |n, &byte| n << 8 | usize::from(byte))
        }
        [0x93, b'N', b'U', b'M', b'P', b'Y', 2 | 3, _] => {
            read(4)?.iter().rev().fold(0, |n, &byte| n << 8 | usize::from(byte))
        }
        _ => return Err(wrong("is no array of NumPy's")),
    };
    if length > LONGEST_HEADER {
        return Err(wrong("has a header that is too long"));
    }
    let text = String::from_utf8_lossy(&read(length)?).into_owned();
    let header = parse(&text).ok_or_else(|| wrong(&format!("has the header {}, not understood", text.trim())))?;
    let size = match header.descr.chars().last() {
        Some(size @ '1'..='8') => size as usize - '0' as usize,
        _ => return Err(wrong(&format!("is of type {}, expected bytes or whole numbers", header.descr))),
    };
    let len = header.shape.iter().try_fold(size, |len, &n| len.checked_mul(n));
    let len = len.ok_or_else(|| wrong("is larger than any memory"))?;
    let data = read(len)?;
    Ok(Some((header, data)))
}

/// Reads `{'descr': '|u1', 'fortran_order': False, 'shape': (2, 3, 4, 1), }`.
fn parse(text: &str) -> Option<Header> {
    let after = |key: &str| text.split_once(&format!("'{key}':")).map(|(_, rest)| rest.trim_start());
    let descr = after("descr")?.strip_prefix('\'')?.split_once('\'')?.0.to_string();
    if !after("fortran_order")?.starts_with("False") {
        return None;
    }
    let sizes = after("shape")?.strip_prefix('(')?.split_once(')')?.0;
    let sizes = sizes.split(',').map(str::trim).filter(|size| !size.is_empty());
    Some(Header { descr, shape: sizes.map(|size| size.parse().ok()).collect::<Option<_>>()? })
}

/// Labels of any type of whole numbers, little-endian.
fn labels(descr: &str, bytes: &[u8]) -> Option<Vec<u32>> {
    let (order, kind) = (descr.chars().next()?, descr.chars().nth(1)?);
    let size = descr.get(2..)?.parse::<usize>().ok()?;
    if !matches!(order, '<' | '|') || !matches!(kind, 'i' | 'u') || !matches!(size, 1 | 2 | 4 | 8) {
        return None;
    }
    let number = |bytes: &[u8]| bytes.iter().rev().fold(0_u64, |n, &byte| n << 8 | u64::from(byte));
    bytes.chunks_exact(size).map(|bytes| u16::try_from(number(bytes)).ok().map(u32::from)).collect()
}

/// Brings pictures in colour to the size and colours that are asked for.
fn coloured(
    path: &Path,
    [count, height, width, _]: [usize; 4],
    mut pixels: Vec<u8>,
    labels: Option<Vec<u32>>,
    name: String,
    options: &Options,
) -> Result<Dataset> {
    let mut channels = 3;
    if options.grayscale == Some(true) {
        let grey = |pixels: &[u8]| RgbImage::from_raw(width as u32, height as u32, pixels.to_vec());
        let pictures: Option<Vec<Vec<u8>>> = pixels
            .par_chunks_exact(3 * height * width)
            .map(|pixels| grey(pixels).map(|picture| imageops::grayscale(&picture).into_raw()))
            .collect();
        pixels = pictures.unwrap_or_default().concat();
        channels = 1;
    }
    let sides = match options.image_size {
        Some(side) => [check_side(side, options.multiple_of)?; 2],
        None => [height, width],
    };
    if options.image_size.is_none() && sides.iter().any(|side| !side.is_multiple_of(options.multiple_of.max(1))) {
        let (path, multiple) = (path.display(), options.multiple_of);
        return Err(Error::input(format!(
            "{path}: pictures of {height} x {width} pixels, expected multiples of {multiple}; pass --image-size"
        )));
    }
    if sides != [height, width] {
        let mut fitted = zeros(&name, count, [sides[0], sides[1], channels])?;
        let (out, picture) = (sides[0] * sides[1] * channels, height * width * channels);
        let size = [width as u32, height as u32];
        fitted.par_chunks_exact_mut(out).zip(pixels.par_chunks_exact(picture)).for_each(|(out, pixels)| {
            let ([width, height], pixels) = (size, pixels.to_vec());
            if channels == 1 {
                let picture = GrayImage::from_raw(width, height, pixels);
                picture.into_iter().for_each(|picture| square(picture, sides[0], options.fit, out));
            } else {
                let picture = RgbImage::from_raw(width, height, pixels);
                picture.into_iter().for_each(|picture| square(picture, sides[0], options.fit, out));
            }
        });
        pixels = fitted;
    }
    let classes = labels.iter().flatten().max().map_or(0, |&highest| highest + 1);
    let class_names = (0..classes).map(|label| label.to_string()).collect();
    Dataset::from_bytes(name, [sides[0], sides[1], channels], pixels, labels, class_names)
}

#[cfg(test)]
mod tests {
    use super::super::Fit;
    use super::*;
    use std::io::Write;
    use std::path::PathBuf;
    use zip::write::SimpleFileOptions;

    fn npy(header: &str, data: &[u8]) -> Vec<u8> {
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(data);
        bytes
    }

    fn archive(folder: &Path, arrays: &[(&str, Vec<u8>)]) -> PathBuf {
        let path = folder.join("set.npz");
        let mut archive = zip::ZipWriter::new(File::create(&path).unwrap());
        for (name, bytes) in arrays {
            archive.start_file(*name, SimpleFileOptions::default()).unwrap();
            archive.write_all(bytes).unwrap();
        }
        archive.finish().unwrap();
        path
    }

    fn bytes(shape: &str, len: usize) -> Vec<u8> {
        let header = format!("{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}   \n");
        npy(&header, &(0..len).map(|i| i as u8).collect::<Vec<_>>())
    }

    fn labelled(numbers: [i64; 2]) -> Vec<u8> {
        let header = "{'descr': '<i8', 'fortran_order': False, 'shape': (2,), }\n";
        npy(header, &numbers.map(i64::to_le_bytes).concat())
    }

    fn read(path: &Path, options: &Options) -> Result<Dataset> {
        Dataset::open(path.to_str().unwrap(), options)
    }

    #[test]
    fn pictures_and_labels_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let plain = Options::default();
        let path = archive(folder.path(), &[("arr_0.npy", bytes("(2, 2, 3, 3)", 36)), ("arr_1.npy", labelled([4, 0]))]);
        let set = read(&path, &plain).unwrap();
        assert_eq!((set.shape(), set.len(), set.labels.clone(), set.classes()), ([2, 3, 3], 2, Some(vec![4, 0]), 5));
        assert_eq!(set.bytes(1), (18..36).collect::<Vec<u8>>());
        let small = Options { image_size: Some(4), fit: Fit::Pad, grayscale: Some(true), multiple_of: 1 };
        let set = read(&path, &small).unwrap();
        assert_eq!(set.shape(), [4, 4, 1]);
        // Pixels of n, n + 1 and n + 2 are a little less than n + 1 in grey.
        assert_eq!(set.bytes(0)[4..12], [0, 3, 6, 0, 9, 12, 15, 0]);
        for shape in ["(2, 2, 3)", "(2, 2, 3, 1)"] {
            let path = archive(folder.path(), &[("arr_0.npy", bytes(shape, 12))]);
            let set = read(&path, &plain).unwrap();
            assert_eq!((set.shape(), set.labels.as_ref(), set.bytes(1)[0]), ([2, 3, 1], None, 6));
        }
    }

    #[test]
    fn what_the_program_writes_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("drawn.npz");
        crate::pictures::save_npz(&path, [2, 3, 5, 3], std::iter::once(Ok((0..90).collect()))).unwrap();
        let set = read(&path, &Options::default()).unwrap();
        assert_eq!((set.shape(), set.bytes(1).to_vec()), ([3, 5, 3], (45..90).collect()));
    }

    #[test]
    fn other_archives_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let refused = |arrays: &[(&str, Vec<u8>)], words: &str| {
            let message = read(&archive(folder.path(), arrays), &Options::default()).unwrap_err().to_string();
            assert!(message.contains("set.npz") && message.contains(words) && !message.contains('\n'), "{message}");
        };
        refused(&[("other.npy", bytes("(1,)", 1))], "no array arr_0");
        refused(&[("arr_0.npy", bytes("(2, 2, 3, 3)", 35))], "arr_0: is truncated");
        refused(&[("arr_0.npy", bytes("(2, 2, 3, 2)", 24))], "expected bytes (|u1) of [N, H, W, 1 or 3]");
        refused(&[("arr_0.npy", bytes("(0, 2, 3, 3)", 0))], "expected bytes");
        refused(&[("arr_0.npy", bytes("(99999999999, 9999999999, 3, 3)", 9))], "larger than any memory");
        refused(&[("arr_0.npy", bytes("2", 9))], "not understood");
        refused(&[("arr_0.npy", b"not an array at all".to_vec())], "is no array of NumPy's");
        let pictures = || ("arr_0.npy", bytes("(1, 2, 3, 3)", 18));
        refused(&[pictures(), ("arr_1.npy", labelled([0, 1]))], "arr_1 has shape [2], expected [1]");
        let pictures = || ("arr_0.npy", bytes("(2, 2, 3, 3)", 36));
        refused(&[pictures(), ("arr_1.npy", labelled([0, -1]))], "arr_1 is <i8, expected whole numbers");
        let path = folder.path().join("no.npz");
        std::fs::write(&path, b"PK nothing").unwrap();
        assert!(read(&path, &Options::default()).unwrap_err().to_string().contains("no NumPy archive"));
    }
}

//! All pictures in one NumPy archive, as the published FID scripts read them.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::atomic_file;
use crate::error::{Error, Result};

/// What an array's header is padded to a multiple of.
const ALIGNMENT: usize = 64;
/// Magic number and version, and the two bytes of the header's length.
const BEFORE_HEADER: usize = 10;

/// The beginning of a `.npy` file of version 1.0 that holds bytes of these sizes, the last varying fastest.
fn npy_header(shape: [usize; 4]) -> Vec<u8> {
    let [n, h, w, c] = shape;
    let mut text = format!("{{'descr': '|u1', 'fortran_order': False, 'shape': ({n}, {h}, {w}, {c}), }}");
    let len = (BEFORE_HEADER + text.len() + 1).next_multiple_of(ALIGNMENT) - BEFORE_HEADER;
    text.push_str(&" ".repeat(len - 1 - text.len()));
    text.push('\n');
    [b"\x93NUMPY\x01\x00", &(len as u16).to_le_bytes()[..], text.as_bytes()].concat()
}

/// Writes pictures of `shape`, count x height x width x channels, to `path` as the array `arr_0` of bytes of an `.npz`
/// archive, whole or not at all. They come one after the other, in parts of any size.
///
/// # Errors
/// Where `path` cannot be written, or the parts are not as many bytes as the shape says; those of the parts.
pub fn save_npz(path: &Path, shape: [usize; 4], parts: impl Iterator<Item = Result<Vec<u8>>>) -> Result<()> {
    let wrong = |error: zip::result::ZipError| Error::input(format!("{}: {error}", path.display()));
    let len: usize = shape.iter().product();
    atomic_file::write_at(path, |unfinished| {
        let file = BufWriter::new(File::create(unfinished).map_err(Error::io(path))?);
        let mut archive = ZipWriter::new(file);
        let large = u32::try_from(len + 1024).is_err();
        let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored).large_file(large);
        archive.start_file("arr_0.npy", options).map_err(wrong)?;
        archive.write_all(&npy_header(shape)).map_err(Error::io(path))?;
        let mut written = 0;
        for part in parts {
            let part = part?;
            written += part.len();
            archive.write_all(&part).map_err(Error::io(path))?;
        }
        if written != len {
            return Err(Error::input(format!("{}: {written} bytes of pictures, expected {len}", path.display())));
        }
        archive.finish().map_err(wrong)?.flush().map_err(Error::io(path))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn an_archive_holds_the_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npz");
        let data: Vec<u8> = (0..2 * 3 * 5 * 3).collect();
        let pictures = || data.chunks(45).map(|picture| Ok(picture.to_vec()));
        save_npz(&path, [2, 3, 5, 3], pictures()).unwrap();
        let mut archive = zip::ZipArchive::new(File::open(&path).unwrap()).unwrap();
        let mut bytes = Vec::new();
        archive.by_name("arr_0.npy").unwrap().read_to_end(&mut bytes).unwrap();
        let header = bytes.len() - data.len();
        assert!(header.is_multiple_of(64) && bytes[header - 1] == b'\n');
        assert!(String::from_utf8_lossy(&bytes[..header]).contains("'shape': (2, 3, 5, 3)"));
        assert_eq!(&bytes[header..], &data);
        let error = save_npz(&path, [3, 3, 5, 3], pictures()).unwrap_err().to_string();
        assert!(error.ends_with("a.npz: 90 bytes of pictures, expected 135"), "{error}");
    }
}

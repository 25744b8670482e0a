//! The IDX format of MNIST and its relatives: two zero bytes, the element type, the number of dimensions, each
//! dimension as a big-endian u32, and then the elements; often gzipped.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;

use crate::error::{Error, Result};

/// The element type of pictures and labels; IDX has others, for floats and wider integers.
const UNSIGNED_BYTE: u8 = 0x08;
/// More elements than any honest file of bytes has. A few megabytes of gzip can hold any number of zeros.
const MOST_ELEMENTS: u64 = 8 << 30;
/// How far into surplus bytes to count, for the error message only.
const COUNT_UP_TO: u64 = 1 << 30;

/// Reads an IDX file of bytes with `D` dimensions, gzipped or not (told by the content). Gives the dimensions and the
/// elements, which are exactly as many as the dimensions multiply to, and at least one.
pub(super) fn read<const D: usize>(path: &Path) -> Result<([usize; D], Vec<u8>)> {
    let mut file = BufReader::new(File::open(path).map_err(Error::io(path))?);
    let is_gzip = file.fill_buf().map_err(Error::io(path))?.starts_with(&[0x1f, 0x8b]);
    let mut stream: Box<dyn Read> = if is_gzip { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) };
    let refuse = |what: String| Error::input(format!("{}: {what}", path.display()));
    let unreadable = |error: io::Error| match is_gzip {
        true => refuse(format!("truncated or damaged gzip file ({error})")),
        false => Error::io(path)(error),
    };

    let mut header = Vec::new();
    (&mut stream).take(4 + 4 * D as u64).read_to_end(&mut header).map_err(unreadable)?;
    let [0, 0, element, dimensions, sizes @ ..] = header.as_slice() else {
        let start: Vec<String> = header.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        return Err(refuse(format!(
            "not an IDX file: starts with bytes [{}], expected [00 00 08 {D:02x}]",
            start.join(" ")
        )));
    };
    if *element != UNSIGNED_BYTE {
        return Err(refuse(format!("IDX file with element type 0x{element:02x}, expected 0x08 (unsigned bytes)")));
    }
    if usize::from(*dimensions) != D {
        let kind = |dimensions| match dimensions {
            1 => " (labels)",
            3 => " (pictures)",
            _ => "",
        };
        let found = usize::from(*dimensions);
        return Err(refuse(format!("IDX file of {found} dimensions{}, expected {D}{}", kind(found), kind(D))));
    }
    let (sizes, []) = sizes.as_chunks::<4>() else {
        return Err(refuse("truncated in its IDX header".into()));
    };
    let Ok(sizes) = <[[u8; 4]; D]>::try_from(sizes) else {
        return Err(refuse("truncated in its IDX header".into()));
    };
    let sizes = sizes.map(u32::from_be_bytes);

    let product = sizes.map(|size| size.to_string()).join(" x ");
    let expected = sizes.iter().try_fold(1u64, |product, &size| product.checked_mul(size.into()));
    let expected = match expected {
        Some(0) => return Err(refuse(format!("its IDX header says {product}: there is nothing in it"))),
        Some(expected) if expected <= MOST_ELEMENTS => expected,
        _ => {
            return Err(refuse(format!(
                "its IDX header says {product} bytes, expected at most {MOST_ELEMENTS}; it is damaged"
            )));
        }
    };

    // The header's word is not enough to claim the memory, so it grows as bytes arrive. One more than expected, so
    // that surplus shows and gzip's checksum is read.
    let mut elements = Vec::new();
    (&mut stream).take(expected + 1).read_to_end(&mut elements).map_err(|error| match error.kind() {
        io::ErrorKind::OutOfMemory => Error::OutOfMemory(format!("{}: {product} bytes", path.display())),
        _ => unreadable(error),
    })?;
    let mut found = elements.len() as u64;
    if found > expected {
        found += io::copy(&mut stream.take(COUNT_UP_TO), &mut io::sink()).map_err(unreadable)?;
    }
    if found != expected {
        return Err(refuse(format!(
            "its IDX header says {product} = {expected} bytes after it, but there are {found}{}",
            if found < expected { "; it is truncated" } else { "" }
        )));
    }
    Ok((sizes.map(|size| size as usize), elements))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn idx(dimensions: &[u32], elements: usize) -> Vec<u8> {
        let mut bytes = vec![0, 0, 8, dimensions.len() as u8];
        bytes.extend(dimensions.iter().flat_map(|size| size.to_be_bytes()));
        bytes.extend((0..elements).map(|index| index as u8));
        bytes
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn read_bytes(bytes: &[u8]) -> Result<([usize; 3], Vec<u8>)> {
        let mut file = tempfile::NamedTempFile::with_prefix("images").unwrap();
        file.write_all(bytes).unwrap();
        read::<3>(file.path())
    }

    fn refusal(bytes: &[u8]) -> String {
        let message = read_bytes(bytes).unwrap_err().to_string();
        assert!(message.contains("images") && !message.contains('\n'), "{message}");
        message
    }

    #[test]
    fn reads_plain_and_gzipped() {
        let plain = idx(&[2, 3, 4], 24);
        let expected = ([2, 3, 4], (0..24).collect::<Vec<u8>>());
        assert_eq!(read_bytes(&plain).unwrap(), expected);
        assert_eq!(read_bytes(&gzip(&plain)).unwrap(), expected);
    }

    #[test]
    fn lengths_that_disagree_are_both_named() {
        let message = refusal(&idx(&[2, 3, 4], 23));
        assert!(message.contains("2 x 3 x 4 = 24 bytes after it, but there are 23; it is truncated"), "{message}");
        let message = refusal(&gzip(&idx(&[2, 3, 4], 23)));
        assert!(message.contains("= 24 bytes after it, but there are 23"), "{message}");
        let message = refusal(&idx(&[2, 3, 4], 30));
        assert!(message.ends_with("= 24 bytes after it, but there are 30"), "{message}");
    }

    #[test]
    fn a_cut_or_damaged_gzip_is_named() {
        let whole = gzip(&idx(&[2, 30, 40], 2400));
        for length in [3, 12, whole.len() / 2, whole.len() - 1] {
            let message = refusal(&whole[..length]);
            assert!(message.contains("truncated or damaged gzip"), "{length}: {message}");
        }
        let mut checksum = whole.clone();
        let at = checksum.len() - 8;
        checksum[at] ^= 1;
        assert!(refusal(&checksum).contains("truncated or damaged gzip"));
    }

    #[test]
    fn other_content_is_named() {
        assert!(refusal(b"\x89PNG....").contains("starts with bytes [89 50 4e 47], expected [00 00 08 03]"));
        assert!(refusal(b"").contains("starts with bytes [], expected"));
        assert!(refusal(&[0, 0, 8]).contains("starts with bytes [00 00 08]"));
        assert!(refusal(&[0, 0, 8, 3, 0, 0, 0, 1, 0]).contains("truncated in its IDX header"));
        assert!(refusal(&[0, 0, 8, 3, 0, 0, 0, 1]).contains("truncated in its IDX header"));
        assert!(refusal(&[0, 0, 13, 3, 0, 0, 0, 1]).contains("element type 0x0d, expected 0x08"));
        assert!(refusal(&idx(&[4], 4)).contains("1 dimensions (labels), expected 3 (pictures)"));
    }

    #[test]
    fn absurd_headers_claim_no_memory() {
        let message = refusal(&idx(&[u32::MAX, u32::MAX, u32::MAX], 10));
        assert!(message.contains("4294967295 x 4294967295 x 4294967295 bytes, expected at most"), "{message}");
        assert!(refusal(&idx(&[2_000_000, 64, 64], 10)).contains("= 8192000000 bytes after it, but there are 10"));
        assert!(refusal(&idx(&[0, 28, 28], 0)).contains("there is nothing in it"));
    }
}

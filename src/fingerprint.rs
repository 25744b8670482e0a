//! A short number for much data, to notice that it is no longer the same. It is no protection from who wants them alike.

use crate::error::{Error, Result};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// A fingerprint in the making.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fingerprint(u64);

impl Default for Fingerprint {
    fn default() -> Self {
        // The beginning and the factor of FNV-1a.
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fingerprint {
    fn word(&mut self, word: u64) {
        // One to one in each of both: a single change is always seen.
        self.0 = (self.0 ^ word).wrapping_mul(0x0000_0100_0000_01b3);
        self.0 ^= self.0 >> 32;
    }

    /// Takes bytes in.
    pub(crate) fn bytes(mut self, bytes: &[u8]) -> Self {
        let (words, rest) = bytes.as_chunks::<8>();
        words.iter().for_each(|word| self.word(u64::from_le_bytes(*word)));
        rest.iter().for_each(|&byte| self.word(byte.into()));
        self.word(bytes.len() as u64);
        self
    }

    /// Takes a file's bytes in.
    ///
    /// # Errors
    /// [`Error::Io`] naming it.
    pub(crate) fn file(mut self, path: &Path) -> Result<Self> {
        let mut file = File::open(path).map_err(Error::io(path))?;
        let mut bytes = Vec::new();
        while file.by_ref().take(1 << 20).read_to_end(&mut bytes).map_err(Error::io(path))? > 0 {
            self = self.bytes(&bytes);
            bytes.clear();
        }
        Ok(self)
    }

    /// Takes numbers in, by their bits.
    pub(crate) fn floats(mut self, floats: &[f32]) -> Self {
        floats.iter().for_each(|float| self.word(float.to_bits().into()));
        self.word(floats.len() as u64);
        self
    }

    /// Takes whole numbers in.
    pub(crate) fn integers(mut self, integers: &[u32]) -> Self {
        integers.iter().for_each(|&integer| self.word(integer.into()));
        self.word(integers.len() as u64);
        self
    }

    /// As people compare it.
    pub(crate) fn text(self) -> String {
        format!("{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_data_have_another_fingerprint() {
        let of = |bytes: &[u8]| Fingerprint::default().bytes(bytes).text();
        assert_eq!(of(b"12345678abc"), of(b"12345678abc"));
        for other in [&b"12345678abd"[..], b"12345678ab", b"12345678abc\0", b"", b"\x0012345678abc"] {
            assert_ne!(of(b"12345678abc"), of(other));
        }
        let floats = |floats: &[f32]| Fingerprint::default().floats(floats).text();
        assert_ne!(floats(&[0.0, 1.0]), floats(&[-0.0, 1.0]));
        assert_ne!(floats(&[0.0, 1.0]), floats(&[1.0, 0.0]));
        assert_ne!(floats(&[0.0]), floats(&[0.0, 0.0]));
    }
}

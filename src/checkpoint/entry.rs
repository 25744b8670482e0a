//! Where a tensor lies.

use super::element_type::ElementType;
use super::strided;
use crate::error::{Error, Result};
use flate2::read::DeflateDecoder;
use std::borrow::Cow;
use std::io::Read;

/// A run of bytes in a file. It is inside the file: who makes one has checked that.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// Its first byte in the file.
    pub(super) start: usize,
    /// Bytes.
    pub(super) len: usize,
    /// The bytes that they are once inflated, where they are deflated.
    pub(super) inflated: Option<usize>,
}

impl Place {
    /// The bytes, inflated if need be.
    ///
    /// # Errors
    /// [`Input`](Error::Input) if they do not inflate to the bytes that were expected.
    pub(super) fn bytes<'a>(&self, file: &'a [u8]) -> Result<Cow<'a, [u8]>> {
        let bytes = &file[self.start..][..self.len];
        let Some(expected) = self.inflated else { return Ok(Cow::Borrowed(bytes)) };
        let mut inflated = Vec::new();
        // One byte more than expected tells that there is more.
        let read = DeflateDecoder::new(bytes).take(expected as u64 + 1).read_to_end(&mut inflated);
        match read {
            Ok(found) if found == expected => Ok(Cow::Owned(inflated)),
            Ok(found) if found > expected => Err(Error::input(format!("inflates to more than {expected} bytes"))),
            Ok(found) => Err(Error::input(format!("inflates to {found} bytes, expected {expected}"))),
            Err(error) => Err(Error::input(format!("does not inflate: {error}"))),
        }
    }
}

/// A tensor of a file.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// What its elements are.
    pub(super) of: ElementType,
    /// Its sizes.
    pub(super) shape: Vec<usize>,
    /// Elements from one to the next along every axis; `None` if they lie one after the other.
    pub(super) strides: Option<Vec<usize>>,
    /// Elements of the place before its first.
    pub(super) offset: usize,
    /// Which file it is in.
    pub(super) file: usize,
    /// Its elements, maybe among others'. They are inside: who makes an entry has checked that.
    pub(super) place: Place,
}

impl Entry {
    /// Its elements in the order of its sizes.
    ///
    /// # Errors
    /// Those of [`Place::bytes`].
    pub(super) fn read<'a>(&self, file: &'a [u8]) -> Result<Cow<'a, [f32]>> {
        let size = self.of.size();
        let bytes = self.place.bytes(file)?;
        let Some(strides) = &self.strides else {
            let (from, len) = (self.offset * size, strided::count(&self.shape).unwrap_or(0) * size);
            return Ok(match bytes {
                Cow::Borrowed(bytes) => self.of.floats(&bytes[from..][..len]),
                Cow::Owned(bytes) => Cow::Owned(self.of.floats(&bytes[from..][..len]).into_owned()),
            });
        };
        let gathered = strided::gather(self.of, &bytes, self.offset, &self.shape, strides);
        Ok(Cow::Owned(self.of.floats(&gathered).into_owned()))
    }
}

//! The header of a safetensors file: 8 bytes of its length, JSON, then the tensors one after the other.

use super::element_type::ElementType;
use super::entry::{Entry, Place};
use super::strided;
use super::unique_map::UniqueMap;
use crate::error::{Error, Result};
use serde::Deserialize;
use serde_json::Value;
use std::collections::HashMap;

/// Room for a hundred thousand tensors. The format allows three times as much.
const LONGEST_HEADER: u64 = 1 << 25;

/// Where a header says that a tensor lies.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Info {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: [usize; 2],
}

/// What a file says of itself.
pub(super) struct Header {
    pub(super) entries: Vec<(String, Entry)>,
    pub(super) metadata: HashMap<String, String>,
}

/// Reads the header of a whole file; `source` is named in errors.
///
/// # Errors
/// [`Input`](Error::Input) unless the tensors fill the file without gaps or overlaps, and have types that are known.
pub(super) fn read(file: &[u8], source: &str) -> Result<Header> {
    let broken = |why: String| Error::input(format!("{source}: not a whole safetensors file: {why}"));
    let Some((length, rest)) = file.split_first_chunk() else {
        return Err(broken(format!("{} bytes, expected at least 8", file.len())));
    };
    let length = u64::from_le_bytes(*length);
    if length > LONGEST_HEADER.min(rest.len() as u64) {
        let most = LONGEST_HEADER.min(rest.len() as u64);
        return Err(broken(format!("a header of {length} bytes, expected at most {most}")));
    }
    let (header, data) = rest.split_at(length as usize);
    let UniqueMap(objects) = serde_json::from_slice::<UniqueMap<Value>>(header)
        .map_err(|error| broken(format!("the header is not JSON as it should be: {error}")))?;
    let mut metadata = HashMap::new();
    let mut found = Vec::new();
    for (name, value) in objects {
        if name == "__metadata__" {
            metadata = serde_json::from_value(value).map_err(|error| broken(format!("__metadata__: {error}")))?;
        } else {
            let info: Info =
                serde_json::from_value(value).map_err(|error| broken(format!("tensor {name:?}: {error}")))?;
            found.push((name, info));
        }
    }
    found.sort_by_key(|(_, info)| info.data_offsets);
    let mut end = 0;
    let mut entries = Vec::new();
    for (name, Info { dtype, shape, data_offsets: [from, to] }) in found {
        let Some(of) = ElementType::of_safetensors(&dtype) else {
            let expected = ElementType::expected();
            return Err(Error::input(format!("{source}: tensor {name:?} is {dtype:?}, expected one of {expected}")));
        };
        if from != end || to < from {
            return Err(broken(format!("tensor {name:?} lies at bytes {from} to {to}, the one before ends at {end}")));
        }
        let bytes = strided::count(&shape).and_then(|count| count.checked_mul(of.size()));
        if bytes != Some(to - from) {
            let found = to - from;
            return Err(broken(format!("tensor {name:?} of shape {shape:?} and type {dtype} has {found} bytes")));
        }
        end = to;
        let place = Place { start: 8 + length as usize + from, len: to - from, inflated: None };
        entries.push((name, Entry { of, shape, strides: None, offset: 0, file: 0, place }));
    }
    if end != data.len() {
        return Err(broken(format!("the tensors take {end} bytes, there are {}", data.len())));
    }
    Ok(Header { entries, metadata })
}

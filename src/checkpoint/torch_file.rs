//! What `torch.save` writes since PyTorch 1.6: a zip archive of a pickle, which names tensors, and their storages.

use super::entry::{Entry, Place};
use super::pickle::{self, Pickle, Tensor};
use super::{state_dict, strided};
use crate::error::{Error, Result};
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::io::Cursor;
use zip::{CompressionMethod, ZipArchive};

/// Whether a file begins as a zip archive does.
pub(super) fn is_zip(file: &[u8]) -> bool {
    file.starts_with(b"PK\x03\x04")
}

/// Whether a file is what `torch.save` wrote before PyTorch 1.6: a pickle of a magic number, or a tar archive.
pub(super) fn is_legacy(file: &[u8]) -> bool {
    let magic = b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";
    file.get(2..14) == Some(magic) || file.get(257..262) == Some(b"ustar")
}

/// Reads where a file's tensors lie; `source` is named in errors.
///
/// # Errors
/// [`Input`](Error::Input) naming what the archive or the pickle has that a checkpoint of tensors does not.
pub(super) fn read(file: &[u8], source: &str) -> Result<Vec<(String, Entry)>> {
    let wrong = |why: String| Error::input(format!("{source}: {why}"));
    let members = members(file).map_err(|error| wrong(error.to_string()))?;
    let mut pickles = members.keys().filter(|name| *name == "data.pkl" || name.ends_with("/data.pkl"));
    let (Some(name), None) = (pickles.next(), pickles.next()) else {
        return Err(wrong("a zip archive without one data.pkl, expected what torch.save writes".into()));
    };
    let folder = name.strip_suffix("data.pkl").unwrap_or_default();
    let text = |name: &str| -> Result<Option<Cow<[u8]>>> {
        let Some(place) = members.get(&format!("{folder}{name}")) else { return Ok(None) };
        if place.len.max(place.inflated.unwrap_or(0)) > pickle::LONGEST {
            return Err(wrong(format!("{name} is larger than {} bytes", pickle::LONGEST)));
        }
        place.bytes(file).map(Some).map_err(|error| wrong(format!("{name} {error}")))
    };
    if let Some(order) = text("byteorder")?
        && order.trim_ascii() != b"little"
    {
        let order: String = String::from_utf8_lossy(&order).chars().take(20).collect();
        return Err(wrong(format!("byteorder is {order:?}, expected \"little\"")));
    }
    let program = text("data.pkl")?.unwrap_or_default();
    let pickle = Pickle::run(&program).map_err(|error| wrong(error.to_string()))?;
    let tensors = state_dict::tensors(&pickle).map_err(|error| wrong(error.to_string()))?;
    let mut entries = Vec::with_capacity(tensors.len());
    let mut inflated = HashSet::new();
    for (name, tensor) in tensors {
        let key = pickle.text(tensor.key);
        let Some(&place) = members.get(&format!("{folder}data/{key}")) else {
            return Err(wrong(format!("tensor {name:?}: the archive has no data/{}", key.escape_debug())));
        };
        // A storage is inflated for every tensor that is in it, so it must be that tensor and nothing more.
        let mut shared = || !inflated.insert(key) || strided::count(&tensor.shape) != Some(tensor.elements);
        if place.inflated.is_some() && shared() {
            let key = key.escape_debug();
            return Err(wrong(format!("tensor {name:?}: data/{key} is deflated and holds more than this tensor")));
        }
        let entry = entry(tensor, place).map_err(|error| wrong(format!("tensor {name:?}: {error}")))?;
        entries.push((name.to_string(), entry));
    }
    Ok(entries)
}

/// A tensor's place, once everything that the pickle says of it has been held to the storage that there is.
fn entry(tensor: &Tensor, place: Place) -> Result<Entry> {
    let Tensor { of, elements, offset, .. } = *tensor;
    let (shape, strides) = (tensor.shape.clone(), &tensor.strides);
    let bytes = elements.checked_mul(of.size()).ok_or_else(|| Error::input("a storage of too many elements"))?;
    let found = place.inflated.unwrap_or(place.len);
    if bytes != found {
        return Err(Error::input(format!(
            "a storage of {elements} elements is {bytes} bytes, the archive has {found}"
        )));
    }
    let end = strided::end(offset, &shape, strides).filter(|end| *end <= elements);
    if end.is_none() {
        return Err(Error::input(format!(
            "shape {shape:?} with strides {strides:?} from {offset} on leaves its storage of {elements} elements"
        )));
    }
    if strided::count(&shape).is_none_or(|count| count > elements) {
        return Err(Error::input(format!(
            "shape {shape:?} with strides {strides:?} repeats elements of its storage of {elements}"
        )));
    }
    let strides = (!strided::is_contiguous(&shape, strides)).then(|| strides.clone());
    Ok(Entry { of, shape, strides, offset, file: 0, place })
}

/// The members of an archive by name.
fn members(file: &[u8]) -> Result<HashMap<String, Place>> {
    let broken = |error: zip::result::ZipError| Error::input(format!("not a whole zip archive: {error}"));
    let mut archive = ZipArchive::new(Cursor::new(file)).map_err(broken)?;
    if archive.has_duplicate_names() {
        return Err(Error::input("a zip archive with two members of one name"));
    }
    let mut members = HashMap::new();
    for index in 0..archive.len() {
        let member = archive.by_index_raw(index).map_err(broken)?;
        let name = member.name().map_err(broken)?.into_owned();
        let refuse = |why: &str| {
            let name: String = name.chars().take(100).collect();
            Err(Error::input(format!("the member {name:?} {why}")))
        };
        if name.starts_with(['/', '\\']) || name.split(['/', '\\']).any(|part| part == "..") {
            return refuse("lies outside of the archive");
        }
        if member.encrypted() {
            return refuse("is encrypted");
        }
        let deflated = match member.compression() {
            CompressionMethod::Stored => false,
            CompressionMethod::Deflated => true,
            _ => return refuse("is neither stored nor deflated"),
        };
        let to_usize = |number: u64| usize::try_from(number).ok();
        let (start, len) = (member.data_start().and_then(to_usize), to_usize(member.compressed_size()));
        let (Some(start), Some(len), Some(size)) = (start, len, to_usize(member.size())) else {
            return refuse("is not inside the file");
        };
        if start.checked_add(len).is_none_or(|end| end > file.len()) || (!deflated && size != len) {
            return refuse("is not inside the file");
        }
        members.insert(name, Place { start, len, inflated: deflated.then_some(size) });
    }
    Ok(members)
}

//! safetensors files.

use crate::atomic_file;
use crate::error::{Error, Result};
use crate::nn::{NamedTensor, Parameter, Parameters};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensorError, SafeTensors, View};
use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;

/// A safetensors file's contents as floats, and its metadata.
#[derive(Clone, Debug, Default)]
pub struct TensorFile {
    /// (shape, data) by name. Integers are floats here: they are labels and timesteps, small enough to be exact.
    pub tensors: HashMap<String, (Vec<usize>, Vec<f32>)>,
    /// Free text by name.
    pub metadata: HashMap<String, String>,
}

impl TensorFile {
    /// A tensor by name; the error names the file, the tensor and what there is.
    ///
    /// # Errors
    /// [`Input`](Error::Input).
    pub fn get(&self, name: &str, path: &Path) -> Result<&(Vec<usize>, Vec<f32>)> {
        self.tensors.get(name).ok_or_else(|| {
            let mut names: Vec<&str> = self.tensors.keys().map(String::as_str).take(8).collect();
            names.sort_unstable();
            Error::input(format!("{}: no tensor {name}; it holds {}", path.display(), names.join(", ")))
        })
    }
}

/// Reads a safetensors file: f32 tensors, and the integer types.
///
/// # Errors
/// [`Io`](Error::Io); [`Input`](Error::Input) naming the file if it is cut off, corrupt, or holds another type.
pub fn read_tensors(path: &Path) -> Result<TensorFile> {
    let bytes = std::fs::read(path).map_err(Error::io(path))?;
    let broken = |error: safetensors::SafeTensorError| {
        Error::input(format!("{}: not a whole safetensors file: {error}", path.display()))
    };
    let (_, metadata) = SafeTensors::read_metadata(&bytes).map_err(broken)?;
    let file = SafeTensors::deserialize(&bytes).map_err(broken)?;
    let mut tensors = HashMap::new();
    for (name, view) in file.iter() {
        let floats = to_floats(&view).ok_or_else(|| {
            Error::input(format!("{}: tensor {name} is {:?}, expected F32, I32 or I64", path.display(), view.dtype()))
        })?;
        tensors.insert(name.to_string(), (view.shape().to_vec(), floats));
    }
    Ok(TensorFile { tensors, metadata: metadata.metadata().clone().unwrap_or_default() })
}

fn to_floats(view: &TensorView) -> Option<Vec<f32>> {
    let data = view.data();
    match view.dtype() {
        Dtype::F32 => Some(data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()),
        Dtype::I32 => Some(data.chunks_exact(4).map(|b| i32::from_le_bytes([b[0], b[1], b[2], b[3]]) as f32).collect()),
        Dtype::I64 => {
            let integer = |b: &[u8]| i64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]) as f32;
            Some(data.chunks_exact(8).map(integer).collect())
        }
        _ => None,
    }
}

/// A tensor whose elements are made when it is written, so that a file never lies in memory as a whole.
pub struct Deferred<'a> {
    /// Sizes.
    pub shape: Vec<usize>,
    /// Makes the elements.
    pub make: Box<dyn Fn() -> Vec<f32> + 'a>,
}

impl View for Deferred<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }
    fn shape(&self) -> &[usize] {
        &self.shape
    }
    fn data(&self) -> Cow<'_, [u8]> {
        let floats = (self.make)();
        Cow::Owned(floats.iter().flat_map(|value| value.to_le_bytes()).collect())
    }
    fn data_len(&self) -> usize {
        4 * self.shape.iter().product::<usize>()
    }
}

/// Every tensor of a flat buffer as it is in a checkpoint, its name after `prefix`.
pub fn deferred<'a>(parameters: &'a Parameters, flat: &'a [f32], prefix: &str) -> Vec<(String, Deferred<'a>)> {
    let tensor = |p: &'a Parameter| {
        let make = move || p.to_checkpoint(&flat[p.offset..][..p.len()]);
        (format!("{prefix}{}", p.name), Deferred { shape: p.shape.clone(), make: Box::new(make) })
    };
    parameters.iter().map(tensor).collect()
}

/// Writes f32 tensors, whole or not at all.
///
/// # Errors
/// [`Io`](Error::Io).
pub fn write_deferred(path: &Path, tensors: Vec<(String, Deferred)>, metadata: &[(&str, String)]) -> Result<()> {
    let metadata: HashMap<String, String> =
        metadata.iter().map(|(key, value)| (key.to_string(), value.clone())).collect();
    atomic_file::write_at(path, |unfinished| {
        safetensors::serialize_to_file(tensors, Some(metadata), unfinished).map_err(|error| match error {
            SafeTensorError::IoError(source) => Error::io(path)(source),
            other => Error::Device(format!("{}: {other}", path.display())),
        })
    })
}

/// Writes f32 tensors that are in memory, whole or not at all.
///
/// # Errors
/// [`Io`](Error::Io).
pub fn write_tensors(path: &Path, tensors: &[NamedTensor], metadata: &[(&str, String)]) -> Result<()> {
    let views = tensors.iter().map(|(name, shape, data)| {
        (name.clone(), Deferred { shape: shape.clone(), make: Box::new(move || data.clone()) })
    });
    write_deferred(path, views.collect(), metadata)
}

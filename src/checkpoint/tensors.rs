//! safetensors files.

use crate::atomic_file;
use crate::error::{Error, Result};
use crate::nn::NamedTensor;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
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

/// Writes f32 tensors, whole or not at all.
///
/// # Errors
/// [`Io`](Error::Io).
pub fn write_tensors(path: &Path, tensors: &[NamedTensor], metadata: &[(&str, String)]) -> Result<()> {
    let views = (tensors.iter())
        .map(|(name, shape, data)| {
            let view = TensorView::new(Dtype::F32, shape.clone(), bytemuck::cast_slice(data))
                .map_err(|error| Error::Device(format!("tensor {name} {shape:?}: {error}")))?;
            Ok((name.as_str(), view))
        })
        .collect::<Result<Vec<_>>>()?;
    let metadata = metadata.iter().map(|(key, value)| (key.to_string(), value.clone())).collect();
    let bytes = safetensors::serialize(views, Some(metadata))
        .map_err(|error| Error::Device(format!("{}: {error}", path.display())))?;
    atomic_file::write(path, &bytes)
}

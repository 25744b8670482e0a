//! Writing safetensors files.

use crate::atomic_file;
use crate::error::{Error, Result};
use crate::nn::{NamedTensor, Parameter, Parameters};
use half::{bf16, f16};
use safetensors::{Dtype, SafeTensorError, View};
use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;

/// What a model's weights are written as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum WeightType {
    /// Single precision, as they are.
    #[default]
    F32,
    /// Half precision, rounded to the nearest, ties to even.
    F16,
    /// The upper half of single precision, rounded to the nearest, ties to even.
    #[value(name = "bf16")]
    BF16,
}

impl WeightType {
    fn dtype(self) -> Dtype {
        match self {
            Self::F32 => Dtype::F32,
            Self::F16 => Dtype::F16,
            Self::BF16 => Dtype::BF16,
        }
    }

    /// Whether a number would become infinite.
    fn overflows(self, value: f32) -> bool {
        value.is_finite()
            && match self {
                Self::F32 => false,
                Self::F16 => f16::from_f32(value).is_infinite(),
                Self::BF16 => bf16::from_f32(value).is_infinite(),
            }
    }

    fn bytes(self, values: &[f32]) -> Vec<u8> {
        match self {
            Self::F32 => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            Self::F16 => values.iter().flat_map(|&value| f16::from_f32(value).to_le_bytes()).collect(),
            Self::BF16 => values.iter().flat_map(|&value| bf16::from_f32(value).to_le_bytes()).collect(),
        }
    }

    /// Whether every weight can be written.
    ///
    /// # Errors
    /// [`Input`](Error::Input) naming the first tensor that holds a number too large.
    pub fn check(self, parameters: &Parameters, flat: &[f32]) -> Result<()> {
        for parameter in parameters.iter() {
            let values = &flat[parameter.offset..][..parameter.len()];
            if let Some(value) = values.iter().find(|value| self.overflows(**value)) {
                let (name, of) = (&parameter.name, self.dtype());
                return Err(Error::input(format!("tensor {name} holds {value}, which is infinite as {of:?}")));
            }
        }
        Ok(())
    }
}

/// A tensor whose elements are made when it is written, so that a file never lies in memory as a whole.
pub struct Deferred<'a> {
    /// Sizes.
    pub shape: Vec<usize>,
    /// What the elements are in the file.
    pub of: WeightType,
    /// Makes the elements.
    pub make: Box<dyn Fn() -> Vec<f32> + 'a>,
}

impl View for Deferred<'_> {
    fn dtype(&self) -> Dtype {
        self.of.dtype()
    }
    fn shape(&self) -> &[usize] {
        &self.shape
    }
    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Owned(self.of.bytes(&(self.make)()))
    }
    fn data_len(&self) -> usize {
        self.dtype().bitsize() / 8 * self.shape.iter().product::<usize>()
    }
}

/// Every tensor of a flat buffer as it is in a checkpoint, its name after `prefix`.
pub fn deferred<'a>(
    parameters: &'a Parameters,
    flat: &'a [f32],
    prefix: &str,
    of: WeightType,
) -> Vec<(String, Deferred<'a>)> {
    let tensor = |p: &'a Parameter| {
        let make = move || p.to_checkpoint(&flat[p.offset..][..p.len()]);
        (format!("{prefix}{}", p.name), Deferred { shape: p.shape.clone(), of, make: Box::new(make) })
    };
    parameters.iter().map(tensor).collect()
}

/// Writes tensors, whole or not at all.
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
        let make = Box::new(move || data.clone());
        (name.clone(), Deferred { shape: shape.clone(), of: WeightType::F32, make })
    });
    write_deferred(path, views.collect(), metadata)
}

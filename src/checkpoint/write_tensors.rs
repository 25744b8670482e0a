//! Writing safetensors files.

use crate::atomic_file;
use crate::error::{Error, Result};
use crate::nn::{NamedTensor, Parameter, Parameters};
use half::{bf16, f16};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::io::Write;
use std::path::Path;

/// What a model's weights are written as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
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
    /// Its name in safetensors files.
    fn name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::BF16 => "BF16",
        }
    }

    /// Bytes of a number.
    fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
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
        fn each<const N: usize>(values: &[f32], convert: impl Fn(f32) -> [u8; N]) -> Vec<u8> {
            let mut bytes = vec![0; N * values.len()];
            bytes.as_chunks_mut().0.iter_mut().zip(values).for_each(|(bytes, value)| *bytes = convert(*value));
            bytes
        }
        match self {
            Self::F32 => each(values, f32::to_le_bytes),
            Self::F16 => each(values, |value| f16::from_f32(value).to_le_bytes()),
            Self::BF16 => each(values, |value| bf16::from_f32(value).to_le_bytes()),
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
                let (name, of) = (&parameter.name, self.name());
                return Err(Error::input(format!("tensor {name} holds {value}, which is infinite as {of}")));
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

/// The header of a file with these tensors one after the other, in multiples of 8 bytes.
fn header(tensors: &[(String, Deferred)], metadata: &[(&str, String)]) -> String {
    let mut header = Map::new();
    if !metadata.is_empty() {
        let texts = metadata.iter().map(|(key, text)| (key.to_string(), Value::from(text.as_str())));
        header.insert("__metadata__".into(), Value::Object(texts.collect()));
    }
    let mut end = 0;
    for (name, tensor) in tensors {
        let begin = end;
        end += tensor.of.size() * tensor.shape.iter().product::<usize>();
        let info = json!({"dtype": tensor.of.name(), "shape": tensor.shape, "data_offsets": [begin, end]});
        header.insert(name.clone(), info);
    }
    let mut text = Value::Object(header).to_string();
    text.extend(std::iter::repeat_n(' ', text.len().next_multiple_of(8) - text.len()));
    text
}

/// Writes tensors of different names, whole or not at all.
///
/// # Errors
/// [`Io`](Error::Io).
pub fn write_deferred(path: &Path, tensors: Vec<(String, Deferred)>, metadata: &[(&str, String)]) -> Result<()> {
    let header = header(&tensors, metadata);
    atomic_file::write_with(path, |file| {
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(header.as_bytes())?;
        tensors.iter().try_for_each(|(_, tensor)| file.write_all(&tensor.of.bytes(&(tensor.make)())))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::Tensors;
    use crate::nn::TensorSource;

    fn written(of: WeightType, values: &[f32]) -> Vec<f32> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        let make = || values.to_vec();
        let tensor = Deferred { shape: vec![values.len()], of, make: Box::new(make) };
        write_deferred(&path, vec![("a".into(), tensor)], &[("format", "pt".into())]).unwrap();
        let tensors = Tensors::open(&path).unwrap();
        assert_eq!(tensors.metadata()["format"], "pt");
        assert_eq!(tensors.shape("a"), Some(&[values.len()][..]));
        tensors.read("a").unwrap().into_owned()
    }

    #[test]
    fn numbers_are_rounded_to_the_nearest_with_ties_to_even() {
        let step = 2f32.powi(-11);
        let values = [1.0 + step, 1.0 + 3.0 * step, 1.0 + 1.01 * step, -2f32.powi(-25), 65519.0];
        let halves = [1.0, 1.0 + 4.0 * step, 1.0 + 2.0 * step, -0.0, 65504.0];
        assert_eq!(written(WeightType::F16, &values), halves);
        let step = 2f32.powi(-8);
        assert_eq!(written(WeightType::BF16, &[1.0 + step, 1.0 + 3.0 * step]), [1.0, 1.0 + 4.0 * step]);
        let any = [f32::MIN_POSITIVE, -0.1, f32::MAX];
        assert_eq!(written(WeightType::F32, &any), any);
    }

    #[test]
    fn numbers_that_would_be_infinite_are_refused() {
        let mut parameters = Parameters::default();
        for name in ["small", "large"] {
            parameters.add(name.into(), &[2], crate::nn::Layout::Same, crate::nn::Initial::Constant(0.0));
        }
        let mut flat = vec![0.0; parameters.len()];
        flat[parameters.iter().last().unwrap().offset + 1] = -65520.0;
        assert!(WeightType::F32.check(&parameters, &flat).is_ok());
        assert!(WeightType::BF16.check(&parameters, &flat).is_ok());
        let error = WeightType::F16.check(&parameters, &flat).unwrap_err().to_string();
        assert_eq!(error, "tensor large holds -65520, which is infinite as F16");
        flat[0] = f32::MAX;
        assert!(WeightType::BF16.check(&parameters, &flat).unwrap_err().to_string().contains("small"));
    }
}

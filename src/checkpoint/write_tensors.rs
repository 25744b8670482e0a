//! Writing safetensors files.

use crate::atomic_file;
use crate::error::{Error, Result};
use crate::nn::{NamedTensor, Parameter, Parameters};
use half::{bf16, f16};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::fs::File;
use std::io::{BufWriter, Write};
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
fn header<'a>(
    tensors: impl Iterator<Item = (&'a str, &'a [usize], WeightType)>,
    metadata: &[(&str, String)],
) -> String {
    let mut header = Map::new();
    if !metadata.is_empty() {
        let texts = metadata.iter().map(|(key, text)| (key.to_string(), Value::from(text.as_str())));
        header.insert("__metadata__".into(), Value::Object(texts.collect()));
    }
    let mut end = 0;
    for (name, shape, of) in tensors {
        let begin = end;
        end += of.size() * shape.iter().product::<usize>();
        let info = json!({"dtype": of.name(), "shape": shape, "data_offsets": [begin, end]});
        header.insert(name.into(), info);
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
    let header = header(tensors.iter().map(|(name, t)| (name.as_str(), &t.shape[..], t.of)), metadata);
    atomic_file::write_with(path, |file| {
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(header.as_bytes())?;
        tensors.iter().try_for_each(|(_, tensor)| file.write_all(&tensor.of.bytes(&(tensor.make)())))
    })
}

/// Writes a file of one f32 tensor whose elements come in parts, whole or not at all.
///
/// # Errors
/// [`Io`](Error::Io); [`Input`](Error::Input) if the parts are not as many numbers as the shape says; those of the parts.
pub fn write_in_parts(
    path: &Path,
    name: &str,
    shape: &[usize],
    metadata: &[(&str, String)],
    parts: impl Iterator<Item = Result<Vec<f32>>>,
) -> Result<()> {
    let header = header([(name, shape, WeightType::F32)].into_iter(), metadata);
    let len: usize = shape.iter().product();
    atomic_file::write_at(path, |unfinished| {
        let mut file = BufWriter::new(File::create(unfinished).map_err(Error::io(path))?);
        let mut write = |bytes: &[u8]| file.write_all(bytes).map_err(Error::io(path));
        write(&(header.len() as u64).to_le_bytes())?;
        write(header.as_bytes())?;
        let mut written = 0;
        for part in parts {
            let part = part?;
            written += part.len();
            write(&WeightType::F32.bytes(&part))?;
        }
        if written != len {
            return Err(Error::input(format!("{}: {written} numbers of {name}, expected {len}", path.display())));
        }
        file.flush().map_err(Error::io(path))
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
    fn parts_become_one_tensor() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        let parts = |parts: usize| (0..parts).map(|part| Ok(vec![part as f32, 0.5]));
        write_in_parts(&path, "a", &[3, 2], &[("pictures", "0 to 2".into())], parts(3)).unwrap();
        let tensors = Tensors::open(&path).unwrap();
        assert_eq!(tensors.metadata()["pictures"], "0 to 2");
        assert_eq!(tensors.finite("a", &[3, 2]).unwrap()[..], [0.0, 0.5, 1.0, 0.5, 2.0, 0.5]);
        let error = write_in_parts(&path, "a", &[3, 2], &[], parts(2)).unwrap_err().to_string();
        assert!(error.ends_with("a.safetensors: 4 numbers of a, expected 6"), "{error}");
        assert!(Tensors::open(&path).is_ok(), "what was there is untouched");
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

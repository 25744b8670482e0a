//! PyTorch's numbers: `tests/golden/*.safetensors`, made by `tests/golden/golden.py`.
#![allow(dead_code)]

use safetensors::{Dtype, SafeTensors};
use std::collections::HashMap;

/// A tensor of a golden file.
#[derive(Clone, Debug)]
pub struct Tensor {
    pub shape: Vec<usize>,
    pub data: Vec<f32>,
    pub integers: Vec<u32>,
}

/// A golden file's tensors and metadata.
pub struct Golden {
    pub tensors: HashMap<String, Tensor>,
    pub metadata: HashMap<String, String>,
}

impl Golden {
    pub fn open(name: &str) -> Self {
        let path = format!("{}/tests/golden/{name}.safetensors", env!("CARGO_MANIFEST_DIR"));
        let bytes = std::fs::read(path).unwrap();
        let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let read = |view: safetensors::tensor::TensorView| {
            let words = view.data();
            let f64s = || words.chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().unwrap()));
            let f32s = || words.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()));
            let i32s = || words.chunks_exact(4).map(|b| i32::from_le_bytes(b.try_into().unwrap()));
            let (data, integers) = match view.dtype() {
                Dtype::F64 => (f64s().map(|x| x as f32).collect(), vec![]),
                Dtype::F32 => (f32s().collect(), vec![]),
                Dtype::I32 => (i32s().map(|x| x as f32).collect(), i32s().map(|x| x as u32).collect()),
                other => panic!("golden files hold no {other:?}"),
            };
            Tensor { shape: view.shape().to_vec(), data, integers }
        };
        let tensors = tensors.iter().map(|(name, view)| (name.to_string(), read(view))).collect();
        Self { tensors, metadata: metadata.metadata().clone().unwrap_or_default() }
    }

    pub fn get(&self, name: &str) -> &Tensor {
        self.tensors.get(name).unwrap_or_else(|| panic!("{name} is not in the golden file"))
    }
}

impl Tensor {
    /// NCHW to NHWC for pictures; as it is for anything else.
    pub fn nhwc(&self) -> (Vec<usize>, Vec<f32>) {
        let &[n, c, h, w] = &self.shape[..] else { return (self.shape.clone(), self.data.clone()) };
        let mut out = Vec::with_capacity(self.data.len());
        for picture in 0..n {
            for pixel in 0..h * w {
                out.extend((0..c).map(|channel| self.data[(picture * c + channel) * h * w + pixel]));
            }
        }
        (vec![n, h, w, c], out)
    }

    /// OIHW to HWIO.
    pub fn hwio(&self) -> (Vec<usize>, Vec<f32>) {
        let &[o, i, h, w] = &self.shape[..] else { panic!("not a convolution's weight: {:?}", self.shape) };
        let mut out = Vec::with_capacity(self.data.len());
        for tap in 0..h * w {
            for input in 0..i {
                out.extend((0..o).map(|output| self.data[(output * i + input) * h * w + tap]));
            }
        }
        (vec![h, w, i, o], out)
    }

    /// [outputs, inputs] to [inputs, outputs].
    pub fn transposed(&self) -> (Vec<usize>, Vec<f32>) {
        let &[rows, columns] = &self.shape[..] else { panic!("not a matrix: {:?}", self.shape) };
        let data = (0..rows * columns).map(|i| self.data[i % rows * columns + i / rows]).collect();
        (vec![columns, rows], data)
    }

    pub fn as_is(&self) -> (Vec<usize>, Vec<f32>) {
        (self.shape.clone(), self.data.clone())
    }
}

/// Panics unless `found` is `expected` to `tolerance` of its largest value, or of `floor` if that is larger.
pub fn assert_close(what: &str, found: &[f32], expected: &[f32], tolerance: f32, floor: f32) {
    assert_eq!(found.len(), expected.len(), "{what}: sizes differ");
    let largest = expected.iter().fold(floor, |largest, x| largest.max(x.abs()));
    for (i, (f, e)) in found.iter().zip(expected).enumerate() {
        assert!((f - e).abs() <= tolerance * largest, "{what}[{i}]: found {f}, PyTorch has {e} (largest {largest})");
    }
}

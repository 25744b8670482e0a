//! All tensors of a small file.
#![allow(dead_code)]

use aquatint::checkpoint::Tensors;
use aquatint::nn::TensorSource;
use std::collections::HashMap;
use std::path::Path;

/// A file's tensors as floats, and its metadata.
pub struct TensorFile {
    /// (shape, data) by name.
    pub tensors: HashMap<String, (Vec<usize>, Vec<f32>)>,
    pub metadata: HashMap<String, String>,
}

pub fn read_tensors(path: &Path) -> aquatint::Result<TensorFile> {
    let file = Tensors::open(path)?;
    let tensor = |name: &str| {
        let (shape, data) = file.get(name)?;
        Ok((name.to_string(), (shape.to_vec(), data.into_owned())))
    };
    let tensors = file.names().map(tensor).collect::<aquatint::Result<_>>()?;
    Ok(TensorFile { tensors, metadata: file.metadata().clone() })
}

//! What a model's weights are kept in.

use super::layout::ModelFiles;
use super::tensors::Tensors;
use crate::error::Result;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// The files of a model's weights.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WeightFiles {
    /// The file, or the index of several.
    pub path: PathBuf,
    /// How many files there are.
    pub files: usize,
    /// The types of their elements, by their names in safetensors files.
    pub types: Vec<&'static str>,
}

impl WeightFiles {
    /// Looks at a model's weights without reading them.
    ///
    /// # Errors
    /// Those of [`ModelFolder::read`](super::ModelFolder::read) that are about files.
    pub fn find(model: &Path) -> Result<Self> {
        let path = ModelFiles::find(model)?.weights;
        let (types, files) = Tensors::open(&path)?.types_and_files();
        Ok(Self { path, files, types })
    }
}

//! The one way in for checkpoints of every family.

use super::ModelFolder;
use crate::error::Result;
use std::path::Path;

/// Reads a model of any family that this program knows, brought to diffusers' names.
///
/// # Errors
/// [`Io`](crate::Error::Io) or [`Input`](crate::Error::Input) naming the file, the key or the tensor that does not fit.
pub fn read_any(path: &Path) -> Result<ModelFolder> {
    ModelFolder::read(path)
}

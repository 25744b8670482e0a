//! The one way in for checkpoints of every family.

use super::openai::{self, Unstated};
use super::{ModelFolder, Tensors};
use crate::error::Result;
use std::path::Path;

/// Whose checkpoints there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// diffusers'.
    Diffusers,
    /// Those of improved-diffusion and guided-diffusion.
    OpenAi,
}

/// Reads a model of any family that this program knows, brought to diffusers' names. `unstated` is what OpenAI's files
/// do not say.
///
/// # Errors
/// [`Io`](crate::Error::Io) or [`Input`](crate::Error::Input) naming the file, the key or the tensor that does not fit.
pub fn read_any(path: &Path, unstated: &Unstated) -> Result<(ModelFolder, Family)> {
    if path.is_file() && path.extension().is_none_or(|extension| extension != "json") {
        let tensors = Tensors::open(path)?;
        if openai::is_openai(&tensors) {
            return Ok((openai::read(&tensors, tensors.source(), unstated)?, Family::OpenAi));
        }
    }
    Ok((ModelFolder::read(path)?, Family::Diffusers))
}

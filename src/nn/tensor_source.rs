//! Where a network's weights come from: tensors by name, read one at a time.

use crate::error::{Error, Result};
use std::borrow::Cow;
use std::collections::HashMap;

/// Tensors by name, whose elements are made when they are asked for: a checkpoint never lies in memory twice.
pub trait TensorSource: Sync {
    /// The names of all tensors.
    fn names(&self) -> Box<dyn Iterator<Item = &str> + '_>;

    /// A tensor's sizes, if there is such a tensor.
    fn shape(&self, name: &str) -> Option<&[usize]>;

    /// A tensor's elements in the order of its sizes, the last one fastest.
    ///
    /// # Errors
    /// [`Input`](Error::Input) if there is no such tensor, or its elements cannot be read.
    fn read(&self, name: &str) -> Result<Cow<'_, [f32]>>;
}

impl TensorSource for HashMap<String, (Vec<usize>, Vec<f32>)> {
    fn names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        Box::new(self.keys().map(String::as_str))
    }

    fn shape(&self, name: &str) -> Option<&[usize]> {
        self.get(name).map(|(shape, _)| &shape[..])
    }

    fn read(&self, name: &str) -> Result<Cow<'_, [f32]>> {
        let (_, data) = self.get(name).ok_or_else(|| Error::input(format!("tensor {name} is missing")))?;
        Ok(Cow::Borrowed(data))
    }
}

//! A look at pictures while they are drawn.

use crate::device::Device;
use crate::error::{Error, Result};
use crate::plan::Storage;

/// What can be seen between two stages.
pub struct Look<'a> {
    pub(super) device: &'a mut dyn Device,
    pub(super) x: &'a Storage,
    pub(super) predicted: Option<&'a Storage>,
    /// Numbers of the pictures that are wanted; a batch may have more.
    pub(super) len: usize,
}

impl Look<'_> {
    /// x_t, NHWC, in the scale that the network takes.
    ///
    /// # Errors
    /// The device's.
    pub fn x(&mut self) -> Result<Vec<f32>> {
        Ok(self.device.download(self.x)?[..self.len].to_vec())
    }

    /// The x_0 that the last stage with a run of the network went by, guided and clipped, NHWC.
    ///
    /// # Errors
    /// [`Input`](Error::Input) if the sampler was not asked for it
    /// ([`SamplerOptions`](super::SamplerOptions)); the device's.
    pub fn predicted(&mut self) -> Result<Vec<f32>> {
        let predicted = self.predicted.ok_or_else(|| Error::input("this sampler does not keep the predicted x_0"))?;
        Ok(self.device.download(predicted)?[..self.len].to_vec())
    }
}

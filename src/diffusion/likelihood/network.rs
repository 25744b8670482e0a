//! A network on a device as a [`Predictor`].

use super::{Predictor, PullBack};
use crate::device::{Device, PlanId};
use crate::error::{Error, Result};
use crate::nn::Forward;
use crate::plan::{Element, Step};

/// A recorded network that a device runs.
pub struct DeviceNetwork<'a> {
    device: &'a mut dyn Device,
    forward: &'a Forward,
    id: PlanId,
}

impl<'a> DeviceNetwork<'a> {
    /// Loads a recording and its weights.
    ///
    /// # Errors
    /// The device's.
    pub fn load(device: &'a mut dyn Device, forward: &'a Forward, weights: &[f32]) -> Result<Self> {
        let id = device.load(&forward.plan)?;
        device.upload(&forward.weights, 0, weights)?;
        Ok(Self { device, forward, id })
    }

    fn run(&mut self, x: &[f32], told: &[f32], labels: Option<&[u32]>) -> Result<Vec<f32>> {
        let Self { device, forward, id } = self;
        let batch = forward.timesteps.len();
        if told.len() > batch || x.len() * batch != told.len() * forward.pictures.len() {
            let (numbers, pictures) = (x.len(), told.len());
            return Err(Error::input(format!("{numbers} numbers in {pictures} pictures, expected at most {batch}")));
        }
        device.upload(&forward.pictures, 0, x)?;
        device.upload(&forward.timesteps, 0, told)?;
        match (labels, &forward.labels) {
            (Some(labels), Some(storage)) if storage.element() == Element::U32 => {
                device.upload_integers(storage, 0, labels)?;
            }
            (Some(labels), Some(storage)) => {
                device.upload(storage, 0, &labels.iter().map(|&label| label as f32).collect::<Vec<_>>())?;
            }
            (None, None) => {}
            (Some(_), None) => return Err(Error::input("this model has no classes, but labels were given")),
            (None, Some(_)) => return Err(Error::input("this model has classes, but no labels were given")),
        }
        device.run(*id, &Step::default())?;
        let mut output = device.download(&forward.output)?;
        output.truncate(output.len() / batch * told.len());
        Ok(output)
    }
}

impl Drop for DeviceNetwork<'_> {
    fn drop(&mut self) {
        self.device.unload(self.id);
        // The recording's own: another network has others.
        self.forward.plan.storages().for_each(|storage| self.device.release(storage));
    }
}

impl Predictor for DeviceNetwork<'_> {
    fn batch(&self) -> usize {
        self.forward.timesteps.len()
    }

    fn predict(&mut self, x: &[f32], told: &[f32], labels: Option<&[u32]>) -> Result<Vec<f32>> {
        self.run(x, told, labels)
    }
}

impl PullBack for DeviceNetwork<'_> {
    fn pull_back(
        &mut self,
        x: &[f32],
        told: &[f32],
        labels: Option<&[u32]>,
        upstream: &[f32],
    ) -> Result<[Vec<f32>; 2]> {
        let forward = self.forward;
        let Some(pulled) = &forward.pull_back else {
            return Err(Error::Device("the network was recorded without its gradient in x".into()));
        };
        let (channels, outputs) = (forward.channels, forward.output_channels);
        // What is said of variances has no weight.
        let weigh = |pixel: &[f32]| {
            pixel.iter().copied().chain(std::iter::repeat_n(0.0, outputs - channels)).collect::<Vec<_>>()
        };
        let upstream: Vec<f32> = upstream.chunks_exact(channels).flat_map(weigh).collect();
        self.device.upload(&pulled.upstream, 0, &upstream)?;
        let output = self.run(x, told, labels)?;
        let mut gradient = self.device.download(&pulled.gradient)?;
        gradient.truncate(x.len());
        Ok([output, gradient])
    }
}

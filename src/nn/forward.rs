//! The network alone, recorded: noisy pictures and timesteps in, a prediction out.

use super::{Network, Recompute, UNet};
use crate::error::Result;
use crate::plan::{Plan, Recorder, Storage};

/// A recording of one forward pass, and the storages that it reads and writes.
pub struct Forward {
    /// The recording.
    pub plan: Plan,
    /// The flat buffer of the weights.
    pub weights: Storage,
    /// `[pictures, height, width, in_channels]`.
    pub pictures: Storage,
    /// `[pictures]`.
    pub timesteps: Storage,
    /// `[pictures]`, where the network has classes.
    pub labels: Option<Storage>,
    /// `[pictures, height, width, out_channels]`.
    pub output: Storage,
}

impl Forward {
    /// Records a network for `batch` pictures of `[height, width]`.
    ///
    /// # Errors
    /// [`Input`](crate::Error::Input) if the network does not take pictures of this size.
    pub fn new(unet: &UNet, batch: usize, [height, width]: [usize; 2]) -> Result<Self> {
        let config = unet.config();
        let shape = [batch, height, width, config.in_channels];
        let weights = Storage::f32("weights", unet.parameters().len());
        let pictures = Storage::f32("pictures", shape.iter().product());
        let timesteps = Storage::f32("timesteps", batch);
        let labels = config.num_class_embeds.map(|_| Storage::u32("class labels", batch));
        let mut r = Recorder::new();
        let (x, t) = (r.input(&pictures, &shape), r.input(&timesteps, &[batch]));
        let classes = labels.as_ref().map(|labels| r.input(labels, &[batch]));
        let mut net = Network {
            r: &mut r,
            parameters: unet.parameters(),
            weights: &weights,
            gradients: None,
            halves: None,
            recompute: Recompute::None,
        };
        let output = unet.record(&mut net, x, t, classes)?;
        let output = r.export("output", output);
        Ok(Self { plan: r.finish(), weights, pictures, timesteps, labels, output })
    }
}

//! The network alone, recorded: noisy pictures and timesteps in, a prediction out.

use super::{ClassEmbedType, Network, Recompute, UNet};
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
    /// Where the network has classes, their numbers, `[pictures]`: integers, or floats that are embedded as timesteps are;
    /// or the embeddings themselves, `[pictures, embedding_channels]`.
    pub labels: Option<Storage>,
    /// `[pictures, height, width, out_channels]`.
    pub output: Storage,
    /// Channels of the pictures.
    pub channels: usize,
    /// Channels of the output.
    pub output_channels: usize,
    /// The output's gradient in the pictures, where it was asked for.
    pub pull_back: Option<PulledBack>,
}

/// The vector-Jacobian product of a network: the gradient in its pictures of its output's weighed sum.
pub struct PulledBack {
    /// The weights, as the output.
    pub upstream: Storage,
    /// As the pictures.
    pub gradient: Storage,
}

impl Forward {
    /// Records a network for `batch` pictures of `[height, width]`.
    ///
    /// # Errors
    /// [`Input`](crate::Error::Input) if the network does not take pictures of this size.
    pub fn new(unet: &UNet, batch: usize, size: [usize; 2]) -> Result<Self> {
        Self::record(unet, batch, size, false)
    }

    /// Records a network and its output's gradient in the pictures.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_pull_back(unet: &UNet, batch: usize, size: [usize; 2]) -> Result<Self> {
        Self::record(unet, batch, size, true)
    }

    fn record(unet: &UNet, batch: usize, [height, width]: [usize; 2], with_pull_back: bool) -> Result<Self> {
        let config = unet.config();
        let shape = [batch, height, width, config.in_channels];
        let weights = Storage::f32("weights", unet.parameters().len());
        let pictures = Storage::f32("pictures", shape.iter().product());
        let timesteps = Storage::f32("timesteps", batch);
        let label_shape = match config.class_embed_type {
            Some(ClassEmbedType::Identity) => vec![batch, config.embedding_channels()],
            Some(ClassEmbedType::Timestep) | None => vec![batch],
        };
        let labels = match (config.class_embed_type, config.num_class_embeds) {
            (Some(_), _) => Some(Storage::f32("class labels", label_shape.iter().product())),
            (None, Some(_)) => Some(Storage::u32("class labels", batch)),
            (None, None) => None,
        };
        let mut r = Recorder::new();
        let (x, t) = (r.input(&pictures, &shape), r.input(&timesteps, &[batch]));
        if with_pull_back {
            r.require_gradient(x);
        }
        let classes = labels.as_ref().map(|labels| r.input(labels, &label_shape));
        let mut net = Network {
            r: &mut r,
            parameters: unet.parameters(),
            weights: &weights,
            gradients: None,
            halves: None,
            recompute: Recompute::None,
        };
        let output = unet.record(&mut net, x, t, classes)?;
        let mut pull_back = None;
        if with_pull_back {
            let shape = r.shape(output).to_vec();
            let upstream = Storage::f32("output's weights", shape.iter().product());
            let weighed = r.input(&upstream, &shape);
            r.backward(output, weighed)?;
            pull_back = r.gradient(x).map(|gradient| (upstream, gradient));
        }
        let output = r.export("output", output);
        let pull_back = pull_back
            .map(|(upstream, gradient)| PulledBack { upstream, gradient: r.export("pictures' gradient", gradient) });
        let (channels, output_channels) = (config.in_channels, config.out_channels);
        Ok(Self {
            plan: r.finish(),
            weights,
            pictures,
            timesteps,
            labels,
            output,
            channels,
            output_channels,
            pull_back,
        })
    }
}

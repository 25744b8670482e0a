//! The U-Net of Ho et al. 2020 and those that came after it, as diffusers' `UNet2DModel` builds them from a configuration.

use super::config::UNetConfig;
use super::config_values::TimeEmbeddingType;
use super::encoder::{Encoded, Encoder};
use super::layers::{Conv2d, Network, Norm, same};
use super::parameters::Parameters;
use super::resnet_block::{Shared, skip_groups};
use super::up::UpLevel;
use crate::error::Result;
use crate::kernels::activation::Activation;
use crate::kernels::fourier_embedding::divide_by_timestep;
use crate::plan::{Value, add};

/// A network that predicts from a noisy picture and its timestep.
#[derive(Clone, Debug)]
pub struct UNet {
    config: UNetConfig,
    parameters: Parameters,
    encoder: Encoder,
    up: Vec<UpLevel>,
    norm_out: Norm,
    conv_out: Conv2d,
}

impl UNet {
    /// The network of a configuration.
    ///
    /// # Errors
    /// [`Input`](crate::Error::Input) if the configuration's numbers do not fit each other.
    pub fn new(config: &UNetConfig) -> Result<Self> {
        config.validate("UNet2DModel")?;
        Self::build(config)
    }

    /// The network of a configuration whose numbers are in range, if they fit each other.
    pub(super) fn build(config: &UNetConfig) -> Result<Self> {
        let mut parameters = Parameters::default();
        let p = &mut parameters;
        let channels = &config.block_out_channels;
        let shared = Shared::of(config);
        let encoder = Encoder::new(p, config, &shared)?;
        let levels = 0..channels.len();
        let up = levels.map(|level| UpLevel::new(p, config, level, &shared)).collect::<Result<_>>()?;
        let groups = config.norm_num_groups.unwrap_or_else(|| skip_groups(channels[0]));
        let norm_out = Norm::new(p, "conv_norm_out", channels[0], groups, config.norm_eps)?.then(Activation::Silu);
        let conv_out = Conv2d::new(p, "conv_out", [channels[0], config.out_channels], 3, same(3));
        let config = config.clone();
        Ok(Self { config, parameters, encoder, up, norm_out, conv_out })
    }

    /// What it was made from.
    pub fn config(&self) -> &UNetConfig {
        &self.config
    }

    /// Its parameters.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// Records the network: x `[pictures, height, width, in_channels]`, timesteps `[pictures]` and, for a conditional
    /// network, labels, to `[pictures, height, width, out_channels]`. Labels are integers `[pictures]`; floats will do
    /// where `class_embed_type` is timestep; where it is identity, they are embeddings, `[pictures, embedding_channels]`.
    ///
    /// # Errors
    /// [`Shape`](crate::Error::Shape) or [`Input`](crate::Error::Input) if the picture's size does not fit, or labels are
    /// given to a network without classes or missing for one with classes.
    pub fn record(&self, net: &mut Network, x: Value, timesteps: Value, labels: Option<Value>) -> Result<Value> {
        let [_, height, width, _] = net.r.dims("unet", x)?;
        self.config.check_size(height, width, "unet")?;
        let Encoded { mut h, embedding, mut skips } = self.encoder.record(net, &self.config, [x, timesteps], labels)?;
        let mut picture = None;
        for level in &self.up {
            h = level.record(net, h, embedding, &mut skips, &mut picture)?;
        }
        h = self.norm_out.record(net, h, None)?;
        h = self.conv_out.record(net, h)?;
        if let Some(picture) = picture {
            h = add(net.r, h, picture)?;
        }
        match self.config.time_embedding_type {
            TimeEmbeddingType::Fourier => divide_by_timestep(net.r, h, timesteps),
            TimeEmbeddingType::Positional | TimeEmbeddingType::Learned => Ok(h),
        }
    }
}

//! The U-Net of Ho et al. 2020 and those that came after it, as diffusers' `UNet2DModel` builds them from a configuration.

use super::attention_block::AttentionBlock;
use super::config::UNetConfig;
use super::config_values::{TimeEmbeddingType, TimeScaleShift};
use super::down::DownLevel;
use super::embedding::Embedding;
use super::layer::Layer;
use super::layers::{Conv2d, Network, Norm, same};
use super::parameters::Parameters;
use super::resnet_block::{Kind, ResnetBlock, Shared, skip_groups};
use super::up::UpLevel;
use crate::error::Result;
use crate::kernels::activation::{Activation, activation};
use crate::kernels::fourier_embedding::divide_by_timestep;
use crate::kernels::scale::scale_and_shift;
use crate::plan::{Value, add};

/// A network that predicts from a noisy picture and its timestep.
#[derive(Clone, Debug)]
pub struct UNet {
    config: UNetConfig,
    parameters: Parameters,
    conv_in: Conv2d,
    embedding: Embedding,
    down: Vec<DownLevel>,
    middle: Option<(Layer, ResnetBlock)>,
    up: Vec<UpLevel>,
    norm_out: Norm,
    conv_out: Conv2d,
}

/// The middle: a residual block, attention, a residual block.
fn middle(p: &mut Parameters, config: &UNetConfig, shared: &Shared) -> Result<(Layer, ResnetBlock)> {
    let channels = config.block_out_channels[config.block_out_channels.len() - 1];
    let groups = config.norm_num_groups.unwrap_or_else(|| skip_groups(channels));
    let divisor = config.mid_block_scale_factor;
    let kind = Kind { divisor, ..Kind::plain([channels; 2], groups) };
    let resnet = ResnetBlock::new(p, "mid_block.resnets.0", kind, shared)?;
    let groups = config.attn_norm_num_groups.or((!shared.scale_shift).then_some(groups));
    let attention = config
        .add_attention
        .then(|| AttentionBlock::new(p, "mid_block.attentions.0", channels, groups, divisor, shared));
    let first = Layer { resnet, attention: attention.transpose()? };
    Ok((first, ResnetBlock::new(p, "mid_block.resnets.1", kind, shared)?))
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
        let shared = Shared {
            embedding: config.embedding_channels(),
            epsilon: config.norm_eps,
            activation: config.act_fn,
            scale_shift: config.resnet_time_scale_shift == TimeScaleShift::ScaleShift,
            dropout: config.dropout,
            head_channels: config.attention_head_dim,
        };
        let conv_in = Conv2d::new(p, "conv_in", [config.in_channels, channels[0]], 3, same(3));
        let embedding = Embedding::new(p, config);
        let levels = 0..channels.len();
        let down = levels.clone().map(|level| DownLevel::new(p, config, level, &shared)).collect::<Result<_>>()?;
        let middle = config.mid_block_type.map(|_| middle(p, config, &shared)).transpose()?;
        let up = levels.map(|level| UpLevel::new(p, config, level, &shared)).collect::<Result<_>>()?;
        let groups = config.norm_num_groups.unwrap_or_else(|| skip_groups(channels[0]));
        let norm_out = Norm::new(p, "conv_norm_out", channels[0], groups, config.norm_eps)?.then(Activation::Silu);
        let conv_out = Conv2d::new(p, "conv_out", [channels[0], config.out_channels], 3, same(3));
        let config = config.clone();
        Ok(Self { config, parameters, conv_in, embedding, down, middle, up, norm_out, conv_out })
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
        let embedding = self.embedding.record(net, timesteps, labels)?;
        // What every residual block begins with is done once.
        let embedding = activation(net.r, embedding, self.config.act_fn)?;

        let mut picture = if self.config.center_input_sample { scale_and_shift(net.r, x, 2.0, -1.0) } else { x };
        let mut h = self.conv_in.record(net, picture)?;
        let mut skips = vec![h];
        for level in &self.down {
            h = level.record(net, h, embedding, &mut skips, &mut picture)?;
        }
        if let Some((first, last)) = &self.middle {
            h = first.record(net, h, embedding)?;
            h = net.block(|net| last.record(net, h, embedding))?;
        }
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

//! The first half of a U-Net: what makes features of a noisy picture and its timestep.

use super::attention_block::AttentionBlock;
use super::config::UNetConfig;
use super::down::DownLevel;
use super::embedding::Embedding;
use super::layer::Layer;
use super::layers::{Conv2d, Network, same};
use super::parameters::Parameters;
use super::resnet_block::{Kind, ResnetBlock, Shared, skip_groups};
use crate::error::Result;
use crate::kernels::activation::activation;
use crate::kernels::scale::scale_and_shift;
use crate::plan::Value;

/// The levels on the way down, and the middle.
#[derive(Clone, Debug)]
pub(super) struct Encoder {
    conv_in: Conv2d,
    embedding: Embedding,
    down: Vec<DownLevel>,
    middle: Option<(Layer, ResnetBlock)>,
}

/// What it makes of a picture.
pub(super) struct Encoded {
    /// The features after the middle.
    pub(super) h: Value,
    /// The activation of the embedding of the timestep and the label.
    pub(super) embedding: Value,
    /// What the way up is given, the coarsest last.
    pub(super) skips: Vec<Value>,
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

impl Encoder {
    pub(super) fn new(p: &mut Parameters, config: &UNetConfig, shared: &Shared) -> Result<Self> {
        let channels = &config.block_out_channels;
        let conv_in = Conv2d::new(p, "conv_in", [config.in_channels, channels[0]], 3, same(3));
        let embedding = Embedding::new(p, config);
        let levels = 0..channels.len();
        let down = levels.map(|level| DownLevel::new(p, config, level, shared)).collect::<Result<_>>()?;
        let middle = config.mid_block_type.map(|_| middle(p, config, shared)).transpose()?;
        Ok(Self { conv_in, embedding, down, middle })
    }

    /// x `[pictures, height, width, in_channels]`, timesteps `[pictures]` and labels as a U-Net takes them.
    pub(super) fn record(
        &self,
        net: &mut Network,
        config: &UNetConfig,
        [x, timesteps]: [Value; 2],
        labels: Option<Value>,
    ) -> Result<Encoded> {
        let embedding = self.embedding.record(net, timesteps, labels)?;
        // What every residual block begins with is done once.
        let embedding = activation(net.r, embedding, config.act_fn)?;
        let mut picture = if config.center_input_sample { scale_and_shift(net.r, x, 2.0, -1.0) } else { x };
        let mut h = self.conv_in.record(net, picture)?;
        let mut skips = vec![h];
        for level in &self.down {
            h = level.record(net, h, embedding, &mut skips, &mut picture)?;
        }
        if let Some((first, last)) = &self.middle {
            h = first.record(net, h, embedding)?;
            h = net.block(|net| last.record(net, h, embedding))?;
        }
        Ok(Encoded { h, embedding, skips })
    }
}

//! The U-Net of Ho et al. 2020, as diffusers' `UNet2DModel` builds it from a configuration.

use super::attention_block::AttentionBlock;
use super::config::{BlockType, UNetConfig};
use super::layers::{Conv2d, Linear, Network, Norm, same};
use super::parameters::{Initial, Layout, ParameterId, Parameters};
use super::resnet_block::{ResnetBlock, Shared};
use crate::error::{Error, Result};
use crate::kernels::channels::concat_channels;
use crate::kernels::class_embedding::class_embedding;
use crate::kernels::convolution::Window;
use crate::kernels::group_norm::GroupNorm;
use crate::kernels::silu::silu;
use crate::kernels::timestep_embedding::{SinusoidalEmbedding, timestep_embedding};
use crate::kernels::upsample::upsample;
use crate::plan::{Value, add};

/// A residual block, and attention after it where there is one.
#[derive(Clone, Debug)]
struct Layer {
    resnet: ResnetBlock,
    attention: Option<AttentionBlock>,
}

impl Layer {
    fn record(&self, net: &mut Network, x: Value, silu_embedding: Value) -> Result<Value> {
        let h = net.block(|net| self.resnet.record(net, x, silu_embedding))?;
        match &self.attention {
            Some(attention) => net.block(|net| attention.record(net, h)),
            None => Ok(h),
        }
    }
}

/// The layers of one level, and the convolution that changes the size after them, if any.
#[derive(Clone, Debug)]
struct Level {
    layers: Vec<Layer>,
    resample: Option<Conv2d>,
}

/// A network that predicts from a noisy picture and its timestep.
#[derive(Clone, Debug)]
pub struct UNet {
    config: UNetConfig,
    parameters: Parameters,
    conv_in: Conv2d,
    time_embedding: [Linear; 2],
    class_embedding: Option<ParameterId>,
    down: Vec<Level>,
    middle: (ResnetBlock, Option<AttentionBlock>, ResnetBlock),
    up: Vec<Level>,
    norm_out: Norm,
    conv_out: Conv2d,
}

impl UNet {
    /// The network of a configuration.
    ///
    /// # Errors
    /// [`Input`](Error::Input) if the configuration's numbers do not fit each other.
    pub fn new(config: &UNetConfig) -> Result<Self> {
        config.validate("UNet2DModel")?;
        let mut parameters = Parameters::default();
        let p = &mut parameters;
        let channels = &config.block_out_channels;
        let embedding = config.time_embedding_dim.unwrap_or(4 * channels[0]);
        let norm = GroupNorm { groups: config.norm_num_groups, epsilon: config.norm_eps, silu: false };
        let shared = Shared { embedding, norm };
        let attention = |p: &mut Parameters, name: &str, channels: usize| {
            let heads = config.attention_head_dim.map_or(1, |size| channels / size);
            AttentionBlock::new(p, name, channels, heads, norm)
        };

        let conv_in = Conv2d::new(p, "conv_in", [config.in_channels, channels[0]], 3, same(3));
        let time_embedding = [
            Linear::new(p, "time_embedding.linear_1", [channels[0], embedding]),
            Linear::new(p, "time_embedding.linear_2", [embedding, embedding]),
        ];
        let class_embedding = config.num_class_embeds.map(|classes| {
            p.add("class_embedding.weight".into(), &[classes, embedding], Layout::Same, Initial::Normal)
        });

        let halving = Window { stride: 2, before: config.downsample_padding, after: 1 };
        let mut down = Vec::new();
        for (level, (&outputs, block)) in channels.iter().zip(&config.down_block_types).enumerate() {
            let name = format!("down_blocks.{level}");
            let inputs = channels[level.saturating_sub(1)];
            let layers = (0..config.layers_per_block)
                .map(|layer| Layer {
                    resnet: ResnetBlock::new(
                        p,
                        &format!("{name}.resnets.{layer}"),
                        [if layer == 0 { inputs } else { outputs }, outputs],
                        shared,
                    ),
                    attention: (*block == BlockType::AttnDownBlock2D)
                        .then(|| attention(p, &format!("{name}.attentions.{layer}"), outputs)),
                })
                .collect();
            let resample = (level + 1 < channels.len())
                .then(|| Conv2d::new(p, &format!("{name}.downsamplers.0.conv"), [outputs; 2], 3, halving));
            down.push(Level { layers, resample });
        }

        let last = channels[channels.len() - 1];
        let middle = (
            ResnetBlock::new(p, "mid_block.resnets.0", [last; 2], shared),
            config.add_attention.then(|| attention(p, "mid_block.attentions.0", last)),
            ResnetBlock::new(p, "mid_block.resnets.1", [last; 2], shared),
        );

        let mut up = Vec::new();
        let reversed: Vec<usize> = channels.iter().rev().copied().collect();
        for (level, (&outputs, block)) in reversed.iter().zip(&config.up_block_types).enumerate() {
            let name = format!("up_blocks.{level}");
            let from_below = reversed[level.saturating_sub(1)];
            let finest_skip = reversed[(level + 1).min(reversed.len() - 1)];
            let layers = (0..=config.layers_per_block)
                .map(|layer| {
                    let below = if layer == 0 { from_below } else { outputs };
                    let skip = if layer == config.layers_per_block { finest_skip } else { outputs };
                    let resnet =
                        ResnetBlock::new(p, &format!("{name}.resnets.{layer}"), [below + skip, outputs], shared);
                    let attention = (*block == BlockType::AttnUpBlock2D)
                        .then(|| attention(p, &format!("{name}.attentions.{layer}"), outputs));
                    Layer { resnet, attention }
                })
                .collect();
            let resample = (level + 1 < reversed.len())
                .then(|| Conv2d::new(p, &format!("{name}.upsamplers.0.conv"), [outputs; 2], 3, same(3)));
            up.push(Level { layers, resample });
        }

        let norm_out = Norm::new(p, "conv_norm_out", channels[0], GroupNorm { silu: true, ..norm });
        let conv_out = Conv2d::new(p, "conv_out", [channels[0], config.out_channels], 3, same(3));
        let config = config.clone();
        Ok(Self { config, parameters, conv_in, time_embedding, class_embedding, down, middle, up, norm_out, conv_out })
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
    /// network, labels `[pictures]`, to `[pictures, height, width, out_channels]`.
    ///
    /// # Errors
    /// [`Shape`](Error::Shape) or [`Input`](Error::Input) if the picture's size does not fit, or labels are given to a
    /// network without classes or missing for one with classes.
    pub fn record(&self, net: &mut Network, x: Value, timesteps: Value, labels: Option<Value>) -> Result<Value> {
        let [_, height, width, _] = net.r.dims("unet", x)?;
        self.config.check_size(height, width, "unet")?;
        let embedding = self.record_embedding(net, timesteps, labels)?;
        let embedding = silu(net.r, embedding)?;

        let mut h = self.conv_in.record(net, x)?;
        let mut skips = vec![h];
        for level in &self.down {
            for layer in &level.layers {
                h = layer.record(net, h, embedding)?;
                skips.push(h);
            }
            if let Some(conv) = &level.resample {
                h = conv.record(net, h)?;
                skips.push(h);
            }
        }
        h = net.block(|net| self.middle.0.record(net, h, embedding))?;
        if let Some(attention) = &self.middle.1 {
            h = net.block(|net| attention.record(net, h))?;
        }
        h = net.block(|net| self.middle.2.record(net, h, embedding))?;
        for level in &self.up {
            for layer in &level.layers {
                let missing = || Error::Shape { op: "unet", message: "fewer skips than layers on the way up".into() };
                let skip = skips.pop().ok_or_else(missing)?;
                let both = concat_channels(net.r, h, skip)?;
                let both = net.cheap(both);
                h = layer.record(net, both, embedding)?;
            }
            if let Some(conv) = &level.resample {
                let large = upsample(net.r, h)?;
                let large = net.cheap(large);
                h = conv.record(net, large)?;
            }
        }
        let h = self.norm_out.record(net, h)?;
        self.conv_out.record(net, h)
    }

    /// The embedding of the timestep and the class, `[pictures, embedding]`.
    fn record_embedding(&self, net: &mut Network, timesteps: Value, labels: Option<Value>) -> Result<Value> {
        let sinusoid = SinusoidalEmbedding {
            dim: self.config.block_out_channels[0],
            flip_sin_to_cos: self.config.flip_sin_to_cos,
            freq_shift: self.config.freq_shift,
        };
        let h = timestep_embedding(net.r, timesteps, sinusoid)?;
        let h = self.time_embedding[0].record(net, h)?;
        let h = silu(net.r, h)?;
        let h = self.time_embedding[1].record(net, h)?;
        match (self.class_embedding, labels) {
            (Some(table), Some(labels)) => {
                let table = net.value(table);
                let class = class_embedding(net.r, table, labels)?;
                add(net.r, h, class)
            }
            (None, None) => Ok(h),
            (Some(_), None) => Err(Error::input("this network has classes: class labels are missing")),
            (None, Some(_)) => Err(Error::input("this network has no classes, but class labels were given")),
        }
    }
}

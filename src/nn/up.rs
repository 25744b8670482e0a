//! The levels on the way up.

use super::config::UNetConfig;
use super::config_values::{BlockStyle, BlockType, ResampleType};
use super::layer::Layer;
use super::layers::{Conv2d, Network, Norm, same};
use super::parameters::Parameters;
use super::resnet_block::{Kind, Resample, ResnetBlock, Shared, skip_groups};
use crate::error::{Error, Result};
use crate::kernels::activation::Activation;
use crate::kernels::channels::concat_channels;
use crate::plan::{Value, add};

/// How a level doubles the size.
#[derive(Clone, Debug)]
enum End {
    Convolution(Conv2d),
    Resnet(ResnetBlock),
    /// After a norm and a convolution that make a picture.
    Skip(Norm, Conv2d, ResnetBlock),
}

/// The layers of a level, and what doubles the size after them, if anything does.
#[derive(Clone, Debug)]
pub(super) struct UpLevel {
    layers: Vec<Layer>,
    /// Whether pictures that were made below are doubled here.
    skips: bool,
    end: Option<End>,
}

impl UpLevel {
    /// Level 0 is the coarsest.
    pub(super) fn new(p: &mut Parameters, config: &UNetConfig, level: usize, shared: &Shared) -> Result<Self> {
        let name = format!("up_blocks.{level}");
        let block = config.up_block_types[level];
        let reversed: Vec<usize> = config.block_out_channels.iter().rev().copied().collect();
        let (from_below, outputs) = (reversed[level.saturating_sub(1)], reversed[level]);
        let finest_skip = reversed[(level + 1).min(reversed.len() - 1)];
        let groups = config.norm_num_groups.unwrap_or(1);
        let skips = block.style() == BlockStyle::Skip;
        let kind = |channels| Kind::of(block.style(), channels, groups);
        let mut layers = Vec::new();
        for layer in 0..=config.layers_per_block {
            let below = if layer == 0 { from_below } else { outputs };
            let skip = if layer == config.layers_per_block { finest_skip } else { outputs };
            let mut kind = kind([below + skip, outputs]);
            if block == BlockType::AttnSkipUpBlock2D {
                // diffusers divides only the second number by 4.
                kind.groups[0] = (below + skip / 4).min(32);
            }
            // Skip blocks attend once, after all residual blocks.
            let number = if skips { 0 } else { layer };
            let attends = block.attends() && (!skips || layer == config.layers_per_block);
            let attention = attends.then_some(number);
            layers.push(Layer::new(p, &name, [layer, groups], (block.style(), attention), kind, shared)?);
        }
        let mut end = None;
        if level + 1 < reversed.len() {
            let by_resnet = block == BlockType::AttnUpBlock2D && config.upsample_type == ResampleType::Resnet;
            let kind = kind([outputs; 2]);
            end = Some(match block.style() {
                BlockStyle::Plain if !by_resnet => {
                    let name = format!("{name}.upsamplers.0.conv");
                    End::Convolution(Conv2d::new(p, &name, [outputs; 2], 3, same(3)))
                }
                BlockStyle::Plain | BlockStyle::Resnet => {
                    let (name, kind) = (format!("{name}.upsamplers.0"), kind.with(Resample::Double));
                    End::Resnet(ResnetBlock::new(p, &name, kind, shared)?)
                }
                BlockStyle::Skip => {
                    let kind = Kind { convolved: true, ..kind.with(Resample::DoubleFiltered) };
                    let resnet = ResnetBlock::new(p, &format!("{name}.resnet_up"), kind, shared)?;
                    let sizes = [outputs, config.out_channels];
                    let conv = Conv2d::new(p, &format!("{name}.skip_conv"), sizes, 3, same(3));
                    let (name, groups) = (format!("{name}.skip_norm"), skip_groups(outputs));
                    let norm = Norm::new(p, &name, outputs, groups, shared.epsilon)?.then(Activation::Silu);
                    End::Skip(norm, conv, resnet)
                }
            });
        }
        Ok(Self { layers, skips, end })
    }

    /// What the next level gets. Every layer takes one of `skips`; `picture` is the sum of the pictures that Skip blocks
    /// have made so far.
    pub(super) fn record(
        &self,
        net: &mut Network,
        mut h: Value,
        embedding: Value,
        skips: &mut Vec<Value>,
        picture: &mut Option<Value>,
    ) -> Result<Value> {
        for layer in &self.layers {
            let missing = || Error::Shape { op: "unet", message: "fewer skips than layers on the way up".into() };
            let skip = skips.pop().ok_or_else(missing)?;
            let both = concat_channels(net.r, h, skip)?;
            let both = net.cheap(both);
            h = layer.record(net, both, embedding)?;
        }
        if let Some(smaller) = picture.filter(|_| self.skips) {
            *picture = Some(Resample::DoubleFiltered.record(net, smaller)?);
        }
        match &self.end {
            None => Ok(h),
            Some(End::Convolution(conv)) => {
                let large = Resample::Double.record(net, h)?;
                conv.record(net, large)
            }
            Some(End::Resnet(resnet)) => net.block(|net| resnet.record(net, h, embedding)),
            Some(End::Skip(norm, conv, resnet)) => {
                let made = norm.record(net, h, None)?;
                let made = conv.record(net, made)?;
                *picture = Some(match *picture {
                    Some(before) => add(net.r, before, made)?,
                    None => made,
                });
                net.block(|net| resnet.record(net, h, embedding))
            }
        }
    }
}

//! The levels on the way down.

use super::config::UNetConfig;
use super::config_values::{BlockStyle, BlockType, ResampleType};
use super::layer::Layer;
use super::layers::{Conv2d, Network, same};
use super::parameters::Parameters;
use super::resnet_block::{Kind, Resample, ResnetBlock, Shared};
use crate::error::Result;
use crate::kernels::convolution::Window;
use crate::plan::{Value, add};

/// How a level halves the size.
#[derive(Clone, Debug)]
enum End {
    Convolution(Conv2d),
    Resnet(ResnetBlock),
    /// With a projection of the picture, which is halved, too.
    Skip(ResnetBlock, Conv2d),
}

/// The layers of a level, and what halves the size after them, if anything does.
#[derive(Clone, Debug)]
pub(super) struct DownLevel {
    layers: Vec<Layer>,
    end: Option<End>,
}

impl DownLevel {
    pub(super) fn new(p: &mut Parameters, config: &UNetConfig, level: usize, shared: &Shared) -> Result<Self> {
        let name = format!("down_blocks.{level}");
        let (block, channels) = (config.down_block_types[level], &config.block_out_channels);
        let (inputs, outputs) = (channels[level.saturating_sub(1)], channels[level]);
        let groups = config.norm_num_groups.unwrap_or(1);
        let kind = |channels| Kind::of(block.style(), channels, groups);
        let mut layers = Vec::new();
        for layer in 0..config.layers_per_block {
            let kind = kind([if layer == 0 { inputs } else { outputs }, outputs]);
            let attention = block.attends().then_some(layer);
            layers.push(Layer::new(p, &name, [layer, groups], (block.style(), attention), kind, shared)?);
        }
        let mut end = None;
        if level + 1 < channels.len() {
            let by_resnet = block == BlockType::AttnDownBlock2D && config.downsample_type == ResampleType::Resnet;
            let kind = kind([outputs; 2]);
            end = Some(match block.style() {
                BlockStyle::Plain if !by_resnet => {
                    let halving = Window { stride: 2, before: config.downsample_padding, after: 1 };
                    let name = format!("{name}.downsamplers.0.conv");
                    End::Convolution(Conv2d::new(p, &name, [outputs; 2], 3, halving))
                }
                BlockStyle::Plain | BlockStyle::Resnet => {
                    let (name, kind) = (format!("{name}.downsamplers.0"), kind.with(Resample::Halve));
                    End::Resnet(ResnetBlock::new(p, &name, kind, shared)?)
                }
                BlockStyle::Skip => {
                    let kind = Kind { convolved: true, ..kind.with(Resample::HalveFiltered) };
                    let resnet = ResnetBlock::new(p, &format!("{name}.resnet_down"), kind, shared)?;
                    let sizes = [config.in_channels, outputs];
                    End::Skip(resnet, Conv2d::new(p, &format!("{name}.skip_conv"), sizes, 1, same(1)))
                }
            });
        }
        Ok(Self { layers, end })
    }

    /// What the next level gets. Every layer's output is pushed on `skips`; `picture` is the network's input at this
    /// level's size, as far as Skip blocks hand it on.
    pub(super) fn record(
        &self,
        net: &mut Network,
        mut h: Value,
        embedding: Value,
        skips: &mut Vec<Value>,
        picture: &mut Value,
    ) -> Result<Value> {
        for layer in &self.layers {
            h = layer.record(net, h, embedding)?;
            skips.push(h);
        }
        if let Some(end) = &self.end {
            h = match end {
                End::Convolution(conv) => conv.record(net, h)?,
                End::Resnet(resnet) => net.block(|net| resnet.record(net, h, embedding))?,
                End::Skip(resnet, conv) => {
                    let h = net.block(|net| resnet.record(net, h, embedding))?;
                    *picture = Resample::HalveFiltered.record(net, *picture)?;
                    let projected = conv.record(net, *picture)?;
                    add(net.r, projected, h)?
                }
            };
            skips.push(h);
        }
        Ok(h)
    }
}

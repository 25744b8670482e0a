//! A residual block, and attention after it where there is one.

use super::attention_block::AttentionBlock;
use super::config_values::BlockStyle;
use super::layers::Network;
use super::parameters::Parameters;
use super::resnet_block::{Kind, ResnetBlock, Shared};
use crate::error::Result;
use crate::plan::Value;

#[derive(Clone, Debug)]
pub(super) struct Layer {
    pub(super) resnet: ResnetBlock,
    pub(super) attention: Option<AttentionBlock>,
}

/// Groups of the norms of attention in Skip blocks.
const SKIP_ATTENTION_GROUPS: usize = 32;

impl Layer {
    /// Layer `number` of the level `name`, with its attention's number where there is one; `groups` is the
    /// configuration's number.
    pub(super) fn new(
        p: &mut Parameters,
        name: &str,
        [number, groups]: [usize; 2],
        (style, attention): (BlockStyle, Option<usize>),
        kind: Kind,
        shared: &Shared,
    ) -> Result<Self> {
        let resnet = ResnetBlock::new(p, &format!("{name}.resnets.{number}"), kind, shared)?;
        let attention = attention.map(|number| {
            let groups = if style == BlockStyle::Skip { SKIP_ATTENTION_GROUPS } else { groups };
            let name = format!("{name}.attentions.{number}");
            AttentionBlock::new(p, &name, kind.channels[1], Some(groups), kind.divisor, shared)
        });
        Ok(Self { resnet, attention: attention.transpose()? })
    }

    /// As the residual block: the pictures, and the activation of the time embedding.
    pub(super) fn record(&self, net: &mut Network, x: Value, embedding: Value) -> Result<Value> {
        let h = net.block(|net| self.resnet.record(net, x, embedding))?;
        match &self.attention {
            Some(attention) => net.block(|net| attention.record(net, h)),
            None => Ok(h),
        }
    }
}

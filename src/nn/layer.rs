//! A residual block, and attention after it where there is one.

use super::attention_block::AttentionBlock;
use super::layers::Network;
use super::resnet_block::ResnetBlock;
use crate::error::Result;
use crate::plan::Value;

#[derive(Clone, Debug)]
pub(super) struct Layer {
    pub(super) resnet: ResnetBlock,
    pub(super) attention: Option<AttentionBlock>,
}

impl Layer {
    /// As the residual block: the pictures, and the activation of the time embedding.
    pub(super) fn record(&self, net: &mut Network, x: Value, embedding: Value) -> Result<Value> {
        let h = net.block(|net| self.resnet.record(net, x, embedding))?;
        match &self.attention {
            Some(attention) => net.block(|net| attention.record(net, h)),
            None => Ok(h),
        }
    }
}

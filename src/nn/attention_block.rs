//! Self-attention over the pixels of a picture, as diffusers' `Attention` does it inside a U-Net.

use super::layers::{Linear, Network, Norm};
use super::parameters::Parameters;
use super::resnet_block::Shared;
use crate::error::{Error, Result};
use crate::kernels::attention::attention;
use crate::kernels::scale::scale;
use crate::plan::{Value, add};

#[derive(Clone, Debug)]
pub(super) struct AttentionBlock {
    group_norm: Option<Norm>,
    to_q: Linear,
    to_k: Linear,
    to_v: Linear,
    to_out: Linear,
    heads: usize,
    /// What the output is divided by.
    divisor: f32,
}

impl AttentionBlock {
    /// Normalises in `groups`, or not at all. Channels that do not make a whole head are left out between the
    /// projections.
    pub(super) fn new(
        p: &mut Parameters,
        name: &str,
        channels: usize,
        groups: Option<usize>,
        divisor: f32,
        shared: &Shared,
    ) -> Result<Self> {
        let size = shared.head_channels.unwrap_or(channels);
        let heads = channels / size;
        if heads == 0 {
            return Err(Error::input(format!(
                "attention_head_dim is {size}, expected at most the {channels} channels of {name}"
            )));
        }
        let inner = heads * size;
        let mut project = |part: &str, sizes| Linear::new(p, &format!("{name}.{part}"), sizes);
        let [to_q, to_k, to_v] = ["to_q", "to_k", "to_v"].map(|part| project(part, [channels, inner]));
        let to_out = project("to_out.0", [inner, channels]);
        let norm = groups.map(|groups| Norm::new(p, &format!("{name}.group_norm"), channels, groups, shared.epsilon));
        Ok(Self { group_norm: norm.transpose()?, to_q, to_k, to_v, to_out, heads, divisor })
    }

    /// `[pictures, height, width, channels]` to the same.
    pub(super) fn record(&self, net: &mut Network, x: Value) -> Result<Value> {
        let shape = net.r.dims::<4>("attention_block", x)?;
        let [pictures, height, width, channels] = shape;
        let h = match &self.group_norm {
            Some(norm) => norm.record(net, x, None)?,
            None => x,
        };
        let h = net.r.reshape(h, &[pictures, height * width, channels])?;
        let q = self.to_q.record(net, h)?;
        let k = self.to_k.record(net, h)?;
        let v = self.to_v.record(net, h)?;
        let h = attention(net.r, q, k, v, self.heads)?;
        let h = self.to_out.record(net, h)?;
        let h = net.r.reshape(h, &shape)?;
        let h = add(net.r, h, x)?;
        Ok(scale(net.r, h, self.divisor.recip()))
    }
}

//! Self-attention over the pixels of a picture, as diffusers' `Attention` does it inside a U-Net.

use super::layers::{Linear, Network, Norm};
use super::parameters::Parameters;
use crate::error::Result;
use crate::kernels::attention::attention;
use crate::kernels::group_norm::GroupNorm;
use crate::plan::{Value, add};

#[derive(Clone, Debug)]
pub(super) struct AttentionBlock {
    group_norm: Norm,
    to_q: Linear,
    to_k: Linear,
    to_v: Linear,
    to_out: Linear,
    heads: usize,
}

impl AttentionBlock {
    pub(super) fn new(p: &mut Parameters, name: &str, channels: usize, heads: usize, norm: GroupNorm) -> Self {
        let mut project = |part: &str| Linear::new(p, &format!("{name}.{part}"), [channels, channels]);
        let [to_q, to_k, to_v, to_out] = ["to_q", "to_k", "to_v", "to_out.0"].map(&mut project);
        Self {
            group_norm: Norm::new(p, &format!("{name}.group_norm"), channels, norm),
            to_q,
            to_k,
            to_v,
            to_out,
            heads,
        }
    }

    /// `[pictures, height, width, channels]` to the same.
    pub(super) fn record(&self, net: &mut Network, x: Value) -> Result<Value> {
        let shape = net.r.dims::<4>("attention_block", x)?;
        let [pictures, height, width, channels] = shape;
        let h = self.group_norm.record(net, x)?;
        let h = net.r.reshape(h, &[pictures, height * width, channels])?;
        let q = self.to_q.record(net, h)?;
        let k = self.to_k.record(net, h)?;
        let v = self.to_v.record(net, h)?;
        let h = attention(net.r, q, k, v, self.heads)?;
        let h = self.to_out.record(net, h)?;
        let h = net.r.reshape(h, &shape)?;
        add(net.r, h, x)
    }
}

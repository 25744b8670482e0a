//! diffusers' `ResnetBlock2D`: norm, SiLU, convolution, time embedding, norm, SiLU, convolution, residual.

use super::layers::{Conv2d, Linear, Network, Norm, same};
use super::parameters::Parameters;
use crate::error::Result;
use crate::kernels::convolution::Added;
use crate::kernels::group_norm::GroupNorm;
use crate::plan::Value;

/// Sizes that every block of a network shares.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shared {
    /// Channels of the time embedding.
    pub(super) embedding: usize,
    /// Groups and epsilon of the norms.
    pub(super) norm: GroupNorm,
}

#[derive(Clone, Debug)]
pub(super) struct ResnetBlock {
    norm1: Norm,
    conv1: Conv2d,
    time_emb_proj: Linear,
    norm2: Norm,
    conv2: Conv2d,
    /// A 1x1 convolution of the residual where the number of channels changes.
    conv_shortcut: Option<Conv2d>,
}

impl ResnetBlock {
    pub(super) fn new(p: &mut Parameters, name: &str, [inputs, outputs]: [usize; 2], shared: Shared) -> Self {
        let norm = GroupNorm { silu: true, ..shared.norm };
        Self {
            norm1: Norm::new(p, &format!("{name}.norm1"), inputs, norm),
            conv1: Conv2d::new(p, &format!("{name}.conv1"), [inputs, outputs], 3, same(3)),
            time_emb_proj: Linear::new(p, &format!("{name}.time_emb_proj"), [shared.embedding, outputs]),
            norm2: Norm::new(p, &format!("{name}.norm2"), outputs, norm),
            conv2: Conv2d::new(p, &format!("{name}.conv2"), [outputs, outputs], 3, same(3)),
            conv_shortcut: (inputs != outputs)
                .then(|| Conv2d::new(p, &format!("{name}.conv_shortcut"), [inputs, outputs], 1, same(1))),
        }
    }

    /// x `[pictures, height, width, inputs]` and SiLU of the time embedding `[pictures, embedding]` to
    /// `[pictures, height, width, outputs]`.
    pub(super) fn record(&self, net: &mut Network, x: Value, silu_embedding: Value) -> Result<Value> {
        let h = self.norm1.record(net, x)?;
        let time = self.time_emb_proj.record(net, silu_embedding)?;
        let h = self.conv1.record_plus(net, h, Added { per_picture: Some(time), ..Added::default() })?;
        let h = self.norm2.record(net, h)?;
        let residual = match &self.conv_shortcut {
            Some(conv) => conv.record(net, x)?,
            None => x,
        };
        self.conv2.record_plus(net, h, Added { residual: Some(residual), ..Added::default() })
    }
}

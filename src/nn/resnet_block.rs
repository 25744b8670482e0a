//! diffusers' `ResnetBlock2D`: norm, activation, convolution, time embedding, norm, activation, convolution, residual.

use super::config::UNetConfig;
use super::config_values::BlockStyle;
use super::config_values::TimeScaleShift;
use super::layers::{Conv2d, Linear, Network, Norm, same};
use super::parameters::Parameters;
use crate::error::Result;
use crate::kernels::activation::Activation;
use crate::kernels::average_pool::average_pool;
use crate::kernels::convolution::Added;
use crate::kernels::dropout::dropout;
use crate::kernels::fir::{fir_down, fir_up};
use crate::kernels::scale::scale;
use crate::kernels::upsample::upsample;
use crate::plan::Value;

/// What every block of a network shares.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shared {
    /// Channels of the time embedding.
    pub(super) embedding: usize,
    /// Added to the variance in norms.
    pub(super) epsilon: f32,
    /// The residual blocks' activation function.
    pub(super) activation: Activation,
    /// Whether the time embedding scales and shifts the second norm's output, or is added before it.
    pub(super) scale_shift: bool,
    /// Probability of a drop in training.
    pub(super) dropout: f32,
    /// Channels of an attention head; none is one head.
    pub(super) head_channels: Option<usize>,
}

impl Shared {
    pub(super) fn of(config: &UNetConfig) -> Self {
        Self {
            embedding: config.embedding_channels(),
            epsilon: config.norm_eps,
            activation: config.act_fn,
            scale_shift: config.resnet_time_scale_shift == TimeScaleShift::ScaleShift,
            dropout: config.dropout,
            head_channels: config.attention_head_dim,
        }
    }
}

/// A change of the pictures' size by 2.
#[derive(Clone, Copy, Debug)]
pub(super) enum Resample {
    /// The average of 2x2 pixels.
    Halve,
    /// Every pixel repeated.
    Double,
    /// By a smoothing filter.
    HalveFiltered,
    /// By a smoothing filter.
    DoubleFiltered,
}

impl Resample {
    pub(super) fn record(self, net: &mut Network, x: Value) -> Result<Value> {
        let y = match self {
            Self::Halve => average_pool(net.r, x),
            Self::Double => upsample(net.r, x),
            Self::HalveFiltered => fir_down(net.r, x),
            Self::DoubleFiltered => fir_up(net.r, x),
        }?;
        Ok(net.cheap(y))
    }
}

/// What distinguishes residual blocks of a network from each other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kind {
    /// Channels of input and output.
    pub(super) channels: [usize; 2],
    /// Groups of the two norms.
    pub(super) groups: [usize; 2],
    /// What the output is divided by.
    pub(super) divisor: f32,
    /// A change of size on the way.
    pub(super) resample: Option<Resample>,
    /// Whether the residual goes through a convolution even where the number of channels stays.
    pub(super) convolved: bool,
}

impl Kind {
    /// With as many groups in both norms.
    pub(super) fn plain(channels: [usize; 2], groups: usize) -> Self {
        Self { channels, groups: [groups; 2], divisor: 1.0, resample: None, convolved: false }
    }

    /// As Skip blocks have them: a quarter of the channels as groups, the sum's variance kept.
    fn skip(channels: [usize; 2]) -> Self {
        Self { groups: channels.map(skip_groups), divisor: std::f32::consts::SQRT_2, ..Self::plain(channels, 1) }
    }

    /// What a block of this style has; `groups` is the configuration's number.
    pub(super) fn of(style: BlockStyle, channels: [usize; 2], groups: usize) -> Self {
        if style == BlockStyle::Skip { Self::skip(channels) } else { Self::plain(channels, groups) }
    }

    /// The same with a change of size.
    pub(super) fn with(self, resample: Resample) -> Self {
        Self { resample: Some(resample), ..self }
    }
}

/// The groups of norms that no configuration speaks of.
pub(super) fn skip_groups(channels: usize) -> usize {
    (channels / 4).min(32)
}

#[derive(Clone, Debug)]
pub(super) struct ResnetBlock {
    norm1: Norm,
    conv1: Conv2d,
    time_emb_proj: Linear,
    norm2: Norm,
    conv2: Conv2d,
    /// A 1x1 convolution of the residual.
    conv_shortcut: Option<Conv2d>,
    divisor: f32,
    resample: Option<Resample>,
    scale_shift: bool,
    dropout: f32,
    /// What tells the masks of the network's blocks from each other.
    number: u32,
}

impl ResnetBlock {
    pub(super) fn new(p: &mut Parameters, name: &str, kind: Kind, shared: &Shared) -> Result<Self> {
        let Kind { channels: [inputs, outputs], groups, divisor, resample, convolved } = kind;
        let Shared { embedding, epsilon, activation, scale_shift, dropout, .. } = *shared;
        let projected = if scale_shift { 2 * outputs } else { outputs };
        let number = p.iter().count() as u32;
        Ok(Self {
            norm1: Norm::new(p, &format!("{name}.norm1"), inputs, groups[0], epsilon)?.then(activation),
            conv1: Conv2d::new(p, &format!("{name}.conv1"), [inputs, outputs], 3, same(3)),
            time_emb_proj: Linear::new(p, &format!("{name}.time_emb_proj"), [embedding, projected]),
            norm2: Norm::new(p, &format!("{name}.norm2"), outputs, groups[1], epsilon)?.then(activation),
            conv2: Conv2d::new(p, &format!("{name}.conv2"), [outputs, outputs], 3, same(3)),
            conv_shortcut: (inputs != outputs || convolved)
                .then(|| Conv2d::new(p, &format!("{name}.conv_shortcut"), [inputs, outputs], 1, same(1))),
            divisor,
            resample,
            scale_shift,
            dropout,
            number,
        })
    }

    /// x `[pictures, height, width, inputs]` and the activation of the time embedding `[pictures, embedding]` to
    /// `[pictures, height', width', outputs]`.
    pub(super) fn record(&self, net: &mut Network, x: Value, embedding: Value) -> Result<Value> {
        let mut h = self.norm1.record(net, x, None)?;
        let mut residual = x;
        if let Some(resample) = self.resample {
            h = resample.record(net, h)?;
            residual = resample.record(net, x)?;
        }
        let time = self.time_emb_proj.record(net, embedding)?;
        let (added, modulation) = if self.scale_shift { (None, Some(time)) } else { (Some(time), None) };
        let h = self.conv1.record_plus(net, h, Added { per_picture: added, ..Added::default() })?;
        let mut h = self.norm2.record(net, h, modulation)?;
        if self.dropout > 0.0 && net.is_trained() {
            h = dropout(net.r, h, self.dropout, self.number)?;
            h = net.cheap(h);
        }
        if let Some(conv) = &self.conv_shortcut {
            residual = conv.record(net, residual)?;
        }
        let y = self.conv2.record_plus(net, h, Added { residual: Some(residual), ..Added::default() })?;
        Ok(scale(net.r, y, self.divisor.recip()))
    }
}

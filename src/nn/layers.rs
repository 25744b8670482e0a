//! A network being recorded, and its elementary layers.

use super::parameters::{Initial, Layout, ParameterId, Parameters};
use crate::error::{Error, Result};
use crate::kernels::activation::{Activation, activation};
use crate::kernels::convolution::{Added, Window, convolution, convolution_plus};
use crate::kernels::group_norm::{GroupNorm, group_norm};
use crate::kernels::linear::linear;
use crate::kernels::modulate::modulate;
use crate::plan::{Recorder, Storage, Value};
use serde::{Deserialize, Serialize};

/// A network being recorded: the recorder, and where the parameters and their gradients are.
pub struct Network<'a> {
    /// Takes the calls.
    pub r: &'a mut Recorder,
    /// Names, shapes and places.
    pub parameters: &'a Parameters,
    /// The flat buffer of the weights.
    pub weights: &'a Storage,
    /// The flat buffer of their gradients, where they are wanted: in training, which dropout is for.
    pub gradients: Option<&'a Storage>,
    /// A copy of the weights in half precision, which convolutions and linear layers read where there is one.
    pub halves: Option<&'a Storage>,
    /// What the backward calls compute again.
    pub recompute: Recompute,
}

/// What the backward calls compute again instead of keeping it from the forward calls. The results are the same bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Recompute {
    /// Nothing: the fastest.
    #[default]
    None,
    /// What costs a pass over memory: norms with their SiLU, concatenations, upsampled pictures.
    Norm,
    /// Everything inside residual and attention blocks: the least memory, for a second forward pass.
    Block,
}

impl Network<'_> {
    /// Records a block, of whose values only the output is kept if blocks are recomputed.
    pub(super) fn block(&mut self, forward: impl FnOnce(&mut Network) -> Result<Value>) -> Result<Value> {
        let Self { parameters, weights, gradients, halves, recompute, .. } = *self;
        match recompute {
            Recompute::None | Recompute::Norm => forward(self),
            Recompute::Block => {
                self.r.recompute(|r| forward(&mut Network { r, parameters, weights, gradients, halves, recompute }))
            }
        }
    }

    /// Whether gradients are wanted: only then are elements dropped.
    pub(super) fn is_trained(&self) -> bool {
        self.gradients.is_some()
    }

    /// A value that is cheap to compute again.
    pub(super) fn cheap(&mut self, value: Value) -> Value {
        if self.recompute != Recompute::None {
            self.r.forget(value);
        }
        value
    }

    /// A parameter as a value.
    pub fn value(&mut self, id: ParameterId) -> Value {
        self.value_shaped(id, &self.parameters.get(id).device_shape())
    }

    /// A parameter as a value of other sizes, with as many elements.
    fn value_shaped(&mut self, id: ParameterId, shape: &[usize]) -> Value {
        let parameter = self.parameters.get(id);
        let weights = match self.halves {
            Some(halves) if parameter.layout != Layout::Same => halves,
            _ => self.weights,
        };
        let gradients = self.gradients.filter(|_| parameter.trained);
        self.r.parameter(weights, gradients, parameter.offset, shape)
    }
}

/// PyTorch's default for the weight and the bias of a layer with this many inputs to an output.
fn torch_default(inputs: usize) -> Initial {
    Initial::Uniform((inputs as f32).sqrt().recip())
}

/// A square convolution with a bias.
#[derive(Clone, Debug)]
pub(super) struct Conv2d {
    weight: ParameterId,
    bias: ParameterId,
    window: Window,
}

/// Stride 1, as many zeros around as keep the size.
pub(super) fn same(kernel: usize) -> Window {
    Window { stride: 1, before: kernel / 2, after: kernel / 2 }
}

impl Conv2d {
    pub(super) fn new(
        p: &mut Parameters,
        name: &str,
        [inputs, outputs]: [usize; 2],
        kernel: usize,
        window: Window,
    ) -> Self {
        let initial = torch_default(inputs * kernel * kernel);
        let shape = [outputs, inputs, kernel, kernel];
        let weight = p.add(format!("{name}.weight"), &shape, Layout::Convolution, initial);
        let bias = p.add(format!("{name}.bias"), &[outputs], Layout::Same, initial);
        Self { weight, bias, window }
    }

    /// `[pictures, height, width, inputs]` to `[pictures, height', width', outputs]`.
    pub(super) fn record(&self, net: &mut Network, x: Value) -> Result<Value> {
        let bias = net.value(self.bias);
        let shape = net.parameters.get(self.weight).device_shape();
        if shape[..2] == [1, 1] && self.window == same(1) {
            // A 1x1 convolution of NHWC pictures is a linear layer.
            let weight = net.value_shaped(self.weight, &shape[2..]);
            return linear(net.r, x, weight, Some(bias));
        }
        let weight = net.value(self.weight);
        convolution(net.r, x, weight, Some(bias), self.window)
    }

    /// The same plus what else there is, beside the layer's own bias.
    pub(super) fn record_plus(&self, net: &mut Network, x: Value, added: Added) -> Result<Value> {
        let bias = Some(net.value(self.bias));
        let weight = net.value(self.weight);
        convolution_plus(net.r, x, weight, Added { bias, ..added }, self.window)
    }
}

/// A fully connected layer with a bias.
#[derive(Clone, Debug)]
pub(super) struct Linear {
    weight: ParameterId,
    bias: ParameterId,
}

impl Linear {
    pub(super) fn new(p: &mut Parameters, name: &str, [inputs, outputs]: [usize; 2]) -> Self {
        let initial = torch_default(inputs);
        let weight = p.add(format!("{name}.weight"), &[outputs, inputs], Layout::Linear, initial);
        let bias = p.add(format!("{name}.bias"), &[outputs], Layout::Same, initial);
        Self { weight, bias }
    }

    /// `[.., inputs]` to `[.., outputs]`.
    pub(super) fn record(&self, net: &mut Network, x: Value) -> Result<Value> {
        let (weight, bias) = (net.value(self.weight), net.value(self.bias));
        linear(net.r, x, weight, Some(bias))
    }
}

/// Group normalisation with a weight and a bias, and an activation after it if asked for.
#[derive(Clone, Debug)]
pub(super) struct Norm {
    weight: ParameterId,
    bias: ParameterId,
    groups: usize,
    epsilon: f32,
    activation: Option<Activation>,
}

impl Norm {
    /// # Errors
    /// If the groups do not divide the channels.
    pub(super) fn new(p: &mut Parameters, name: &str, channels: usize, groups: usize, epsilon: f32) -> Result<Self> {
        if groups == 0 || !channels.is_multiple_of(groups) {
            return Err(Error::input(format!(
                "{name} has {channels} channels in {groups} groups, expected a multiple"
            )));
        }
        let weight = p.add(format!("{name}.weight"), &[channels], Layout::Same, Initial::Constant(1.0));
        let bias = p.add(format!("{name}.bias"), &[channels], Layout::Same, Initial::Constant(0.0));
        Ok(Self { weight, bias, groups, epsilon, activation: None })
    }

    /// With an activation after it.
    pub(super) fn then(self, activation: Activation) -> Self {
        Self { activation: Some(activation), ..self }
    }

    /// Any `[pictures, .., channels]` to the same. `modulation` `[pictures, 2 channels]` holds what the result is
    /// scaled with, less 1, and then what it is shifted by, before the activation.
    pub(super) fn record(&self, net: &mut Network, x: Value, modulation: Option<Value>) -> Result<Value> {
        let (mut weight, mut bias) = (net.value(self.weight), net.value(self.bias));
        if let Some(modulation) = modulation {
            weight = modulate(net.r, weight, modulation, false)?;
            bias = modulate(net.r, bias, modulation, true)?;
        }
        let silu = self.activation == Some(Activation::Silu);
        let norm = GroupNorm { groups: self.groups, epsilon: self.epsilon, silu };
        let y = group_norm(net.r, x, weight, bias, norm)?;
        let y = net.cheap(y);
        match self.activation.filter(|_| !silu) {
            Some(function) => {
                let y = activation(net.r, y, function)?;
                Ok(net.cheap(y))
            }
            None => Ok(y),
        }
    }
}

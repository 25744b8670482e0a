//! A network being recorded, and its elementary layers.

use super::parameters::{Initial, Layout, ParameterId, Parameters};
use crate::error::Result;
use crate::kernels::convolution::{Added, Window, convolution, convolution_plus};
use crate::kernels::group_norm::{GroupNorm, group_norm};
use crate::kernels::linear::linear;
use crate::plan::{Recorder, Storage, Value};

/// A network being recorded: the recorder, and where the parameters and their gradients are.
pub struct Network<'a> {
    /// Takes the calls.
    pub r: &'a mut Recorder,
    /// Names, shapes and places.
    pub parameters: &'a Parameters,
    /// The flat buffer of the weights.
    pub weights: &'a Storage,
    /// The flat buffer of their gradients, where they are wanted.
    pub gradients: Option<&'a Storage>,
}

impl Network<'_> {
    /// A parameter as a value.
    pub fn value(&mut self, id: ParameterId) -> Value {
        self.value_shaped(id, &self.parameters.get(id).device_shape())
    }

    /// A parameter as a value of other sizes, with as many elements.
    fn value_shaped(&mut self, id: ParameterId, shape: &[usize]) -> Value {
        self.r.parameter(self.weights, self.gradients, self.parameters.get(id).offset, shape)
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

/// Group normalisation with a weight and a bias, and SiLU after it if asked for.
#[derive(Clone, Debug)]
pub(super) struct Norm {
    weight: ParameterId,
    bias: ParameterId,
    norm: GroupNorm,
}

impl Norm {
    pub(super) fn new(p: &mut Parameters, name: &str, channels: usize, norm: GroupNorm) -> Self {
        let weight = p.add(format!("{name}.weight"), &[channels], Layout::Same, Initial::Constant(1.0));
        let bias = p.add(format!("{name}.bias"), &[channels], Layout::Same, Initial::Constant(0.0));
        Self { weight, bias, norm }
    }

    /// Any `[pictures, .., channels]` to the same.
    pub(super) fn record(&self, net: &mut Network, x: Value) -> Result<Value> {
        let (weight, bias) = (net.value(self.weight), net.value(self.bias));
        group_norm(net.r, x, weight, bias, self.norm)
    }
}

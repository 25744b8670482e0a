//! burn on the CPU ("flex") and on a GPU through wgpu; see ../README.md.
use burn::module::Param;
use burn::nn::{GroupNorm, GroupNormConfig, PaddingConfig2d, conv::Conv2d, conv::Conv2dConfig};
use burn::prelude::*;
use burn::tensor::{Device, DeviceKind, TensorData, activation::silu, module::conv2d, ops::ConvOptions};

#[path = "../../common.rs"]
mod common;
use common::{CHANNELS, Case, GROUPS, SIZE, WEIGHT_SCALE, WEIGHT_SEEDS, ends, fill, measure, norm};

fn tensor<const D: usize>(seed: u32, shape: [usize; D], scale: f32, device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(fill(seed, shape.iter().product(), scale), shape), device)
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().to_vec().expect("a tensor of f32")
}

/// Asks for one element of a tensor, as a lazy backend may not compute it otherwise.
fn want<const D: usize>(tensor: &Tensor<D>) {
    drop(tensor.clone().slice([(); D].map(|()| 0..1)).into_data());
}

#[derive(Module, Debug)]
struct Block {
    first: Conv2d,
    norm: GroupNorm,
    second: Conv2d,
}

impl Block {
    fn new(device: &Device) -> Self {
        let convolution = |seed| {
            let config = Conv2dConfig::new([CHANNELS; 2], [3, 3]).with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1));
            let mut layer = config.init(device);
            layer.weight = Param::from_tensor(tensor(seed, [CHANNELS, CHANNELS, 3, 3], WEIGHT_SCALE, device));
            layer.bias = Some(Param::from_tensor(tensor(seed + 1, [CHANNELS], WEIGHT_SCALE, device)));
            layer
        };
        let [first, second] = WEIGHT_SEEDS.map(convolution);
        Block { first, norm: GroupNormConfig::new(GROUPS, CHANNELS).init(device), second }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.second.forward(silu(self.norm.forward(self.first.forward(x))))
    }
}

fn main() {
    let arguments = common::arguments();
    let device = match arguments.device.as_str() {
        "cpu" => Device::flex(),
        // A driver that runs on the CPU, such as Mesa's software driver.
        "gpu:llvmpipe" => Device::wgpu(DeviceKind::Cpu),
        _ => Device::wgpu(DeviceKind::DefaultDevice),
    };
    let wait = || device.sync().expect("a device that works");
    let picture = |batch, device: &Device| tensor(1, [batch, CHANNELS, SIZE, SIZE], 2.0, device);
    for name in &arguments.cases {
        let seconds = arguments.seconds;
        match common::case(name) {
            Some(Case::Matmul { size }) => {
                let (a, b) = (tensor(1, [size, size], 2.0, &device), tensor(2, [size, size], 2.0, &device));
                let run = || {
                    let c = a.clone().matmul(b.clone());
                    want(&c);
                    wait();
                    c
                };
                measure(name, seconds, run, |c| ends(&values(c)));
            }
            Some(Case::Convolution { batch, inputs, outputs, height, width }) => {
                let x = tensor(1, [batch, inputs, height, width], 2.0, &device);
                let w = tensor(2, [outputs, inputs, 3, 3], common::convolution_scale(inputs), &device);
                let run = || {
                    let options = ConvOptions::new([1, 1], [1, 1], [1, 1], 1);
                    let y = conv2d(x.clone(), w.clone(), None, options);
                    want(&y);
                    wait();
                    y
                };
                measure(name, seconds, run, |y| ends(&values(y)));
            }
            Some(Case::BlockForward { batch }) => {
                let (block, x) = (Block::new(&device), picture(batch, &device));
                let run = || {
                    let y = block.forward(x.clone());
                    want(&y);
                    wait();
                    y
                };
                measure(name, seconds, run, |y| ends(&values(y)));
            }
            Some(Case::BlockTrain { batch }) => {
                let autodiff = device.clone().autodiff();
                let (block, x) = (Block::new(&autodiff), picture(batch, &autodiff).require_grad());
                let run = || {
                    let y = block.forward(x.clone());
                    let loss = (y.clone() * y).mean();
                    let gradients = loss.backward();
                    let of = |weight: &Param<Tensor<4>>| weight.val().grad(&gradients).expect("a gradient");
                    let (dx, d1, d2) =
                        (x.grad(&gradients).expect("a gradient"), of(&block.first.weight), of(&block.second.weight));
                    let scale = block.norm.gamma.as_ref().expect("a scale").val().grad(&gradients).expect("a gradient");
                    want(&scale);
                    want(&d2);
                    want(&d1);
                    want(&dx);
                    wait();
                    (loss, dx, d1, d2, scale)
                };
                measure(name, seconds, run, |(loss, dx, d1, d2, scale)| {
                    vec![
                        values(loss)[0].into(),
                        norm(&values(dx)),
                        norm(&values(d1)),
                        norm(&values(d2)),
                        norm(&values(scale)),
                    ]
                });
            }
            None => {}
        }
    }
}

//! candle on the CPU; see ../README.md.
use candle_core::{Device, Module, Result, Tensor, Var};

#[allow(dead_code, reason = "each peer takes its part of it")]
#[path = "../../common.rs"]
mod common;
use common::{CHANNELS, Case, GROUPS, SIZE, WEIGHT_SCALE, WEIGHT_SEEDS, ends, fill, measure, norm};

fn var(seed: u32, shape: &[usize], scale: f32) -> Result<Var> {
    let len = shape.iter().product();
    Var::from_tensor(&Tensor::from_vec(fill(seed, len, scale), shape, &Device::Cpu)?)
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().and_then(|flat| flat.to_vec1()).expect("a tensor of f32")
}

struct Block {
    convolutions: [(Var, Var); 2],
    scale: Var,
    norm: candle_nn::GroupNorm,
}

impl Block {
    fn new() -> Result<Self> {
        let convolution = |seed| -> Result<_> {
            Ok((
                var(seed, &[CHANNELS, CHANNELS, 3, 3], WEIGHT_SCALE)?,
                var(seed + 1, &[1, CHANNELS, 1, 1], WEIGHT_SCALE)?,
            ))
        };
        let scale = Var::ones(CHANNELS, candle_core::DType::F32, &Device::Cpu)?;
        let shift = Var::zeros(CHANNELS, candle_core::DType::F32, &Device::Cpu)?;
        let norm =
            candle_nn::GroupNorm::new(scale.as_tensor().clone(), shift.as_tensor().clone(), CHANNELS, GROUPS, 1e-5)?;
        let [first, second] = WEIGHT_SEEDS;
        Ok(Block { convolutions: [convolution(first)?, convolution(second)?], scale, norm })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let [first, second] = &self.convolutions;
        let convolve = |x: &Tensor, (weight, bias): &(Var, Var)| x.conv2d(weight, 1, 1, 1, 1)?.broadcast_add(bias);
        convolve(&self.norm.forward(&convolve(x, first)?)?.silu()?, second)
    }
}

fn main() -> Result<()> {
    let arguments = common::arguments();
    for name in &arguments.cases {
        let seconds = arguments.seconds;
        match common::case(name) {
            Some(Case::Matmul { size }) => {
                let (a, b) = (var(1, &[size, size], 2.0)?.detach(), var(2, &[size, size], 2.0)?.detach());
                measure(name, seconds, || a.matmul(&b).unwrap(), |c| ends(&values(&c)));
            }
            Some(Case::Convolution { batch, inputs, outputs, height, width }) => {
                let x = var(1, &[batch, inputs, height, width], 2.0)?.detach();
                let w = var(2, &[outputs, inputs, 3, 3], common::convolution_scale(inputs))?.detach();
                measure(name, seconds, || x.conv2d(&w, 1, 1, 1, 1).unwrap(), |y| ends(&values(&y)));
            }
            Some(Case::BlockForward { batch }) => {
                let block = Block::new()?;
                let x = var(1, &[batch, CHANNELS, SIZE, SIZE], 2.0)?.detach();
                measure(name, seconds, || block.forward(&x).unwrap(), |y| ends(&values(&y)));
            }
            Some(Case::BlockTrain { batch }) => {
                let block = Block::new()?;
                let x = var(1, &[batch, CHANNELS, SIZE, SIZE], 2.0)?;
                let train = || {
                    let loss = block.forward(&x)?.sqr()?.mean_all()?;
                    let gradients = loss.backward()?;
                    Result::Ok((loss, gradients))
                };
                measure(
                    name,
                    seconds,
                    || train().unwrap(),
                    |(loss, gradients)| {
                        let [(first, _), (second, _)] = &block.convolutions;
                        let norms = [&x, first, second, &block.scale]
                            .map(|v| norm(&values(gradients.get(v).expect("a gradient"))));
                        [&[f64::from(values(&loss)[0])], &norms[..]].concat()
                    },
                );
            }
            None => {}
        }
    }
    Ok(())
}

//! Shapes that other programs are compared on: a block of a U-Net, single convolutions, square matrix products.

use super::Bench;
use crate::kernels::convolution::{Window, convolution};
use crate::kernels::group_norm::{GroupNorm, group_norm};
use crate::kernels::linear::linear;
use crate::kernels::matmul::matmul;
use crate::kernels::{Case, Fill};

const SAME: Window = Window { stride: 1, before: 1, after: 1 };

/// Convolution, group norm in 8 groups with SiLU, convolution, on 16 pictures of 32x32 with 64 channels; its backward
/// calls make the gradients of the input and of all weights.
fn block() -> Case {
    let (weight, ones) = (Fill::Normal(0.04), Fill::Floats(vec![1.0]));
    let norm = GroupNorm { groups: 8, epsilon: 1e-5, silu: true };
    let mut case = Case::new("block")
        .input(&[16, 32, 32, 64], Fill::Normal(1.0))
        .input(&[3, 3, 64, 64], weight.clone())
        .input(&[64], Fill::Normal(0.04))
        .input(&[64], ones)
        .input(&[64], Fill::Normal(0.04))
        .input(&[3, 3, 64, 64], weight)
        .input(&[64], Fill::Normal(0.04));
    case.inputs[3].differentiate = true;
    case.records(move |r, v| {
        let h = convolution(r, v[0], v[1], Some(v[2]), SAME)?;
        let h = group_norm(r, h, v[3], v[4], norm)?;
        Ok(vec![convolution(r, h, v[5], Some(v[6]), SAME)?])
    })
}

/// `[pictures, size, inputs, outputs, kernel]`: what the reference networks run most.
const CONVOLUTIONS: [[usize; 5]; 12] = [
    [16, 32, 64, 64, 3],
    [32, 16, 32, 32, 3],
    [32, 8, 64, 64, 3],
    [16, 32, 32, 32, 3],
    [16, 16, 64, 64, 3],
    [16, 8, 128, 128, 3],
    [4, 32, 128, 128, 3],
    [4, 16, 256, 256, 3],
    [4, 8, 256, 256, 3],
    [4, 4, 256, 256, 3],
    [4, 16, 512, 256, 3],
    [4, 16, 512, 256, 1],
];

fn single_convolution([pictures, size, inputs, outputs, kernel]: [usize; 5]) -> Bench {
    let case = Case::new("convolution").input(&[pictures, size, size, inputs], Fill::Normal(1.0));
    let name = format!("convolution/forward/{pictures}x{size}x{size}x{inputs}-{outputs}");
    let weight = Fill::Normal(0.1);
    // A 1x1 convolution of NHWC pictures is a linear layer, here as in the networks.
    let (name, case) = match kernel {
        1 => {
            let case = case.input(&[inputs, outputs], weight).records(|r, v| Ok(vec![linear(r, v[0], v[1], None)?]));
            (name + "/1x1", case)
        }
        _ => {
            let case = case.input(&[kernel, kernel, inputs, outputs], weight);
            (name, case.records(|r, v| Ok(vec![convolution(r, v[0], v[1], None, SAME)?])))
        }
    };
    Bench::of_case(name, false, false, case)
}

fn square_product(size: usize) -> Bench {
    let case = Case::new("matmul")
        .input(&[size, size], Fill::Normal(1.0))
        .input(&[size, size], Fill::Normal(1.0))
        .records(|r, v| Ok(vec![matmul(r, v[0], v[1], false, false)?]));
    Bench::of_case(format!("matmul/{size}"), false, false, case)
}

pub(super) fn blocks() -> Vec<Bench> {
    let mut benches = vec![
        Bench::of_case("block/forward/b16", true, false, block()),
        Bench::of_case("block/train/b16", true, true, block()),
    ];
    benches.extend(CONVOLUTIONS.map(single_convolution));
    benches.extend([256, 512, 1024].map(square_product));
    benches
}

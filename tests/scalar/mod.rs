//! A chain's rows in double precision, on numbers or on anything that can be weighed and added: what `sampler_step` does, in
//! as few words as possible.

#[allow(dead_code)]
pub mod form;

use aquatint::diffusion::{Chain, Stage};
use aquatint::kernels::sampler_step::{Clipping, Weights};

/// What a state is made of.
pub trait State: Clone {
    fn add(&mut self, weight: f64, other: &Self);
    fn zero() -> Self;
    /// Where x_0 is clipped.
    fn clip(&mut self, range: f64);
}

impl State for f64 {
    fn add(&mut self, weight: f64, other: &Self) {
        *self += weight * other;
    }
    fn zero() -> Self {
        0.0
    }
    fn clip(&mut self, range: f64) {
        *self = self.clamp(-range, range);
    }
}

/// A weighted sum.
pub fn sum<S: State>(parts: &[(f64, &S)]) -> S {
    let mut sum = S::zero();
    // What weighs nothing is not looked at, whatever it is.
    parts.iter().filter(|(weight, _)| *weight != 0.0).for_each(|(weight, part)| sum.add(*weight, part));
    sum
}

/// Takes a chain from `x`; `output` is the network's, by x and the stage, `noise` that of a draw, `watch` sees x after each
/// stage.
pub fn run<S: State>(
    chain: &Chain,
    mut x: S,
    mut output: impl FnMut(&S, &Stage) -> S,
    noise: impl Fn(usize) -> S,
    mut watch: impl FnMut(usize, &S),
) -> S {
    let mut kept = [S::zero(), S::zero()];
    for (number, stage) in chain.stages().iter().enumerate() {
        let Weights { x0_of, x_of, x_of_kept, kept_of, noise: deviation, .. } = stage.weights;
        let out = output(&x, stage);
        let mut x0 = sum(&[(x0_of[0], &x), (x0_of[1], &out)]);
        if let Clipping::Range(range) = chain.kernel().clipping {
            x0.clip(range.into());
        }
        let drawn = if deviation == 0.0 { S::zero() } else { noise(stage.draw) };
        let after = sum(&[
            (x_of[0], &x),
            (x_of[1], &x0),
            (x_of[2], &out),
            (x_of_kept[0], &kept[0]),
            (x_of_kept[1], &kept[1]),
            (deviation, &drawn),
        ]);
        let keeps = sum(&[(kept_of[0], &x), (kept_of[1], &x0), (kept_of[2], &out)]);
        if chain.kernel().history > 0 {
            kept = [keeps, kept[0].clone()];
        }
        x = after;
        watch(number, &x);
    }
    x
}

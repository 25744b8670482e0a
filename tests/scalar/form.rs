//! Numbers that are linear in independent standard normal ones: what a chain makes of a normal x_T and of its noise, where the
//! network is affine, without drawing any.

use super::{State, sum};
use aquatint::diffusion::{Chain, Stage};

/// A constant, and the weights of independent standard normal numbers: the first is the beginning's, then the draws'.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Form(pub Vec<f64>);

impl Form {
    pub fn constant(value: f64) -> Self {
        Self(vec![value])
    }

    /// One of the normal numbers.
    pub fn normal(number: usize) -> Self {
        let mut weights = vec![0.0; number + 2];
        weights[number + 1] = 1.0;
        Self(weights)
    }

    /// A normal number of this mean and variance, by the first of the normal numbers.
    pub fn distributed([mean, variance]: [f64; 2]) -> Self {
        Self(vec![mean, variance.sqrt()])
    }

    pub fn mean(&self) -> f64 {
        self.0.first().copied().unwrap_or(0.0)
    }

    pub fn variance(&self) -> f64 {
        self.0.iter().skip(1).map(|weight| weight * weight).sum()
    }
}

impl State for Form {
    fn add(&mut self, weight: f64, other: &Self) {
        self.0.resize(self.0.len().max(other.0.len()), 0.0);
        self.0.iter_mut().zip(&other.0).for_each(|(own, other)| *own += weight * other);
    }
    fn zero() -> Self {
        Self::default()
    }
    fn clip(&mut self, _: f64) {
        panic!("what is clipped is not linear");
    }
}

/// Normal data.
#[derive(Clone, Copy)]
pub struct Target {
    pub mean: f64,
    pub variance: f64,
}

impl Target {
    /// Mean and variance of signal x_0 + noise eps.
    pub fn at(&self, [signal, noise]: [f64; 2]) -> [f64; 2] {
        [signal * self.mean, signal * signal * self.variance + noise * noise]
    }

    /// What the network has to say for x_0 to be its expectation.
    pub fn output<S: State>(&self, constant: impl Fn(f64) -> S, x: &S, stage: &Stage) -> S {
        let [mean, variance] = self.at(stage.level);
        let slope = stage.level[0] * self.variance / variance;
        let [of_x, of_output] = stage.weights.x0_of;
        sum(&[((slope - of_x) / of_output, x), (1.0 / of_output, &constant(self.mean - slope * mean))])
    }

    /// x before each stage, and at the end.
    pub fn follow(&self, chain: &Chain, start: Form) -> Vec<Form> {
        let mut states = vec![start.clone()];
        let output = |x: &Form, stage: &Stage| self.output(Form::constant, x, stage);
        super::run(chain, start, output, |draw| Form::normal(1 + draw), |_, x| states.push(x.clone()));
        states
    }
}

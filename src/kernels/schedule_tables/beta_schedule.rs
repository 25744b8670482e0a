//! How the noise grows, in closed form.

use crate::plan::Real;
use serde::{Deserialize, Serialize};

/// How the betas grow with t. The names in files are diffusers', and for the two that it has not, those of Ho et al.'s code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum BetaSchedule {
    /// Evenly from start to end (Ho et al. 2020)
    Linear = 0,
    /// The square roots evenly (Rombach et al. 2022); the quadratic schedule of Ho et al.'s code is this one
    #[serde(alias = "quad")]
    #[value(aliases = ["scaled_linear", "quadratic", "quad"])]
    ScaledLinear = 1,
    /// From alphas_cumprod = cos^2 (Nichol & Dhariwal 2021, eq. 17), clipped at 0.999
    #[serde(rename = "squaredcos_cap_v2")]
    #[value(name = "cosine", alias = "squaredcos_cap_v2")]
    SquaredCosine = 2,
    /// From start to end along a sigmoid (Xu et al. 2022)
    Sigmoid = 3,
    /// From signal-to-noise ratios of Laplace's distribution (Hang & Gu 2024), as diffusers has it
    Laplace = 4,
    /// alphas_cumprod = exp(-12 t / T)
    #[serde(rename = "exp")]
    #[value(name = "exp", alias = "exponential")]
    Exponential = 5,
    /// The last beta at every t
    #[serde(rename = "const")]
    #[value(name = "const", alias = "constant")]
    Constant = 6,
    /// 1 / (T - t + 1) for t from 1 to T (Sohl-Dickstein et al. 2015): the signal goes evenly, to nothing
    Jsd = 7,
}

/// What betas are clipped at where alphas_cumprod is given in closed form (Nichol & Dhariwal 2021), and 1 less that.
const MOST_BETA: f64 = 0.999;
const LEAST_ALPHA: f64 = 0.001;
/// Nichol & Dhariwal's offset s.
const COSINE_OFFSET: f64 = 0.008;
/// Rate of the exponential schedule.
const RATE: f64 = 12.0;
/// What keeps Laplace's signal-to-noise ratios finite.
const LAPLACE_OFFSET: f64 = 1e-6;

impl BetaSchedule {
    /// Whether alphas_cumprod is known without a product.
    pub(super) fn has_closed_products(self) -> bool {
        matches!(self, Self::SquaredCosine | Self::Laplace | Self::Exponential | Self::Jsd)
    }

    /// beta_t and 1 - beta_t, neither by a difference that cancels, of a schedule from `start` to `end`.
    pub(super) fn beta_and_alpha<T: Real>(self, t: usize, steps: usize, [start, end]: [T; 2]) -> [T; 2] {
        let line = |start: T, end: T| start + (end - start) * T::from_usize(t) / T::from_usize((steps - 1).max(1));
        let beta = match self {
            Self::Linear => line(start, end),
            Self::ScaledLinear => line(start.sqrt(), end.sqrt()).powi(2),
            Self::Sigmoid => {
                // From -6 to 6.
                let last = (steps - 1).max(1) as f64;
                let exponent = T::from_f64(6.0) * T::from_f64(last - 2.0 * t as f64) / T::from_f64(last);
                start + (end - start) / (T::one() + exponent.exp())
            }
            Self::Constant => end,
            Self::SquaredCosine | Self::Laplace | Self::Exponential | Self::Jsd => {
                let [beta, alpha] = self.share_lost(t, t + 1, steps);
                let clips = self != Self::Jsd && beta > T::from_f64(MOST_BETA);
                return if clips { [T::from_f64(MOST_BETA), T::from_f64(LEAST_ALPHA)] } else { [beta, alpha] };
            }
        };
        [beta, T::one() - beta]
    }

    /// Of the signal's share of the variance after `from` timesteps, what is lost and what is left after `to`, where
    /// alphas_cumprod is known without a product: a product of thousands of rounded factors drifts.
    pub(super) fn share_lost<T: Real>(self, from: usize, to: usize, steps: usize) -> [T; 2] {
        let number = T::from_usize;
        match self {
            Self::SquaredCosine => cosine(from, to, steps),
            Self::Laplace => laplace(from, to, steps),
            Self::Exponential => {
                let exponent = T::from_f64(-RATE) * number(to - from) / number(steps);
                [-exponent.exp_m1(), exponent.exp()]
            }
            _ => [number(to - from) / number(steps - from), number(steps - to) / number(steps - from)],
        }
    }
}

/// With a = (from/T + s)/(1 + s) pi/2 and b the same of `to`: what is left is cos^2 b / cos^2 a, and what is lost
/// (cos^2 a - cos^2 b) / cos^2 a = sin(b - a) sin(a + b) / cos^2 a. Cosines are written as sines of the complements, so
/// that small ones keep their precision.
fn cosine<T: Real>(from: usize, to: usize, steps: usize) -> [T; 2] {
    let number = T::from_usize;
    let scale = T::from_f64(std::f64::consts::FRAC_PI_2 / (1.0 + COSINE_OFFSET));
    let complement = |t: usize| (scale * number(steps - t) / number(steps)).sin();
    let (cos_a, cos_b) = (complement(from), complement(to));
    let sum = if from + to < steps {
        scale * (number(from + to) / number(steps) + T::from_f64(2.0 * COSINE_OFFSET))
    } else {
        scale * number(2 * steps - from - to) / number(steps)
    };
    let lost = (scale * number(to - from) / number(steps)).sin() * sum.sin() / (cos_a * cos_a);
    [lost, (cos_b / cos_a).powi(2)]
}

/// With w = 1 - |1 - 2 t/T| and r its root, alphas_cumprod is the root of 1 / (1 + r) in the first half and of r / (1 + r)
/// in the second. The squares' differences are written out over a common denominator, where they do not cancel.
fn laplace<T: Real>(from: usize, to: usize, steps: usize) -> [T; 2] {
    let (one, number, offset) = (T::one(), T::from_usize, T::from_f64(LAPLACE_OFFSET));
    let is_first = |t: usize| 2 * t <= steps;
    let w = |t: usize| number(2 * t.min(steps - t)) / number(steps) + offset;
    let (w_a, w_b) = (w(from), w(to));
    let (a, b) = (w_a.sqrt(), w_b.sqrt());
    let change = number(2 * (to - from)) / number(steps) / (a + b);
    let (lost, left) = if is_first(to) {
        (change, one + a)
    } else if is_first(from) {
        // 1 - w_a w_b, from 1 - w_a and 1 - w_b.
        let (to_a, to_b) = (number(steps - 2 * from) / number(steps), number(2 * to - steps) / number(steps));
        let lost = (to_a - offset) + (to_b - offset) * w_a;
        (lost / (one + (w_a * w_b).sqrt()), b * (one + a))
    } else {
        (change / a, b * (one + a) / a)
    };
    let left = (left / (one + b)).sqrt();
    [lost / (one + b) / (one + left), left]
}

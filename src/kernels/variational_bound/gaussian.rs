//! What the bound is made of, element by element, in nats and double precision: the divergence of two Gaussians and the
//! discretised Gaussian. `shaders/shared/gaussian.wgsl` is the same in single precision.

use crate::kernels::activation::erfc;
use std::f64::consts::{FRAC_1_SQRT_2, PI};

/// Half the distance between two of the 256 levels 2 k / 255 - 1 that a picture's elements have.
pub const HALF_LEVEL: f64 = 1.0 / 255.0;

/// What an element adds to the bound, and its slopes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Term {
    /// Nats.
    pub value: f64,
    /// The slope in the model's mean.
    pub of_mean: f64,
    /// The slope in the logarithm of the model's variance.
    pub of_log_variance: f64,
}

/// e^-d - 1 + d, by its series where the parts cancel.
fn beyond_line(d: f64) -> f64 {
    if d.abs() > 0.5 {
        return (-d).exp() - 1.0 + d;
    }
    0.5 * d * d * (3..16).rev().fold(1.0, |sum, k| 1.0 - d / f64::from(k) * sum)
}

/// KL(N(m_q, e^`log_q`) || N(m_p, e^`log_p`)) where `difference` is m_p - m_q: what Ho et al. 2020, eq. 5 is a sum of.
pub fn gaussian_kl(difference: f64, log_q: f64, log_p: f64) -> Term {
    let ratio = log_p - log_q;
    let slope = difference * (-log_p).exp();
    let far = difference * slope;
    Term {
        value: 0.5 * (beyond_line(ratio) + far),
        of_mean: slope,
        of_log_variance: -0.5 * ((-ratio).exp_m1() + far),
    }
}

/// How the discretised Gaussian is worked out (Ho et al. 2020, eq. 13).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Decoder {
    /// With the normal distribution itself, whose logarithm is right however far out.
    #[default]
    Safe = 0,
    /// With the tanh in the distribution's place, and probabilities held to at least 1e-12, as in the published codes.
    Tanh = 1,
}

/// The least probability that the published codes take a logarithm of.
const LEAST_PROBABILITY: f64 = 1e-12;

/// A bin of the standard normal distribution, mirrored so that more of it lies below 0 than above: [low, low + width], or
/// everything below `high`.
struct Bin {
    low: f64,
    high: f64,
    open: bool,
}

/// The logarithm of a bin's probability, and its slopes in a shift of both ends and in a stretch of both.
struct Mass {
    log: f64,
    of_shift: f64,
    of_stretch: f64,
}

impl Decoder {
    /// The negative log-likelihood of a level `x0` under a Gaussian, of which the first and the last level take the tails.
    pub fn term(self, x0: f64, mean: f64, log_variance: f64) -> Term {
        let scale = (-0.5 * log_variance).exp();
        let (below, above) = (x0 < -0.999, x0 > 0.999);
        let (middle, half) = ((x0 - mean) * scale, HALF_LEVEL * scale);
        let mirrored = above || (!below && middle > 0.0);
        let sign = if mirrored { -1.0 } else { 1.0 };
        let bin = Bin { low: sign * middle - half, high: sign * middle + half, open: below || above };
        let mass = match self {
            Self::Safe => bin.normal(),
            Self::Tanh => bin.tanh(),
        };
        Term { value: -mass.log, of_mean: sign * scale * mass.of_shift, of_log_variance: 0.5 * mass.of_stretch }
    }
}

impl Bin {
    /// Of the normal distribution. Far out, the density at the upper end is taken out of everything.
    fn normal(&self) -> Mass {
        let Self { low, high, open } = *self;
        let width = high - low;
        // The densities at both ends are 1 to e^-apart.
        let apart = -0.5 * width * (low + high);
        let (other, rise) = if open { (0.0, 1.0) } else { ((-apart).exp(), -(-apart).exp_m1()) };
        let (share, taken_out) = if high <= 0.0 {
            let lower = if open { 0.0 } else { other * erfcx(-low * FRAC_1_SQRT_2) };
            (0.5 * (erfcx(-high * FRAC_1_SQRT_2) - lower), 0.5 * high * high)
        } else {
            let lower = if open { 0.0 } else { 0.5 * erfc(-low * FRAC_1_SQRT_2) };
            (1.0 - 0.5 * erfc(high * FRAC_1_SQRT_2) - lower, 0.0)
        };
        // The density at the upper end, of the bin's probability.
        let density = (taken_out - 0.5 * high * high).exp() / ((2.0 * PI).sqrt() * share);
        let stretch = if open { high } else { width + low * rise };
        Mass { log: share.ln() - taken_out, of_shift: density * rise, of_stretch: density * stretch }
    }

    /// Of the tanh that stands for it in the published codes, written as the sigmoid that it is.
    fn tanh(&self) -> Mass {
        let Self { low, high, open } = *self;
        let scale = 2.0 * (2.0 / PI).sqrt();
        let of = |x: f64| scale * (x + 0.044_715 * x * x * x);
        let slope = |x: f64| scale * (1.0 + 3.0 * 0.044_715 * x * x);
        let sigmoid = |y: f64| 1.0 / (1.0 + (-y).exp());
        let log_sigmoid = |y: f64| y.min(0.0) - (-y.abs()).exp().ln_1p();
        let (a, b) = (of(low), of(high));
        let (log, at_low, at_high) = if open {
            (log_sigmoid(b), 0.0, slope(high) * sigmoid(-b))
        } else {
            let apart = scale * (high - low) * (1.0 + 0.044_715 * (low * low + low * high + high * high));
            let rise = -(-apart).exp_m1();
            let at_low = slope(low) * sigmoid(-a) * ((-apart).exp() + a.exp()) / rise;
            let at_high = slope(high) * sigmoid(-b) / (sigmoid(-a) * rise);
            (log_sigmoid(b) + log_sigmoid(-a) + rise.ln(), at_low, at_high)
        };
        let least = LEAST_PROBABILITY.ln();
        if log < least {
            return Mass { log: least, of_shift: 0.0, of_stretch: 0.0 };
        }
        let low = if open { 0.0 } else { low };
        Mass { log, of_shift: at_high - at_low, of_stretch: high * at_high - low * at_low }
    }
}

/// e^(x^2) erfc(x) where x is not negative: by the series of erf, further out by the continued fraction.
fn erfcx(x: f64) -> f64 {
    if x < 2.5 {
        return (x * x).exp() * erfc(x);
    }
    let fraction = (1..=60).rev().fold(0.0, |rest, k| 0.5 * f64::from(k) / (x + rest));
    1.0 / (PI.sqrt() * (x + fraction))
}

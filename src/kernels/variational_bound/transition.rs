//! One transition of the reverse process, p(x_{t-1} | x_t), beside the posterior q(x_{t-1} | x_t, x_0) that it is measured
//! against: the one place where the bound's terms are worked out on the host, for the kernel's twin and for evaluation.

use super::gaussian::{Term, gaussian_kl};
use super::{VariationalBound, Variance};
use crate::kernels::schedule_tables::Table;

/// A variance that the network says directly is held to this share of the posterior's, below which none is of use: the
/// best one is never less than the posterior's. There the gradient is as if it were this, so that it finds back.
pub const LEAST_SHARE: f64 = 0.1;

/// A transition, whatever its pictures are.
#[derive(Clone, Copy, Debug)]
pub struct Transition {
    bound: VariationalBound,
    /// Whether it is the last one, from x_1 to the picture's levels.
    pub decodes: bool,
    /// The predicted x_0, of x_t and of the network's output.
    pub x0_of: [f64; 2],
    /// The posterior mean of x_0 (Ho et al. 2020, eq. 7).
    pub mean_of_x0: f64,
    /// The logarithm of the posterior variance; in the last transition, which has none, the one before it.
    pub log_posterior: f64,
    /// The logarithm of beta_t.
    pub log_beta: f64,
}

/// What the network's output is worth, and its slopes in nats.
#[derive(Clone, Copy, Debug)]
pub struct OutputTerm {
    /// Nats.
    pub value: f64,
    /// In the prediction.
    pub of_prediction: f64,
    /// In the channel that says the variance, where one does.
    pub of_variance: f64,
}

impl Transition {
    /// The transition from timestep `index`, by the tables of a schedule, which are given by row and timestep.
    pub fn new(bound: VariationalBound, timesteps: usize, index: usize, at: impl Fn(Table, usize) -> f64) -> Self {
        let (signal, noise) = (at(Table::AlphasCumprod, index).sqrt(), at(Table::OneMinusAlphasCumprod, index).sqrt());
        // A schedule of one timestep has no second one to take it from.
        let posterior =
            if timesteps == 1 { at(Table::Betas, 0) } else { at(Table::PosteriorVariance, index.max(1)) };
        Self {
            bound,
            decodes: index == 0,
            x0_of: bound.prediction.x0_and_epsilon(signal, noise)[0],
            mean_of_x0: if index == 0 { 1.0 } else { at(Table::PosteriorMeanCoefX0, index) },
            log_posterior: posterior.ln(),
            log_beta: at(Table::Betas, index).ln(),
        }
    }

    /// The predicted x_0, and whether it was clipped. A NaN stays one.
    pub fn x0(&self, x_t: f64, prediction: f64) -> (f64, bool) {
        let x0 = self.x0_of[0] * x_t + self.x0_of[1] * prediction;
        match self.bound.clip.map(f64::from) {
            Some(range) if x0 > range => (range, true),
            Some(range) if x0 < -range => (-range, true),
            _ => (x0, false),
        }
    }

    /// The logarithm of the variance, and its slope in the number that the network says.
    pub fn log_variance(&self, said: f64) -> [f64; 2] {
        match self.bound.variance {
            Variance::Small => [self.log_posterior, 0.0],
            Variance::Large if self.decodes => [self.log_posterior, 0.0],
            Variance::Large => [self.log_beta, 0.0],
            Variance::Learned => {
                let least = LEAST_SHARE * self.log_posterior.exp();
                let variance = if said < least { least } else { said };
                [variance.ln(), 1.0 / variance]
            }
            Variance::LearnedRange => {
                let half = 0.5 * (self.log_beta - self.log_posterior);
                [self.log_posterior + half * (said + 1.0), half]
            }
        }
    }

    /// The transition's term for a picture's element, with the slopes in the predicted x_0 (as the mean) and the variance.
    pub fn of_x0(&self, x0: f64, predicted_x0: f64, log_variance: f64) -> Term {
        if self.decodes {
            return self.bound.decoder.term(x0, predicted_x0, log_variance);
        }
        let term = gaussian_kl(self.mean_of_x0 * (predicted_x0 - x0), self.log_posterior, log_variance);
        Term { of_mean: self.mean_of_x0 * term.of_mean, ..term }
    }

    /// The same of the network's output; `said` is what it says of the variance.
    pub fn of_output(&self, x0: f64, x_t: f64, prediction: f64, said: f64) -> OutputTerm {
        let (predicted, clipped) = self.x0(x_t, prediction);
        let [log_variance, slope] = self.log_variance(said);
        let term = self.of_x0(x0, predicted, log_variance);
        let still = clipped || self.bound.stop_mean;
        OutputTerm {
            value: term.value,
            of_prediction: if still { 0.0 } else { term.of_mean * self.x0_of[1] },
            of_variance: if self.bound.variance.is_learned() { term.of_log_variance * slope } else { 0.0 },
        }
    }
}

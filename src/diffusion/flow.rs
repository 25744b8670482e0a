//! The probability-flow ODE between pictures and noise: dy / d sigma = eps of y = x_0 + sigma eps, for a process with
//! timesteps or in continuous time (Song et al. 2021, eq. 13; Karras et al. 2022, eq. 1).
//!
//! It is followed in x = y / sqrt(1 + sigma^2), which has one size all the way, and counted by the logarithm of sigma.

use super::noise_levels::NoiseLevels;
use super::{NoiseSchedule, SchedulerConfig};
use crate::error::{Error, Result};

/// A noise level: x = signal (picture + sigma eps).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::diffusion) struct FlowLevel {
    /// 1 / sqrt(1 + sigma^2).
    pub(in crate::diffusion) signal: f64,
    /// The slope of the signal's logarithm in that of sigma.
    pub(in crate::diffusion) signal_slope: f64,
    /// What x is multiplied by for the network.
    pub(in crate::diffusion) input_scale: f64,
    /// What the network is told.
    pub(in crate::diffusion) told: f64,
    /// eps, as weights of what the network is given and of what it says.
    pub(in crate::diffusion) epsilon: [f64; 2],
}

impl FlowLevel {
    /// The flow's slope in the logarithm of sigma, as weights of x and of what the network says: x = signal y where
    /// dy / d sigma = eps.
    pub(in crate::diffusion) fn slope_of(&self, log_sigma: f64) -> [f64; 2] {
        let noise = self.signal * log_sigma.exp();
        let [of_input, of_output] = self.epsilon;
        [self.signal_slope + noise * of_input * self.input_scale, noise * of_output]
    }
}

/// The way from pictures to noise that a scheduler's configuration describes, between its first and its last level.
pub struct Flow {
    levels: NoiseLevels,
    range: [f64; 2],
}

impl Flow {
    /// The flow of a configuration. Where the last timestep is pure noise, it ends at the one before.
    ///
    /// # Errors
    /// [`Input`](Error::Input) if the schedule has not two levels of noise.
    pub fn new(config: &SchedulerConfig) -> Result<Self> {
        let levels = NoiseLevels::new(config);
        let range = levels.range().map(f64::ln);
        if range[0] >= range[1] {
            let found = NoiseSchedule::new(config).timesteps();
            return Err(Error::input(format!(
                "{found} timesteps, of which less than two have signal; the flow needs at least two"
            )));
        }
        Ok(Self { levels, range })
    }

    /// The logarithms of the first and the last sigma.
    pub(in crate::diffusion) fn range(&self) -> [f64; 2] {
        self.range
    }

    /// The level of a sigma's logarithm.
    pub(in crate::diffusion) fn at(&self, log_sigma: f64) -> FlowLevel {
        let sigma = log_sigma.exp();
        let level = self.levels.at(sigma);
        let signal = sigma.hypot(1.0).recip();
        FlowLevel {
            signal,
            signal_slope: -(sigma * signal).powi(2),
            input_scale: level.input_scale / signal,
            told: level.told,
            epsilon: self.levels.x0_and_epsilon(level)[1],
        }
    }

    /// The variance of the normal noise that the last x is taken for.
    pub(in crate::diffusion) fn prior_variance(&self) -> f64 {
        self.levels.prior_variance() / (1.0 + (2.0 * self.range[1]).exp())
    }
}

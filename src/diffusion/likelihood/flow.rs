//! The noise levels that the probability-flow ODE runs through, counted by the logarithm of sigma = noise / signal.

use super::discrete;
use crate::diffusion::sigmas::{Sigmas, signal_and_noise};
use crate::diffusion::{NoiseSchedule, PredictionType, SchedulerConfig};
use crate::error::{Error, Result};

/// A noise level: x = signal (picture + sigma eps).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FlowLevel {
    /// The signal.
    pub signal: f64,
    /// The slope of the signal's logarithm in that of sigma.
    pub signal_slope: f64,
    /// What x is multiplied by for the network.
    pub input_scale: f64,
    /// What the network is told as timestep.
    pub told: f64,
}

/// A process from pictures to noise, between its first and its last level.
pub trait Flow: Sync {
    /// The logarithms of the first and the last sigma.
    fn range(&self) -> [f64; 2];

    /// The level of a sigma's logarithm.
    fn at(&self, log_sigma: f64) -> FlowLevel;

    /// The variance of the normal noise that the last x is taken for.
    fn prior_variance(&self) -> f64;

    /// What the network predicts of x.
    fn prediction(&self) -> PredictionType;
}

/// The levels of a schedule's timesteps and those between them, whose timesteps lie on lines between the logarithms of the
/// sigmas around them. Where the last timestep is pure noise, the flow ends at the one before.
pub struct DiscreteFlow {
    sigmas: Sigmas,
    range: [f64; 2],
    prediction: PredictionType,
}

impl DiscreteFlow {
    /// The flow of a configuration's schedule.
    ///
    /// # Errors
    /// [`Input`](Error::Input) if the schedule has not two levels of noise.
    pub fn new(config: &SchedulerConfig) -> Result<Self> {
        discrete(config)?;
        let mut schedule = NoiseSchedule::new(config);
        let levels = schedule.alphas_cumprod.iter().take_while(|&&signal| signal > 0.0).count();
        schedule.alphas_cumprod.truncate(levels);
        schedule.one_minus_alphas_cumprod.truncate(levels);
        if levels < 2 {
            let found = schedule.timesteps();
            return Err(Error::input(format!(
                "{found} timesteps, of which {levels} have signal; the ODE's likelihood needs at least two"
            )));
        }
        let sigmas = Sigmas::of(&schedule, false);
        let range = [sigmas.first().ln(), sigmas.last().ln()];
        Ok(Self { sigmas, range, prediction: config.prediction_type })
    }
}

impl Flow for DiscreteFlow {
    fn range(&self) -> [f64; 2] {
        self.range
    }

    fn at(&self, log_sigma: f64) -> FlowLevel {
        let sigma = log_sigma.exp();
        let [signal, noise] = signal_and_noise(sigma);
        // The signal is 1 / sqrt(1 + sigma^2).
        FlowLevel { signal, signal_slope: -noise * noise, input_scale: 1.0, told: self.sigmas.timestep(sigma) }
    }

    fn prior_variance(&self) -> f64 {
        1.0
    }

    fn prediction(&self) -> PredictionType {
        self.prediction
    }
}

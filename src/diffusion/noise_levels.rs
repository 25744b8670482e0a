//! What a network is given at any level of noise, whether it was trained on timesteps or in continuous time.

use super::process::{NetworkLevel, Process};
use super::sigmas::{Sigmas, signal_and_noise};
use super::{NoiseSchedule, PredictionType, SchedulerConfig};

/// The levels that a scheduler's network knows, by sigma = noise / signal: x_t / signal is x_0 + sigma eps.
pub struct NoiseLevels {
    prediction: PredictionType,
    kind: Kind,
}

enum Kind {
    /// With the number of timesteps that have a signal.
    Discrete(Sigmas, usize),
    Continuous(Process),
}

impl NoiseLevels {
    /// Those of a scheduler's configuration.
    pub fn new(config: &SchedulerConfig) -> Self {
        let kind = match config.process() {
            Some(process) => Kind::Continuous(process),
            None => {
                let schedule = NoiseSchedule::new(config);
                let with_signal = schedule.alphas_cumprod.iter().take_while(|&&signal| signal > 0.0).count();
                Kind::Discrete(Sigmas::of(&schedule, with_signal < schedule.timesteps()), with_signal)
            }
        };
        Self { prediction: config.prediction_type, kind }
    }

    /// The least and the largest sigma; a last timestep that is pure noise, whose sigma is infinite, is left out.
    pub fn range(&self) -> [f64; 2] {
        match &self.kind {
            Kind::Discrete(sigmas, with_signal) => [sigmas.first(), sigmas.at(with_signal.saturating_sub(1) as f64)],
            Kind::Continuous(process) => [process.sigma(process.first()), process.sigma(1.0)],
        }
    }

    /// The variance of the normal noise that x_0 + sigma eps is taken for at the largest sigma.
    pub fn prior_variance(&self) -> f64 {
        match &self.kind {
            // x_T is standard normal.
            Kind::Discrete(..) => 1.0 + self.range()[1].powi(2),
            Kind::Continuous(process) => (process.prior_deviation() / process.signal_and_noise(1.0)[0]).powi(2),
        }
    }

    /// The sigma at which the network is told this.
    pub fn sigma(&self, told: f64) -> f64 {
        match &self.kind {
            Kind::Discrete(sigmas, _) => sigmas.at(told),
            Kind::Continuous(process) => process.sigma_told(told),
        }
    }

    /// What the network is given at a sigma; between two timesteps, it is told what lies between them on the line of their
    /// logarithms, and beyond the ends what it is told there.
    pub fn at(&self, sigma: f64) -> NetworkLevel {
        match &self.kind {
            Kind::Discrete(sigmas, _) => {
                let [signal, noise] = signal_and_noise(sigma);
                NetworkLevel { signal, noise, data: 1.0, input_scale: signal, told: sigmas.timestep(sigma) }
            }
            Kind::Continuous(process) => {
                let level = process.network_level(process.time(sigma));
                let [signal, _] = process.signal_and_noise(process.time(sigma));
                NetworkLevel { input_scale: level.input_scale * signal, ..level }
            }
        }
    }

    /// x_0 and eps at a level, each as weights of what the network takes and of what it says.
    pub fn x0_and_epsilon(&self, level: NetworkLevel) -> [[f64; 2]; 2] {
        match &self.kind {
            Kind::Discrete(..) => self.prediction.x0_and_epsilon(level.signal, level.noise),
            Kind::Continuous(process) => process.x0_and_epsilon(self.prediction, level),
        }
    }
}

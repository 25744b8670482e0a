//! Levels of noise by how far along they are, as training draws them.

use super::{NoiseSchedule, Process, SchedulerConfig};

/// What a network is given between the least noise and pure noise, by the share of the way in its timesteps or in time.
pub enum NoiseShares {
    /// A schedule of timesteps.
    Discrete(NoiseSchedule),
    /// A process in continuous time.
    Continuous(Process),
}

/// What a network is given: `signal` x_0 + `noise` eps, and `told`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Given {
    /// Factor of x_0.
    pub signal: f64,
    /// Factor of eps.
    pub noise: f64,
    /// What the network is told.
    pub told: f64,
}

impl NoiseShares {
    /// Those of a scheduler's configuration.
    pub fn new(config: &SchedulerConfig) -> Self {
        match config.process() {
            Some(process) => Self::Continuous(process),
            None => Self::Discrete(NoiseSchedule::new(config)),
        }
    }

    /// What is given at a share of the way, from 0 to below 1.
    pub fn at(&self, share: f64) -> Given {
        match self {
            Self::Discrete(schedule) => {
                let t = ((share * schedule.timesteps() as f64) as usize).min(schedule.timesteps() - 1);
                let [signal, noise] = [schedule.alphas_cumprod[t], schedule.one_minus_alphas_cumprod[t]].map(f64::sqrt);
                Given { signal, noise, told: t as f64 }
            }
            Self::Continuous(process) => {
                let first = process.first();
                let level = process.network_level(first + share * (1.0 - first));
                Given { signal: level.signal / level.data, noise: level.noise, told: level.told }
            }
        }
    }

    /// Whether both are the same noise.
    pub fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Continuous(one), Self::Continuous(other)) => one == other,
            (Self::Discrete(one), Self::Discrete(other)) => {
                // Betas that were written down as text may be off by a last digit.
                let near = |(one, other): (&f64, &f64)| (one - other).abs() <= 1e-6 * one.abs().max(1e-6);
                one.timesteps() == other.timesteps() && one.alphas_cumprod.iter().zip(&other.alphas_cumprod).all(near)
            }
            _ => false,
        }
    }

    /// What is given of a picture without noise: the least level's signal alone.
    pub fn clean(&self) -> Given {
        Given { noise: 0.0, ..self.at(0.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn shares_go_from_the_first_timestep_to_the_last() {
        let config = SchedulerConfig::from_json(&json!({ "num_train_timesteps": 4 }), "test").unwrap();
        let shares = NoiseShares::new(&config);
        let told = [0.0, 0.24, 0.25, 0.5, 0.99].map(|share| shares.at(share).told);
        assert_eq!(told, [0.0, 0.0, 1.0, 2.0, 3.0]);
        let schedule = NoiseSchedule::new(&config);
        let last = shares.at(0.999);
        assert_eq!(last.signal, schedule.alphas_cumprod[3].sqrt());
        assert!((last.signal.powi(2) + last.noise.powi(2) - 1.0).abs() < 1e-12);
        assert_eq!(shares.clean().noise, 0.0);
        let edm = SchedulerConfig::from_json(&json!({ "_class_name": "EDMEulerScheduler" }), "test").unwrap();
        let shares = NoiseShares::new(&edm);
        let [low, high] = [0.0, 1.0].map(|share| shares.at(share));
        // sigma_data is 0.5: pictures of that deviation have variance 1 beside the least noise.
        assert!((low.signal - 2.0).abs() < 1e-4 && high.signal < 0.02 && high.noise > 0.99);
        assert!(low.told < high.told);
    }
}

//! Diffusion in continuous time (Song et al. 2021; Karras et al. 2022): dx = f(t) x dt + g(t) dw for t from 0, pictures,
//! to 1, noise, whose x_t is a(t) x_0 + b(t) eps.

use super::PredictionType;

/// A process, with the names and defaults of the papers' keys.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Process {
    /// Variance preserving (Song et al. 2021, eq. 11 and 32).
    Vp {
        /// beta(0).
        beta_min: f64,
        /// beta(1).
        beta_max: f64,
        /// The first time that is trained and sampled.
        first: f64,
    },
    /// Variance below that, with the same signal (eq. 13).
    SubVp {
        /// beta(0).
        beta_min: f64,
        /// beta(1).
        beta_max: f64,
        /// The first time that is trained and sampled.
        first: f64,
    },
    /// Variance exploding, with sigma growing geometrically (eq. 9 and 30).
    Ve {
        /// sigma at 0.
        sigma_min: f64,
        /// sigma at 1.
        sigma_max: f64,
        /// The first time that is trained and sampled.
        first: f64,
    },
    /// Karras et al. 2022: sigma along eq. 5, and a network between scales that keep its input and its target at variance 1
    /// (table 1).
    Edm {
        /// sigma at 0.
        sigma_min: f64,
        /// sigma at 1.
        sigma_max: f64,
        /// Standard deviation of pictures.
        sigma_data: f64,
        /// How densely low noise is visited.
        rho: f64,
    },
}

/// What one time comes to: y, which the network takes, is `signal` x_0 / `data` + `noise` eps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NetworkLevel {
    /// Factor of x_0 / data.
    pub signal: f64,
    /// Factor of eps.
    pub noise: f64,
    /// What pictures are divided by.
    pub data: f64,
    /// y / x_t.
    pub input_scale: f64,
    /// What the network is told.
    pub told: f64,
}

/// Steps between 0 and 1 as networks of VP are told of them, by the code of Song et al. 2021.
const TOLD_STEPS: f64 = 999.0;

impl Process {
    /// Signal a(t) and noise b(t) of x_t.
    pub fn signal_and_noise(&self, t: f64) -> [f64; 2] {
        match *self {
            Self::Vp { beta_min, beta_max, .. } => {
                let log_power = log_power(beta_min, beta_max, t);
                [(0.5 * log_power).exp(), (-log_power.exp_m1()).sqrt()]
            }
            Self::SubVp { beta_min, beta_max, .. } => {
                let log_power = log_power(beta_min, beta_max, t);
                [(0.5 * log_power).exp(), -log_power.exp_m1()]
            }
            Self::Ve { sigma_min, sigma_max, .. } => [1.0, sigma_min * (sigma_max / sigma_min).powf(t)],
            Self::Edm { sigma_min, sigma_max, rho, .. } => [1.0, karras(sigma_min, sigma_max, rho, t)[0]],
        }
    }

    /// b(t) / a(t).
    pub fn sigma(&self, t: f64) -> f64 {
        let [signal, noise] = self.signal_and_noise(t);
        noise / signal
    }

    /// The time at which b / a is `sigma`.
    pub fn time(&self, sigma: f64) -> f64 {
        // From log_power, which is -(beta_min t + (beta_max - beta_min) t^2 / 2).
        let of_power = |beta_min: f64, beta_max: f64, minus_log: f64| {
            2.0 * minus_log / (beta_min + (beta_min * beta_min + 2.0 * (beta_max - beta_min) * minus_log).sqrt())
        };
        match *self {
            Self::Vp { beta_min, beta_max, .. } => of_power(beta_min, beta_max, (sigma * sigma).ln_1p()),
            Self::SubVp { beta_min, beta_max, .. } => {
                // sigma = (1 - a^2) / a, so that 1/a - 1 = (sigma - 2 + sqrt(sigma^2 + 4)) / 2, written without cancelling.
                let root = sigma.hypot(2.0);
                let over = 0.5 * (sigma + sigma * sigma / (root + 2.0));
                of_power(beta_min, beta_max, 2.0 * over.ln_1p())
            }
            Self::Ve { sigma_min, sigma_max, .. } => (sigma / sigma_min).ln() / (sigma_max / sigma_min).ln(),
            Self::Edm { sigma_min, sigma_max, rho, .. } => {
                let root = |sigma: f64| sigma.powf(1.0 / rho);
                (root(sigma) - root(sigma_min)) / (root(sigma_max) - root(sigma_min))
            }
        }
    }

    /// b / a at the time of which networks are told this.
    pub fn sigma_told(&self, told: f64) -> f64 {
        match self {
            Self::Vp { .. } | Self::SubVp { .. } => self.sigma(told / TOLD_STEPS),
            Self::Ve { .. } => told,
            Self::Edm { .. } => (4.0 * told).exp(),
        }
    }

    /// f(t) and g(t)^2.
    pub fn drift_and_diffusion(&self, t: f64) -> [f64; 2] {
        match *self {
            Self::Vp { beta_min, beta_max, .. } => {
                let beta = beta_min + t * (beta_max - beta_min);
                [-0.5 * beta, beta]
            }
            Self::SubVp { beta_min, beta_max, .. } => {
                let beta = beta_min + t * (beta_max - beta_min);
                [-0.5 * beta, -beta * (2.0 * log_power(beta_min, beta_max, t)).exp_m1()]
            }
            Self::Ve { sigma_min, sigma_max, .. } => {
                let sigma = sigma_min * (sigma_max / sigma_min).powf(t);
                [0.0, 2.0 * sigma * sigma * (sigma_max / sigma_min).ln()]
            }
            Self::Edm { sigma_min, sigma_max, rho, .. } => {
                let [sigma, slope] = karras(sigma_min, sigma_max, rho, t);
                [0.0, 2.0 * sigma * slope]
            }
        }
    }

    /// The first time that is trained and sampled: at 0, VP and sub-VP have no noise to predict.
    pub fn first(&self) -> f64 {
        match *self {
            Self::Vp { first, .. } | Self::SubVp { first, .. } | Self::Ve { first, .. } => first,
            Self::Edm { .. } => 0.0,
        }
    }

    /// Standard deviation of the noise that x_1 is drawn from.
    pub fn prior_deviation(&self) -> f64 {
        match *self {
            Self::Vp { .. } | Self::SubVp { .. } => 1.0,
            Self::Ve { sigma_max, .. } => sigma_max,
            // As diffusers has it: what pictures of variance 1 have with the noise.
            Self::Edm { sigma_max, .. } => sigma_max.hypot(1.0),
        }
    }

    /// What its network predicts where a configuration says `named`, and whether with its sign turned: what diffusers
    /// calls EDM's epsilon is -v of pictures that are divided by their deviation (Karras et al. 2022, eq. 7).
    pub fn prediction(&self, named: PredictionType) -> (PredictionType, bool) {
        match (self, named) {
            (Self::Edm { .. }, PredictionType::Epsilon) => (PredictionType::VPrediction, true),
            _ => (named, false),
        }
    }

    /// x_0 and eps at a level, each as weights of what the network takes and of what it says.
    pub fn x0_and_epsilon(&self, named: PredictionType, level: NetworkLevel) -> [[f64; 2]; 2] {
        let (prediction, is_turned) = self.prediction(named);
        let sign = if is_turned { -1.0 } else { 1.0 };
        let [x0, epsilon] = prediction.x0_and_epsilon(level.signal, level.noise);
        [[level.data * x0[0], sign * level.data * x0[1]], [epsilon[0], sign * epsilon[1]]]
    }

    /// What the network is given at a time.
    pub fn network_level(&self, t: f64) -> NetworkLevel {
        let [signal, noise] = self.signal_and_noise(t);
        let plain = NetworkLevel { signal, noise, data: 1.0, input_scale: 1.0, told: TOLD_STEPS * t };
        match *self {
            Self::Vp { .. } | Self::SubVp { .. } => plain,
            Self::Ve { .. } => NetworkLevel { told: noise, ..plain },
            Self::Edm { sigma_data, .. } => {
                let scale = 1.0 / noise.hypot(sigma_data);
                NetworkLevel {
                    signal: scale * sigma_data,
                    noise: scale * noise,
                    data: sigma_data,
                    input_scale: scale,
                    told: 0.25 * noise.ln(),
                }
            }
        }
    }
}

/// ln a(t)^2 of VP and sub-VP: minus the integral of beta.
fn log_power(beta_min: f64, beta_max: f64, t: f64) -> f64 {
    -t * (beta_min + 0.5 * t * (beta_max - beta_min))
}

/// sigma(t) of Karras et al. 2022, eq. 5, and its slope.
fn karras(sigma_min: f64, sigma_max: f64, rho: f64, t: f64) -> [f64; 2] {
    let [low, high] = [sigma_min, sigma_max].map(|sigma| sigma.powf(1.0 / rho));
    let root = low + t * (high - low);
    [root.powf(rho), rho * (high - low) * root.powf(rho - 1.0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Process; 5] = [
        Process::Vp { beta_min: 0.1, beta_max: 20.0, first: 1e-3 },
        Process::SubVp { beta_min: 0.1, beta_max: 20.0, first: 1e-3 },
        Process::Ve { sigma_min: 0.01, sigma_max: 348.0, first: 1e-5 },
        Process::Edm { sigma_min: 0.002, sigma_max: 80.0, sigma_data: 0.5, rho: 7.0 },
        Process::Vp { beta_min: 2.0, beta_max: 2.0, first: 1e-3 },
    ];

    /// a' = f a and (b^2)' = 2 f b^2 + g^2 (Sarkka & Solin 2019, eq. 6.2), by central differences.
    #[test]
    fn marginals_are_those_of_the_sde() {
        for process in ALL {
            for t in [0.01, 0.1, 0.35, 0.6, 0.9, 0.99] {
                let step = 1e-5 * t;
                let [before, after] = [t - step, t + step].map(|t| process.signal_and_noise(t));
                let slope = |of: fn(f64) -> f64, i: usize| (of(after[i]) - of(before[i])) / (2.0 * step);
                let ([signal, noise], [f, g_squared]) = (process.signal_and_noise(t), process.drift_and_diffusion(t));
                let close = |found: f64, expected: f64, size: f64| {
                    assert!((found - expected).abs() < 1e-6 * size, "{process:?} at {t}: {found}, {expected}");
                };
                close(slope(|a| a, 0), f * signal, signal * (1.0 + f.abs()));
                close(slope(|b| b * b, 1), 2.0 * f * noise * noise + g_squared, g_squared + noise * noise);
            }
        }
    }

    #[test]
    fn times_are_those_of_their_sigmas() {
        for process in ALL {
            for t in [1e-4, 0.01, 0.3, 0.77, 1.0] {
                let found = process.time(process.sigma(t));
                assert!((found - t).abs() < 1e-9, "{process:?}: {t} becomes {found}");
            }
        }
    }

    #[test]
    fn networks_are_given_their_scale() {
        for process in ALL {
            for t in [0.01, 0.5, 1.0] {
                let [signal, noise] = process.signal_and_noise(t);
                let level = process.network_level(t);
                // y = input_scale x_t, both ways.
                assert!((level.signal / level.data - level.input_scale * signal).abs() < 1e-12);
                assert!((level.noise - level.input_scale * noise).abs() < 1e-12);
                let sigma = process.sigma(t);
                assert!((process.sigma_told(level.told) - sigma).abs() < 1e-12 * sigma, "{process:?} at {t}");
            }
        }
        // Table 1 of Karras et al. 2022: pictures of deviation 0.5 under noise of 0.5.
        let edm = ALL[3];
        let level = edm.network_level(edm.time(0.5));
        assert!((level.input_scale - 2.0_f64.sqrt()).abs() < 1e-12 && (level.told - 0.25 * 0.5_f64.ln()).abs() < 1e-12);
        assert!((level.signal - 0.5_f64.sqrt()).abs() < 1e-12 && (level.noise - level.signal).abs() < 1e-12);
    }
}

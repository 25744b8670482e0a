//! How much a picture's squared error counts at its level of noise (`shaders/shared/weighting.wgsl` is the same in
//! shaders).
//!
//! A weighting of one prediction's error is one of any other's, for the errors are proportional: at a given x_t,
//! |d eps|^2 = SNR |d x_0|^2, |d v|^2 = (s^2 + n^2)^2 / n^2 |d x_0|^2 and |d score|^2 = |d eps|^2 / n^2. All that is said
//! here ends as the factor of the error in what the network itself predicts.

use super::prediction::PredictionType;
use crate::plan::Real;

/// How levels of noise are weighted; SNR = s^2 / n^2 is the signal-to-noise ratio.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Weighting {
    /// 1, in the network's own prediction (Ho et al. 2020, eq. 14).
    None,
    /// SNR of the error in x_0, which is 1 of the error in eps (Salimans & Ho 2022, section 4).
    Snr,
    /// min(SNR, gamma) of the error in x_0 (Hang et al. 2023, section 3.4).
    MinSnr {
        /// Where SNR is cut.
        gamma: f32,
    },
    /// 1 / (k + SNR)^gamma of the error in eps (Choi et al. 2022, eq. 8).
    P2 {
        /// The power.
        gamma: f32,
        /// What keeps clean pictures' weights from exploding.
        k: f32,
    },
    /// What L_{t-1} of the variational bound gives the error in x_0, in nats (Ho et al. 2020, eq. 8 and 12).
    Kl,
}

impl Weighting {
    /// What shaders are told: the number of the weighting, and two of its own.
    pub(super) fn parameters(self) -> [u32; 3] {
        let [number, gamma, k] = match self {
            Self::None => [0.0, 0.0, 0.0],
            Self::Snr => [1.0, 0.0, 0.0],
            Self::MinSnr { gamma } => [2.0, gamma, 0.0],
            Self::P2 { gamma, k } => [3.0, gamma, k],
            Self::Kl => [4.0, 0.0, 0.0],
        };
        [number as u32, gamma.to_bits(), k.to_bits()]
    }

    /// The factor of the squared error in a prediction where x_t = s x_0 + n eps, of `signal` s^2, `noise` n^2 and the
    /// bound's factor of the error in x_0. Infinite or NaN where there is none.
    pub fn of<T: Real>(self, prediction: PredictionType, signal: T, noise: T, kl_of_x0: T) -> T {
        use PredictionType::{Epsilon, Sample, Score, VPrediction};
        let square = (signal + noise) * (signal + noise);
        let of_epsilon = match self {
            Self::None => return T::one(),
            Self::Kl => {
                return kl_of_x0
                    * match prediction {
                        Epsilon => noise / signal,
                        Sample => T::one(),
                        VPrediction => noise / square,
                        Score => noise * noise / signal,
                    };
            }
            Self::Snr => T::one(),
            Self::MinSnr { gamma } => {
                let most = T::from_f32(gamma) * noise;
                if signal <= most { T::one() } else { most / signal }
            }
            Self::P2 { gamma, k } => (T::from_f32(k) + signal / noise).powf(T::from_f32(-gamma)),
        };
        of_epsilon
            * match prediction {
                Epsilon => T::one(),
                Sample => signal / noise,
                VPrediction => signal / square,
                Score => noise,
            }
    }
}

#[cfg(test)]
mod tests {
    use super::Weighting::{Kl, MinSnr, None, P2, Snr};
    use super::*;
    use PredictionType::{Epsilon, Sample, Score, VPrediction};

    /// The papers' formulas, each for the prediction that it is given for.
    #[test]
    fn the_weights_are_the_papers() {
        for signal in [0.9999_f64, 0.8, 0.5, 0.01, 1e-6] {
            let noise = 1.0 - signal;
            let snr = signal / noise;
            let close = |weighting: Weighting, prediction, expected: f64| {
                let found = weighting.of(prediction, signal, noise, 3.0);
                assert!(
                    (found / expected - 1.0).abs() < 1e-6,
                    "{weighting:?} {prediction:?} {snr}: {found} {expected}"
                );
            };
            let min = MinSnr { gamma: 5.0 };
            close(min, Epsilon, snr.min(5.0) / snr);
            close(min, Sample, snr.min(5.0));
            close(min, VPrediction, snr.min(5.0) / (snr + 1.0));
            close(Snr, Epsilon, 1.0);
            close(Snr, Sample, snr);
            close(Snr, VPrediction, signal);
            close(Snr, Score, noise);
            close(P2 { gamma: 1.0, k: 1.0 }, Epsilon, 1.0 / (1.0 + snr));
            close(P2 { gamma: 0.5, k: 2.0 }, Sample, snr / (2.0 + snr).sqrt());
            close(Kl, Sample, 3.0);
            close(Kl, Epsilon, 3.0 / snr);
            close(None, VPrediction, 1.0);
        }
    }

    /// One weighting counts the same error alike, whatever the network predicts.
    #[test]
    fn a_weighting_means_the_same_for_every_prediction() {
        // Variance preserving, and not.
        for (signal, noise) in [(0.7_f64, 0.3_f64), (1.0, 25.0), (0.2, 0.1)] {
            let (s, n) = (signal.sqrt(), noise.sqrt());
            // x_t fixed, x_0 off by d: eps is off by -s d / n.
            let d = 0.37;
            for weighting in [Snr, MinSnr { gamma: 1.5 }, P2 { gamma: 0.7, k: 0.5 }, Kl] {
                let errors = [Epsilon, Sample, VPrediction, Score].map(|prediction| {
                    let [of_x0, of_epsilon] = prediction.of_x0_and_epsilon(s, n);
                    let off = of_x0 * d - of_epsilon * s * d / n;
                    weighting.of(prediction, signal, noise, 2.0) * off * off
                });
                let alike = errors.iter().all(|error| (error / errors[0] - 1.0).abs() < 1e-12);
                assert!(alike, "{weighting:?} {signal} {noise}: {errors:?}");
            }
        }
    }

    #[test]
    fn without_signal_all_weights_are_finite_but_the_bounds_of_epsilon_and_score() {
        for weighting in [None, Snr, MinSnr { gamma: 5.0 }, P2 { gamma: 1.0, k: 1.0 }, Kl] {
            for prediction in [Epsilon, Sample, VPrediction, Score] {
                let finite = weighting.of(prediction, 0.0_f32, 1.0, 0.5).is_finite();
                let none = weighting == Kl && matches!(prediction, Epsilon | Score);
                assert_eq!(finite, !none, "{weighting:?} {prediction:?}");
            }
        }
    }
}

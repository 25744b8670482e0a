//! What a network predicts, and how the predictions follow from one another: the one place where they are converted
//! (`shaders/shared/prediction.wgsl` is the same in shaders).
//!
//! Where x_t = s x_0 + n eps, s being the signal and n the noise, each of x_0, eps, v and the score is a weighted sum of
//! x_t and any other one of them.

use crate::plan::Real;
use serde::{Deserialize, Serialize};

/// What the network predicts. The names are diffusers', which has no score.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum PredictionType {
    /// The noise (Ho et al. 2020).
    Epsilon = 0,
    /// x_0 itself.
    #[value(alias = "x0")]
    Sample = 1,
    /// s eps - n x_0 (Salimans & Ho 2022).
    #[value(name = "v", aliases = ["v_prediction", "v-prediction"])]
    VPrediction = 2,
    /// The gradient of log q(x_t | x_0), -eps / n (Song & Ermon 2019).
    Score = 3,
}

impl PredictionType {
    /// x_0 and eps, each as weights of x_t and the network's output. Not finite where the output says nothing of one of
    /// them: epsilon and score say no x_0 where there is no signal, x_0 says no eps where there is no noise.
    pub fn x0_and_epsilon<T: Real>(self, signal: T, noise: T) -> [[T; 2]; 2] {
        let (zero, one) = (T::zero(), T::one());
        match self {
            Self::Epsilon => [[one / signal, -noise / signal], [zero, one]],
            Self::Sample => [[zero, one], [one / noise, -signal / noise]],
            // Salimans & Ho 2022, appendix D, there for s^2 + n^2 = 1.
            Self::VPrediction => {
                let square = signal * signal + noise * noise;
                [[signal / square, -noise / square], [noise / square, signal / square]]
            }
            Self::Score => [[one / signal, noise * noise / signal], [zero, -noise]],
        }
    }

    /// The prediction as weights of x_0 and eps: what the network is trained towards. Not finite for the score where
    /// there is no noise.
    pub fn of_x0_and_epsilon<T: Real>(self, signal: T, noise: T) -> [T; 2] {
        let (zero, one) = (T::zero(), T::one());
        match self {
            Self::Epsilon => [zero, one],
            Self::Sample => [one, zero],
            Self::VPrediction => [-noise, signal],
            Self::Score => [zero, -(one / noise)],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use PredictionType::{Epsilon, Sample, Score, VPrediction};

    const ALL: [PredictionType; 4] = [Epsilon, Sample, VPrediction, Score];

    #[test]
    fn every_prediction_leads_back_to_what_it_is_of() {
        let levels = (1..400).map(|i| (f64::from(i) * 0.0039).sin_cos());
        // Variance exploding, and signals of other sizes.
        for (noise, signal) in levels.chain([(50.0, 1.0), (1e-3, 1.0), (0.3, 2.0)]) {
            let (x0, epsilon) = (0.7, -1.3);
            let x = signal * x0 + noise * epsilon;
            for prediction in ALL {
                let [of_x0, of_epsilon] = prediction.of_x0_and_epsilon(signal, noise);
                let output = of_x0 * x0 + of_epsilon * epsilon;
                let [x0_of, epsilon_of] = prediction.x0_and_epsilon(signal, noise);
                // What is divided by says how much of the rounding is seen.
                let close = |found: f64, expected: f64, divisor: f64| {
                    let rounding = 1e-14 * (1.0 + x.abs() / divisor);
                    assert!(
                        (found - expected).abs() < rounding,
                        "{prediction:?} {signal} {noise}: {found}, {expected}"
                    );
                };
                close(x0_of[0] * x + x0_of[1] * output, x0, signal);
                close(epsilon_of[0] * x + epsilon_of[1] * output, epsilon, noise);
            }
        }
    }

    #[test]
    fn the_ends_of_the_schedule_say_what_can_be_said() {
        for prediction in [Sample, VPrediction] {
            let [[a, b], _] = prediction.x0_and_epsilon(0.0, 1.0);
            assert!((a, b) == (0.0, if prediction == Sample { 1.0 } else { -1.0 }), "x_0 of pure noise");
        }
        for prediction in [Epsilon, VPrediction] {
            assert_eq!(prediction.x0_and_epsilon(1.0, 0.0)[1], [0.0, 1.0], "eps of a picture without noise");
        }
        assert!(Epsilon.x0_and_epsilon(0.0, 1.0_f64)[0][0].is_infinite());
        assert!(Sample.x0_and_epsilon(1.0, 0.0_f64)[1][0].is_infinite());
    }
}

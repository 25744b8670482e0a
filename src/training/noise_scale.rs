//! The gradient noise scale (McCandlish et al. 2018, arXiv 1812.06162): how many pictures a step can use. Below it a larger
//! batch makes better steps almost in proportion, above it hardly.

use crate::error::{Error, Result};

/// What a step's weigh in the smoothed estimate is to the next one's.
pub const DECAY: f64 = 0.99;

/// The squared length of the true gradient and the trace of the covariance of one picture's gradient around it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// |G|^2. What one step says of it may be negative.
    pub squared_gradient: f64,
    /// tr(Sigma).
    pub variance: f64,
}

impl Estimate {
    /// The unbiased estimates of appendix A.1 (eq. A.2) from one step: `small` is the mean of the squared norms of the
    /// gradients of `micro_batches` batches of `batch` pictures, `large` the squared norm of the mean of these gradients.
    ///
    /// # Errors
    /// [`Input`](Error::Input) with less than two micro-batches, which have nothing to compare, or empty ones.
    pub fn of_step(small: f64, large: f64, batch: usize, micro_batches: usize) -> Result<Self> {
        if batch == 0 || micro_batches < 2 {
            return Err(Error::input(format!(
                "the gradient noise scale takes two or more micro-batches, found {micro_batches} of {batch} pictures"
            )));
        }
        let (b, n) = (batch as f64, micro_batches as f64);
        // With B_small = b and B_big = n b.
        Ok(Self { squared_gradient: (n * large - small) / (n - 1.0), variance: (small - large) * b * n / (n - 1.0) })
    }

    /// B_simple = tr(Sigma) / |G|^2 (eq. 2.9), in pictures. Infinite where the estimate of |G|^2 is not positive: the noise
    /// drowns the gradient; `None` without any noise and gradient.
    pub fn noise_scale(self) -> Option<f64> {
        let Self { squared_gradient, variance } = self;
        match (squared_gradient > 0.0, variance > 0.0) {
            (true, true) => Some(variance / squared_gradient),
            (true, false) => Some(0.0),
            (false, true) => Some(f64::INFINITY),
            (false, false) => None,
        }
    }
}

/// Both estimates, averaged apart over steps: their ratio is biased, and that of the averages less so.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct NoiseScale {
    squared_gradient: f64,
    variance: f64,
    weight: f64,
}

impl NoiseScale {
    /// Takes a step's estimate into exponential averages; one that is not finite is left out.
    pub fn smooth(&mut self, step: Estimate) {
        self.mix(step, 1.0 - DECAY, DECAY);
    }

    /// Takes a step's estimate into plain means, where all steps are of the same weights.
    pub fn add(&mut self, step: Estimate) {
        self.mix(step, 1.0, 1.0);
    }

    fn mix(&mut self, step: Estimate, new: f64, old: f64) {
        if step.squared_gradient.is_finite() && step.variance.is_finite() {
            self.squared_gradient = old * self.squared_gradient + new * step.squared_gradient;
            self.variance = old * self.variance + new * step.variance;
            self.weight = old * self.weight + new;
        }
    }

    /// The averages, corrected for having begun at zero; `None` before the first step.
    pub fn estimate(&self) -> Option<Estimate> {
        let Self { squared_gradient, variance, weight } = *self;
        let mean = || Estimate { squared_gradient: squared_gradient / weight, variance: variance / weight };
        (weight > 0.0).then(mean)
    }
}

/// The power of two nearest to a noise scale, by ratio: 1 to 2^20.
pub fn suggested_batch(noise_scale: f64) -> usize {
    let exponent = noise_scale.max(1.0).log2().round();
    1 << exponent.min(20.0) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::random::{Purpose, picture_key, threefry2x32, uniform};

    /// Normal numbers, the same for the same place.
    fn normal(step: u32, place: usize) -> f64 {
        let [u, v] = threefry2x32(picture_key([7, 0], Purpose::TestData, step), [0, place as u32]);
        let [u, v] = [u, v].map(uniform::<f64>);
        (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
    }

    /// A step of `micro_batches` batches of `batch` gradients with mean G and standard deviations sigma.
    fn step(number: u32, gradient: &[f64], sigma: &[f64], batch: usize, micro_batches: usize) -> Estimate {
        let dimensions = gradient.len();
        let (mut small, mut sum) = (0.0, vec![0.0; dimensions]);
        for micro_batch in 0..micro_batches {
            let mean = |d: usize| -> f64 {
                let places = (0..batch).map(|picture| (micro_batch * batch + picture) * dimensions + d);
                gradient[d] + sigma[d] * places.map(|place| normal(number, place)).sum::<f64>() / batch as f64
            };
            let mean: Vec<f64> = (0..dimensions).map(mean).collect();
            small += mean.iter().map(|x| x * x).sum::<f64>() / micro_batches as f64;
            sum.iter_mut().zip(&mean).for_each(|(sum, x)| *sum += x / micro_batches as f64);
        }
        Estimate::of_step(small, sum.iter().map(|x| x * x).sum(), batch, micro_batches).unwrap()
    }

    /// Over many draws the mean of each estimate is within four standard errors of the truth, and the errors are small.
    #[test]
    fn known_gradients_and_covariances_are_recovered() {
        let gradient: Vec<f64> = (0..12).map(|d| 0.3 * f64::from(d % 4) - 0.2).collect();
        let sigma: Vec<f64> = (0..12).map(|d| 0.5 + 0.1 * f64::from(d)).collect();
        let truth = [gradient.iter().map(|g| g * g).sum::<f64>(), sigma.iter().map(|s| s * s).sum()];
        for (batch, micro_batches) in [(1, 8), (4, 2), (3, 5)] {
            let draws = 4000;
            let steps: Vec<Estimate> = (0..draws).map(|n| step(n, &gradient, &sigma, batch, micro_batches)).collect();
            let columns =
                [steps.iter().map(|s| s.squared_gradient).collect(), steps.iter().map(|s| s.variance).collect()];
            for (column, truth) in columns.iter().zip(truth) {
                let column: &Vec<f64> = column;
                let mean = column.iter().sum::<f64>() / f64::from(draws);
                let variance = column.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / f64::from(draws - 1);
                let error = (variance / f64::from(draws)).sqrt();
                assert!(
                    (mean - truth).abs() < 4.0 * error,
                    "{batch}x{micro_batches}: {mean} +- {error}, truth {truth}"
                );
                assert!(error < 0.04 * truth, "{batch}x{micro_batches}: {mean} +- {error} says little");
            }
            let mut all = NoiseScale::default();
            steps.into_iter().for_each(|step| all.add(step));
            let found = all.estimate().unwrap().noise_scale().unwrap();
            assert!((found / (truth[1] / truth[0]) - 1.0).abs() < 0.1, "{found}");
        }
    }

    #[test]
    fn the_exponential_average_is_corrected_for_its_beginning() {
        let estimate = Estimate { squared_gradient: 2.0, variance: 10.0 };
        let mut smooth = NoiseScale::default();
        assert_eq!(smooth.estimate(), None);
        for _ in 0..3 {
            smooth.smooth(estimate);
            let found = smooth.estimate().unwrap();
            assert!((found.squared_gradient - 2.0).abs() < 1e-12 && (found.noise_scale().unwrap() - 5.0).abs() < 1e-12);
        }
        let before = smooth;
        smooth.smooth(Estimate { squared_gradient: f64::NAN, variance: f64::INFINITY });
        assert_eq!(smooth, before, "a skipped step says nothing");
    }

    #[test]
    fn degenerate_cases() {
        // Micro-batches that all agree: no noise.
        let agree = Estimate::of_step(4.0, 4.0, 8, 4).unwrap();
        assert_eq!(agree, Estimate { squared_gradient: 4.0, variance: 0.0 });
        assert_eq!(agree.noise_scale(), Some(0.0));
        // No gradient but noise: the squares of n means of n batches are n times smaller.
        let noise = Estimate::of_step(4.0, 1.0, 2, 4).unwrap();
        assert_eq!(noise, Estimate { squared_gradient: 0.0, variance: 8.0 });
        assert_eq!(noise.noise_scale(), Some(f64::INFINITY));
        assert_eq!(Estimate::of_step(0.0, 0.0, 2, 4).unwrap().noise_scale(), None);
        for (batch, micro_batches) in [(16, 1), (16, 0), (0, 4)] {
            let error = Estimate::of_step(1.0, 1.0, batch, micro_batches).unwrap_err().to_string();
            assert!(error.contains(&format!("found {micro_batches} of {batch}")), "{error}");
        }
    }

    #[test]
    fn suggestions_are_the_nearest_power_of_two() {
        let pairs = [(0.0, 1), (1.3, 1), (1.5, 2), (90.0, 64), (91.0, 128), (f64::INFINITY, 1 << 20)];
        pairs.iter().for_each(|&(scale, batch)| assert_eq!(suggested_batch(scale), batch, "{scale}"));
    }
}

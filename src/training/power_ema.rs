//! Power-function averages of the weights and their reconstruction after the run (Karras et al. 2024, "Analyzing and
//! Improving the Training Dynamics of Diffusion Models", arXiv 2312.02696, section 3 and appendix C): from a few averages
//! that were stored on the way, the average of any other width.

use crate::error::{Error, Result};

/// The width at gamma = 0, where all steps weigh the same: 1 / sqrt(12). No average is wider.
pub const WIDEST: f64 = 0.288_675_134_594_812_9;
/// The narrowest width that makes sense: a thousandth of the run.
pub const NARROWEST: f64 = 1e-3;
/// Added to the diagonal of the normalized system, so that profiles that nearly coincide are no singularity.
const RIDGE: f64 = 1e-12;

/// The relative width of the average with exponent gamma: the standard deviation of its profile t^gamma in units of the
/// run's length (eq. 125).
pub fn sigma_rel_of(gamma: f64) -> f64 {
    ((gamma + 1.0) / (gamma + 3.0)).sqrt() / (gamma + 2.0)
}

/// The exponent, 0 or more, of the average with this relative width, which lies between [`NARROWEST`] and [`WIDEST`]: the
/// root of (gamma + 2)^2 (gamma + 3) sigma^2 = gamma + 1 (algorithm 2), by bisection.
pub fn gamma_of(sigma_rel: f64) -> f64 {
    // sigma_rel falls from gamma = 0 on, below 1 / (gamma + 2).
    let (mut low, mut high) = (0.0, sigma_rel.recip());
    loop {
        let middle = 0.5 * (low + high);
        if middle <= low || middle >= high {
            return middle;
        }
        if sigma_rel_of(middle) > sigma_rel { low = middle } else { high = middle }
    }
}

/// Which steps an average is made of: step s, from 1, weighs (s^(gamma+1) - (s-1)^(gamma+1)) / time^(gamma+1) up to `time`.
/// That is what updating with 1 - (1 - 1/s)^(gamma+1) at every step comes to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Profile {
    /// Steps that were taken, 1 or more.
    pub time: usize,
    /// The exponent.
    pub gamma: f64,
}

impl Profile {
    /// The weight of step `s`.
    pub fn weight(self, s: usize) -> f64 {
        let share = |s: usize| (s as f64 / self.time as f64).powf(self.gamma + 1.0);
        if (1..=self.time).contains(&s) { share(s) - share(s - 1) } else { 0.0 }
    }
}

/// A weighted sum of stored averages.
#[derive(Clone, Debug)]
pub struct Combination {
    /// The weight of each stored average; they sum to 1.
    pub weights: Vec<f64>,
    /// Norm of the difference between the sum's profile and the wanted one, relative to that.
    pub error: f64,
}

/// The sum of the stored averages whose profile comes closest to `target`'s, in the least squares (appendix C.2, with sums
/// over steps in place of integrals), among those whose weights sum to 1: weights that never moved stay as they are.
///
/// # Errors
/// [`Input`](Error::Input) if nothing is stored up to the target's time.
pub fn combine(stored: &[Profile], target: Profile) -> Result<Combination> {
    if stored.is_empty() {
        return Err(Error::input("no power-function averages are stored, expected one or more"));
    }
    let mut products = Products::default();
    let len = stored.len();
    let norm: Vec<f64> = stored.iter().map(|&p| products.inner(p, p).sqrt()).collect();
    let mut matrix = vec![vec![0.0; len]; len];
    for i in 0..len {
        for j in 0..=i {
            matrix[i][j] = products.inner(stored[i], stored[j]) / (norm[i] * norm[j]);
            matrix[j][i] = matrix[i][j];
        }
    }
    let wanted: Vec<f64> = (0..len).map(|i| products.inner(stored[i], target) / norm[i]).collect();
    let mut factor = matrix.clone();
    (0..len).for_each(|i| factor[i][i] += RIDGE);
    cholesky(&mut factor)?;
    // The constraint's multiplier: weights = free + k towards, with a sum of 1.
    let mut free = wanted.clone();
    solve(&factor, &mut free);
    let mut towards: Vec<f64> = norm.iter().map(|norm| norm.recip()).collect();
    solve(&factor, &mut towards);
    let sum = |x: &[f64]| x.iter().zip(&norm).map(|(x, norm)| x / norm).sum::<f64>();
    let k = (1.0 - sum(&free)) / sum(&towards);
    let x: Vec<f64> = free.iter().zip(&towards).map(|(free, towards)| free + k * towards).collect();
    let own = products.inner(target, target);
    let quadratic: f64 = x.iter().zip(&matrix).map(|(x_i, row)| x_i * dot(row, &x)).sum();
    let error = ((quadratic - 2.0 * dot(&x, &wanted) + own).max(0.0) / own).sqrt();
    Ok(Combination { weights: x.iter().zip(&norm).map(|(x, norm)| x / norm).collect(), error })
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Inner products of profiles. All follow from running sums, one list for each pair of exponents.
#[derive(Default)]
struct Products {
    /// Exponents of a pair, and at index t - 1 the product of both profiles at time t.
    at_same_time: Vec<([f64; 2], Vec<f64>)>,
}

impl Products {
    fn inner(&mut self, a: Profile, b: Profile) -> f64 {
        let (early, late) = if a.time <= b.time { (a, b) } else { (b, a) };
        // Up to the early one's end the late profile is its earlier self, scaled.
        let scale = (early.time as f64 / late.time as f64).powf(late.gamma + 1.0);
        scale * self.same_time(early.gamma, late.gamma, early.time)
    }

    fn same_time(&mut self, a: f64, b: f64, time: usize) -> f64 {
        let pair = [a.min(b), a.max(b)];
        let index = self.at_same_time.iter().position(|(other, _)| *other == pair).unwrap_or_else(|| {
            self.at_same_time.push((pair, Vec::new()));
            self.at_same_time.len() - 1
        });
        let sums = &mut self.at_same_time[index].1;
        while sums.len() < time {
            let t = sums.len() + 1;
            let logarithm = (-1.0 / t as f64).ln_1p();
            let new: f64 = pair.iter().map(|gamma| -((gamma + 1.0) * logarithm).exp_m1()).product();
            let old = sums.last().map_or(0.0, |sum| sum * ((pair[0] + pair[1] + 2.0) * logarithm).exp());
            sums.push(old + new);
        }
        sums[time - 1]
    }
}

/// The lower factor of a symmetric positive matrix, in its place.
fn cholesky(matrix: &mut [Vec<f64>]) -> Result<()> {
    for i in 0..matrix.len() {
        for j in 0..=i {
            let sum = matrix[i][j] - dot(&matrix[i][..j], &matrix[j][..j]);
            if i == j && sum <= 0.0 {
                return Err(Error::input("the stored averages are too much alike to be combined"));
            }
            matrix[i][j] = if i == j { sum.sqrt() } else { sum / matrix[j][j] };
        }
    }
    Ok(())
}

/// Solves with the factor, forward and back.
fn solve(factor: &[Vec<f64>], x: &mut [f64]) {
    for i in 0..x.len() {
        x[i] = (x[i] - dot(&factor[i][..i], &x[..i])) / factor[i][i];
    }
    for i in (0..x.len()).rev() {
        let above: f64 = (i + 1..x.len()).map(|j| factor[j][i] * x[j]).sum();
        x[i] = (x[i] - above) / factor[i][i];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::training::{AverageKind, EmaWarmup};

    #[test]
    fn widths_and_exponents_are_each_others_inverse() {
        // Karras et al., figure 4: sigma_rel 0.05 and 0.10 are exponents 16.97 and 6.94.
        assert!((gamma_of(0.05) - 16.97).abs() < 5e-3 && (gamma_of(0.10) - 6.94).abs() < 5e-3);
        assert!((sigma_rel_of(0.0) - WIDEST).abs() < 1e-15);
        for sigma in [NARROWEST, 0.01, 0.05, 0.1, 0.15, 0.2, 0.25, 0.288] {
            let gamma = gamma_of(sigma);
            assert!(gamma > 0.0 && (sigma_rel_of(gamma) / sigma - 1.0).abs() < 1e-12, "{sigma}: {gamma}");
            // The deviation of the profile itself, every step spread over its own length.
            let profile = Profile { time: 20_000, gamma };
            let moments = (1..=profile.time).fold([0.0; 3], |[sum, mean, square], s| {
                let (weight, place) = (profile.weight(s), (s as f64 - 0.5) / profile.time as f64);
                let spread = (profile.time as f64).powi(-2) / 12.0;
                [sum + weight, mean + weight * place, square + weight * (place * place + spread)]
            });
            assert!((moments[0] - 1.0).abs() < 1e-12);
            assert!(((moments[2] - moments[1] * moments[1]).sqrt() / sigma - 1.0).abs() < 1e-4, "{sigma}");
        }
    }

    /// Weights that drift, swing and jitter: one number a step.
    fn trajectory(number: usize, steps: usize) -> Vec<f64> {
        let mut walk = 0.0;
        let step = |s: usize| {
            walk += ((s * s * 7 + s * 13 * (number + 1)) % 101) as f64 / 101.0 - 0.495;
            3.0 + 0.02 * walk + (s as f64 / 300.0 + number as f64).sin()
        };
        (1..=steps).map(step).collect()
    }

    /// What tracking an average step by step, as training does, comes to after each step.
    fn tracked(weights: &[f64], sigma: f64) -> Vec<f64> {
        let mut average = f64::NAN;
        let update = |(taken, weight): (usize, &f64)| {
            let rate = AverageKind::SigmaRel(sigma).rate(EmaWarmup::Ratio, taken);
            average = if taken == 0 { rate * weight } else { average + rate * (weight - average) };
            average
        };
        weights.iter().enumerate().map(update).collect()
    }

    #[test]
    fn a_tracked_average_has_its_profile() {
        let weights = trajectory(3, 700);
        for sigma in [0.05, 0.1, 0.2] {
            let tracked = tracked(&weights, sigma);
            for time in [1, 2, 17, 700] {
                let profile = Profile { time, gamma: gamma_of(sigma) };
                let closed: f64 = (1..=time).map(|s| profile.weight(s) * weights[s - 1]).sum();
                assert!((tracked[time - 1] - closed).abs() < 1e-11, "{sigma} at {time}");
            }
        }
    }

    #[test]
    fn inner_products_are_the_sums_over_steps() {
        let mut products = Products::default();
        let profiles = [(40, 6.9), (100, 17.0), (100, 6.9), (1, 0.5)].map(|(time, gamma)| Profile { time, gamma });
        for a in profiles {
            for b in profiles {
                let sum: f64 = (1..=100).map(|s| a.weight(s) * b.weight(s)).sum();
                assert!((products.inner(a, b) / sum - 1.0).abs() < 1e-10, "{a:?} {b:?}");
            }
        }
    }

    /// From snapshots of 0.05 and 0.10 every 50 steps, averages of other widths come out as if they had been tracked: within
    /// 2e-3 of what the weights swing by from 0.04 to 0.2, and exactly where the average is one of those that are stored.
    #[test]
    fn any_width_is_reconstructed() {
        let steps = 2000;
        let times = (50..=steps).step_by(50);
        let profiles: Vec<(f64, usize)> = times.flat_map(|time| [(0.05, time), (0.10, time)]).collect();
        let stored: Vec<Profile> =
            profiles.iter().map(|&(sigma, time)| Profile { time, gamma: gamma_of(sigma) }).collect();
        for (sigma, tolerance) in [(0.05, 1e-9), (0.1, 1e-9), (0.04, 2e-3), (0.07, 2e-3), (0.13, 2e-3), (0.2, 2e-3)] {
            let combination = combine(&stored, Profile { time: steps, gamma: gamma_of(sigma) }).unwrap();
            assert!((combination.weights.iter().sum::<f64>() - 1.0).abs() < 1e-12);
            assert!(combination.error < if tolerance < 1e-6 { 1e-6 } else { 0.02 }, "{sigma}: {}", combination.error);
            for number in 0..5 {
                let weights = trajectory(number, steps);
                let [narrow, wide] = [0.05, 0.1].map(|sigma| tracked(&weights, sigma));
                let value =
                    |&(sigma, time): &(f64, usize)| if sigma == 0.05 { narrow[time - 1] } else { wide[time - 1] };
                let found: f64 = profiles.iter().zip(&combination.weights).map(|(p, weight)| weight * value(p)).sum();
                let expected = *tracked(&weights, sigma).last().unwrap();
                assert!((found - expected).abs() < tolerance, "{sigma}: {found}, tracked {expected}");
            }
        }
    }

    #[test]
    fn few_and_equal_averages() {
        let [a, b] = [17.0, 6.9].map(|gamma| Profile { time: 1, gamma });
        let of_one_step = combine(&[a, b], Profile { time: 1, gamma: 3.0 }).unwrap();
        assert!((of_one_step.weights.iter().sum::<f64>() - 1.0).abs() < 1e-9 && of_one_step.error < 1e-5);
        let one = combine(&[Profile { time: 30, gamma: 9.0 }], Profile { time: 60, gamma: 9.0 }).unwrap();
        assert!((one.weights[0] - 1.0).abs() < 1e-12);
        assert!(one.error > 0.5, "half of a run is not the run");
        assert!(combine(&[], a).is_err());
    }
}

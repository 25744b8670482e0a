//! Improved precision and recall (Kynkäänniemi et al. 2019, arXiv 1904.06991, equations 1 and 2).

use rayon::prelude::*;

use super::distance::{count, squared};
use crate::error::{Error, Result};

/// Shares in 0..=1: how many generated samples look real, and how much of the real ones the generated ones cover.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PrecisionRecall {
    /// The share of generated samples that lie within the ball of a real one.
    pub precision: f64,
    /// The share of real samples that lie within the ball of a generated one.
    pub recall: f64,
}

/// Precision and recall of `generated` against `real`, both N x `dim` (N may differ, though the paper takes as many of
/// each). A sample's ball reaches to its `k`-th nearest neighbour in its own set, itself not counted, boundary
/// included; the paper uses k = 3. Compares every pair, on all cores.
///
/// # Errors
/// Where `k` is 0, a set has no more than `k` samples, is no whole number of samples, or holds a number that is not
/// finite.
pub fn precision_recall(real: &[f32], generated: &[f32], dim: usize, k: usize) -> Result<PrecisionRecall> {
    for (what, samples) in [("real samples", real), ("generated samples", generated)] {
        let found = count(what, samples, dim)?;
        if k == 0 || found <= k {
            return Err(Error::input(format!(
                "{what}: {found} with k = {k}, expected k of at least 1 and more than k"
            )));
        }
    }
    Ok(PrecisionRecall {
        precision: share_within(generated, real, &squared_radii(real, dim, k), dim),
        recall: share_within(real, generated, &squared_radii(generated, dim, k), dim),
    })
}

/// Each sample's squared distance to its `k`-th nearest neighbour; `k` is at least 1 and below the number of samples.
fn squared_radii(samples: &[f32], dim: usize, k: usize) -> Vec<f64> {
    samples
        .par_chunks_exact(dim)
        .enumerate()
        .map(|(index, sample)| {
            let others = samples.chunks_exact(dim).enumerate().filter(|&(other, _)| other != index);
            let mut distances: Vec<f64> = others.map(|(_, other)| squared(sample, other)).collect();
            *distances.select_nth_unstable_by(k - 1, f64::total_cmp).1
        })
        .collect()
}

/// The share of `samples` that lie in the ball of at least one of `centres`.
fn share_within(samples: &[f32], centres: &[f32], squared_radii: &[f64], dim: usize) -> f64 {
    let within = |sample: &[f32]| {
        centres.chunks_exact(dim).zip(squared_radii).any(|(centre, &radius)| squared(sample, centre) <= radius)
    };
    let inside = samples.par_chunks_exact(dim).filter(|sample| within(sample)).count();
    inside as f64 / (samples.len() / dim) as f64
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::data::{Dataset, Options};

    /// The digits whose row is even (0) or odd (1), in [-1, 1].
    pub fn digits(half: usize) -> Vec<f32> {
        let set = Dataset::open(["digits:even", "digits:odd"][half], &Options::default()).unwrap();
        let mut rows = vec![0.0; set.len() * 64];
        rows.chunks_exact_mut(64).enumerate().for_each(|(index, row)| set.picture(index, false, row));
        rows
    }

    fn of(real: &[f32], generated: &[f32], k: usize) -> (f64, f64) {
        let found = precision_recall(real, generated, 1, k).unwrap();
        (found.precision, found.recall)
    }

    #[test]
    fn same_samples_are_perfect_and_far_ones_worthless() {
        assert_eq!(of(&[0.0, 1.0, 2.0, 3.0], &[0.0, 1.0, 2.0, 3.0], 1), (1.0, 1.0));
        assert_eq!(of(&[0.0, 1.0, 2.0, 3.0], &[100.0, 101.0, 102.0, 103.0], 2), (0.0, 0.0));
    }

    #[test]
    fn balls_by_hand() {
        // The balls of the real ones reach 1, 1 and 9: all the generated but -31.5 lie in that of 0. The balls of the
        // generated ones reach 0.5, 0.5 and 31: of the real ones only 0 lies in one, on the edge of that of -0.5.
        let (real, generated) = ([0.0, 1.0, 10.0], [-1.0, -0.5, -31.5]);
        assert_eq!(of(&real, &generated, 1), (2.0 / 3.0, 1.0 / 3.0));
    }

    #[test]
    fn the_boundary_counts_and_the_sample_itself_does_not() {
        // With the sample itself counted, k = 1 would make every ball a point.
        assert_eq!(of(&[0.0, 2.0], &[-2.0, 4.0], 1), (1.0, 1.0));
        // Twins are neighbours at distance 0.
        assert_eq!(of(&[0.0, 0.0], &[0.5, 0.5], 1), (0.0, 0.0));
    }

    #[test]
    fn a_collapsed_generator_has_precision_without_recall() {
        let real: Vec<f32> = (0..100).map(|i| i as f32).collect();
        let generated: Vec<f32> = (0..100).map(|i| 50.0 + i as f32 * 1e-3).collect();
        let (precision, recall) = of(&real, &generated, 3);
        assert!(precision == 1.0 && recall <= 0.02, "{precision} {recall}");
    }

    #[test]
    fn halves_of_the_digits() {
        let found = precision_recall(&digits(1), &digits(0), 64, 3).unwrap();
        assert!((found.precision - 0.89).abs() < 0.01 && (found.recall - 0.89).abs() < 0.01, "{found:?}");
    }

    #[test]
    fn bad_requests_are_named() {
        let refuse = |k| precision_recall(&[0.0; 5], &[0.0; 3], 1, k).unwrap_err().to_string();
        assert_eq!(refuse(3), "generated samples: 3 with k = 3, expected k of at least 1 and more than k");
        assert!(refuse(0).starts_with("real samples: 5 with k = 0"));
        assert!(precision_recall(&[0.0; 5], &[f32::NAN; 5], 1, 1).unwrap_err().to_string().contains("sample 0"));
    }
}

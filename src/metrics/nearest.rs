//! How far samples are from the nearest sample of another set.

use rayon::prelude::*;

use super::distance::{count, squared};
use crate::error::Result;

/// The Euclidean distance of each sample of `from` to its nearest sample in `to`, both N x `dim` (N may differ), in the
/// units of the samples. Compares every pair, on all cores.
///
/// # Errors
/// Where a set is empty, no whole number of samples, or holds a number that is not finite.
pub fn nearest_distances(from: &[f32], to: &[f32], dim: usize) -> Result<Vec<f64>> {
    count("samples to measure from", from, dim)?;
    count("samples to measure to", to, dim)?;
    let nearest = |sample| to.chunks_exact(dim).map(|other| squared(sample, other)).fold(f64::INFINITY, f64::min);
    Ok(from.par_chunks_exact(dim).map(|sample| nearest(sample).sqrt()).collect())
}

/// The middle value, or the mean of the two in the middle; `None` of nothing.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(sorted[middle]),
        _ => Some((sorted[middle - 1] + sorted[middle]) / 2.0),
    }
}

#[cfg(test)]
mod tests {
    use super::super::precision_recall::tests::digits;
    use super::*;

    #[test]
    fn finds_the_nearest() {
        let distances = nearest_distances(&[0.0, 0.0, 10.0, 0.0], &[3.0, 4.0, 9.0, 0.0, -6.0, 8.0], 2).unwrap();
        assert_eq!(distances, [5.0, 1.0]);
        assert!(nearest_distances(&[], &[1.0], 1).is_err() && nearest_distances(&[1.0], &[], 1).is_err());
    }

    #[test]
    fn medians() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }

    #[test]
    fn held_out_digits_to_the_others() {
        let (even, odd) = (digits(0), digits(1));
        let median_of = |from: &[f32], to: &[f32]| median(&nearest_distances(from, to, 64).unwrap()).unwrap();
        let (odd_to_even, even_to_odd) = (median_of(&odd, &even), median_of(&even, &odd));
        assert!((odd_to_even - 2.20).abs() < 0.01 && (even_to_odd - 2.20).abs() < 0.01, "{odd_to_even} {even_to_odd}");
    }
}

//! The Frechet distance between two sets of samples, each taken for a Gaussian (Heusel et al. 2017, eq. 6, who take
//! Inception's features; here any features).

use super::distance::count;
use crate::error::{Error, Result};
use nalgebra::{DMatrix, DVector, SymmetricEigen};

/// The mean and the covariance of a set of samples.
#[derive(Clone, Debug)]
pub struct Gaussian {
    mean: DVector<f64>,
    covariance: DMatrix<f64>,
}

impl Gaussian {
    /// Of samples, N x `dim`; the covariance is divided by N - 1, as in the published code.
    ///
    /// # Errors
    /// [`Input`](Error::Input) if there are fewer than two samples, no whole number of them, or one is not finite.
    pub fn of(what: &str, samples: &[f32], dim: usize) -> Result<Self> {
        let n = count(what, samples, dim)?;
        if n < 2 {
            return Err(Error::input(format!("{what}: 1 sample, expected at least 2")));
        }
        let rows = DMatrix::from_row_iterator(n, dim, samples.iter().map(|&value| f64::from(value)));
        let mean = rows.row_mean();
        let centred = DMatrix::from_fn(n, dim, |row, column| rows[(row, column)] - mean[column]);
        let covariance = centred.tr_mul(&centred) / (n - 1) as f64;
        Ok(Self { mean: mean.transpose(), covariance })
    }
}

/// The root of a matrix that is symmetric and has no negative eigenvalues but by rounding.
fn root(matrix: DMatrix<f64>) -> DMatrix<f64> {
    let SymmetricEigen { eigenvectors, eigenvalues } = SymmetricEigen::new(matrix);
    let roots = DMatrix::from_diagonal(&eigenvalues.map(|value| value.max(0.0).sqrt()));
    &eigenvectors * roots * eigenvectors.transpose()
}

/// |m_1 - m_2|^2 + tr(S_1 + S_2 - 2 (S_1 S_2)^1/2). The trace of the last root is that of (R S_2 R)^1/2, where R R = S_1: a
/// symmetric matrix with the same eigenvalues.
///
/// # Errors
/// [`Input`](Error::Input) if they have not the same number of dimensions.
pub fn frechet_distance(a: &Gaussian, b: &Gaussian) -> Result<f64> {
    if a.mean.len() != b.mean.len() {
        let (a, b) = (a.mean.len(), b.mean.len());
        return Err(Error::input(format!("Frechet distance of samples of {a} and of {b} numbers, expected as many")));
    }
    let between = (&a.mean - &b.mean).norm_squared();
    let half = root(a.covariance.clone());
    let product = &half * &b.covariance * &half;
    let symmetric = (&product + product.transpose()) / 2.0;
    let cross: f64 = SymmetricEigen::new(symmetric).eigenvalues.iter().map(|value| value.max(0.0).sqrt()).sum();
    // Rounding can take the distance of two sets that are the same below zero.
    Ok((between + a.covariance.trace() + b.covariance.trace() - 2.0 * cross).max(0.0))
}

#[cfg(test)]
mod tests {
    use super::super::precision_recall::tests::digits;
    use super::*;

    fn distance(a: &[f32], b: &[f32], dim: usize) -> f64 {
        frechet_distance(&Gaussian::of("a", a, dim).unwrap(), &Gaussian::of("b", b, dim).unwrap()).unwrap()
    }

    #[test]
    fn closed_forms() {
        // One dimension: (m1 - m2)^2 + (s1 - s2)^2, with variances 2 and 8.
        let (a, b) = ([-1.0, 1.0], [3.0, 7.0]);
        assert!((distance(&a, &b, 1) - (25.0 + (8.0_f64.sqrt() - 2.0_f64.sqrt()).powi(2))).abs() < 1e-12);
        // Covariances that commute: the same in each dimension.
        let square = |x: f32, y: f32| [x, 0.0, -x, 0.0, 0.0, y, 0.0, -y];
        let expected = |x: f64, y: f64| (2.0 / 3.0_f64) * ((x - y).powi(2) + (3.0 * x - 0.5 * y).powi(2));
        assert!((distance(&square(1.0, 3.0), &square(2.0, 1.0), 2) - expected(1.0, 2.0)).abs() < 1e-12);
        // Two that do not: diag(4, 1) and the same turned by an eighth. By hand, tr (S1 S2)^1/2 of 2 x 2 matrices is
        // sqrt(tr S1 S2 + 2 sqrt(det S1 S2)); S2 = [[2.5, 1.5], [1.5, 2.5]].
        let s1 = Gaussian { mean: DVector::zeros(2), covariance: DMatrix::from_row_slice(2, 2, &[4.0, 0.0, 0.0, 1.0]) };
        let s2 = Gaussian { mean: DVector::zeros(2), covariance: DMatrix::from_row_slice(2, 2, &[2.5, 1.5, 1.5, 2.5]) };
        let cross = (12.5 + 2.0 * 4.0_f64).sqrt();
        assert!((frechet_distance(&s1, &s2).unwrap() - (10.0 - 2.0 * cross)).abs() < 1e-12);
    }

    /// Against NumPy's covariances and SciPy's sqrtm; in the second case the covariances are singular.
    #[test]
    fn figures_of_scipy() {
        let set = |n: usize, dim: usize, [a, b, modulus]: [usize; 3]| -> Vec<f32> {
            let value = |i: usize, j: usize| ((i * a + j * b + i * j * 31) % modulus) as f32 / 16.0;
            (0..n).flat_map(|i| (0..dim).map(move |j| value(i, j))).collect()
        };
        for (n, m, dim, expected) in [(40, 30, 5, 0.897_490_310_690_557_2), (7, 9, 12, 29.931_754_842_276_042)] {
            let found = distance(&set(n, dim, [7919, 104_729, 97]), &set(m, dim, [6007, 99_991, 89]), dim);
            assert!((found - expected).abs() < 1e-6 * expected, "{found}, {expected}");
        }
    }

    #[test]
    fn a_set_has_no_distance_to_itself_and_halves_of_one_a_small_one() {
        let (even, odd) = (digits(0), digits(1));
        assert!(distance(&even, &even, 64) < 1e-9, "though pixels that are never touched have no variance");
        let halves = distance(&even, &odd, 64);
        let moved: Vec<f32> = odd.iter().map(|value| value + 0.1).collect();
        assert!((distance(&even, &odd, 64) - distance(&odd, &even, 64)).abs() < 1e-9);
        assert!(halves > 0.0 && halves < distance(&even, &moved, 64), "{halves}");
    }

    #[test]
    fn bad_samples_are_named() {
        let refuse = |samples: &[f32]| Gaussian::of("real", samples, 2).unwrap_err().to_string();
        assert_eq!(refuse(&[0.0; 2]), "real: 1 sample, expected at least 2");
        assert!(refuse(&[0.0; 3]).contains("3 numbers"));
    }
}

//! Euclidean distance between samples.

use crate::error::{Error, Result};

/// Partial sums kept apart, so that the compiler can use the processor's wide registers.
const LANES: usize = 8;

/// The squared distance of two samples of one length, summed in f64. Exactly the same either way round.
pub(super) fn squared(a: &[f32], b: &[f32]) -> f64 {
    let square = |a: f32, b: f32| {
        let difference = f64::from(a) - f64::from(b);
        difference * difference
    };
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut sums = [0.0; LANES];
    for (a, b) in a.iter().zip(b) {
        for lane in 0..LANES {
            sums[lane] += square(a[lane], b[lane]);
        }
    }
    sums.iter().sum::<f64>() + a_rest.iter().zip(b_rest).map(|(&a, &b)| square(a, b)).sum::<f64>()
}

/// How many samples of `dim` numbers `samples` holds; an error if it is not a whole number of them, at least one, all
/// finite. `what` names them.
pub(super) fn count(what: &str, samples: &[f32], dim: usize) -> Result<usize> {
    if dim == 0 || samples.is_empty() || !samples.len().is_multiple_of(dim) {
        return Err(Error::input(format!(
            "{what}: {} numbers, expected one or more samples of {dim} each",
            samples.len()
        )));
    }
    if let Some(at) = samples.iter().position(|value| !value.is_finite()) {
        return Err(Error::input(format!(
            "{what}: sample {} holds {}, expected finite numbers",
            at / dim,
            samples[at]
        )));
    }
    Ok(samples.len() / dim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_every_element_once() {
        for length in 0..40 {
            let a: Vec<f32> = (0..length).map(|i| i as f32).collect();
            let b: Vec<f32> = a.iter().map(|v| v + 2.0).collect();
            assert_eq!((squared(&a, &b), squared(&b, &a)), (4.0 * length as f64, 4.0 * length as f64));
        }
    }

    #[test]
    fn bad_samples_are_named() {
        assert_eq!(count("real", &[0.0; 6], 3).unwrap(), 2);
        let refuse = |samples: &[f32], dim| count("real", samples, dim).unwrap_err().to_string();
        assert_eq!(refuse(&[0.0; 5], 3), "real: 5 numbers, expected one or more samples of 3 each");
        assert!(refuse(&[], 3).contains("0 numbers") && refuse(&[0.0], 0).contains("samples of 0"));
        assert_eq!(refuse(&[0.0, 1.0, f32::NAN, 1.0], 2), "real: sample 1 holds NaN, expected finite numbers");
    }
}

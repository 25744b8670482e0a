//! Test cases: every prediction, variance and decoder, clipped and stopped means, odd sizes, several parts of a picture.

use super::Variance::{Large, Learned, LearnedRange, Small};
use super::{BoundOperands, Decoder, PredictionType, VariationalBound, variational_bound};
use crate::kernels::schedule_tables::{TABLES, tables_of_betas};
use crate::kernels::{Case, Fill};

/// The 256 levels, and the tails in particular.
fn levels() -> Fill {
    Fill::Floats((0..97).map(|i| [-1.0, 1.0, (i * 89 % 256) as f32 / 127.5 - 1.0][i % 7 % 3]).collect())
}

pub(in crate::kernels) fn cases() -> Vec<Case> {
    use Decoder::{Safe, Tanh};
    use PredictionType::{Epsilon, Sample, Score, VPrediction};
    // Few steps with much noise, the first of which leaves a wide Gaussian; and the beginning of a usual schedule.
    let coarse: Vec<f64> = (1..8).map(|t| 0.07 * f64::from(t)).collect();
    let fine: Vec<f64> = (0..9).map(|t| 1e-4 + 2e-5 * f64::from(t)).collect();
    let plain = VariationalBound { prediction: Epsilon, variance: Small, decoder: Safe, clip: None, stop_mean: false };
    let mut bounds = Vec::new();
    for prediction in [Epsilon, Sample, VPrediction, Score] {
        for (variance, decoder) in [(Small, Safe), (Large, Tanh), (Learned, Tanh), (LearnedRange, Safe), (Learned, Safe)] {
            bounds.push((VariationalBound { prediction, variance, decoder, ..plain }, &coarse));
        }
    }
    for (variance, decoder) in [(Small, Tanh), (Large, Safe), (LearnedRange, Safe), (LearnedRange, Tanh)] {
        bounds.push((VariationalBound { variance, decoder, ..plain }, &fine));
    }
    bounds.push((VariationalBound { clip: Some(0.8), ..plain }, &coarse));
    bounds.push((VariationalBound { clip: Some(1.0), prediction: Sample, variance: LearnedRange, ..plain }, &coarse));
    // The gradient of the prediction is 0, which central differences do not say: outputs alone, and a test of its own.
    bounds.push((VariationalBound { stop_mean: true, variance: LearnedRange, ..plain }, &coarse));

    let mut cases = Vec::new();
    for (number, (bound, betas)) in bounds.into_iter().enumerate() {
        let tables: Vec<f32> = tables_of_betas(betas).into_iter().map(|value| value as f32).collect();
        let steps = betas.len();
        // All timesteps but few, always with the decoder's; one element a picture; more elements than one part has.
        let shape = match number % 4 {
            0 => [9, 3, 5, 1],
            1 => [4, 5, 5, 3],
            2 => [7, 1, 1, 1],
            _ => [2, 39, 37, 3],
        };
        let [n, h, w, c] = shape;
        let learned = bound.variance.is_learned();
        let channels = if learned || number % 3 == 0 { 2 * c } else { c };
        let index = |picture: usize| (picture * 5 % steps) as f32;
        let in_levels = number % 2 == 1;
        let indices_shape = if in_levels { vec![n, 8] } else { vec![n] };
        let indices: Vec<f32> = match in_levels {
            true => (0..8 * n).map(|i| if i % 8 == 6 { index(i / 8) } else { f32::NAN }).collect(),
            false => (0..n).map(index).collect(),
        };
        // A variance is not negative; the coarse schedule's are some tenths.
        let output = if bound.variance == Learned { Fill::Uniform(0.1, 0.9) } else { Fill::Normal(0.5) };
        let mut case = Case::new(format!("variational_bound/{number} {bound:?} {shape:?}"))
            .constant(&[TABLES, steps], Fill::Floats(tables))
            .constant(&indices_shape, Fill::Floats(indices))
            .constant(&shape, levels())
            .constant(&shape, Fill::Normal(0.7));
        let shape = [n, h, w, channels];
        case = if bound.stop_mean { case.constant(&shape, output) } else { case.input(&shape, output) };
        cases.push(case.records(move |r, v| {
            let operands = BoundOperands { tables: v[0], indices: v[1], output: v[4], x0: v[2], x_t: v[3] };
            Ok(vec![variational_bound(r, bound, operands)?])
        }));
    }
    cases
}

//! The bound's kernel where the registry's cases do not look: stopped gradients, tails far out, variances out of reach.

mod devices;

use aquatint::check::relative_difference;
use aquatint::device::{Device, Host};
use aquatint::kernels::prediction::PredictionType;
use aquatint::kernels::schedule_tables::{TABLES, tables_of_betas};
use aquatint::kernels::variational_bound::{BoundOperands, Decoder, Variance, VariationalBound, variational_bound};
use aquatint::plan::{Recorder, Step, Storage};

/// The bound's terms and the output's gradient on a device, for pictures of one element; `[output; said]` a picture.
fn terms(
    device: &mut dyn Device,
    bound: VariationalBound,
    betas: &[f64],
    indices: &[f32],
    x0: &[f32],
    x_t: &[f32],
    output: &[[f32; 2]],
) -> [Vec<f32>; 2] {
    let n = x0.len();
    let tables: Vec<f32> = tables_of_betas(betas).into_iter().map(|value| value as f32).collect();
    let storage = |name: &str, len: usize| Storage::f32(name, len);
    let given = [
        (storage("tables", tables.len()), tables),
        (storage("indices", n), indices.to_vec()),
        (storage("x_0", n), x0.to_vec()),
        (storage("x_t", n), x_t.to_vec()),
        (storage("output", 2 * n), output.concat()),
        (storage("upstream", n), vec![1.0; n]),
    ];
    let mut r = Recorder::new();
    let tables = r.input(&given[0].0, &[TABLES, betas.len()]);
    let indices = r.input(&given[1].0, &[n]);
    let [x0, x_t] = [2, 3].map(|i| r.input(&given[i].0, &[n, 1, 1, 1]));
    let output = r.input(&given[4].0, &[n, 1, 1, 2]);
    let upstream = r.input(&given[5].0, &[n]);
    r.require_gradient(output);
    let terms = variational_bound(&mut r, bound, BoundOperands { tables, indices, output, x0, x_t }).unwrap();
    r.backward(terms, upstream).unwrap();
    let gradient = r.gradient(output).unwrap();
    let read = [r.export("terms", terms), r.export("gradient", gradient)];
    let plan = r.finish();
    let id = device.load(&plan).unwrap();
    given.iter().for_each(|(storage, data)| device.upload(storage, 0, data).unwrap());
    device.run(id, &Step::default()).unwrap();
    read.map(|storage| device.download(&storage).unwrap())
}

const PLAIN: VariationalBound = VariationalBound {
    prediction: PredictionType::Epsilon,
    variance: Variance::LearnedRange,
    decoder: Decoder::Safe,
    clip: None,
    stop_mean: false,
};

#[test]
fn a_stopped_mean_has_no_gradient_and_the_variances_keep_theirs() {
    let betas = [0.01, 0.1, 0.2, 0.3];
    let given = |device: &mut dyn Device, bound| {
        let output = [[0.3, -0.2], [-0.5, 0.4], [1.2, 0.1], [0.0, 0.9]];
        terms(device, bound, &betas, &[0.0, 1.0, 2.0, 3.0], &[0.2, -1.0, 1.0, -0.6], &[0.3, -0.7, 0.1, 0.5], &output)
    };
    devices::on_each(|device| {
        for variance in [Variance::LearnedRange, Variance::Learned, Variance::Small] {
            let bound = VariationalBound { variance, ..PLAIN };
            let [values, free] = given(device, bound);
            let [same, stopped] = given(device, VariationalBound { stop_mean: true, ..bound });
            assert_eq!(values, same, "the values stay");
            for (free, stopped) in free.chunks(2).zip(stopped.chunks(2)) {
                assert!(free[0] != 0.0 && stopped[0] == 0.0, "{variance:?}: {free:?}, {stopped:?}");
                assert_eq!(free[1].to_bits(), stopped[1].to_bits(), "{variance:?}");
                assert_eq!(free[1] != 0.0, variance.is_learned(), "{variance:?}");
            }
        }
    });
}

#[test]
fn tails_far_out_are_finite_and_right() {
    // Levels at both ends and between, predictions far beyond them, the variances of the finest schedules.
    for (decoder, first_beta) in [(Decoder::Safe, 1e-6), (Decoder::Safe, 1e-4), (Decoder::Tanh, 1e-4)] {
        let betas = [first_beta, 2.0 * first_beta, 0.02];
        let mut cases = Vec::new();
        for x0 in [-1.0, -253.0 / 255.0, 1.0 / 255.0, 253.0 / 255.0, 1.0f32] {
            for predicted in [-30.0, -3.0, -1.0, -0.99, 0.0, 0.004, 0.2, 1.0, 30.0f32] {
                cases.push((x0, predicted, [0.0, 1.0, 2.0][cases.len() % 7 % 3]));
            }
        }
        let output: Vec<[f32; 2]> = cases.iter().map(|case| [case.1, 0.5]).collect();
        let [x0, index] = [0, 1].map(|which| cases.iter().map(|case| [case.0, case.2][which]).collect::<Vec<f32>>());
        let bound = VariationalBound { prediction: PredictionType::Sample, decoder, ..PLAIN };
        let mut reference = Host::<f64>::reference();
        let expected = terms(&mut reference, bound, &betas, &index, &x0, &x0, &output);
        devices::on_each(|device| {
            let found = terms(device, bound, &betas, &index, &x0, &x0, &output);
            for (found, expected) in found.iter().zip(&expected) {
                let expected_len = expected.len();
                for (i, (&found, &expected)) in found.iter().zip(expected).enumerate() {
                    let scale = expected.abs().max(1e-3);
                    let close = ((found - expected) / scale).abs() < 2e-4;
                    let case = cases[if expected_len == cases.len() { i } else { i / 2 }];
                    assert!(found.is_finite() && close, "{decoder:?} {case:?} {i}: {found}, {expected}");
                }
            }
        });
    }
}

#[test]
fn a_variance_below_the_least_finds_back() {
    let bound = VariationalBound { variance: Variance::Learned, ..PLAIN };
    devices::on_each(|device| {
        let said = [-1.0, 0.0, 1e-9, 0.2];
        let output = said.map(|said| [0.1, said]);
        let [values, gradient] = terms(device, bound, &[0.1, 0.2, 0.3], &[2.0; 4], &[0.3; 4], &[0.2; 4], &output);
        // All that lies below is the least; a step against the gradient makes it larger.
        assert!(values[0] == values[1] && values[1] == values[2] && values.iter().all(|value| value.is_finite()));
        assert!((0..3).all(|i| gradient[2 * i + 1] < 0.0), "{gradient:?}");
        assert!(relative_difference(&gradient[1..2], &[f64::from(gradient[3])]) < 1e-6);
    });
}

//! The levels of noise of a training batch: every column against its twin in double precision, each by its own size; and
//! how the timesteps are drawn, on both devices.

mod devices;

use aquatint::device::{Device, Host};
use aquatint::kernels::levels::{COLUMNS, Column, DiscreteLevels, TimestepDraw, levels, shares};
use aquatint::kernels::prediction::PredictionType;
use aquatint::kernels::schedule_tables::{BetaSchedule, ScheduleTables, TABLES, schedule_tables, tables_of_betas};
use aquatint::kernels::weighting::Weighting;
use aquatint::plan::{Recorder, Step, Storage};

/// A batch's rows, with tables that are given and shares by these weights.
fn rows(
    device: &mut dyn Device,
    tables: &[f32],
    weights: &[f64],
    pictures: usize,
    discrete: DiscreteLevels,
    step: &Step,
) -> Vec<f32> {
    let timesteps = tables.len() / TABLES;
    let mut r = Recorder::new();
    let storage = Storage::f32("tables", tables.len());
    let values = r.input(&storage, &[TABLES, timesteps]);
    let (last_bits, corrections) = shares(weights);
    let both = (Storage::u32("last bits", timesteps), Storage::f32("corrections", timesteps));
    let given = (discrete.draw != TimestepDraw::Uniform)
        .then(|| [r.input(&both.0, &[timesteps]), r.input(&both.1, &[timesteps])]);
    let drawn = levels(&mut r, values, given, pictures, discrete).unwrap();
    let rows = r.export("levels", drawn.levels);
    let plan = device.load(&r.finish()).unwrap();
    device.upload(&storage, 0, tables).unwrap();
    device.upload_integers(&both.0, 0, &last_bits).unwrap();
    device.upload(&both.1, 0, &corrections).unwrap();
    device.run(plan, step).unwrap();
    device.download(&rows).unwrap()
}

fn column(rows: &[f32], column: Column) -> Vec<f32> {
    rows.chunks_exact(COLUMNS).map(|row| row[column as usize]).collect()
}

/// A real schedule's tables, in double precision.
fn linear(timesteps: usize) -> Vec<f64> {
    let schedule = ScheduleTables { schedule: BetaSchedule::Linear, timesteps, beta_start: 1e-4, beta_end: 0.02 };
    let betas: Vec<f64> = (0..timesteps).map(|t| schedule.beta_and_alpha::<f64>(t)[0]).collect();
    tables_of_betas(&betas)
}

#[test]
fn every_column_agrees_with_the_twin() {
    use PredictionType::{Epsilon, Sample, Score, VPrediction};
    let tables: Vec<f32> = linear(1000).into_iter().map(|value| value as f32).collect();
    let weightings = [
        Weighting::None,
        Weighting::Snr,
        Weighting::MinSnr { gamma: 5.0 },
        Weighting::P2 { gamma: 1.0, k: 1.0 },
        Weighting::P2 { gamma: 0.5, k: 0.3 },
        Weighting::Kl,
    ];
    let step = Step { step: 5, first_picture: 100, ..Step::seeded(77) };
    let uneven: Vec<f64> = (1..=1000).map(f64::from).collect();
    devices::on_each(|device| {
        for prediction in [Epsilon, Sample, VPrediction, Score] {
            for weighting in weightings {
                for (draw, large_variance) in [
                    (TimestepDraw::Uniform, false),
                    (TimestepDraw::Shares, true),
                    (TimestepDraw::StratifiedShares(600), false),
                ] {
                    let discrete = DiscreteLevels { draw, prediction, weighting, large_variance };
                    let found = rows(device, &tables, &uneven, 300, discrete, &step);
                    let expected = rows(&mut Host::<f64>::reference(), &tables, &uneven, 300, discrete, &step);
                    for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
                        // Of a value itself, not of the column's largest.
                        let off = (found - expected).abs() / expected.abs().max(1e-30);
                        let (row, column) = (i / COLUMNS, i % COLUMNS);
                        let most = if column == Column::Weight as usize { 1e-5 } else { 1e-6 };
                        assert!(
                            off <= most || found == expected,
                            "{discrete:?} picture {row} column {column}: {found}, {expected}"
                        );
                    }
                }
            }
        }
    });
}

/// The loss's weight over all timesteps is the variational bound's: half the fall of the SNR, for the error in x_0
/// (Kingma et al. 2021, eq. 13).
#[test]
fn the_bounds_weight_is_half_the_fall_of_the_snr() {
    let tables = linear(200);
    let kl = DiscreteLevels {
        draw: TimestepDraw::Uniform,
        prediction: PredictionType::Sample,
        weighting: Weighting::Kl,
        large_variance: false,
    };
    let snr = |t: usize| tables[200 + t] / tables[400 + t];
    for t in 1..200 {
        let expected = 0.5 * (snr(t - 1) - snr(t));
        let found = kl.weight(&tables, t);
        assert!((found / expected - 1.0).abs() < 1e-9, "{t}: {found} {expected}");
    }
}

/// What [`levels`] draws over many steps, on a device.
fn drawn_timesteps(device: &mut dyn Device, weights: &[f64], pictures: usize, draw: TimestepDraw) -> Vec<(u32, f32)> {
    let discrete =
        DiscreteLevels { draw, prediction: PredictionType::Epsilon, weighting: Weighting::None, large_variance: false };
    let tables = vec![0.5; TABLES * weights.len()];
    let step = Step { step: 9, ..Step::seeded(3) };
    let rows = rows(device, &tables, weights, pictures, discrete, &step);
    let corrections = column(&rows, Column::Correction);
    column(&rows, Column::Index).into_iter().map(|t| t as u32).zip(corrections).collect()
}

#[test]
fn timesteps_are_drawn_by_their_shares_and_corrected_to_be_unbiased() {
    const PICTURES: usize = 400_000;
    // As with importance sampling, every timestep has some share.
    let weights = [5.0, 0.0, 1.0, 30.0, 2.0, 0.5].map(|weight: f64| weight + 0.05);
    let total: f64 = weights.iter().sum();
    devices::on_each(|device| {
        let drawn = drawn_timesteps(device, &weights, PICTURES, TimestepDraw::Shares);
        let mut counts = [0.0; 6];
        drawn.iter().for_each(|&(t, _)| counts[t as usize] += 1.0);
        for (count, weight) in counts.iter().zip(weights) {
            let share = weight / total;
            let deviation = (PICTURES as f64 * share * (1.0 - share)).sqrt();
            assert!((count - PICTURES as f64 * share).abs() <= 5.0 * deviation, "{counts:?}");
        }
        // A loss of t^2 + 1: its corrected mean is the plain one over all t.
        let loss = |t: u32| f64::from(t * t + 1);
        let terms: Vec<f64> = drawn.iter().map(|&(t, correction)| f64::from(correction) * loss(t)).collect();
        let mean = terms.iter().sum::<f64>() / PICTURES as f64;
        let square = terms.iter().map(|term| (term - mean).powi(2)).sum::<f64>() / PICTURES as f64;
        let expected = (0..6).map(loss).sum::<f64>() / 6.0;
        let error = (square / PICTURES as f64).sqrt();
        assert!((mean - expected).abs() < 5.0 * error, "{mean} is not {expected} within {error}");
    });
}

#[test]
fn stratified_timesteps_cover_the_schedule_evenly_and_alike_in_micro_batches() {
    let weights = [1.0; 100];
    devices::on_each(|device| {
        for pictures in [100, 50, 200, 37] {
            let drawn = drawn_timesteps(device, &weights, pictures, TimestepDraw::StratifiedShares(pictures));
            let mut timesteps: Vec<u32> = drawn.iter().map(|&(t, _)| t).collect();
            timesteps.sort_unstable();
            for (i, &t) in timesteps.iter().enumerate() {
                let even = 100.0 * (i as f64 + 0.5) / pictures as f64;
                let gap = 100.0 / pictures as f64;
                assert!((f64::from(t) + 0.5 - even).abs() <= gap + 1.0, "{pictures}: {timesteps:?}");
            }
        }
        // The same pictures, drawn in two halves.
        let discrete = DiscreteLevels {
            draw: TimestepDraw::StratifiedShares(20),
            prediction: PredictionType::Epsilon,
            weighting: Weighting::None,
            large_variance: false,
        };
        let tables = vec![0.5; TABLES * 100];
        let mut at = |first_picture: u32, pictures: usize| {
            let step = Step { first_picture, ..Step::seeded(8) };
            column(&rows(device, &tables, &weights, pictures, discrete, &step), Column::Index)
        };
        assert_eq!([at(0, 10), at(10, 10)].concat(), at(0, 20));
    });
}

/// What is drawn without shares is what runs before this kernel drew.
#[test]
fn uniform_timesteps_are_the_remainders_of_threefrys_bits() {
    use aquatint::kernels::random::{Purpose, picture_key, threefry2x32};
    let discrete = DiscreteLevels {
        draw: TimestepDraw::Uniform,
        prediction: PredictionType::Epsilon,
        weighting: Weighting::None,
        large_variance: false,
    };
    let step = Step { step: 12, first_picture: 3, ..Step::seeded(0x5_0000_0001) };
    let expected: Vec<f32> = (3..40)
        .map(|place| threefry2x32(picture_key([1, 5], Purpose::TrainingTimestep, place), [12, 0])[0] % 1000)
        .map(|t| t as f32)
        .collect();
    devices::on_each(|device| {
        let found = rows(device, &vec![0.5; TABLES * 1000], &[1.0; 1000], 37, discrete, &step);
        assert_eq!(column(&found, Column::Told), expected);
    });
}

/// The device's own tables serve as well as uploaded ones.
#[test]
fn tables_of_the_device_lead_to_the_same_rows() {
    let schedule = ScheduleTables { schedule: BetaSchedule::Linear, timesteps: 50, beta_start: 1e-3, beta_end: 0.1 };
    let mut r = Recorder::new();
    let tables = schedule_tables(&mut r, schedule);
    let discrete = DiscreteLevels {
        draw: TimestepDraw::Uniform,
        prediction: PredictionType::VPrediction,
        weighting: Weighting::Kl,
        large_variance: false,
    };
    let drawn = levels(&mut r, tables, None, 64, discrete).unwrap();
    let (found, told) = (r.export("levels", drawn.levels), r.export("told", drawn.told));
    let mut host = Host::<f32>::new();
    let plan = host.load(&r.finish()).unwrap();
    host.run(plan, &Step::seeded(2)).unwrap();
    let found = host.download(&found).unwrap();
    assert_eq!(column(&found, Column::Told), host.download(&told).unwrap());
    for row in found.chunks_exact(COLUMNS) {
        let (s, n) = (row[Column::Signal as usize], row[Column::Noise as usize]);
        assert!((s * s + n * n - 1.0).abs() < 1e-6);
        assert_eq!((row[Column::OfX0 as usize], row[Column::OfEpsilon as usize]), (-n, s));
    }
}

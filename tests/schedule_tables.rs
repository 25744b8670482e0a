//! The schedule's tables that are made on the device against their definitions in double precision and PyTorch's
//! numbers, entry by entry, on the host and on the GPU: all schedules by name, and betas that are given.

mod devices;
mod reference;

use aquatint::device::Device;
use aquatint::diffusion::{BetaSchedule, DeviceTables, NoiseSchedule, SchedulerConfig};
use aquatint::kernels::schedule_tables::{ScheduleTables, TABLES, Table, schedule_tables};
use aquatint::plan::{Recorder, Step};
use clap::ValueEnum;
use reference::Golden;
use serde_json::json;

/// Those that PyTorch's numbers are of, and their names there.
const GOLDEN: [(BetaSchedule, &str); 3] = [
    (BetaSchedule::Linear, "linear"),
    (BetaSchedule::ScaledLinear, "scaled_linear"),
    (BetaSchedule::SquaredCosine, "squaredcos_cap_v2"),
];

const ALL_TABLES: [Table; TABLES] = [
    Table::Betas,
    Table::AlphasCumprod,
    Table::OneMinusAlphasCumprod,
    Table::PosteriorVariance,
    Table::PosteriorMeanCoefX0,
    Table::PosteriorMeanCoefXt,
];

fn tables_of(schedule: BetaSchedule, timesteps: usize) -> ScheduleTables {
    ScheduleTables { schedule, timesteps, beta_start: 1e-4, beta_end: 0.02 }
}

/// Beta and 1 - beta by their definitions, and none of the forms that the program has.
fn definition(schedule: BetaSchedule, timesteps: usize, t: usize) -> [f64; 2] {
    let (steps, step) = (timesteps as f64, t as f64);
    let line = |start: f64, end: f64| start + (end - start) * step / (steps - 1.0).max(1.0);
    let (start, end) = (f64::from(1e-4_f32), f64::from(0.02_f32));
    let of_products = |product: &dyn Fn(f64) -> f64| {
        let left = product((step + 1.0) / steps) / product(step / steps);
        if 1.0 - left > 0.999 { [0.999, 1.0 - 0.999] } else { [1.0 - left, left] }
    };
    let beta = match schedule {
        BetaSchedule::Linear => line(start, end),
        BetaSchedule::ScaledLinear => line(start.sqrt(), end.sqrt()).powi(2),
        BetaSchedule::Sigmoid => start + (end - start) / (1.0 + (-line(-6.0, 6.0)).exp()),
        BetaSchedule::Constant => end,
        BetaSchedule::Jsd => 1.0 / (steps - step),
        BetaSchedule::SquaredCosine => {
            return of_products(&|u| ((u + 0.008) / 1.008 * std::f64::consts::FRAC_PI_2).cos().powi(2));
        }
        BetaSchedule::Exponential => return of_products(&|u| (-12.0 * u).exp()),
        BetaSchedule::Laplace => {
            return of_products(&|u| {
                let log_snr = -0.5 * 1_f64.copysign(0.5 - u) * (1.0 - 2.0 * (0.5 - u).abs() + 1e-6).ln();
                (log_snr.exp() / (1.0 + log_snr.exp())).sqrt()
            });
        }
    };
    [beta, 1.0 - beta]
}

/// The tables by their definitions (Ho et al. 2020, eq. 4 and 7), in [`Table`]'s order.
fn tables_in_f64(timesteps: usize, beta_and_alpha: impl Fn(usize) -> [f64; 2]) -> [Vec<f64>; TABLES] {
    let mut tables: [Vec<f64>; TABLES] = Default::default();
    let (mut before, mut noise_before) = (1.0, 0.0);
    for t in 0..timesteps {
        let [beta, alpha] = beta_and_alpha(t);
        let cumprod = before * alpha;
        // 1 - abar_t without the cancellation.
        let noise = beta + alpha * noise_before;
        let row = [
            beta,
            cumprod,
            noise,
            beta * noise_before / noise,
            beta * f64::sqrt(before) / noise,
            noise_before * alpha.sqrt() / noise,
        ];
        tables.iter_mut().zip(row).for_each(|(table, value)| table.push(value));
        (before, noise_before) = (cumprod, noise);
    }
    tables
}

fn tables_on(device: &mut dyn Device, schedule: ScheduleTables) -> Vec<f32> {
    let mut r = Recorder::new();
    let tables = schedule_tables(&mut r, schedule);
    let tables = r.export("tables", tables);
    let plan = device.load(&r.finish()).unwrap();
    device.run(plan, &Step::default()).unwrap();
    device.download(&tables).unwrap()
}

/// As the trainer has them.
fn tables_of_config(device: &mut dyn Device, config: &SchedulerConfig) -> Vec<f32> {
    let mut r = Recorder::new();
    let recorded = DeviceTables::new(config);
    let tables = recorded.record(&mut r).unwrap();
    let tables = r.export("tables", tables);
    let plan = device.load(&r.finish()).unwrap();
    recorded.upload(device).unwrap();
    device.run(plan, &Step::default()).unwrap();
    device.download(&tables).unwrap()
}

/// Panics unless every entry of a table is within 1e-5 of what is expected, relative to that entry alone. An expected 0
/// has to be 0.
fn assert_table(what: &str, found: &[f32], table: Table, expected: &[f64]) {
    let found = &found[table as usize * expected.len()..][..expected.len()];
    let mut worst = 0.0f64;
    for (t, (&found, &expected)) in found.iter().zip(expected).enumerate() {
        let difference = (f64::from(found) - expected).abs();
        worst = worst.max(difference / expected);
        assert!(difference <= 1e-5 * expected, "{what}, {table:?}, t = {t}: found {found:e}, expected {expected:e}");
    }
    println!("{what}, {table:?}: {worst:.2e}");
}

#[test]
fn tables_are_their_definitions() {
    devices::on_each(|device| {
        for timesteps in [1, 10, 100, 1000, 4000] {
            for &schedule in BetaSchedule::value_variants() {
                let what = format!("{schedule:?} {timesteps} on {}", device.description());
                let found = tables_on(device, tables_of(schedule, timesteps));
                let expected = tables_in_f64(timesteps, |t| definition(schedule, timesteps, t));
                for (table, expected) in ALL_TABLES.into_iter().zip(expected) {
                    assert_table(&what, &found, table, &expected);
                }
                let first = |table: Table| found[table as usize * timesteps];
                assert_eq!(first(Table::PosteriorMeanCoefX0), 1.0, "{what}: the last step keeps nothing but x_0");
            }
        }
    });
}

/// Constant ones too, whose rounding is the same at every timestep, and large ones.
#[test]
fn tables_of_given_betas_are_their_definitions() {
    let repeated = |beta: f64, times: usize| vec![beta; times];
    let jagged: Vec<f64> = (0..777).map(|t| 0.3 / (1.0 + (t * t % 101) as f64)).collect();
    let lists = [
        repeated(0.01234567, 1000),
        repeated(1.0 / 30_000.0, 4000),
        repeated(0.49999, 90),
        repeated(0.6, 60),
        jagged,
        vec![1.0],
        vec![0.1, 0.9999, 0.2, 1.0],
    ];
    devices::on_each(|device| {
        for betas in &lists {
            let what = format!("{} betas from {} on {}", betas.len(), betas[0], device.description());
            let keys = json!({ "num_train_timesteps": betas.len(), "trained_betas": betas });
            let config = SchedulerConfig::from_json(&keys, "test").unwrap();
            let found = tables_of_config(device, &config);
            let expected = tables_in_f64(betas.len(), |t| [betas[t], 1.0 - betas[t]]);
            for (table, expected) in ALL_TABLES.into_iter().zip(expected) {
                assert_table(&what, &found, table, &expected);
            }
        }
        for &schedule in BetaSchedule::value_variants() {
            let keys = json!({ "beta_schedule": schedule, "rescale_betas_zero_snr": true });
            let config = SchedulerConfig::from_json(&keys, "test").unwrap();
            let what = format!("{keys} on {}", device.description());
            let found = tables_of_config(device, &config);
            // Algorithm 1 of Lin et al. 2023, on the definitions.
            let plain = tables_in_f64(1000, |t| definition(schedule, 1000, t));
            let roots: Vec<f64> = plain[Table::AlphasCumprod as usize].iter().map(|signal| signal.sqrt()).collect();
            let moved = |t: usize| ((roots[t] - roots[999]) * roots[0] / (roots[0] - roots[999])).powi(2);
            let expected = tables_in_f64(1000, |t| match t {
                0 => [1.0 - moved(0), moved(0)],
                t => [1.0 - moved(t) / moved(t - 1), moved(t) / moved(t - 1)],
            });
            for (table, expected) in ALL_TABLES.into_iter().zip(expected) {
                assert_table(&what, &found, table, &expected);
            }
            assert_eq!(found[Table::AlphasCumprod as usize * 1000 + 999], 0.0, "{what}");
        }
    });
}

#[test]
fn tables_are_the_golden_ones() {
    let golden = Golden::open("schedulers");
    devices::on_each(|device| {
        for (schedule, name) in GOLDEN {
            let found = tables_on(device, tables_of(schedule, 1000));
            for (table, row) in [
                (Table::Betas, "betas"),
                (Table::AlphasCumprod, "alphas_cumprod"),
                (Table::PosteriorVariance, "posterior_variance"),
                (Table::PosteriorMeanCoefX0, "posterior_mean_coef_x0"),
                (Table::PosteriorMeanCoefXt, "posterior_mean_coef_xt"),
            ] {
                let expected = &golden.get(&format!("sched/{name}/{row}_f64")).data;
                let expected: Vec<f64> = expected.iter().map(|&x| x.into()).collect();
                assert_table(&format!("golden {name} on {}", device.description()), &found, table, &expected);
            }
        }
    });
}

#[test]
fn the_hosts_tables_are_the_devices() {
    let mut reference = aquatint::device::Host::<f32>::new();
    for &schedule in BetaSchedule::value_variants() {
        let keys = json!({ "beta_schedule": schedule });
        let config = SchedulerConfig::from_json(&keys, "test").unwrap();
        let found = tables_of_config(&mut reference, &config);
        let expected: Vec<f64> = NoiseSchedule::new(&config).tables().into_iter().map(f64::from).collect();
        for table in ALL_TABLES {
            assert_table(&format!("{schedule:?}"), &found, table, &expected[table as usize * 1000..][..1000]);
        }
    }
}

//! The schedule's tables that are made on the device against their definitions in double precision and PyTorch's
//! numbers, entry by entry, on the host and on the GPU; and those of other schedules, made on the host.

mod devices;
mod reference;

use aquatint::device::Device;
use aquatint::diffusion::{NoiseSchedule, SchedulerConfig};
use aquatint::kernels::schedule_tables::{ClosedForm, ScheduleTables, TABLES, Table, schedule_tables, tables_of_betas};
use aquatint::plan::{Recorder, Step};
use reference::Golden;
use serde_json::json;

/// Our schedules and diffusers' names for them.
const SCHEDULES: [(ClosedForm, &str); 3] = [
    (ClosedForm::Linear, "linear"),
    (ClosedForm::ScaledLinear, "scaled_linear"),
    (ClosedForm::SquaredCosine, "squaredcos_cap_v2"),
];

const ALL_TABLES: [Table; TABLES] = [
    Table::Betas,
    Table::AlphasCumprod,
    Table::OneMinusAlphasCumprod,
    Table::PosteriorVariance,
    Table::PosteriorMeanCoefX0,
    Table::PosteriorMeanCoefXt,
];

fn tables_of(schedule: ClosedForm, timesteps: usize) -> ScheduleTables {
    ScheduleTables { schedule, timesteps, beta_start: 1e-4, beta_end: 0.02 }
}

/// The tables by their definitions (Ho et al. 2020, eq. 4 and 7; Nichol & Dhariwal 2021, eq. 17), in [`Table`]'s order.
fn tables_in_f64(schedule: ClosedForm, timesteps: usize) -> [Vec<f64>; TABLES] {
    let steps = timesteps as f64;
    let line = |start: f64, end: f64, t: usize| start + (end - start) * t as f64 / (steps - 1.0);
    let cosine = |t: usize| ((t as f64 / steps + 0.008) / 1.008 * std::f64::consts::FRAC_PI_2).cos().powi(2);
    let beta = |t: usize| match schedule {
        ClosedForm::Linear => line(1e-4, 0.02, t),
        ClosedForm::ScaledLinear => line(1e-4_f64.sqrt(), 0.02_f64.sqrt(), t).powi(2),
        ClosedForm::SquaredCosine => (1.0 - cosine(t + 1) / cosine(t)).min(0.999),
    };
    let mut tables: [Vec<f64>; TABLES] = Default::default();
    let (mut before, mut noise_before) = (1.0, 0.0);
    for t in 0..timesteps {
        let beta = beta(t);
        let cumprod = before * (1.0 - beta);
        // 1 - abar_t without the cancellation.
        let noise = beta + (1.0 - beta) * noise_before;
        let row = [
            beta,
            cumprod,
            noise,
            beta * noise_before / noise,
            beta * f64::sqrt(before) / noise,
            noise_before * (1.0 - beta).sqrt() / noise,
        ];
        tables.iter_mut().zip(row).for_each(|(table, value)| table.push(value));
        (before, noise_before) = (cumprod, noise);
    }
    tables
}

fn tables_on(device: &mut dyn Device, schedule: ClosedForm, timesteps: usize) -> Vec<f32> {
    let mut r = Recorder::new();
    let tables = schedule_tables(&mut r, tables_of(schedule, timesteps));
    let tables = r.export("tables", tables);
    let plan = device.load(&r.finish()).unwrap();
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
        for timesteps in [10, 100, 1000, 4000] {
            for (schedule, _) in SCHEDULES {
                let what = format!("{schedule:?} {timesteps} on {}", device.description());
                let found = tables_on(device, schedule, timesteps);
                for (table, expected) in ALL_TABLES.into_iter().zip(tables_in_f64(schedule, timesteps)) {
                    assert_table(&what, &found, table, &expected);
                }
                let first = |table: Table| found[table as usize * timesteps];
                assert_eq!(first(Table::PosteriorMeanCoefX0), 1.0, "{what}: the last step keeps nothing but x_0");
            }
        }
    });
}

#[test]
fn tables_are_the_golden_ones() {
    let golden = Golden::open("schedulers");
    devices::on_each(|device| {
        for (schedule, name) in SCHEDULES {
            let found = tables_on(device, schedule, 1000);
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
    for (schedule, name) in SCHEDULES {
        let keys = json!({ "beta_schedule": name });
        let config = SchedulerConfig::from_json(&keys, "test").unwrap();
        assert_eq!(NoiseSchedule::on_device(&config), Some(tables_of(schedule, 1000)));
        let found = tables_on(&mut reference, schedule, 1000);
        let expected = tables_of_betas(&NoiseSchedule::new(&config).betas);
        for table in ALL_TABLES {
            assert_table(name, &found, table, &expected[table as usize * 1000..][..1000]);
        }
    }
    for keys in [json!({ "beta_schedule": "sigmoid" }), json!({ "rescale_betas_zero_snr": true })] {
        let config = SchedulerConfig::from_json(&keys, "test").unwrap();
        assert_eq!(NoiseSchedule::on_device(&config), None, "{keys}");
    }
}

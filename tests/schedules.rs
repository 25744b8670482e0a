//! Noise schedules, the forward process and the reverse process against their definitions in double precision and
//! against diffusers (`tests/golden/schedulers.safetensors`), on the host and on the GPU.

mod devices;
mod reference;

use aquatint::check::relative_difference;
use aquatint::device::Device;
use aquatint::kernels::forward_process::add_noise;
use aquatint::kernels::reverse_step::{Prediction, ReverseProcess, Variance, reverse_step};
use aquatint::kernels::schedule_tables::{BetaSchedule, ScheduleTables, TABLES, Table, schedule_tables};
use aquatint::plan::{Recorder, Step, Storage};
use reference::Golden;

/// Our schedules and diffusers' names for them.
const SCHEDULES: [(BetaSchedule, &str); 3] = [
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

/// The tables by their definitions (Ho et al. 2020, eq. 4 and 7; Nichol & Dhariwal 2021, eq. 17), in [`Table`]'s order.
fn tables_in_f64(schedule: BetaSchedule, timesteps: usize) -> [Vec<f64>; TABLES] {
    let steps = timesteps as f64;
    let line = |start: f64, end: f64, t: usize| start + (end - start) * t as f64 / (steps - 1.0);
    let cosine = |t: usize| ((t as f64 / steps + 0.008) / 1.008 * std::f64::consts::FRAC_PI_2).cos().powi(2);
    let beta = |t: usize| match schedule {
        BetaSchedule::Linear => line(1e-4, 0.02, t),
        BetaSchedule::ScaledLinear => line(1e-4_f64.sqrt(), 0.02_f64.sqrt(), t).powi(2),
        BetaSchedule::SquaredCosine => (1.0 - cosine(t + 1) / cosine(t)).min(0.999),
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

fn tables_on(device: &mut dyn Device, schedule: BetaSchedule, timesteps: usize) -> Vec<f32> {
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
fn forward_process_is_diffusers() {
    let golden = Golden::open("schedulers");
    let repeated = |name: &str| golden.get(name).nhwc().1.repeat(4);
    let (x0, noise) = (repeated("in/x0"), repeated("in/noise"));
    devices::on_each(|device| {
        for (schedule, name) in SCHEDULES {
            let (shape, expected) = golden.get(&format!("add_noise/{name}/t_0_17_500_999")).nhwc();
            let inputs = ["x0", "noise"].map(|name| Storage::f32(name, x0.len()));
            let timesteps = Storage::f32("timesteps", 4);
            let mut r = Recorder::new();
            let tables = schedule_tables(&mut r, tables_of(schedule, 1000));
            let [x0_value, noise_value] = inputs.each_ref().map(|storage| r.input(storage, &shape));
            let t = r.input(&timesteps, &[4]);
            let noisy = add_noise(&mut r, tables, x0_value, noise_value, t).unwrap();
            let noisy = r.export("noisy", noisy);
            let plan = device.load(&r.finish()).unwrap();
            device.upload(&inputs[0], 0, &x0).unwrap();
            device.upload(&inputs[1], 0, &noise).unwrap();
            device.upload(&timesteps, 0, &[0.0, 17.0, 500.0, 999.0]).unwrap();
            device.run(plan, &Step::default()).unwrap();
            let found = device.download(&noisy).unwrap();
            let difference = relative_difference(&found, &expected.iter().map(|&x| x.into()).collect::<Vec<_>>());
            println!("add_noise {name}: {difference:.2e}");
            assert!(difference <= 1e-5, "add_noise, {name}: {difference:.1e} on {}", device.description());
        }
    });
}

/// A step of the reverse process by its definition (Ho et al. 2020, eq. 7 and 15), between any two timesteps.
fn step_in_f64(
    tables: &[Vec<f64>; TABLES],
    process: ReverseProcess,
    (t, previous): (usize, Option<usize>),
    [x, output, noise]: [f64; 3],
) -> f64 {
    let [_, cumprod, rest, ..] = tables;
    let (before, rest_before) = previous.map_or((1.0, 0.0), |previous| (cumprod[previous], rest[previous]));
    let (signal, deviation) = (cumprod[t].sqrt(), rest[t].sqrt());
    let x0 = match process.prediction {
        Prediction::Epsilon => (x - deviation * output) / signal,
        Prediction::Sample => output,
        Prediction::VPrediction => signal * x - deviation * output,
    };
    let x0 = process.clip_range.map_or(x0, |range| x0.clamp(-f64::from(range), range.into()));
    let beta = 1.0 - cumprod[t] / before;
    let variance = match process.variance {
        Variance::FixedSmall => beta * rest_before / rest[t],
        Variance::FixedLarge => beta,
    };
    let mean = beta * before.sqrt() / rest[t] * x0 + rest_before * (cumprod[t] / before).sqrt() / rest[t] * x;
    mean + if t > 0 { variance.sqrt() * noise } else { 0.0 }
}

#[test]
fn reverse_steps_are_their_definition_and_diffusers() {
    let golden = Golden::open("schedulers");
    let given = |name: &str| golden.get(name).nhwc();
    let (shape, x) = given("in/x_t");
    let (output, noise) = (given("in/model_out").1, given("in/noise").1);
    devices::on_each(|device| {
        let mut steps = 0;
        for (name, tensor) in &golden.tensors {
            let parts: Vec<&str> = name.split('/').collect();
            let ["ddpm", schedule, variance, prediction, clip, spacing, t, "prev"] = parts[..] else { continue };
            // A learned variance and dynamic thresholding are not supported.
            if variance == "learned_range" || clip.starts_with("dynthresh") {
                continue;
            }
            steps += 1;
            let schedule = SCHEDULES.into_iter().find(|(_, name)| *name == schedule).unwrap().0;
            let process = ReverseProcess {
                prediction: match prediction {
                    "epsilon" => Prediction::Epsilon,
                    "sample" => Prediction::Sample,
                    "v_prediction" => Prediction::VPrediction,
                    other => panic!("{other}"),
                },
                variance: if variance == "fixed_small" { Variance::FixedSmall } else { Variance::FixedLarge },
                clip_range: (clip == "clip1").then_some(1.0),
            };
            let t: u32 = t[1..].parse().unwrap();
            // As diffusers' `previous_timestep`: the next of the timesteps, -1 after the last.
            let previous = match spacing {
                "full1000" => t.checked_sub(1),
                spaced => {
                    let (spacing, count) = spaced.split_at(spaced.find(|c: char| c.is_ascii_digit()).unwrap());
                    let list = &golden.get(&format!("timesteps/ddpm/{spacing}/n{count}/offset0")).integers;
                    let place = list.iter().position(|&listed| listed == t).unwrap();
                    list.get(place + 1).copied()
                }
            };

            let storages = ["x", "output", "noise"].map(|name| Storage::f32(name, x.len()));
            let mut r = Recorder::new();
            let tables = schedule_tables(&mut r, tables_of(schedule, 1000));
            let [x_value, output_value, noise_value] = storages.each_ref().map(|storage| r.input(storage, &shape));
            reverse_step(&mut r, tables, output_value, Some(noise_value), x_value, process).unwrap();
            let plan = device.load(&r.finish()).unwrap();
            for (storage, data) in storages.iter().zip([&x, &output, &noise]) {
                device.upload(storage, 0, data).unwrap();
            }
            let previous_timestep = previous.map_or(-1, |previous| previous as i32);
            let step = Step { timestep: t, previous_timestep, add_noise: (t > 0).into(), ..Step::default() };
            device.run(plan, &step).unwrap();
            let found = device.download(&storages[0]).unwrap();

            let tables = tables_in_f64(schedule, 1000);
            let pair = (t as usize, previous.map(|previous| previous as usize));
            let exact: Vec<f64> = (0..x.len())
                .map(|i| step_in_f64(&tables, process, pair, [x[i], output[i], noise[i]].map(f64::from)))
                .collect();
            let diffusers: Vec<f64> = tensor.nhwc().1.into_iter().map(f64::from).collect();
            let from_exact = relative_difference(&found, &exact);
            let from_diffusers = relative_difference(&found, &diffusers);
            println!("{name}: {from_exact:.1e} from the definition, {from_diffusers:.1e} from diffusers");
            assert!(from_exact <= 1e-5, "{name}: {from_exact:.1e} on {}", device.description());
            // diffusers takes 1 - abar_0 and 1 - abar_1 as differences of singles; a step between these two is itself up
            // to 5.6e-4 from the definition.
            let tolerance = if t == 1 { 1e-3 } else { 1e-5 };
            assert!(from_diffusers <= tolerance, "{name}: {from_diffusers:.1e} on {}", device.description());
        }
        assert_eq!(steps, 2 * 2 * (3 * 2 * 4 + 3 * 3));
    });
}

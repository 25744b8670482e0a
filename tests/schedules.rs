//! Noise schedules, the forward process and samplers against diffusers, on the host and on the GPU: every entry of
//! `tests/golden/schedulers.safetensors`.

mod devices;
mod reference;

use aquatint::check::relative_difference;
use aquatint::device::Device;
use aquatint::diffusion::{Chain, ChainOptions, NoiseSchedule, SchedulerConfig};
use aquatint::kernels::dynamic_threshold::dynamic_threshold;
use aquatint::kernels::forward_process::add_noise;
use aquatint::kernels::sampler_step::{COLUMNS, Operands, Weights, sampler_step};
use aquatint::kernels::schedule_tables::TABLES;
use aquatint::plan::{Recorder, Step, Storage};
use reference::Golden;
use serde_json::{Value, json};
use std::collections::BTreeSet;

const SCHEDULES: [&str; 3] = ["linear", "scaled_linear", "squaredcos_cap_v2"];
/// Of the tables, relative to the largest value.
const OF_TABLES: f64 = 1e-5;
/// Of everything else; diffusers computes in single precision.
const OF_STEPS: f64 = 1e-4;
/// diffusers takes 1 - abar_0 and 1 - abar_1 as differences of singles: a step between these two is itself up to 5.6e-4
/// from its definition.
const OF_FIRST_STEPS: f64 = 1e-3;

fn scheduler(class: &str, keys: Value) -> SchedulerConfig {
    let mut all = json!({ "_class_name": class });
    all.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
    SchedulerConfig::from_json(&all, "golden").unwrap()
}

fn chain(config: &SchedulerConfig, steps: usize, eta: f64) -> Chain {
    Chain::new(config, ChainOptions { steps: Some(steps), eta, diffusers_exact: true, ..ChainOptions::default() })
        .unwrap()
}

/// Compares with the golden file, and remembers what was compared.
struct Compared<'a> {
    golden: &'a Golden,
    names: BTreeSet<String>,
    worst: f64,
}

impl Compared<'_> {
    fn assert(&mut self, name: &str, found: &[f32], tolerance: f64) {
        let expected: Vec<f64> = self.golden.get(name).nhwc().1.into_iter().map(f64::from).collect();
        assert_eq!(found.len(), expected.len(), "{name}");
        let difference = relative_difference(found, &expected);
        assert!(difference <= tolerance, "{name}: {difference:.1e} of the largest value");
        self.worst = self.worst.max(difference / tolerance);
        self.names.insert(name.into());
    }
}

/// Tables of the three schedules: what is trained with, and the weights of ancestral steps over all timesteps.
fn tables(compared: &mut Compared) {
    let singles = |values: &[f64]| values.iter().map(|&value| value as f32).collect::<Vec<_>>();
    for name in SCHEDULES {
        let weights = |variance_type: &str| -> Vec<Weights> {
            let keys = json!({ "beta_schedule": name, "variance_type": variance_type });
            let chain = chain(&scheduler("DDPMScheduler", keys), 1000, 0.0);
            chain.stages().iter().rev().map(|stage| stage.weights).collect()
        };
        let (small, large) = (weights("fixed_small"), weights("fixed_large"));
        let schedule = NoiseSchedule::new(&scheduler("DDPMScheduler", json!({ "beta_schedule": name })));
        let tables = [
            ("betas", schedule.betas.clone()),
            ("alphas_cumprod", schedule.alphas_cumprod.clone()),
            ("posterior_variance", small.iter().map(|w| w.noise.powi(2)).collect()),
            // As Nichol & Dhariwal have it, the first is the second's: there is no noise at the end.
            ("posterior_log_variance_clipped", (0..1000).map(|t| 2.0 * small[t.max(1)].noise.ln()).collect()),
            ("posterior_mean_coef_x0", small.iter().map(|w| w.x_of[1]).collect()),
            ("posterior_mean_coef_xt", small.iter().map(|w| w.x_of[0]).collect()),
        ];
        for (table, values) in &tables {
            compared.assert(&format!("sched/{name}/{table}_f64"), &singles(values), OF_TABLES);
        }
        // Entry by entry, where single precision and clipping do not decide.
        for (table, values) in &tables[..2] {
            compared.assert(&format!("sched/{name}/{table}_f32"), &singles(values), OF_TABLES);
            let exact = &compared.golden.get(&format!("sched/{name}/{table}_f64")).data;
            for (t, (value, exact)) in values.iter().zip(exact).enumerate() {
                let exact = f64::from(*exact);
                assert!((value - exact).abs() <= 1e-6 * exact, "{name}, {table}, t = {t}: {value:e}, {exact:e}");
            }
        }
        // At t = 0 diffusers has a variance too, which its steps do not use.
        let with_first = |weights: &[Weights], first: f64| -> Vec<f32> {
            let rest = weights[1..].iter().map(|w| w.noise.powi(2) as f32);
            [first as f32].into_iter().chain(rest).collect()
        };
        let variance = |size: &str| format!("sched/{name}/diffusers_fixed_{size}_variance");
        compared.assert(&variance("small"), &with_first(&small, 1e-20), OF_TABLES);
        compared.assert(&variance("large"), &with_first(&large, schedule.betas[0]), OF_TABLES);

        // A prediction of v is turned into x_0 by the weights of every stage.
        let keys = json!({ "beta_schedule": name, "prediction_type": "v_prediction" });
        let stages = chain(&scheduler("DDPMScheduler", keys), 1000, 0.0);
        let x0 = compared.golden.get("in/x0").data.clone();
        let entry = |what: &str| format!("{what}/{name}/t_0_17_500_999");
        let [noisy, velocity] = ["add_noise", "velocity"].map(|what| &compared.golden.get(&entry(what)).data);
        for (picture, t) in [0, 17, 500, 999].into_iter().enumerate() {
            let [of_x, of_output] = stages.stages()[999 - t].weights.x0_of;
            for (i, expected) in x0.iter().enumerate() {
                let at = picture * x0.len() + i;
                let found = of_x * f64::from(noisy[at]) + of_output * f64::from(velocity[at]);
                assert!((found - f64::from(*expected)).abs() < 1e-5, "velocity, {name}, t = {t}: {found}, {expected}");
            }
        }
        compared.names.insert(entry("velocity"));
    }
}

fn timesteps(compared: &mut Compared) {
    for (class, short) in [("DDPMScheduler", "ddpm"), ("DDIMScheduler", "ddim")] {
        for steps in [10, 50] {
            for (spacing, offset) in [("leading", 0), ("leading", 1), ("trailing", 0), ("linspace", 0)] {
                let keys = json!({ "timestep_spacing": spacing, "steps_offset": offset });
                let chain = chain(&scheduler(class, keys), steps, 0.0);
                let found: Vec<u32> = chain.stages().iter().map(|stage| stage.timestep as u32).collect();
                let name = format!("timesteps/{short}/{spacing}/n{steps}/offset{offset}");
                assert_eq!(found, compared.golden.get(&name).integers, "{name}");
                compared.names.insert(name);
            }
        }
    }
}

fn forward_process(device: &mut dyn Device, compared: &mut Compared) {
    let repeated = |name: &str| compared.golden.get(name).nhwc().1.repeat(4);
    let (x0, noise) = (repeated("in/x0"), repeated("in/noise"));
    for name in SCHEDULES {
        let entry = format!("add_noise/{name}/t_0_17_500_999");
        let (shape, _) = compared.golden.get(&entry).nhwc();
        let schedule = NoiseSchedule::new(&scheduler("DDPMScheduler", json!({ "beta_schedule": name })));
        let inputs = ["x0", "noise"].map(|name| Storage::f32(name, x0.len()));
        let (timesteps, tables) = (Storage::f32("timesteps", 4), Storage::f32("noise schedule", TABLES * 1000));
        let mut r = Recorder::new();
        let table_values = r.input(&tables, &[TABLES, 1000]);
        let [x0_value, noise_value] = inputs.each_ref().map(|storage| r.input(storage, &shape));
        let t = r.input(&timesteps, &[4]);
        let noisy = add_noise(&mut r, table_values, x0_value, noise_value, t).unwrap();
        let noisy = r.export("noisy", noisy);
        let plan = device.load(&r.finish()).unwrap();
        device.upload(&tables, 0, &schedule.tables()).unwrap();
        device.upload(&inputs[0], 0, &x0).unwrap();
        device.upload(&inputs[1], 0, &noise).unwrap();
        device.upload(&timesteps, 0, &[0.0, 17.0, 500.0, 999.0]).unwrap();
        device.run(plan, &Step::default()).unwrap();
        compared.assert(&entry, &device.download(&noisy).unwrap(), OF_TABLES);
    }
}

/// Runs rows of weights as stages of a chain's kernel: what x is after each, beginning with the same x every time, or
/// where the last has left it.
struct Stages<'a> {
    device: &'a mut dyn Device,
    plan: aquatint::device::PlanId,
    x: Storage,
    output: Storage,
}

impl<'a> Stages<'a> {
    /// NHWC of `[1, 4, 4, 2]`; two more channels of output where variances are learned.
    fn new(device: &'a mut dyn Device, chain: &Chain, rows: &[Weights], noise: &[f32]) -> Self {
        let shape = [1, 4, 4, 2];
        let outputs = if chain.learned_variances() == Some(true) { 4 } else { 2 };
        let [x, given] = ["x", "noise"].map(|name| Storage::f32(name, 32));
        let output = Storage::f32("output", 16 * outputs);
        let table = Storage::f32("table", rows.len() * COLUMNS);
        let mut r = Recorder::new();
        let table_value = r.input(&table, &[rows.len(), COLUMNS]);
        let [x_value, noise_value] = [&x, &given].map(|storage| r.input(storage, &shape));
        let output_value = r.input(&output, &[1, 4, 4, outputs]);
        let thresholds = chain.threshold().map(|threshold| {
            dynamic_threshold(&mut r, table_value, output_value, [None; 2], x_value, threshold).unwrap()
        });
        let operands = Operands {
            table: table_value,
            output: Some(output_value),
            factors: None,
            gradient: None,
            thresholds,
            noise: Some(noise_value),
            kept: None,
            x: x_value,
        };
        sampler_step(&mut r, chain.kernel(), operands).unwrap();
        let plan = device.load(&r.finish()).unwrap();
        let words: Vec<f32> = rows.iter().flat_map(Weights::row).map(|weight| weight as f32).collect();
        device.upload(&table, 0, &words).unwrap();
        device.upload(&given, 0, noise).unwrap();
        Self { device, plan, x, output }
    }

    fn run(&mut self, row: usize, x: &[f32], output: &[f32]) -> Vec<f32> {
        self.device.upload(&self.x, 0, x).unwrap();
        self.device.upload(&self.output, 0, output).unwrap();
        let step = Step { sampler_row: row as u32, ..Step::default() };
        self.device.run(self.plan, &step).unwrap();
        self.device.download(&self.x).unwrap()
    }
}

/// Single steps of ancestral sampling and DDIM: ddpm/schedule/variance/prediction/clipping/spacing/t/what and
/// ddim/schedule/prediction/clipping/last alpha/eta/spacing/t/what.
fn single_steps(device: &mut dyn Device, compared: &mut Compared) {
    let golden = compared.golden;
    let given = |name: &str| golden.get(name).nhwc().1;
    let (x, noise) = (given("in/x_t"), given("in/noise"));
    let prediction = given("in/model_out");
    let with_variance: Vec<f32> =
        prediction.chunks(2).zip(given("in/var_out").chunks(2)).flat_map(|(both, v)| [both, v].concat()).collect();
    let names: BTreeSet<&str> = golden.tensors.keys().filter_map(|name| name.strip_suffix("/prev")).collect();
    for name in names {
        let parts: Vec<&str> = name.split('/').collect();
        let (class, schedule, variance, prediction_type, clip, alpha, eta, spacing, t) = match parts[..] {
            ["ddpm", schedule, variance, prediction, clip, spacing, t] => {
                ("DDPMScheduler", schedule, variance, prediction, clip, "a11", "eta0.0", spacing, t)
            }
            ["ddim", schedule, prediction, clip, alpha, eta, spacing, t] => {
                ("DDIMScheduler", schedule, "fixed_small", prediction, clip, alpha, eta, spacing, t)
            }
            _ => panic!("{name}"),
        };
        let (spacing, steps) = spacing.split_at(spacing.find(|c: char| c.is_ascii_digit()).unwrap());
        let mut keys = json!({
            "beta_schedule": schedule,
            "variance_type": variance,
            "prediction_type": prediction_type,
            "clip_sample": clip == "clip1",
            "set_alpha_to_one": alpha == "a11",
            "timestep_spacing": if spacing == "full" { "leading" } else { spacing },
        });
        if let Some(threshold) = clip.strip_prefix("dynthresh_r") {
            let (ratio, most) = threshold.split_once("_max").unwrap();
            keys["thresholding"] = true.into();
            keys["dynamic_thresholding_ratio"] = ratio.parse::<f64>().unwrap().into();
            keys["sample_max_value"] = most.parse::<f64>().unwrap().into();
        }
        let eta = eta[3..].parse().unwrap();
        let chain = chain(&scheduler(class, keys), steps.parse().unwrap(), eta);
        let t: f64 = t[1..].parse().unwrap();
        let stage = chain.stages().iter().find(|stage| stage.timestep == t).unwrap_or_else(|| panic!("{name}"));
        // The step, and the clipped x_0 alone.
        let x0_alone = Weights { x_of: [0.0, 1.0, 0.0], noise: 0.0, ..stage.weights };
        let learned = chain.learned_variances() == Some(true);
        let output = if learned { &with_variance } else { &prediction };
        let mut stages = Stages::new(device, &chain, &[stage.weights, x0_alone], &noise);
        let tolerance = if t == 1.0 { OF_FIRST_STEPS } else { OF_STEPS };
        compared.assert(&format!("{name}/prev"), &stages.run(0, &x, output), tolerance);
        compared.assert(&format!("{name}/x0"), &stages.run(1, &x, output), OF_STEPS);
    }
}

/// Whole chains on the toy model eps(x, t) = tanh(0.7 x + t / 1000).
fn chains(device: &mut dyn Device, compared: &mut Compared) {
    let given = |name: &str| compared.golden.get(name).nhwc().1;
    let (start, noise) = (given("in/x_t"), given("in/noise"));
    for schedule in ["linear", "squaredcos_cap_v2"] {
        for spacing in ["leading", "trailing"] {
            for (class, name, steps, clip) in
                [("DDIMScheduler", "ddim10", 10, false), ("DDPMScheduler", "ddpm50_constnoise", 50, true)]
            {
                let keys = json!({ "beta_schedule": schedule, "timestep_spacing": spacing, "clip_sample": clip });
                let chain = chain(&scheduler(class, keys), steps, 0.0);
                let rows: Vec<Weights> = chain.stages().iter().map(|stage| stage.weights).collect();
                let mut stages = Stages::new(device, &chain, &rows, &noise);
                let mut x = start.clone();
                for (row, stage) in chain.stages().iter().enumerate() {
                    let output: Vec<f32> =
                        x.iter().map(|x| (0.7 * x + stage.timestep as f32 / 1000.0).tanh()).collect();
                    x = stages.run(row, &x, &output);
                }
                compared.assert(&format!("chain/{name}/{schedule}/{spacing}/final"), &x, OF_STEPS);
            }
        }
    }
}

/// Guidance of scale 3: eps_u + 3 (eps_c - eps_u), as the fused update puts it together.
fn guidance(device: &mut dyn Device, compared: &mut Compared) {
    let given = |name: &str| compared.golden.get(name).nhwc().1;
    let both = [given("in/var_out"), given("in/model_out")].concat();
    let [x, output] = [32, 64].map(|len| Storage::f32("numbers", len));
    let table = Storage::f32("table", COLUMNS);
    let mut r = Recorder::new();
    let operands = Operands {
        table: r.input(&table, &[1, COLUMNS]),
        output: Some(r.input(&output, &[2, 4, 4, 2])),
        factors: None,
        gradient: None,
        thresholds: None,
        noise: None,
        kept: None,
        x: r.input(&x, &[1, 4, 4, 2]),
    };
    let chain = chain(&scheduler("DDIMScheduler", json!({ "clip_sample": false })), 1, 0.0);
    sampler_step(&mut r, chain.kernel(), operands).unwrap();
    let plan = device.load(&r.finish()).unwrap();
    let weights = Weights { x_of: [0.0, 0.0, 1.0], guidance: 3.0, ..Weights::default() };
    device.upload(&table, 0, &weights.row().map(|weight| weight as f32)).unwrap();
    device.upload(&output, 0, &both).unwrap();
    device.run(plan, &Step::default()).unwrap();
    compared.assert("cfg/w3", &device.download(&x).unwrap(), OF_STEPS);
}

#[test]
fn every_golden_entry_is_diffusers() {
    let golden = Golden::open("schedulers");
    devices::on_each(|device| {
        let inputs = ["x_t", "model_out", "noise", "x0", "var_out"].map(|name| format!("in/{name}"));
        let mut compared = Compared { golden: &golden, names: inputs.into(), worst: 0.0 };
        tables(&mut compared);
        timesteps(&mut compared);
        forward_process(device, &mut compared);
        single_steps(device, &mut compared);
        chains(device, &mut compared);
        guidance(device, &mut compared);
        let all: BTreeSet<String> = golden.tensors.keys().cloned().collect();
        let missing: Vec<&String> = all.difference(&compared.names).collect();
        assert!(missing.is_empty(), "not compared: {missing:?}");
        println!("{}: {} entries, worst {:.2} of what is allowed", device.description(), all.len(), compared.worst);
    });
}

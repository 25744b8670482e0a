//! Guidance on a mixture of Gaussians, whose predictions with a class and without are known exactly: in double precision,
//! through the chains' rows and the twin of their kernel, against numerical integration that uses neither.

use aquatint::device::{Device, Host};
use aquatint::diffusion::{Chain, ChainOptions, Guidance, NoiseSchedule, SchedulerConfig};
use aquatint::kernels::random::{Purpose, normal, picture_key};
use aquatint::kernels::sampler_step::{COLUMNS, Operands, sampler_step};
use aquatint::plan::{Recorder, Step, Storage};
use serde_json::json;

/// Share, mean and standard deviation of each class, on a line.
const CLASSES: [[f64; 3]; 3] = [[0.3, -1.2, 0.35], [0.5, 0.1, 0.4], [0.2, 1.1, 0.3]];

/// How probable each class is at y = x_0 + sigma eps.
fn posterior(y: f64, sigma: f64) -> [f64; 3] {
    let joint = CLASSES.map(|[share, mean, deviation]| {
        let variance = deviation * deviation + sigma * sigma;
        share * (-0.5 * (y - mean).powi(2) / variance).exp() / variance.sqrt()
    });
    let total: f64 = joint.iter().sum();
    joint.map(|joint| joint / total)
}

/// E[eps | y], with a class and without.
fn predictions(y: f64, sigma: f64, class: usize) -> [f64; 2] {
    let of = CLASSES.map(|[_, mean, deviation]| sigma * (y - mean) / (deviation * deviation + sigma * sigma));
    let without = posterior(y, sigma).iter().zip(of).map(|(share, of)| share * of).sum();
    [of[class], without]
}

/// What is drawn, told by three numbers: its mean, its variance, and how much of it is of the class.
fn summary(pictures: impl Iterator<Item = (f64, f64)>, class: usize) -> [f64; 3] {
    let (mut total, mut sums) = (0.0, [0.0; 3]);
    for (weight, x) in pictures {
        total += weight;
        let of = [x, x * x, posterior(x, 0.0)[class]];
        sums.iter_mut().zip(of).for_each(|(sum, of)| *sum += weight * of);
    }
    let [mean, square, share] = sums.map(|sum| sum / total);
    [mean, square - mean * mean, share]
}

/// Every x through a chain, in double precision; noise is drawn by number.
fn through(chain: &Chain, schedule: &NoiseSchedule, x: &[f64], class: usize) -> Vec<f64> {
    let n = x.len();
    let history = chain.kernel().history;
    let [table, output] =
        [("table", chain.stages().len() * COLUMNS), ("output", 2 * n)].map(|(n, l)| Storage::f32(n, l));
    let state = Storage::f32("x", n);
    let kept = Storage::f32("kept", history * n);
    let mut r = Recorder::new();
    let operands = Operands {
        table: r.input(&table, &[chain.stages().len(), COLUMNS]),
        output: Some(r.input(&output, &[2 * n, 1, 1, 1])),
        factors: None,
        gradient: None,
        thresholds: None,
        noise: None,
        kept: (history > 0).then(|| r.input(&kept, &[history, n])),
        x: r.input(&state, &[n, 1, 1, 1]),
    };
    sampler_step(&mut r, chain.kernel(), operands).unwrap();
    let mut host = Host::<f64>::reference();
    let plan = host.load(&r.finish()).unwrap();
    let rows: Vec<f64> = chain.stages().iter().flat_map(|stage| stage.weights.row()).collect();
    host.floats_mut(&table).unwrap().copy_from_slice(&rows);
    host.floats_mut(&state).unwrap().copy_from_slice(x);
    for (row, stage) in chain.stages().iter().enumerate() {
        let t = stage.timestep as usize;
        assert_eq!(t as f64, stage.timestep);
        let (signal, noise) = (schedule.alphas_cumprod[t].sqrt(), schedule.one_minus_alphas_cumprod[t].sqrt());
        let now = host.floats(&state).to_vec();
        let outputs = host.floats_mut(&output).unwrap();
        for (i, x) in now.iter().enumerate() {
            [outputs[i], outputs[n + i]] = predictions(x / signal, noise / signal, class);
        }
        let step = Step { sampler_row: row as u32, sampler_noise: row as u32, ..Step::seeded(8) };
        host.run(plan, &step).unwrap();
    }
    host.floats(&state).to_vec()
}

fn scheduler(class: &str) -> SchedulerConfig {
    let mut keys = json!({ "_class_name": class, "timestep_spacing": "linspace" });
    if matches!(class, "DDPMScheduler" | "DDIMScheduler") {
        keys["clip_sample"] = json!(false);
    }
    SchedulerConfig::from_json(&keys, "test").unwrap()
}

/// Places of x_T, and how probable each is.
fn grid() -> Vec<(f64, f64)> {
    const NODES: usize = 801;
    (0..NODES).map(|i| 10.0 * i as f64 / (NODES - 1) as f64 - 5.0).map(|x| ((-0.5 * x * x).exp(), x)).collect()
}

/// The probability-flow ODE dy / dsigma = eps of the guided prediction, by Runge and Kutta's method in ln sigma.
fn flow(mut y: f64, [from, to]: [f64; 2], class: usize, guidance: Guidance) -> f64 {
    let guided = |y: f64, sigma: f64| {
        let [with, without] = predictions(y, sigma, class);
        let inside = guidance.interval.is_none_or(|[low, high]| low < sigma && sigma <= high);
        if inside { without + guidance.scale * (with - without) } else { with }
    };
    // With the interval's ends as nodes, where the slope jumps.
    let mut nodes = vec![from, to];
    nodes.extend(guidance.interval.into_iter().flatten().filter(|sigma| (to..from).contains(sigma)));
    nodes.sort_by(|a, b| b.total_cmp(a));
    for ends in nodes.windows(2) {
        let steps = 300;
        let h = (ends[1] / ends[0]).ln() / f64::from(steps);
        for step in 0..steps {
            // A slope on the jump is that of this side of it.
            let inward = 1e-12 * (ends[0].ln() - ends[1].ln());
            let place = |part: f64| {
                let ln = ends[0].ln() + h * (f64::from(step) + part);
                ln.clamp(ends[1].ln() + inward, ends[0].ln() - inward).exp()
            };
            let slope = |y: f64, sigma: f64| sigma * guided(y, sigma);
            let [s0, s1, s2] = [0.0, 0.5, 1.0].map(place);
            let k1 = slope(y, s0);
            let k2 = slope(y + 0.5 * h * k1, s1);
            let k3 = slope(y + 0.5 * h * k2, s1);
            let k4 = slope(y + h * k3, s2);
            y += h / 6.0 * (k1 + 2.0 * k2 + 2.0 * k3 + k4);
        }
    }
    y
}

#[test]
fn solvers_of_the_guided_flow_match_its_integral() {
    for (sampler, steps, allowed) in [
        ("DDIMScheduler", 1000, 6e-3),
        ("DPMSolverMultistepScheduler", 300, 4e-3),
        ("HeunDiscreteScheduler", 1000, 4e-3),
    ] {
        let config = scheduler(sampler);
        let schedule = NoiseSchedule::new(&config);
        for (class, scale, interval) in [
            (0, 1.0, None),
            (0, 3.0, None),
            (1, 2.0, None),
            (1, 0.0, None),
            (2, 4.0, None),
            (2, 4.0, Some([0.25, 3.0])),
        ] {
            let guidance = Guidance { scale, interval, ..Guidance::default() };
            let options = ChainOptions { steps: Some(steps), guidance, ..ChainOptions::default() };
            let chain = Chain::new(&config, options).unwrap();
            let sigma = |t: f64| {
                let power = schedule.alphas_cumprod[t as usize];
                ((1.0 - power) / power).sqrt()
            };
            let stages = chain.stages();
            let ends = [stages[0].timestep, stages[stages.len() - 1].timestep].map(sigma);
            let nodes = grid();
            let initial = chain.initial_deviation();
            let starts: Vec<f64> = nodes.iter().map(|(_, x)| initial * x).collect();
            let drawn = through(&chain, &schedule, &starts, class);
            let found = summary(nodes.iter().zip(&drawn).map(|((weight, _), &x)| (*weight, x)), class);
            let signal = 1.0 / ends[0].hypot(1.0);
            let integral = starts.iter().map(|x| {
                let y = flow(x / signal, ends, class, guidance);
                // What is left of the noise goes in one step.
                let [with, without] = predictions(y, ends[1], class);
                let inside = interval.is_none_or(|[low, _]| ends[1] > low);
                y - ends[1] * if inside { without + scale * (with - without) } else { with }
            });
            let expected = summary(nodes.iter().zip(integral).map(|((weight, _), x)| (*weight, x)), class);
            println!("{sampler} class {class} scale {scale} {interval:?}: {found:.5?} {expected:.5?}");
            for (found, expected) in found.iter().zip(expected) {
                assert!((found - expected).abs() < allowed, "{sampler}, class {class}, {scale}: {found}, {expected}");
            }
        }
    }
}

/// Ancestral sampling of some steps: the density goes from step to step by an integral over all that it may come from
/// (Ho et al. 2020, eq. 6 and 7, of the guided prediction).
#[test]
fn guided_ancestral_sampling_matches_the_integral_of_its_transitions() {
    const NODES: usize = 2401;
    const HALF: f64 = 6.0;
    const DRAWN: usize = 40_000;
    let spacing = 2.0 * HALF / (NODES - 1) as f64;
    let place = |i: usize| spacing * i as f64 - HALF;
    let config = scheduler("DDPMScheduler");
    let schedule = NoiseSchedule::new(&config);
    let power = |t: Option<usize>| t.map_or(1.0, |t| schedule.alphas_cumprod[t]);
    for (class, scale) in [(0, 2.5), (1, 2.0), (2, 1.0)] {
        let guidance = Guidance { scale, ..Guidance::default() };
        let options = ChainOptions { steps: Some(50), guidance, ..ChainOptions::default() };
        let chain = Chain::new(&config, options).unwrap();
        let timesteps: Vec<usize> = chain.stages().iter().map(|stage| stage.timestep as usize).collect();
        let mut density: Vec<f64> = (0..NODES).map(|i| (-0.5 * place(i).powi(2)).exp()).collect();
        let mut expected = [0.0; 3];
        for (step, &t) in timesteps.iter().enumerate() {
            let next = timesteps.get(step + 1).copied();
            let (now, after) = (power(Some(t)), power(next));
            let alpha = now / after;
            let mean = |x: f64| {
                let [with, without] = predictions(x / now.sqrt(), ((1.0 - now) / now).sqrt(), class);
                let epsilon = without + scale * (with - without);
                let x0 = (x - (1.0 - now).sqrt() * epsilon) / now.sqrt();
                (after.sqrt() * (1.0 - alpha) * x0 + alpha.sqrt() * (1.0 - after) * x) / (1.0 - now)
            };
            if next.is_none() {
                expected = summary(density.iter().enumerate().map(|(i, weight)| (*weight, mean(place(i)))), class);
                break;
            }
            let deviation = ((1.0 - after) / (1.0 - now) * (1.0 - alpha)).sqrt();
            let mut moved = vec![0.0; NODES];
            for (i, weight) in density.iter().enumerate() {
                let centre = mean(place(i));
                let node = |x: f64| (((x + HALF) / spacing).max(0.0) as usize).min(NODES);
                let reach = node(centre - 7.0 * deviation)..node(centre + 7.0 * deviation);
                for (j, moved) in reach.clone().zip(&mut moved[reach]) {
                    *moved += weight * (-0.5 * ((place(j) - centre) / deviation).powi(2)).exp();
                }
            }
            let total: f64 = moved.iter().sum();
            density = moved.into_iter().map(|weight| weight / total).collect();
        }
        let start = |i: usize| normal::<f64>(picture_key([8, 0], Purpose::InitialNoise, i as u32), 0, 0);
        let starts: Vec<f64> = (0..DRAWN).map(start).collect();
        let drawn = through(&chain, &schedule, &starts, class);
        let found = summary(drawn.iter().map(|&x| (1.0, x)), class);
        println!("class {class} scale {scale}: {found:.5?} {expected:.5?}");
        // Four standard errors: of a mean, of a variance, of a share between 0 and 1.
        let root = (DRAWN as f64).sqrt();
        let share = (expected[2] * (1.0 - expected[2])).sqrt();
        let allowed = [expected[1].sqrt(), 2.0 * expected[1], share].map(|deviation| 4.0 * deviation / root + 1e-3);
        for ((found, expected), allowed) in found.iter().zip(expected).zip(allowed) {
            assert!((found - expected).abs() < allowed, "class {class}, {scale}: {found}, {expected}");
        }
    }
}

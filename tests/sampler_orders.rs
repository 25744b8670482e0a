//! The orders of the samplers, for normal data and the exact prediction: their rows are followed in double precision as
//! linear functions of x_T and of the noise, so that means, variances and paths are compared without drawing any.

mod scalar;

use aquatint::diffusion::{Chain, ChainOptions, Churn, Process, SamplerName, SchedulerConfig, Timesteps};
use aquatint::kernels::sampler_step::Weights;
use scalar::form::{Form, Target};
use scalar::{State, sum};
use serde_json::{Value, json};

const TARGET: Target = Target { mean: 0.4, variance: 0.36 };
const WITHIN: f64 = 0.15;

fn config(keys: &Value) -> SchedulerConfig {
    SchedulerConfig::from_json(keys, "test").unwrap()
}

fn vp() -> Value {
    json!({ "_class_name": "ScoreSdeVpScheduler", "beta_min": 0.4, "beta_max": 3.0, "sampling_eps": 0.1 })
}

/// Processes whose ways are short enough for few steps to show an order.
fn processes() -> Vec<Value> {
    let mut sub_vp = vp();
    sub_vp["sub_vp"] = true.into();
    vec![
        vp(),
        sub_vp,
        json!({ "_class_name": "ScoreSdeVeScheduler", "sigma_min": 0.2, "sigma_max": 3.0 }),
        json!({ "_class_name": "EDMEulerScheduler", "sigma_min": 0.1, "sigma_max": 4.0, "rho": 3.0 }),
    ]
}

fn options(sampler: SamplerName, steps: usize) -> ChainOptions {
    ChainOptions { sampler: Some(sampler), steps: Some(steps), ..ChainOptions::default() }
}

/// The mean slope of the logarithm of an error between these numbers of steps, in that of the step, which halves.
fn slope(error: impl Fn(usize) -> f64, counts: [usize; 3]) -> f64 {
    let errors = counts.map(error);
    let slopes = [errors[0] / errors[1], errors[1] / errors[2]].map(f64::log2);
    println!("  errors {:.2e} {:.2e} {:.2e}, slopes {slopes:.3?}", errors[0], errors[1], errors[2]);
    slopes[1]
}

fn assert_slope(what: &str, expected: f64, error: impl Fn(usize) -> f64) {
    println!("{what}:");
    let found = slope(error, [64, 128, 256]);
    assert!((found - expected).abs() < WITHIN, "{what}: {found}, expected {expected}");
}

/// How far x before the last stage, at the last level, is from the flow's map of x at the first (Song et al. 2021, appendix
/// D.3: x less its mean, over its deviation, stays).
fn flow_error(chain: &Chain) -> f64 {
    let stages = chain.stages();
    let [first, last] = [0, stages.len() - 1].map(|i| TARGET.at(stages[i].level));
    let states = TARGET.follow(chain, Form(vec![0.0, 1.0]));
    let found = &states[stages.len() - 1].0;
    let ratio = (last[1] / first[1]).sqrt();
    (found[1] - ratio).abs().max((found[0] - (last[0] - ratio * first[0])).abs()) / stages[stages.len() - 1].level[0]
}

#[test]
fn solvers_of_the_flow_have_their_orders_in_continuous_time() {
    for keys in processes() {
        let config = config(&keys);
        for (sampler, order) in [
            (SamplerName::Euler, 1.0),
            (SamplerName::Heun, 2.0),
            (SamplerName::DpmSolver, 2.0),
            // Its corrector is one order better than its predictor (Zhao et al. 2023, proposition 3.2).
            (SamplerName::UniPc, 3.0),
        ] {
            assert_slope(&format!("{sampler:?} {keys}"), order, |steps| {
                flow_error(&Chain::new(&config, options(sampler, steps + 1)).unwrap())
            });
        }
    }
}

/// 4096 timesteps, of which every so many are taken down to one at an eighth of the way: a smooth schedule at whole timesteps.
#[test]
fn solvers_of_the_flow_have_their_orders_on_timesteps() {
    let all = 4096;
    let keys = json!({ "num_train_timesteps": all, "beta_start": 1.5e-4, "beta_end": 1.2e-3, "clip_sample": false });
    for (sampler, order) in [
        (SamplerName::Ddim, 1.0),
        (SamplerName::Euler, 1.0),
        (SamplerName::Heun, 2.0),
        (SamplerName::DpmSolver, 2.0),
        (SamplerName::UniPc, 3.0),
    ] {
        assert_slope(&format!("{sampler:?} on timesteps"), order, |steps| {
            let list = (0..=steps).map(|i| all - 1 - i * (all / 8 * 7) / steps).collect();
            let options =
                ChainOptions { sampler: Some(sampler), timesteps: Some(Timesteps::List(list)), ..Default::default() };
            flow_error(&Chain::new(&config(&keys), options).unwrap())
        });
    }
}

/// Karras et al. 2022, algorithm 2, as it stands there.
#[test]
fn churned_steps_are_those_of_algorithm_2() {
    let config = config(&processes()[2]);
    let churn = Churn { amount: 3.0, least: 0.5, most: 2.5, deviation: 1.05 };
    let chain = Chain::new(&config, ChainOptions { churn, ..options(SamplerName::Heun, 8) }).unwrap();
    let noise = |step: usize| (1.7 * step as f64 + 0.4).sin();
    let process = config.process().unwrap();
    let mut sigmas: Vec<f64> = (0..8).map(|i| process.sigma(1.0 + i as f64 / 7.0 * (process.first() - 1.0))).collect();
    sigmas.push(0.0);
    let denoised = |x: f64, sigma: f64| {
        let [mean, variance] = TARGET.at([1.0, sigma]);
        mean + TARGET.variance / variance * (x - mean)
    };
    // The first sigma is past S_tmax: what a chain begins with is not churned.
    let start = 1.3;
    let mut x = start;
    for step in 0..8 {
        let adds = (0.5..=2.5).contains(&sigmas[step]);
        let gamma = if adds { f64::min(3.0 / 8.0, 2.0_f64.sqrt() - 1.0) } else { 0.0 };
        let sigma = sigmas[step] * (1.0 + gamma);
        x += (sigma * sigma - sigmas[step] * sigmas[step]).sqrt() * 1.05 * noise(step);
        let slope = (x - denoised(x, sigma)) / sigma;
        let after = x + (sigmas[step + 1] - sigma) * slope;
        x = if sigmas[step + 1] > 0.0 {
            let second = (after - denoised(after, sigmas[step + 1])) / sigmas[step + 1];
            x + (sigmas[step + 1] - sigma) * 0.5 * (slope + second)
        } else {
            after
        };
    }
    let found = scalar::run(&chain, start, |x, stage| TARGET.output(|value| value, x, stage), noise, |_, _| {});
    assert!((found - x).abs() < 1e-12, "{found}, {x}");
    assert_eq!(chain.draws(), 8);
}

/// How far mean and variance before the last stage are from those of the process.
fn weak_error(chain: &Chain) -> f64 {
    let stages = chain.stages();
    let last = stages.len() - 1;
    let found = &TARGET.follow(chain, Form::distributed(TARGET.at(stages[0].level)))[last];
    let [mean, variance] = TARGET.at(stages[last].level);
    let signal = stages[last].level[0];
    ((found.mean() - mean) / signal).abs().max((found.variance() - variance).abs() / (signal * signal))
}

#[test]
fn solvers_of_the_reverse_sde_have_their_weak_orders() {
    for keys in processes() {
        let config = config(&keys);
        for (sampler, order) in
            [(SamplerName::ReverseSde, 1.0), (SamplerName::StochasticHeun, 2.0), (SamplerName::DpmSolverSde, 2.0)]
        {
            assert_slope(&format!("weak {sampler:?} {keys}"), order, |steps| {
                weak_error(&Chain::new(&config, options(sampler, steps + 1)).unwrap())
            });
        }
        // Noise that is added exactly leaves the order of the flow's solver.
        for (sampler, order) in [(SamplerName::Euler, 1.0), (SamplerName::Heun, 2.0)] {
            assert_slope(&format!("churned {sampler:?} {keys}"), order, |steps| {
                let churn = Churn { amount: 2.0, least: 0.3, ..Churn::default() };
                weak_error(&Chain::new(&config, ChainOptions { churn, ..options(sampler, steps + 1) }).unwrap())
            });
        }
    }
}

/// The reverse SDE's own path, driven by the chain's noise: between two times x is e^(integral of a) x and a normal number,
/// of which the noise of the chain's draw is a part.
fn strong_error(process: Process, chain: &Chain) -> f64 {
    const PARTS: usize = 100;
    let stages = chain.stages();
    let last = stages.len() - 1;
    let time = |number: usize| process.time(stages[number].level[1] / stages[number].level[0]);
    let start = TARGET.at(process.signal_and_noise(time(0)));
    let mut path = Form::distributed(start);
    let mut from = time(0);
    for number in 1..=last {
        let to = time(number);
        if (from - to).abs() < 1e-12 {
            continue;
        }
        let step = (from - to) / PARTS as f64;
        // Of the noise: its variance, the chain's clock and what both have in common.
        let (mut log_growth, mut variance, mut clock, mut common) = (0.0, 0.0, 0.0, 0.0);
        for part in 0..PARTS {
            let t = to + (part as f64 + 0.5) * step;
            let [f, g_squared] = process.drift_and_diffusion(t);
            let slope = -f - g_squared / TARGET.at(process.signal_and_noise(t))[1];
            let growth = f64::exp(log_growth + 0.5 * slope * step);
            let rate = if f == 0.0 { g_squared } else { -2.0 * f };
            variance += growth * growth * g_squared * step;
            clock += rate * step;
            common += growth * (g_squared * rate).sqrt() * step;
            log_growth += slope * step;
        }
        let of_draw = common / clock.sqrt();
        let rest = (variance - of_draw * of_draw).max(0.0).sqrt();
        let draw = stages[number - 1].draw;
        let [before, after] = [from, to].map(|t| TARGET.mean * process.signal_and_noise(t)[0]);
        path.add(-1.0, &Form::constant(before));
        path = sum(&[
            (log_growth.exp(), &path),
            (1.0, &Form::constant(after)),
            (of_draw, &Form::normal(1 + draw)),
            (rest, &Form::normal(1 + chain.draws() + draw)),
        ]);
        from = to;
    }
    let [signal, _] = process.signal_and_noise(from);
    let begin = stages[0].level[0] / process.signal_and_noise(time(0))[0];
    let begin = sum(&[(begin, &Form::distributed(start))]);
    let mut found = TARGET.follow(chain, begin)[last].clone();
    found = sum(&[(1.0 / stages[last].level[0], &found), (-1.0 / signal, &path)]);
    (found.variance() + found.mean().powi(2)).sqrt()
}

#[test]
fn solvers_of_the_reverse_sde_have_strong_order_1() {
    for keys in processes() {
        let config = config(&keys);
        for sampler in [SamplerName::ReverseSde, SamplerName::StochasticHeun] {
            assert_slope(&format!("strong {sampler:?} {keys}"), 1.0, |steps| {
                strong_error(config.process().unwrap(), &Chain::new(&config, options(sampler, steps + 1)).unwrap())
            });
        }
    }
}

/// The means and variances that Ho et al.'s algorithm 2 goes through, with the betas of the timesteps that are taken.
#[test]
fn ancestral_sampling_has_the_moments_of_its_recursion() {
    for (keys, spec) in [
        (json!({}), "25"),
        (json!({ "variance_type": "fixed_large" }), "10,15,20"),
        (json!({ "beta_schedule": "squaredcos_cap_v2" }), "ddim50"),
        (json!({ "num_train_timesteps": 100, "prediction_type": "v_prediction" }), "quadratic"),
        (json!({ "num_train_timesteps": 40, "prediction_type": "sample" }), "40"),
        (json!({ "variance_type": "fixed_large" }), "list:900,500,499,30,7"),
        (json!({}), "karras"),
    ] {
        let mut keys = keys;
        keys["clip_sample"] = false.into();
        let large = keys["variance_type"] == "fixed_large";
        let config = config(&keys);
        let schedule = aquatint::diffusion::NoiseSchedule::new(&config);
        let timesteps = Some(spec.parse().unwrap());
        let chain = Chain::new(&config, ChainOptions { timesteps, ..ChainOptions::default() }).unwrap();
        let states = TARGET.follow(&chain, Form(vec![0.0, 1.0]));
        let (mut mean, mut variance) = (0.0, 1.0);
        for (number, stage) in chain.stages().iter().enumerate() {
            let t = stage.timestep as usize;
            let signal = schedule.alphas_cumprod[t];
            let before =
                chain.stages().get(number + 1).map_or(1.0, |next| schedule.alphas_cumprod[next.timestep as usize]);
            let (alpha, beta) = (signal / before, 1.0 - signal / before);
            // The expectation of x_0, in two numbers.
            let slope = signal.sqrt() * TARGET.variance / (signal * TARGET.variance + 1.0 - signal);
            let [of_x0, of_x] = [beta * before.sqrt() / (1.0 - signal), (1.0 - before) * alpha.sqrt() / (1.0 - signal)];
            let growth = of_x0 * slope + of_x;
            mean = growth * mean + of_x0 * (TARGET.mean - slope * signal.sqrt() * TARGET.mean);
            let posterior = beta * (1.0 - before) / (1.0 - signal);
            let added = if t == 0 {
                0.0
            } else if large {
                beta
            } else {
                posterior
            };
            variance = growth * growth * variance + added;
            let found = [states[number + 1].mean(), states[number + 1].variance()];
            let close = |found: f64, expected: f64| (found - expected).abs() < 1e-9 * (1.0 + expected.abs());
            assert!(close(found[0], mean) && close(found[1], variance), "{spec}, {t}: {found:?}, {mean}, {variance}");
        }
    }
}

/// A network that learns where between the two the variance lies is asked for those of the steps that are taken.
#[test]
fn learned_variances_are_between_those_of_the_steps_that_are_taken() {
    let chain_of = |kind: &str| {
        let config = config(&json!({ "variance_type": kind }));
        let timesteps = Some("10,15,20".parse().unwrap());
        Chain::new(&config, ChainOptions { timesteps, ..ChainOptions::default() }).unwrap()
    };
    let [learned, small, large] = ["learned_range", "fixed_small", "fixed_large"].map(chain_of);
    for ((learned, small), large) in learned.stages().iter().zip(small.stages()).zip(large.stages()) {
        let [small, large] = [small, large].map(|stage| stage.weights.noise);
        let Weights { noise, log_deviation: [middle, half], .. } = learned.weights;
        assert_eq!(noise == 0.0, small == 0.0);
        if noise > 0.0 {
            assert!(((middle - half).exp() - small).abs() < 1e-9 && ((middle + half).exp() - large).abs() < 1e-9);
        }
    }
}

/// What a stage's row makes, for the exact prediction, of x: a factor, and the noise's variance. The mean is to stay.
fn recursion(chain: &Chain, number: usize) -> [f64; 2] {
    let stage = chain.stages()[number];
    let level = TARGET.at(stage.level);
    let x = Form::distributed([level[0], 1.0]);
    let output = TARGET.output(Form::constant, &x, &stage);
    let Weights { x0_of, x_of, noise, .. } = stage.weights;
    let x0 = sum(&[(x0_of[0], &x), (x0_of[1], &output)]);
    let after = sum(&[(x_of[0], &x), (x_of[1], &x0), (x_of[2], &output)]);
    assert!((after.mean() - level[0]).abs() < 1e-12, "{} becomes {}", level[0], after.mean());
    [after.0[1], noise * noise]
}

/// Langevin steps of size eps leave the mean, and the variance v / (1 - eps / (2 v)), which is v but for their size.
#[test]
fn langevin_steps_leave_the_distribution() {
    let mut all = processes();
    all.push(json!({ "clip_sample": false, "num_train_timesteps": 20 }));
    for keys in all {
        let config = config(&keys);
        let excess = |snr: f64| {
            let sampler = SamplerName::PredictorCorrector;
            let options = ChainOptions { snr: Some(snr), corrector_steps: Some(2), ..options(sampler, 6) };
            let chain = Chain::new(&config, options).unwrap();
            let mut worst: f64 = 0.0;
            for number in 0..6 {
                let stage = chain.stages()[3 * number];
                assert_eq!(stage.weights, chain.stages()[3 * number + 1].weights);
                let [growth, added] = recursion(&chain, 3 * number);
                let (variance, found) = (TARGET.at(stage.level)[1], added / (1.0 - growth * growth));
                // The drift's factor is 1 - eps / v.
                let expected = variance / (1.0 - 0.5 * (1.0 - growth));
                assert!((found / expected - 1.0).abs() < 1e-9, "{keys}: {found}, {expected}");
                // eps is at most 2 (r noise)^2, and no more than that for VE and EDM.
                let epsilon = (1.0 - growth) * variance / (2.0 * (snr * stage.level[1]).powi(2));
                let whole = matches!(config.process(), Some(Process::Ve { .. } | Process::Edm { .. })) || number == 5;
                assert!(epsilon < 1.0 + 1e-9 && (!whole || epsilon > 1.0 - 1e-9), "{keys}: {epsilon}");
                worst = worst.max(found / variance - 1.0);
            }
            worst
        };
        let slope = (excess(0.08) / excess(0.04)).log2();
        assert!((slope - 2.0).abs() < WITHIN && excess(0.01) < 2e-4, "{keys}: {slope}, {}", excess(0.01));
        // Song & Ermon's, by its own step size: alpha / 2 for eps.
        let of = |langevin_epsilon: Option<f64>| {
            let options = options(SamplerName::Langevin, 5);
            Chain::new(&config, ChainOptions { langevin_epsilon, corrector_steps: Some(3), ..options }).unwrap()
        };
        let [signal, noise] = of(None).stages()[14].level;
        let epsilon = 0.3 * (noise / signal).powi(2);
        let chain = of(Some(epsilon));
        let least = chain.stages()[14].level;
        for number in [0, 4, 12] {
            let level = chain.stages()[number].level;
            let [growth, added] = recursion(&chain, number);
            let sigma = |[signal, noise]: [f64; 2]| noise / signal;
            let alpha = epsilon * (sigma(level) / sigma(least)).powi(2) * level[0] * level[0];
            let variance = TARGET.at(level)[1];
            let found = added / (1.0 - growth * growth);
            let expected = variance / (1.0 - alpha / (4.0 * variance));
            assert!((found / expected - 1.0).abs() < 1e-9, "{keys}, {number}: {found}, {expected}");
        }
    }
}

/// Whole chains with Langevin steps end at the data.
#[test]
fn chains_with_langevin_steps_end_at_the_data() {
    let wide = json!({ "_class_name": "ScoreSdeVeScheduler", "sigma_min": 0.01, "sigma_max": 20.0 });
    for keys in [wide, json!({ "clip_sample": false })] {
        let config = config(&keys);
        for (sampler, steps, corrector_steps) in
            [(SamplerName::PredictorCorrector, 500, 1), (SamplerName::Langevin, 40, 100)]
        {
            let options = ChainOptions { corrector_steps: Some(corrector_steps), ..options(sampler, steps) };
            let chain = Chain::new(&config, options).unwrap();
            let start = Form(vec![0.0, chain.initial_deviation()]);
            let end = TARGET.follow(&chain, start).pop().unwrap();
            let (mean, variance) = (end.mean() - TARGET.mean, end.variance() / TARGET.variance - 1.0);
            println!("{sampler:?} {keys}: mean {mean:+.4}, variance {variance:+.4}");
            assert!(mean.abs() < 0.05 && variance.abs() < 0.1, "{sampler:?} {keys}: {mean}, {variance}");
        }
    }
}

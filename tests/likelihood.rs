//! The likelihood against what is known: closed forms, and data of Gaussians and mixtures of them, for which the best
//! prediction, every term of the bound and the true likelihood are known.

mod devices;
mod optimal;

use aquatint::diffusion::likelihood::{
    BoundOptions, Decoder, DeviceNetwork, Flow, LevelPictures, OdeOptions, Predictor, PullBack, ReverseProcess, bound,
    gaussian_entropy, gaussian_kl, ode_likelihood, posterior, prior_divergence,
};
use aquatint::diffusion::{NoiseSchedule, SchedulerConfig};
use aquatint::nn::{Forward, UNet, UNetConfig};
use optimal::{Mixture, Optimal};
use serde_json::{Value, json};
use std::f64::consts::{E, LN_2, PI};

fn scheduler(keys: Value) -> SchedulerConfig {
    SchedulerConfig::from_json(&keys, "test").unwrap()
}

/// The integral of f by the trapezoidal rule, which is exact to rounding for what falls off at both ends.
fn integral(from: f64, to: f64, f: impl Fn(f64) -> f64) -> f64 {
    const POINTS: usize = 20_000;
    let step = (to - from) / POINTS as f64;
    (0..=POINTS).map(|i| f(from + step * i as f64)).sum::<f64>() * step
}

fn density(x: f64, mean: f64, log_variance: f64) -> f64 {
    (-0.5 * ((x - mean).powi(2) * (-log_variance).exp() + log_variance)).exp() / (2.0 * PI).sqrt()
}

#[test]
fn divergences_and_entropies_are_their_integrals() {
    for (mean_q, log_q, mean_p, log_p) in
        [(0.0, 0.0, 0.0, 0.0), (0.3, -1.0, -0.4, 0.7), (0.0, -2.0, 0.1, -2.001), (1.0, 0.5, 1.0, -1.5)]
    {
        let log_density =
            |x: f64, mean: f64, log: f64| -0.5 * ((x - mean).powi(2) * (-log).exp() + log + (2.0 * PI).ln());
        let (low, high) = (mean_q - 12.0 * f64::exp(0.5 * log_q), mean_q + 12.0 * f64::exp(0.5 * log_q));
        let kl = integral(low, high, |x| {
            density(x, mean_q, log_q) * (log_density(x, mean_q, log_q) - log_density(x, mean_p, log_p))
        });
        let found = gaussian_kl(mean_p - mean_q, log_q, log_p).value;
        assert!((found - kl).abs() < 1e-10, "{found} {kl}");
        let entropy = integral(low, high, |x| -density(x, mean_q, log_q) * log_density(x, mean_q, log_q));
        assert!((gaussian_entropy(log_q) - entropy).abs() < 1e-10);
    }
    // Close to each other: half the square of half the difference of the logarithms.
    let tiny = gaussian_kl(0.0, 0.0, 1e-7).value;
    assert!((tiny / 2.5e-15 - 1.0).abs() < 1e-6, "{tiny:e}");
    assert!((gaussian_entropy(0.0) - 0.5 * (2.0 * PI * E).ln()).abs() < 1e-15);
}

#[test]
fn levels_are_as_likely_as_arithmetic_of_sixty_digits_says() {
    // Level, mean, deviation; the negative log-likelihood with the normal distribution and with its tanh and 1e-12, which
    // mpmath computed with 60 digits.
    for (level, mean, deviation, safe, tanh) in [
        (128, 0.0, 0.3, 4.563_196_004_586_56, 4.563_196_568_217_793),
        (128, 0.004, 0.0073, 0.894_407_107_905_823_5, 0.894_610_397_350_353_2),
        (0, -0.98, 0.01, 2.919_979_942_965_965, 2.917_897_545_227_682),
        (0, 0.5, 0.01, 11_197.180_364_788_252, 27.631_021_115_928_548),
        (255, 1.2, 0.05, 2.267_054_785_836_836e-5, 1.178_267_226_776_839_2e-5),
        (255, -1.0, 0.007, 40_662.991_410_949_63, 27.631_021_115_928_548),
        (40, 3.0, 0.01, 67_805.443_584_982_9, 27.631_021_115_928_548),
        (200, 0.5, 1.0, 5.769_412_312_359_753, 5.769_423_944_309_521),
        (17, -0.866, 0.001, 0.000_569_554_786_666_854_5, 0.000_474_395_357_945_806_25),
    ] {
        let x0 = f64::from(level) / 127.5 - 1.0;
        for (decoder, expected) in [(Decoder::Safe, safe), (Decoder::Tanh, tanh)] {
            let found = decoder.term(x0, mean, 2.0 * f64::ln(deviation)).value;
            let error = (found / expected - 1.0_f64).abs();
            assert!(error < 2e-10, "{decoder:?} {level} {mean} {deviation}: {found}, {expected}");
        }
    }
    // All levels together are everything.
    for (decoder, mean, deviation) in
        [(Decoder::Safe, 0.2, 0.1), (Decoder::Safe, -0.97, 0.02), (Decoder::Tanh, 0.5, 0.6)]
    {
        let of =
            |level: u8| (-decoder.term(f64::from(level) / 127.5 - 1.0, mean, 2.0 * f64::ln(deviation)).value).exp();
        let sum: f64 = (0..=255).map(of).sum();
        assert!((sum - 1.0).abs() < 1e-9, "{sum}");
    }
}

#[test]
fn posteriors_are_what_bayes_rule_makes_of_the_forward_process() {
    let schedule = NoiseSchedule::new(&scheduler(json!({ "num_train_timesteps": 20, "beta_end": 0.5 })));
    for t in [1, 7, 19] {
        let (x_t, x_0) = (0.7, -0.4);
        let beta = schedule.betas[t];
        let (signal, noise) = (schedule.alphas_cumprod[t - 1], schedule.one_minus_alphas_cumprod[t - 1]);
        // q(x_{t-1} | x_t, x_0) is proportional to q(x_t | x_{t-1}) q(x_{t-1} | x_0).
        let joint =
            |x: f64| density(x_t, (1.0 - beta).sqrt() * x, beta.ln()) * density(x, signal.sqrt() * x_0, noise.ln());
        let mass = integral(-9.0, 9.0, joint);
        let mean = integral(-9.0, 9.0, |x| x * joint(x)) / mass;
        let variance = integral(-9.0, 9.0, |x| (x - mean).powi(2) * joint(x)) / mass;
        let found = posterior(&schedule, t, x_t, x_0);
        assert!(
            (found[0] - mean).abs() < 1e-10 && (found[1] - variance).abs() < 1e-10,
            "{t}: {found:?} {mean} {variance}"
        );
    }
    let [mean, variance] = posterior(&schedule, 0, 3.0, 0.25);
    assert_eq!((mean, variance), (0.25, 0.0));
    let (signal, noise) = (schedule.alphas_cumprod[19], schedule.one_minus_alphas_cumprod[19]);
    let prior = integral(-9.0, 9.0, |x| {
        let q = density(x, signal.sqrt() * 0.8, noise.ln());
        q * (q / density(x, 0.0, 0.0)).ln()
    });
    assert!((prior_divergence(&schedule, 0.8) - prior).abs() < 1e-10);
}

fn gaussian() -> Mixture {
    Mixture::new(&[(1.0, &[0.1], 0.25)])
}

fn two() -> Mixture {
    Mixture::new(&[(0.35, &[-0.45], 0.06), (0.65, &[0.3], 0.12)])
}

/// The expected parts of the bound, in bits, with the best prediction of a mixture in one dimension, whose levels are all
/// visited: the prior, every term, the decoder; by quadrature over the noise, from the published equations.
fn expected(mixture: &Mixture, config: &SchedulerConfig, large: bool) -> (f64, Vec<f64>, f64) {
    let schedule = NoiseSchedule::new(config);
    let levels: Vec<(f64, f64)> =
        (0..=255u8).map(|level| (f64::from(level) / 127.5 - 1.0, mixture.probability(&[level]))).collect();
    let over = |f: &dyn Fn(f64, f64) -> f64| {
        let noise: Vec<(f64, f64)> =
            (-140..=140).map(|i| f64::from(i) / 20.0).map(|e| (e, density(e, 0.0, 0.0) / 20.0)).collect();
        let of = |&(x, p): &(f64, f64)| p * noise.iter().map(|&(e, w)| w * f(x, e)).sum::<f64>();
        levels.iter().filter(|level| level.1 > 1e-12).map(of).sum::<f64>() / LN_2
    };
    let best = |t: usize, x: f64, e: f64| {
        let (signal, noise) = (schedule.alphas_cumprod[t].sqrt(), schedule.one_minus_alphas_cumprod[t].sqrt());
        mixture.best_of_one(signal * x + noise * e, signal, noise)
    };
    let term = |t: usize| {
        let [of_x0, _] = posterior(&schedule, t, 0.0, 1.0);
        let small = posterior(&schedule, t, 0.0, 0.0)[1];
        let variance = if large { schedule.betas[t] } else { small };
        let far = |x: f64, e: f64| (of_x0 * (x - best(t, x, e))).powi(2);
        over(&|x, e| 0.5 * ((variance / small).ln() + (small + far(x, e)) / variance - 1.0))
    };
    let first = posterior(&schedule, 1, 0.0, 0.0)[1];
    let decoder = over(&|x, e| Decoder::Safe.term(x, best(0, x, e), first.ln()).value);
    let last = schedule.timesteps() - 1;
    let (signal, noise) = (schedule.alphas_cumprod[last], schedule.one_minus_alphas_cumprod[last]);
    let prior = over(&|x, _| 0.5 * (signal * x * x + noise - 1.0 - noise.ln()));
    (prior, (1..schedule.timesteps()).map(term).collect(), decoder)
}

/// The bound of a mixture's data with its best prediction, every part of which has to be what is expected.
fn check_bound(mixture: &Mixture, betas: &[f64], prediction: &str, variance: &str, count: usize) {
    let config = scheduler(json!({
        "num_train_timesteps": betas.len(), "trained_betas": betas, "prediction_type": prediction,
        "variance_type": variance, "clip_sample": false,
    }));
    let process = ReverseProcess::new(&config, Decoder::Safe).unwrap();
    let (pictures, truth) = mixture.pictures(count, 1000);
    let mut best = Optimal::new(mixture, &config);
    let found = bound(&process, &mut best, &pictures, &BoundOptions::default(), &mut |_, _| {}).unwrap();
    let (prior, terms, decoder) = expected(mixture, &config, variance == "fixed_large");
    let worst = std::cell::Cell::new(0.0f64);
    let close = |what: &str, found: f64, expected: f64| {
        worst.set(worst.get().max((found - expected).abs()));
        assert!((found - expected).abs() < 1e-3, "{prediction} {variance} {what}: {found}, {expected}");
    };
    close("prior", found.prior, prior);
    assert_eq!(found.terms.len() + 1, betas.len());
    if betas.len() == 2 {
        // A level's bits vary so much that only many pictures say their mean, and a large term's likewise.
        close("decoder", found.decoder, decoder);
    } else {
        for (t, (found, expected)) in found.terms.iter().zip(&terms).enumerate() {
            close(&format!("L_{}", t + 1), *found, *expected);
        }
    }
    let sum = found.prior + found.decoder + found.terms.iter().sum::<f64>();
    assert!((sum - found.total).abs() < 1e-9);
    let error = found.standard_error.unwrap();
    let (total, worst) = (found.total, worst.get());
    eprintln!(
        "{prediction} {variance}: {total:.4} above {truth:.4}, {worst:.1e} from what is expected, error {error:.1e}"
    );
    assert!(total > truth + 3.0 * error, "the bound lies above: {total} {truth} {error}");
    if mixture.is_one() && variance == "fixed_small" && betas.len() > 2 {
        // The closed form: the best prediction is a line, whose error is v n^2 / (s^2 v + n^2).
        let schedule = NoiseSchedule::new(&config);
        for t in 1..betas.len() {
            let (signal, noise) = (schedule.alphas_cumprod[t], schedule.one_minus_alphas_cumprod[t]);
            let v = 0.25 * 0.25;
            let [of_x0, _] = posterior(&schedule, t, 0.0, 1.0);
            let error = v * noise / (signal * v + noise);
            let expected = 0.5 * of_x0 * of_x0 * error / posterior(&schedule, t, 0.0, 0.0)[1] / LN_2;
            close(&format!("L_{t} in closed form"), found.terms[t - 1], expected);
        }
    }
}

#[test]
fn with_the_best_prediction_every_term_is_what_it_has_to_be() {
    // Log signal-to-noise ratios from 7 down to -7: no term is so large that its mean takes many pictures to find.
    let signal = |t: u32| 1.0 / (1.0 + (-7.0 + 14.0 * f64::from(t) / 99.0).exp());
    let betas: Vec<f64> = (0..100).map(|t| 1.0 - if t == 0 { signal(0) } else { signal(t) / signal(t - 1) }).collect();
    for (mixture, prediction, variance) in [
        (gaussian(), "epsilon", "fixed_small"),
        (gaussian(), "v_prediction", "fixed_large"),
        (two(), "sample", "fixed_small"),
        (two(), "epsilon", "fixed_large"),
    ] {
        check_bound(&mixture, &betas, prediction, variance, 500);
        // The second posterior's variance is about the first prediction's error: levels are decoded as they should be.
        check_bound(&mixture, &[1e-3, 0.02], prediction, variance, 10_000);
    }
}

#[test]
fn a_finer_process_has_a_tighter_bound_and_drawn_timesteps_estimate_it() {
    let mixture = two();
    let (pictures, truth) = mixture.pictures(600, 40);
    let gap = |timesteps: usize, options: BoundOptions| {
        let config = scheduler(json!({
            "num_train_timesteps": timesteps, "clip_sample": false, "trained_betas":
                (0..timesteps).map(|t| (1e-4_f64).max(8.0 * t as f64 / (timesteps * timesteps) as f64)).collect::<Vec<_>>(),
        }));
        let process = ReverseProcess::new(&config, Decoder::Safe).unwrap();
        let mut best = Optimal::new(&mixture, &config);
        let found = bound(&process, &mut best, &pictures, &options, &mut |_, _| {}).unwrap();
        (found.total - truth, found)
    };
    let all = BoundOptions::default();
    let [coarse, fine] = [20, 300].map(|timesteps| gap(timesteps, all).0);
    assert!(coarse > 4.0 * fine && fine > 0.0, "{coarse} {fine}");
    let (exact, of_all) = gap(300, all);
    let (estimated, few) = gap(300, BoundOptions { timesteps: Some(25), seed: 3 });
    let (error, less) = (few.standard_error.unwrap(), of_all.standard_error.unwrap());
    assert!((exact - estimated).abs() < 4.0 * error, "{exact} {estimated} {error}");
    assert!(error > less, "timesteps that are drawn make it less sure: {error} {less}");
    assert_eq!(few.terms.len(), 299);
    // Each stretch has an error of its own; a term of its own is the surer. They add up as independent errors do.
    assert_eq!((few.stretches.len(), of_all.stretches.len()), (25, 300));
    assert_eq!([1, 24].map(|stretch| few.stretches[stretch].clone()), [1..2, 237..300], "short where terms are large");
    let squares: f64 = (few.stretches[1..].iter())
        .map(|stretch| (stretch.len() as f64 * few.terms_standard_error[stretch.start - 1].unwrap()).powi(2))
        .sum();
    let sum = (squares + few.decoder_standard_error.unwrap().powi(2)).sqrt();
    assert!(sum > 0.5 * error && sum < 2.0 * error, "{sum} {error}");
    for stretch in &few.stretches[1..] {
        let indices = stretch.start - 1..stretch.end - 1;
        let mean = of_all.terms[indices.clone()].iter().sum::<f64>() / stretch.len() as f64;
        let error =
            few.terms_standard_error[indices.start].unwrap() + of_all.terms_standard_error[indices.start].unwrap();
        assert!((few.terms[indices.start] - mean).abs() < 4.0 * error, "{stretch:?}: {mean} {error}");
    }
    assert!((few.terms.iter().sum::<f64>() + few.prior + few.decoder - few.total).abs() < 1e-9);
    // The error that is stated is the one that there is.
    let again: Vec<f64> = (10..34).map(|seed| gap(300, BoundOptions { timesteps: Some(25), seed }).0 - exact).collect();
    let spread = (again.iter().map(|far| far * far).sum::<f64>() / again.len() as f64).sqrt();
    assert!(spread < 1.5 * error && spread > 0.3 * error, "{spread} {error}");
}

#[test]
fn the_flow_finds_the_true_likelihood() {
    let plane = Mixture::new(&[(0.5, &[-0.4, 0.3], 0.12), (0.3, &[0.4, 0.35], 0.08), (0.2, &[0.1, -0.5], 0.15)]);
    for (mixture, prediction, pictures, elements) in [
        (gaussian(), "epsilon", 200, 4),
        (gaussian(), "score", 200, 4),
        (two(), "epsilon", 600, 2),
        (two(), "v_prediction", 600, 2),
        (plane, "sample", 4000, 2),
    ] {
        let config = scheduler(json!({ "prediction_type": prediction }));
        let (pictures, truth) = mixture.pictures(pictures, elements);
        let mut best = Optimal::new(&mixture, &config);
        let flow = Flow::new(&config).unwrap();
        let found = ode_likelihood(&flow, &mut best, &pictures, &OdeOptions::default(), &mut |_, _| {}).unwrap();
        let (bits, runs) = (found.bits_per_dim, found.function_evaluations);
        eprintln!("{prediction}: {bits:.5} of {truth:.5} in {runs:.1} runs");
        assert!((bits - truth).abs() < 1e-2, "{prediction}: {bits} {truth}, {:?}", found.standard_error);
        assert!(runs > 7.0 && runs < 2000.0 && found.of_pictures.len() == pictures.len());
    }
}

#[test]
fn the_flow_finds_the_true_likelihood_in_continuous_time() {
    for keys in [
        json!({ "_class_name": "ScoreSdeVpScheduler", "prediction_type": "epsilon" }),
        json!({ "_class_name": "ScoreSdeVpScheduler", "sub_vp": true, "prediction_type": "v_prediction" }),
        json!({ "_class_name": "ScoreSdeVeScheduler", "sigma_max": 50.0, "sampling_eps": 1e-5 }),
        json!({ "_class_name": "EDMEulerScheduler", "prediction_type": "epsilon" }),
        json!({ "_class_name": "EDMEulerScheduler", "prediction_type": "v_prediction" }),
    ] {
        let config = scheduler(keys.clone());
        let (pictures, truth) = two().pictures(600, 2);
        let mut best = Optimal::new(&two(), &config);
        let flow = Flow::new(&config).unwrap();
        let found = ode_likelihood(&flow, &mut best, &pictures, &OdeOptions::default(), &mut |_, _| {}).unwrap();
        eprintln!("{keys}: {:.5} of {truth:.5} in {:.1} runs", found.bits_per_dim, found.function_evaluations);
        assert!((found.bits_per_dim - truth).abs() < 1e-2, "{keys}: {} {truth}", found.bits_per_dim);
        let error = ReverseProcess::new(&config, Decoder::Safe).unwrap_err().to_string();
        assert!(error.contains("continuous time") && !error.contains('\n'), "{error}");
    }
}

#[test]
fn a_picture_is_as_likely_alone_as_among_others() {
    let (mixture, config) = (two(), scheduler(json!({ "num_train_timesteps": 30, "beta_end": 0.3 })));
    let (pictures, _) = mixture.pictures(40, 3);
    let flow = Flow::new(&config).unwrap();
    let process = ReverseProcess::new(&config, Decoder::Safe).unwrap();
    let measure = |batch: usize| {
        let mut best = Optimal { batch, ..Optimal::new(&mixture, &config) };
        let ode = ode_likelihood(&flow, &mut best, &pictures, &OdeOptions::default(), &mut |_, _| {}).unwrap();
        let options = BoundOptions { timesteps: Some(5), seed: 1 };
        (ode.of_pictures, bound(&process, &mut best, &pictures, &options, &mut |_, _| {}).unwrap().of_pictures)
    };
    assert_eq!(measure(7), measure(64));
}

#[test]
fn pure_noise_is_refused_by_name_or_measured() {
    let keys = |prediction: &str| json!({ "rescale_betas_zero_snr": true, "prediction_type": prediction, "num_train_timesteps": 20, "beta_start": 0.01, "beta_end": 0.3 });
    for prediction in ["epsilon", "score"] {
        let error = ReverseProcess::new(&scheduler(keys(prediction)), Decoder::Safe).unwrap_err().to_string();
        assert!(error.contains("timestep 19") && error.contains(prediction) && !error.contains('\n'), "{error}");
    }
    let config = scheduler(keys("v_prediction"));
    let (pictures, truth) = gaussian().pictures(50, 20);
    let process = ReverseProcess::new(&config, Decoder::Safe).unwrap();
    let mut best = Optimal::new(&gaussian(), &config);
    let found = bound(&process, &mut best, &pictures, &BoundOptions::default(), &mut |_, _| {}).unwrap();
    assert!(found.total > truth && found.total < truth + 3.0 && found.prior == 0.0, "{} {truth}", found.total);
    let flow = Flow::new(&config).unwrap();
    let ode = ode_likelihood(&flow, &mut best, &pictures, &OdeOptions::default(), &mut |_, _| {}).unwrap();
    assert!((ode.bits_per_dim - truth).abs() < 0.2, "{} {truth}", ode.bits_per_dim);
}

fn network() -> UNet {
    let config = json!({
        "sample_size": 8, "in_channels": 1, "out_channels": 2, "block_out_channels": [8, 16],
        "down_block_types": ["DownBlock2D", "AttnDownBlock2D"], "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
        "layers_per_block": 1, "norm_num_groups": 4, "attention_head_dim": 8, "num_class_embeds": 3,
    });
    UNet::new(&UNetConfig::from_json(&config, "test").unwrap()).unwrap()
}

/// A network's weights of which none are zero.
fn weights(unet: &UNet) -> Vec<f32> {
    let mut weights = unet.parameters().initialize(5);
    weights.iter_mut().enumerate().filter(|(_, weight)| **weight == 0.0).for_each(|(i, weight)| {
        *weight = 0.05 * (i as f32 * 1.7).sin();
    });
    weights
}

#[test]
fn a_network_on_a_device_gives_its_gradient_in_the_pictures() {
    let unet = network();
    let weights = weights(&unet);
    let forward = Forward::with_pull_back(&unet, 3, [8, 8]).unwrap();
    devices::on_each(|device| {
        let mut network = DeviceNetwork::load(device, &forward, &weights).unwrap();
        let wave = |scale: f32, len: usize| (0..len).map(|i| (i as f32 * scale).sin()).collect::<Vec<f32>>();
        let (x, v, told, labels) = (wave(0.7, 128), wave(1.3, 128), [3.0, 40.5], [2, 0]);
        let [output, gradient] = network.pull_back(&x, &told, Some(&labels), &v).unwrap();
        assert_eq!((output.len(), gradient.len()), (256, 128));
        assert_eq!(output, network.predict(&x, &told, Some(&labels)).unwrap());
        // Along the direction itself, by differences: v J v.
        let mut along = |h: f32| {
            let moved: Vec<f32> = x.iter().zip(&v).map(|(x, v)| x + h * v).collect();
            let output = network.predict(&moved, &told, Some(&labels)).unwrap();
            output.iter().step_by(2).zip(&v).map(|(y, v)| f64::from(*y) * f64::from(*v)).sum::<f64>()
        };
        let h = 0.01;
        let near = along(h) - along(-h);
        let far = along(2.0 * h) - along(-2.0 * h);
        let expected = (8.0 * near - far) / (12.0 * f64::from(h));
        let found: f64 = gradient.iter().zip(&v).map(|(g, v)| f64::from(*g) * f64::from(*v)).sum();
        assert!((found - expected).abs() < 2e-3 * expected.abs().max(1.0), "{found} {expected}");
        assert!(network.predict(&x, &told, None).unwrap_err().to_string().contains("no labels"));
    });
}

#[test]
fn devices_agree_on_a_networks_likelihood() {
    let unet = network();
    let weights = weights(&unet);
    let config = scheduler(json!({
        "num_train_timesteps": 20, "beta_end": 0.4, "variance_type": "learned_range", "thresholding": true,
    }));
    let process = ReverseProcess::new(&config, Decoder::Safe).unwrap();
    assert!(process.check_channels(1, 2).is_ok() && process.check_channels(1, 1).is_err());
    let bytes = (0..5 * 64).map(|i| (i * 37 % 256) as u8).collect();
    let pictures = LevelPictures::new([8, 8, 1], bytes, Some(vec![0, 1, 2, 1, 0]), (0..5).collect()).unwrap();
    let forward = Forward::with_pull_back(&unet, 4, [8, 8]).unwrap();
    let found = std::cell::RefCell::new(Vec::new());
    devices::on_each(|device| {
        let mut network = DeviceNetwork::load(device, &forward, &weights).unwrap();
        let options = BoundOptions { timesteps: Some(6), seed: 2 };
        let bits = bound(&process, &mut network, &pictures, &options, &mut |_, _| {}).unwrap();
        let flow = Flow::new(&config).unwrap();
        let ode = ode_likelihood(&flow, &mut network, &pictures, &OdeOptions::default(), &mut |_, _| {}).unwrap();
        found.borrow_mut().push((bits.total, ode.bits_per_dim));
    });
    let found = found.into_inner();
    for (total, ode) in &found {
        let (first, first_ode) = found[0];
        assert!(total.is_finite() && (total / first - 1.0).abs() < 1e-4, "{found:?}");
        assert!(ode.is_finite() && (ode / first_ode - 1.0).abs() < 1e-3, "{found:?}");
    }
}

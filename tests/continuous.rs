//! Diffusion in continuous time: networks trained on a problem whose answer is known, chains, and folders.

mod devices;

use aquatint::device::{Device, Host};
use aquatint::diffusion::{
    Chain, ChainOptions, NoiseLevels, Process, Request, Sampler, SamplerName, SchedulerConfig, StepNoise,
};
use aquatint::kernels::random::{Purpose, normal, picture_key};
use aquatint::nn::{BlockType, Forward, TimeEmbeddingType, UNetConfig};
use aquatint::plan::{Recorder, Step, Storage};
use aquatint::training::{
    LossName, ObjectiveName, RunConfig, TimestepSampler, Trainer, TrainingConfig, WeightingName, default_unet,
};
use serde_json::{Value, json};

/// Mean and standard deviation of the pixel that is learned.
const MEAN: f64 = 0.3;
const DEVIATION: f64 = 0.5;
const BATCH: usize = 128;
const JUDGED: usize = 512;

fn scheduler(keys: &Value) -> SchedulerConfig {
    SchedulerConfig::from_json(keys, "test").unwrap()
}

fn pixels(step: usize, count: usize) -> Vec<f32> {
    let key = picture_key([5, 5], Purpose::TestData, step as u32);
    (0..count).map(|i| (MEAN + DEVIATION * normal::<f64>(key, 0, i)) as f32).collect()
}

fn config(keys: &Value, sampler: TimestepSampler, steps: usize) -> RunConfig {
    let scheduler = scheduler(keys);
    let explodes = matches!(scheduler.process(), Some(Process::Ve { .. }));
    let unet = UNetConfig {
        block_out_channels: vec![32],
        down_block_types: vec![BlockType::DownBlock2D],
        up_block_types: vec![BlockType::UpBlock2D],
        layers_per_block: 1,
        add_attention: false,
        time_embedding_type: if explodes { TimeEmbeddingType::Fourier } else { TimeEmbeddingType::Positional },
        ..default_unet(1, 1, 1, None)
    };
    let training = TrainingConfig {
        timestep_sampler: Some(sampler),
        max_train_steps: steps,
        train_batch_size: BATCH,
        learning_rate: 3e-3,
        lr_warmup_steps: 20,
        ema_max_decay: 0.98,
        seed: 3,
        ..TrainingConfig::default()
    };
    RunConfig { unet, scheduler, training }
}

fn trained(config: &RunConfig, device: &mut dyn Device) -> (Vec<f32>, Trainer) {
    let mut trainer = Trainer::new(config, [1, 1]).unwrap();
    trainer.load(device).unwrap();
    let weights = trainer.parameters().initialize(7);
    for (name, storage) in trainer.buffers() {
        if matches!(name, "parameters" | "ema") {
            device.upload(storage, 0, &weights).unwrap();
        }
    }
    for n in 0..config.training.max_train_steps {
        trainer.step(device, n, &pixels(n, BATCH), &[]).unwrap();
    }
    let weights = device.download(trainer.ema()).unwrap();
    (weights, trainer)
}

/// Root mean square of the error in x_0 at levels over the middle of the range, relative to what x_t leaves open: an error
/// of 1 would double the loss.
fn distance(config: &RunConfig, weights: &[f32], trainer: &Trainer, device: &mut dyn Device) -> f64 {
    let levels = NoiseLevels::new(&config.scheduler);
    let forward = Forward::new(trainer.network().unet().unwrap(), JUDGED, [1, 1]).unwrap();
    let plan = device.load(&forward.plan).unwrap();
    device.upload(&forward.weights, 0, weights).unwrap();
    let mut squares = 0.0;
    let sigmas = [0.05, 0.15, 0.4, 1.0, 2.5, 6.0];
    for (number, sigma) in sigmas.into_iter().enumerate() {
        let level = levels.at(sigma);
        let (s, n) = (level.signal / level.data, level.noise);
        assert!((n / s - sigma).abs() < 1e-9 * sigma);
        let key = picture_key([5, 5], Purpose::TestData, 2_000_000 + number as u32);
        let y: Vec<f32> = (pixels(1_000_000 + number, JUDGED).iter().enumerate())
            .map(|(i, &x0)| (s * f64::from(x0) + n * normal::<f64>(key, 0, i)) as f32)
            .collect();
        device.upload(&forward.pictures, 0, &y).unwrap();
        device.upload(&forward.timesteps, 0, &vec![level.told as f32; JUDGED]).unwrap();
        device.run(plan, &Step::default()).unwrap();
        let output = device.download(&forward.output).unwrap();
        let variance = DEVIATION * DEVIATION;
        let open = variance * n * n / (s * s * variance + n * n);
        let [[of_y, of_output], _] = levels.x0_and_epsilon(level);
        for (&y, &output) in y.iter().zip(&output) {
            let best = MEAN + variance * s / (s * s * variance + n * n) * (f64::from(y) - s * MEAN);
            squares += (of_y * f64::from(y) + of_output * f64::from(output) - best).powi(2) / open;
        }
    }
    device.unload(plan);
    (squares / (sigmas.len() * JUDGED) as f64).sqrt()
}

fn processes() -> Vec<(Value, TimestepSampler)> {
    let ve = json!({ "_class_name": "ScoreSdeVeScheduler", "sigma_max": 10.0 });
    vec![
        (json!({ "_class_name": "ScoreSdeVpScheduler" }), TimestepSampler::Uniform),
        (json!({ "_class_name": "ScoreSdeVpScheduler", "sub_vp": true }), TimestepSampler::Stratified),
        (ve, TimestepSampler::Uniform),
        (json!({ "_class_name": "EDMEulerScheduler" }), TimestepSampler::LogNormal),
        (json!({ "_class_name": "EDMEulerScheduler", "prediction_type": "v_prediction" }), TimestepSampler::LogNormal),
    ]
}

/// And chains of what was trained end near the pixel's own distribution.
#[test]
fn networks_find_what_is_known_in_continuous_time() {
    let device = &mut Host::<f32>::new();
    let mut failures = Vec::new();
    for (keys, sampler) in processes() {
        // Fourier embeddings, which VE's network has, are learned more slowly.
        let config = config(&keys, sampler, if keys["sigma_max"].is_null() { 400 } else { 1600 });
        let (weights, mut trainer) = trained(&config, device);
        let found = distance(&config, &weights, &trainer, device);
        let storage = Storage::f32("weights", weights.len());
        let options = ChainOptions { steps: Some(40), ..ChainOptions::default() };
        let chain = Chain::new(&config.scheduler, options).unwrap();
        let mut sampler =
            Sampler::new(trainer.network().unet().unwrap(), &storage, chain, JUDGED, [1, 1], StepNoise::Drawn).unwrap();
        sampler.load(device).unwrap();
        device.upload(&storage, 0, &weights).unwrap();
        let request = Request { count: JUDGED, seed: 1, ..Request::default() };
        let drawn = sampler.sample(device, &request, |_, _, _| Ok(())).unwrap();
        // Median and the distance of the quantiles of one standard deviation: what a small network makes of the rarest noise
        // does not count, which is beyond what its last norm lets it say.
        let mut drawn = drawn;
        drawn.sort_by(f32::total_cmp);
        let quantile = |part: f64| f64::from(drawn[(part * JUDGED as f64) as usize]);
        let (middle, deviation) = (quantile(0.5), 0.5 * (quantile(0.8413) - quantile(0.1587)));
        println!("{keys}: {found:.3} from the optimum; {middle:.3} +- {deviation:.3} drawn");
        if found > 0.35 || (middle - MEAN).abs() > 0.12 || (deviation - DEVIATION).abs() > 0.12 {
            failures.push(format!("{keys}: {found}, {middle}, {deviation}"));
        }
        trainer.unload(device);
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// The flow by Euler's method.
fn by_euler(steps: usize) -> ChainOptions {
    ChainOptions { sampler: Some(SamplerName::Euler), steps: Some(steps), ..ChainOptions::default() }
}

/// x_0 that stays is reached from anywhere, whatever the process.
#[test]
fn chains_are_exact_for_predictions_that_stay() {
    for (keys, _) in processes() {
        let scheduler = scheduler(&keys);
        let levels = NoiseLevels::new(&scheduler);
        for steps in [1, 2, 7] {
            let chain = Chain::new(&scheduler, by_euler(steps)).unwrap();
            assert_eq!(chain.steps(), steps);
            let (x0, process) = (0.37, scheduler.process().unwrap());
            let mut y = chain.initial_deviation() * 1.7;
            for (step, stage) in chain.stages().iter().enumerate() {
                let t = if steps == 1 { 1.0 } else { 1.0 + step as f64 / (steps - 1) as f64 * (process.first() - 1.0) };
                let level = levels.at(process.sigma(t));
                assert!((stage.timestep - level.told).abs() < 1e-6 * (1.0 + level.told.abs()), "{keys}");
                // What the network has to say for x_0 to be this.
                let output = (x0 - stage.weights.x0_of[0] * y) / stage.weights.x0_of[1];
                let [of_y, of_x0, of_output] = stage.weights.x_of;
                y = of_y * y + of_x0 * x0 + of_output * output;
            }
            assert!((y - x0).abs() < 1e-9, "{keys}, {steps} steps: {y}");
        }
    }
}

/// A network of discrete levels says nothing between them.
#[test]
fn chains_of_discrete_levels_stay_on_them() {
    let keys = json!({ "_class_name": "ScoreSdeVeScheduler", "sigma_max": 50.0, "num_noise_levels": 10 });
    let scheduler = scheduler(&keys);
    for steps in [1, 2, 4, 7, 10] {
        let chain = Chain::new(&scheduler, by_euler(steps)).unwrap();
        let indices: Vec<f64> =
            chain.stages().iter().map(|stage| 9.0 * (stage.timestep / 0.01).ln() / 5000.0_f64.ln()).collect();
        assert!(indices.iter().all(|index| (index - index.round()).abs() < 1e-9), "{indices:?}");
        assert!(indices.windows(2).all(|pair| pair[0] > pair[1] + 0.5) && indices[0] > 8.5, "{indices:?}");
        assert!(steps == 1 || indices[steps - 1].abs() < 1e-9);
    }
    let options = ChainOptions { sampler: Some(SamplerName::Euler), ..ChainOptions::default() };
    assert_eq!(Chain::new(&scheduler, options).unwrap().steps(), 10);
    let message = Chain::new(&scheduler, ChainOptions { steps: Some(11), ..ChainOptions::default() }).err().unwrap();
    assert!(message.to_string().contains("11 sampling steps, expected 1 to 10"), "{message}");
}

/// Chains of diffusers' EDMEulerScheduler in five steps, of a network tanh(0.7 y + told) and four pixels; the numbers are
/// diffusers'.
#[test]
fn edm_is_diffusers() {
    let start = [-1.5, -0.2, 0.4, 1.1];
    for (prediction, expected) in [
        ("epsilon", [-0.787_284, -0.013_483, 0.362_088, 0.698_271]),
        ("v_prediction", [0.008_532, 0.003_006, -0.012_801, 0.009_705]),
    ] {
        let keys = json!({ "_class_name": "EDMEulerScheduler", "prediction_type": prediction });
        let chain = Chain::new(&scheduler(&keys), ChainOptions { steps: Some(5), ..ChainOptions::default() }).unwrap();
        for (start, expected) in start.into_iter().zip(expected) {
            let mut y = start * chain.initial_deviation();
            for stage in chain.stages() {
                let output = (0.7 * y + stage.timestep).tanh();
                let x0 = stage.weights.x0_of[0] * y + stage.weights.x0_of[1] * output;
                y = stage.weights.x_of[0] * y + stage.weights.x_of[1] * x0;
            }
            assert!((y - expected).abs() < 2e-5, "{prediction}: {y}, {expected}");
        }
    }
}

/// The kernel's rows, column by column, against the process in double precision at the time that each says.
#[test]
fn rows_are_the_processes() {
    use aquatint::kernels::continuous_levels::{ContinuousLevels, ContinuousProcess, TimeDraw, continuous_levels};
    use aquatint::kernels::prediction::PredictionType::{Epsilon, VPrediction};
    use aquatint::kernels::weighting::Weighting;
    let kernels = [
        (ContinuousProcess::Vp([0.1, 20.0]), TimeDraw::Uniform),
        (ContinuousProcess::SubVp([0.1, 20.0]), TimeDraw::Uniform),
        (ContinuousProcess::Ve([0.01, 10.0]), TimeDraw::Uniform),
        (ContinuousProcess::Edm { sigmas: [0.002, 80.0], data: 0.5, rho: 7.0 }, TimeDraw::Stratified(300)),
        (ContinuousProcess::Edm { sigmas: [0.002, 80.0], data: 0.5, rho: 7.0 }, TimeDraw::LogNormal([-1.2, 1.2])),
    ];
    devices::on_each(|device| {
        for ((kernel, draw), (keys, _)) in kernels.into_iter().zip(processes()) {
            let process = scheduler(&keys).process().unwrap();
            let is_turned = keys["prediction_type"].is_null() && matches!(process, Process::Edm { .. });
            let prediction = if matches!(process, Process::Edm { .. }) { VPrediction } else { Epsilon };
            let first = process.first() as f32;
            let levels = ContinuousLevels {
                process: kernel,
                first,
                times: 0,
                draw,
                prediction,
                is_turned,
                weighting: Weighting::None,
            };
            let mut r = aquatint::plan::Recorder::new();
            let drawn = continuous_levels(&mut r, 300, levels);
            let rows = r.export("rows", drawn.levels);
            let plan = device.load(&r.finish()).unwrap();
            device.run(plan, &Step::seeded(9)).unwrap();
            let mut told_sum = 0.0;
            for row in device.download(&rows).unwrap().chunks_exact(8) {
                let told = f64::from(row[5]);
                let t = match process {
                    Process::Ve { .. } => process.time(told),
                    Process::Edm { .. } => process.time((4.0 * told).exp()),
                    _ => told / 999.0,
                };
                assert!(t >= process.first() - 1e-6 && t <= 1.0 + 1e-6 || matches!(draw, TimeDraw::LogNormal(_)));
                told_sum += told / 300.0;
                let level = process.network_level(t);
                let [of_x0, of_epsilon] = prediction.of_x0_and_epsilon(level.signal, level.noise);
                let sign = if is_turned { -1.0 } else { 1.0 };
                let expected =
                    [level.signal / level.data, level.noise, sign * of_x0 / level.data, sign * of_epsilon, 1.0];
                for (column, (&found, expected)) in row.iter().zip(expected).enumerate() {
                    let difference = (f64::from(found) - expected).abs();
                    assert!(difference <= 2e-5 * expected.abs(), "{keys}, column {column}: {found}, {expected}");
                }
            }
            // Uniform times, and the mean of ln(sigma) / 4.
            match (process, draw) {
                (Process::Vp { .. } | Process::SubVp { .. }, _) => assert!((told_sum / 999.0 - 0.5).abs() < 0.06),
                (_, TimeDraw::LogNormal(_)) => assert!((told_sum + 0.3).abs() < 0.06, "{told_sum}"),
                _ => {}
            }
        }
    });
}

/// In the mean, half of denoising score matching's loss less 1/2, for any function: here one that is no score. The noise of
/// 200 000 elements is some 0.003, the difference over h some 0.001.
#[test]
fn sliced_score_matching_is_denoising_score_matching_less_a_constant() {
    use aquatint::kernels::forward_process::forward_process;
    use aquatint::kernels::sliced_score::{sliced_inputs, sliced_score};
    let (elements, signal, noise) = (50_000, 0.8_f32, 0.6_f32);
    let says = |x: f32| (1.3 * x + 0.2).sin() + 0.4 * x;
    // A network that predicts eps, and one that predicts the score.
    for of_epsilon in [1.0, -1.0 / noise] {
        let device = &mut Host::<f32>::new();
        let (levels, x0) = (Storage::f32("levels", 32), Storage::f32("x_0", 4 * elements));
        let mut r = Recorder::new();
        let (level_value, x0_value) = (r.input(&levels, &[4, 8]), r.input(&x0, &[4, elements]));
        let noisy = forward_process(&mut r, level_value, x0_value).unwrap();
        let inputs = sliced_inputs(&mut r, level_value, noisy.sample).unwrap();
        let values = [noisy.sample, noisy.target, inputs.sample, inputs.directions];
        let [x, target, both, directions] = values.map(|value| r.export("values", value));
        let plan = device.load(&r.finish()).unwrap();
        device.upload(&levels, 0, &[signal, noise, 0.0, of_epsilon, 1.0, 0.0, 0.0, 1.0].repeat(4)).unwrap();
        device.upload(&x0, 0, &pixels(0, 4 * elements)).unwrap();
        device.run(plan, &Step::seeded(9)).unwrap();
        let downloaded = [&x, &target, &both, &directions].map(|storage| device.download(storage).unwrap());
        let [x, target, both, drawn] = downloaded;
        let errors = x.iter().zip(&target).map(|(&x, &target)| f64::from(says(x) - target / of_epsilon).powi(2));
        let denoising = errors.sum::<f64>() / x.len() as f64;
        assert!((drawn.iter().sum::<f32>() / x.len() as f32).abs() < 0.01 && drawn.iter().all(|v| v.abs() == 1.0));

        let outputs = Storage::f32("outputs", both.len());
        let mut r = Recorder::new();
        let values = [(&outputs, 8), (&directions, 4)].map(|(storage, rows)| r.input(storage, &[rows, elements]));
        let levels = r.input(&levels, &[4, 8]);
        let losses = sliced_score(&mut r, values[0], values[1], levels).unwrap();
        let losses = r.export("losses", losses);
        let plan = device.load(&r.finish()).unwrap();
        let output: Vec<f32> = both.iter().map(|&x| of_epsilon * says(x)).collect();
        device.upload(&outputs, 0, &output).unwrap();
        device.run(plan, &Step::seeded(9)).unwrap();
        let sliced = device.download(&losses).unwrap().iter().map(|&loss| f64::from(loss)).sum::<f64>() / 4.0;
        assert!((sliced - 0.5 * (denoising - 1.0)).abs() < 0.01, "{sliced}, {denoising}");
    }
}

/// Song & Ermon 2019: levels at equal ratios from the least to the largest sigma, each as often.
#[test]
fn discrete_levels_are_geometric_and_alike() {
    use aquatint::kernels::continuous_levels::{ContinuousLevels, ContinuousProcess, TimeDraw, continuous_levels};
    use aquatint::kernels::{prediction::PredictionType::Score, weighting::Weighting};
    let (pictures, times, ends) = (4000, 10, [0.01_f32, 50.0]);
    for draw in [TimeDraw::Uniform, TimeDraw::Stratified(pictures)] {
        let (process, weighting) = (ContinuousProcess::Ve(ends), Weighting::Snr);
        let levels =
            ContinuousLevels { process, first: 1e-5, times, draw, prediction: Score, is_turned: false, weighting };
        let mut r = aquatint::plan::Recorder::new();
        let drawn = continuous_levels(&mut r, pictures, levels);
        let rows = r.export("rows", drawn.levels);
        let device = &mut Host::<f32>::new();
        let plan = device.load(&r.finish()).unwrap();
        device.run(plan, &Step::seeded(9)).unwrap();
        let mut counts = [0_u32; 10];
        for row in device.download(&rows).unwrap().chunks_exact(8) {
            let sigma = ends[0] * (ends[1] / ends[0]).powf(row[6] / 9.0);
            assert!((row[1] - sigma).abs() < 1e-5 * sigma && (row[4] - sigma * sigma).abs() < 1e-4 * sigma * sigma);
            assert_eq!((row[0], row[5]), (1.0, row[1]));
            counts[row[6] as usize] += 1;
        }
        let spread = if matches!(draw, TimeDraw::Uniform) { 80 } else { 1 };
        assert!(counts.iter().all(|count| count.abs_diff(400) <= spread), "{draw:?}: {counts:?}");
    }
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    for (keys, words) in [
        (json!({ "_class_name": "ScoreSdeVpScheduler", "beta_min": 0.0 }), &["beta_min", "0"][..]),
        (json!({ "_class_name": "ScoreSdeVeScheduler", "sigma_min": 60.0, "sigma_max": 50.0 }), &["sigma_min", "60"]),
        (json!({ "_class_name": "ScoreSdeVpScheduler", "sampling_eps": 1.0 }), &["sampling_eps", "1"]),
        (json!({ "_class_name": "ScoreSdeVeScheduler", "num_noise_levels": 1 }), &["num_noise_levels", "1"]),
        (json!({ "_class_name": "EDMEulerScheduler", "prediction_type": "sample" }), &["prediction_type", "sample"]),
        (json!({ "_class_name": "EDMEulerScheduler", "sigma_schedule": "exponential" }), &["sigma_schedule", "karras"]),
        (json!({ "_class_name": "EDMEulerScheduler", "rho": 0.5 }), &["rho", "0.5"]),
    ] {
        let message = SchedulerConfig::from_json(&keys, "here").unwrap_err().to_string();
        assert!(message.starts_with("here: ") && words.iter().all(|word| message.contains(word)), "{message}");
    }
    for (keys, _) in processes() {
        let config = scheduler(&keys);
        assert_eq!(SchedulerConfig::from_json(&config.to_json(), "test").unwrap(), config);
        assert_eq!(config.for_training("test").unwrap(), config);
        for class in aquatint::diffusion::SchedulerClass::ALL {
            let message = config.with_class(class, "--sampler").unwrap_err().to_string();
            assert!(message.contains(class.name()), "{message}");
        }
    }
    let sliced = |change: &dyn Fn(&mut RunConfig), keys: &Value, words: &[&str]| {
        let mut config = config(keys, TimestepSampler::Uniform, 1);
        config.training.objective = ObjectiveName::Sliced;
        change(&mut config);
        let message = Trainer::new(&config, [1, 1]).err().unwrap().to_string();
        assert!(words.iter().all(|word| message.contains(word)) && message.contains("sliced"), "{message}");
    };
    let vp = &processes()[0].0;
    sliced(&|_| (), &processes()[3].0, &["objective", "EDMEulerScheduler"]);
    sliced(&|c| c.training.loss = LossName::L1, vp, &["loss", "l1", "l2"]);
    sliced(&|c| c.training.weighting = Some(WeightingName::P2), vp, &["weighting", "p2", "snr"]);
    sliced(&|c| c.unet.dropout = 0.1, vp, &["dropout", "0.1"]);
    sliced(&|c| c.unet.out_channels = 2, vp, &["out_channels", "2"]);
    sliced(&|_| (), &json!({ "prediction_type": "sample" }), &["prediction_type", "sample", "score"]);
    let importance = |c: &mut RunConfig| c.training.timestep_sampler = Some(TimestepSampler::Importance);
    sliced(&importance, &json!({}), &["timestep_sampler", "importance"]);
    let vp = config(&processes()[0].0, TimestepSampler::LogNormal, 1);
    let message = Trainer::new(&vp, [1, 1]).err().unwrap().to_string();
    assert!(message.contains("timestep_sampler") && message.contains("log_normal"), "{message}");
}

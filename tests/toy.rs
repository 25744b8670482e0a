//! Toy networks trained by every objective, prediction and variance on a problem whose answer is known: pictures of one
//! pixel that is normal, for which the best prediction is a line in x_t and the best variance of a step is known.

mod devices;

use aquatint::device::{Device, Host};
use aquatint::diffusion::{NoiseSchedule, PredictionType, SchedulerConfig, VarianceType};
use aquatint::kernels::random::{Purpose, normal, picture_key};
use aquatint::nn::{BlockType, Forward, UNetConfig};
use aquatint::plan::Step;
use aquatint::training::{
    LossName, ObjectiveName, RunConfig, TimestepSampler, Trainer, TrainingConfig, WeightingName, default_unet,
};
use serde_json::json;

/// Mean and standard deviation of the pixel.
const MEAN: f64 = 0.3;
const DEVIATION: f64 = 0.3;
/// The schedule's 1 - alphas_cumprod, which grow fast: beta~_t is a third to a quarter of beta_t, and the best variance is
/// near beta_t at the first of these timesteps and near beta~_t at the last.
const NOISE: [f64; 5] = [0.02, 0.052, 0.134, 0.347, 0.9];
const TIMESTEPS: usize = NOISE.len();
const BATCH: usize = 128;
/// Pictures that a trained network is judged by, at every timestep.
const JUDGED: usize = 512;

#[derive(Clone, Copy, Debug)]
struct Toy {
    objective: ObjectiveName,
    prediction: PredictionType,
    variance: VarianceType,
    weighting: WeightingName,
    sampler: TimestepSampler,
    loss: LossName,
    vlb_weight: f32,
}

impl Toy {
    fn new(objective: ObjectiveName, prediction: PredictionType, variance: VarianceType) -> Self {
        let simple_score = prediction == PredictionType::Score && objective != ObjectiveName::Vlb;
        Self {
            objective,
            prediction,
            variance,
            weighting: if simple_score { WeightingName::Snr } else { WeightingName::None },
            sampler: TimestepSampler::Uniform,
            loss: LossName::L2,
            vlb_weight: 0.3,
        }
    }

    fn learns_variances(self) -> bool {
        matches!(self.variance, VarianceType::Learned | VarianceType::LearnedRange)
    }

    fn config(self, steps: usize) -> RunConfig {
        let before = |t: usize| if t == 0 { 1.0 } else { 1.0 - NOISE[t - 1] };
        let betas: Vec<f64> = NOISE.iter().enumerate().map(|(t, noise)| 1.0 - (1.0 - noise) / before(t)).collect();
        let scheduler = json!({
            "num_train_timesteps": TIMESTEPS, "trained_betas": betas, "clip_sample": false,
            "prediction_type": self.prediction, "variance_type": self.variance,
        });
        let unet = UNetConfig {
            block_out_channels: vec![32],
            down_block_types: vec![BlockType::DownBlock2D],
            up_block_types: vec![BlockType::UpBlock2D],
            layers_per_block: 1,
            add_attention: false,
            out_channels: if self.learns_variances() { 2 } else { 1 },
            ..default_unet(1, 1, 1, None)
        };
        RunConfig {
            unet,
            scheduler: SchedulerConfig::from_json(&scheduler, "toy").unwrap(),
            training: TrainingConfig {
                objective: self.objective,
                weighting: Some(self.weighting),
                timestep_sampler: Some(self.sampler),
                loss: self.loss,
                vlb_weight: self.vlb_weight,
                max_train_steps: steps,
                train_batch_size: BATCH,
                learning_rate: 3e-3,
                lr_warmup_steps: 20,
                ema_max_decay: 0.99,
                seed: 3,
                ..TrainingConfig::default()
            },
        }
    }
}

/// Normal pixels, numbered.
fn pixels(step: usize, count: usize) -> Vec<f32> {
    let key = picture_key([5, 5], Purpose::TestData, step as u32);
    (0..count).map(|i| (MEAN + DEVIATION * normal::<f64>(key, 0, i)) as f32).collect()
}

/// How far a network is from the best one.
#[derive(Clone, Copy, Debug)]
struct Distance {
    /// Root mean square of the prediction's error in x_0, each timestep's relative to the standard deviation of what
    /// x_t leaves open: the error that would double the loss is 1.
    prediction: f64,
    /// Mean of the variances' error in their logarithms, in shares of that of the geometric mean of beta~_t and beta_t,
    /// which is what a network of `learned_range` says that was never told anything: its 0.
    variance: f64,
}

fn trained(toy: Toy, steps: usize, device: &mut dyn Device) -> (Vec<f32>, Trainer) {
    let config = toy.config(steps);
    let mut trainer = Trainer::new(&config, [1, 1]).unwrap();
    trainer.load(device).unwrap();
    let weights = trainer.parameters().initialize(7);
    for (name, storage) in trainer.buffers() {
        if matches!(name, "parameters" | "ema") {
            device.upload(storage, 0, &weights).unwrap();
        }
    }
    for n in 0..steps {
        trainer.step(device, n, &pixels(n, BATCH), &[]).unwrap();
    }
    let weights = device.download(trainer.ema()).unwrap();
    (weights, trainer)
}

fn distance(toy: Toy, weights: &[f32], trainer: &Trainer, device: &mut dyn Device) -> Distance {
    let schedule = NoiseSchedule::new(&toy.config(1).scheduler);
    let forward = Forward::new(trainer.network().unet().unwrap(), JUDGED, [1, 1]).unwrap();
    let plan = device.load(&forward.plan).unwrap();
    device.upload(&forward.weights, 0, weights).unwrap();
    let channels = if toy.learns_variances() { 2 } else { 1 };
    let (mut squares, mut variances, mut untold) = (0.0, 0.0, 0.0);
    for t in 0..TIMESTEPS {
        let (a, b) = (schedule.alphas_cumprod[t], schedule.one_minus_alphas_cumprod[t]);
        let (s, n) = (a.sqrt(), b.sqrt());
        let x0 = pixels(1_000_000 + t, JUDGED);
        let key = picture_key([5, 5], Purpose::TestData, 2_000_000 + t as u32);
        let x_t: Vec<f32> =
            x0.iter().enumerate().map(|(i, &x0)| (s * f64::from(x0) + n * normal::<f64>(key, 0, i)) as f32).collect();
        device.upload(&forward.pictures, 0, &x_t).unwrap();
        device.upload(&forward.timesteps, 0, &vec![t as f32; JUDGED]).unwrap();
        device.run(plan, &Step::default()).unwrap();
        let output = device.download(&forward.output).unwrap();
        // x_0 given x_t is normal.
        let open = DEVIATION * DEVIATION * b / (a * DEVIATION * DEVIATION + b);
        let [[of_x, of_output], _] = toy.prediction.x0_and_epsilon(s, n);
        // The best variance of x_{t-1} given x_t: the posterior's and what is open of x_0.
        let (a_before, b_before) = match t {
            0 => (1.0, 0.0),
            _ => (schedule.alphas_cumprod[t - 1], schedule.one_minus_alphas_cumprod[t - 1]),
        };
        let beta = schedule.betas[t];
        let (posterior, of_x0) = (beta * b_before / b, beta * f64::sqrt(a_before) / b);
        for (i, &x) in x_t.iter().enumerate() {
            let x = f64::from(x);
            let best = MEAN + DEVIATION * DEVIATION * s / (a * DEVIATION * DEVIATION + b) * (x - s * MEAN);
            let found = of_x * x + of_output * f64::from(output[i * channels]);
            squares += (found - best).powi(2) / open;
            if channels == 2 && t > 0 {
                let said = f64::from(output[2 * i + 1]);
                let log_variance = match toy.variance {
                    VarianceType::Learned => said.max(0.1 * posterior).ln(),
                    _ => posterior.ln() + 0.5 * (said + 1.0) * (beta / posterior).ln(),
                };
                let best = (posterior + of_x0 * of_x0 * open).ln();
                variances += (log_variance - best).abs();
                untold += (0.5 * (posterior * beta).ln() - best).abs();
            }
        }
    }
    device.unload(plan);
    Distance {
        prediction: (squares / (TIMESTEPS * JUDGED) as f64).sqrt(),
        variance: if channels == 2 { variances / untold } else { 0.0 },
    }
}

/// Trains and judges; the distances that are allowed are of the prediction and of the variances.
fn ends_near_the_optimum(toy: Toy, steps: usize, allowed: [f64; 2], device: &mut dyn Device) -> Result<(), String> {
    let (weights, trainer) = trained(toy, steps, device);
    let found = distance(toy, &weights, &trainer, device);
    println!("{toy:?}: {found:?}");
    if found.prediction <= allowed[0] && found.variance <= allowed[1] {
        Ok(())
    } else {
        Err(format!("{toy:?} ends {found:?} from the optimum, allowed {allowed:?}"))
    }
}

fn all(combinations: Vec<Toy>, steps: usize, allowed: [f64; 2], device: &mut dyn Device) {
    let failures: Vec<String> =
        (combinations.into_iter()).filter_map(|toy| ends_near_the_optimum(toy, steps, allowed, device).err()).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

use ObjectiveName::{Hybrid, Simple, Sliced, Vlb};
use PredictionType::{Epsilon, Sample, Score, VPrediction};
use VarianceType::{FixedLarge, FixedSmall, Learned, LearnedRange};

/// What is allowed after 300 steps, of the prediction and of the variances.
const FEW_STEPS: [f64; 2] = [0.35, 0.4];

#[test]
fn some_objectives_find_what_is_known() {
    let combinations = vec![
        Toy::new(Simple, Epsilon, FixedSmall),
        Toy { weighting: WeightingName::MinSnr, ..Toy::new(Simple, VPrediction, FixedSmall) },
        Toy::new(Vlb, Sample, LearnedRange),
    ];
    all(combinations, 300, FEW_STEPS, &mut Host::<f32>::new());
    all(vec![Toy::new(Sliced, Score, FixedSmall)], 1200, [0.45, 0.25], &mut Host::<f32>::new());
}

/// What is allowed above is too far for variances that nothing is learnt of: those of a bound that weighs nothing.
#[test]
fn variances_that_are_not_trained_are_found_out() {
    let toy = Toy { vlb_weight: 1e-30, ..Toy::new(Hybrid, Epsilon, LearnedRange) };
    let mut device = Host::<f32>::new();
    let (weights, trainer) = trained(toy, 300, &mut device);
    let found = distance(toy, &weights, &trainer, &mut device);
    println!("{found:?}");
    assert!(found.prediction <= FEW_STEPS[0] && found.variance > 2.0 * FEW_STEPS[1], "{found:?}");
}

#[test]
#[ignore = "long: make test-long"]
fn every_objective_finds_what_is_known() {
    let (mut combinations, mut learned) = (Vec::new(), Vec::new());
    for prediction in [Epsilon, Sample, VPrediction, Score] {
        for variance in [FixedSmall, FixedLarge] {
            combinations.push(Toy::new(Simple, prediction, variance));
        }
        for variance in [FixedSmall, FixedLarge] {
            combinations.push(Toy::new(Vlb, prediction, variance));
        }
        for variance in [Learned, LearnedRange] {
            learned.push(Toy::new(Vlb, prediction, variance));
            learned.push(Toy::new(Hybrid, prediction, variance));
        }
        for weighting in [WeightingName::Snr, WeightingName::MinSnr, WeightingName::P2, WeightingName::Kl] {
            combinations.push(Toy { weighting, ..Toy::new(Simple, prediction, FixedSmall) });
        }
        for sampler in [TimestepSampler::Stratified, TimestepSampler::LogNormal, TimestepSampler::Importance] {
            combinations.push(Toy { sampler, ..Toy::new(Simple, prediction, FixedSmall) });
        }
        learned.push(Toy { sampler: TimestepSampler::Importance, ..Toy::new(Vlb, prediction, LearnedRange) });
        // The median of a normal distribution is its mean.
        combinations.push(Toy { loss: LossName::L1, ..Toy::new(Simple, prediction, FixedSmall) });
        combinations.push(Toy { loss: LossName::Huber, ..Toy::new(Simple, prediction, FixedSmall) });
    }
    // What is learned from few hints takes longer: a step's variance from the squares of what is left of it, and a
    // slice's slope from a difference.
    let sliced = [Epsilon, Score].map(|prediction| Toy::new(Sliced, prediction, FixedSmall)).to_vec();
    all(learned, 4000, [0.25, 0.35], &mut Host::<f32>::new());
    all(sliced, 4000, [0.35, 0.0], &mut Host::<f32>::new());
    all(combinations, 800, [0.25, 0.25], &mut Host::<f32>::new());
}

#[test]
#[ignore = "long: make test-long"]
fn some_objectives_find_what_is_known_on_the_gpu() {
    let Some(mut gpu) = devices::gpu(Default::default()) else { return };
    let combinations = vec![
        Toy::new(Simple, Epsilon, FixedSmall),
        Toy { sampler: TimestepSampler::Importance, ..Toy::new(Vlb, Sample, LearnedRange) },
        Toy::new(Hybrid, VPrediction, LearnedRange),
    ];
    all(combinations, 300, FEW_STEPS, &mut gpu);
}

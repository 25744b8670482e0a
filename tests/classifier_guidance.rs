//! Guidance by a classifier's gradient: on a mixture of two Gaussians whose score and classifier are known, and with a
//! network that was trained.

mod devices;

use aquatint::device::{Device, Host};
use aquatint::diffusion::{
    Aim, Chain, ChainOptions, Guidance, Guide, NoiseSchedule, Request, Sampler, SamplerOptions, SchedulerConfig,
    StepNoise,
};
use aquatint::kernels::random::{Purpose, normal, picture_key};
use aquatint::kernels::sampler_step::{COLUMNS, Operands, sampler_step};
use aquatint::nn::{Classifier, UNet, UNetConfig};
use aquatint::plan::{Recorder, Step, Storage};
use aquatint::training::default_unet;
use serde_json::{Value, json};

/// Two classes of numbers: weight, mean and standard deviation.
const CLASSES: [[f64; 3]; 2] = [[0.7, -0.6, 0.2], [0.3, 0.5, 0.3]];
const COUNT: usize = 6000;

/// Of x_t with this signal and noise: log density of each class with its weight, and its slope.
fn densities(x: f64, [signal, noise]: [f64; 2]) -> [[f64; 2]; 2] {
    CLASSES.map(|[weight, mean, deviation]| {
        let variance = (signal * deviation).powi(2) + noise * noise;
        let away = x - signal * mean;
        [weight.ln() - 0.5 * variance.ln() - 0.5 * away * away / variance, -away / variance]
    })
}

/// Shares of the classes at x_t.
fn posterior(densities: [[f64; 2]; 2]) -> [f64; 2] {
    let odds = (densities[1][0] - densities[0][0]).exp();
    [1.0 / (1.0 + odds), odds / (1.0 + odds)]
}

/// Draws numbers with the exact noise for the network's output, and the exact gradient of log p(class 1 | x_t).
fn drawn(keys: Value, scale: f64, steps: usize) -> Vec<f64> {
    let config = SchedulerConfig::from_json(&keys, "test").unwrap();
    let schedule = NoiseSchedule::new(&config);
    let guidance = Guidance { classifier_scale: scale, ..Guidance::default() };
    let chain = Chain::new(&config, ChainOptions { steps: Some(steps), guidance, ..ChainOptions::default() }).unwrap();
    let shape = [COUNT, 1, 1, 1];
    let [x, output, gradient] = ["x", "output", "gradient"].map(|name| Storage::f32(name, COUNT));
    let kept = Storage::f32("kept", COUNT * chain.kernel().history);
    let table = Storage::f32("table", COLUMNS * chain.stages().len());
    let mut r = Recorder::new();
    let [x_value, output_value, gradient_value] = [&x, &output, &gradient].map(|storage| r.input(storage, &shape));
    let operands = Operands {
        table: r.input(&table, &[chain.stages().len(), COLUMNS]),
        output: Some(output_value),
        factors: None,
        gradient: Some(gradient_value),
        thresholds: None,
        noise: None,
        kept: (chain.kernel().history > 0).then(|| r.input(&kept, &[chain.kernel().history, COUNT])),
        x: x_value,
    };
    sampler_step(&mut r, chain.kernel(), operands).unwrap();
    let mut host = Host::<f64>::reference();
    let plan = host.load(&r.finish()).unwrap();
    device_table(&mut host, &table, &chain);
    for (picture, x) in host.floats_mut(&x).unwrap().iter_mut().enumerate() {
        *x =
            normal::<f64>(picture_key([5, 0], Purpose::InitialNoise, picture as u32), 0, 0) * chain.initial_deviation();
    }
    for (row, stage) in chain.stages().iter().enumerate() {
        let t = stage.timestep as usize;
        let level = [schedule.alphas_cumprod[t], schedule.one_minus_alphas_cumprod[t]].map(f64::sqrt);
        let all: Vec<[f64; 2]> = (host.floats(&x).iter())
            .map(|&x| {
                let densities = densities(x, level);
                let shares = posterior(densities);
                let score = shares[0] * densities[0][1] + shares[1] * densities[1][1];
                [-level[1] * score, densities[1][1] - score]
            })
            .collect();
        for (storage, which) in [(&output, 0), (&gradient, 1)] {
            host.floats_mut(storage).unwrap().iter_mut().zip(&all).for_each(|(value, both)| *value = both[which]);
        }
        let step = Step { sampler_row: row as u32, sampler_noise: row as u32, ..Step::seeded(9) };
        host.run(plan, &step).unwrap();
    }
    host.floats(&x).to_vec()
}

fn device_table(device: &mut dyn Device, table: &Storage, chain: &Chain) {
    device.upload(table, 0, &chain.table()).unwrap();
}

/// Mean, standard deviation, and the share that the classifier takes for class 1.
fn moments(drawn: &[f64]) -> [f64; 3] {
    let mean = drawn.iter().sum::<f64>() / COUNT as f64;
    let variance = drawn.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / COUNT as f64;
    let share = drawn.iter().map(|&x| posterior(densities(x, [1.0, 0.0]))[1]).sum::<f64>() / COUNT as f64;
    [mean, variance.sqrt(), share]
}

/// The same of the density p(x) p(1 | x)^s, by a sum over a fine grid.
fn integrated(scale: f64) -> [f64; 3] {
    let grid = (0..40_000).map(|i| -4.0 + i as f64 * 2e-4);
    let mut sums = [0.0; 4];
    for x in grid {
        let densities = densities(x, [1.0, 0.0]);
        let share = posterior(densities)[1];
        let density = (densities[0][0].exp() + densities[1][0].exp()) * share.powf(scale);
        for (sum, value) in sums.iter_mut().zip([1.0, x, x * x, share]) {
            *sum += density * value;
        }
    }
    let mean = sums[1] / sums[0];
    [mean, (sums[2] / sums[0] - mean * mean).sqrt(), sums[3] / sums[0]]
}

fn near(found: [f64; 3], expected: [f64; 3], tolerance: f64, what: &str) {
    let off = found.iter().zip(expected).map(|(found, expected)| (found - expected).abs()).fold(0.0, f64::max);
    assert!(off < tolerance, "{what}: {found:?}, expected {expected:?}");
}

/// The score of p(x_t | y) is that of p(x_t) and the gradient of log p(y | x_t): at scale 1 the class itself is drawn, by every
/// sampler.
#[test]
fn at_scale_one_the_class_is_drawn() {
    let ancestral = json!({ "clip_sample": false });
    let ddim = json!({ "_class_name": "DDIMScheduler", "clip_sample": false });
    let heun = json!({ "_class_name": "HeunDiscreteScheduler" });
    let solver = json!({ "_class_name": "DPMSolverMultistepScheduler" });
    for (keys, steps) in [(ancestral, 1000), (ddim, 250), (heun, 60), (solver, 60)] {
        let what = keys["_class_name"].to_string();
        near(moments(&drawn(keys.clone(), 0.0, steps)), integrated(0.0), 0.03, &what);
        near(moments(&drawn(keys, 1.0, steps)), integrated(1.0), 0.03, &what);
    }
}

/// Beyond, more and more of what is drawn is of the class, as in p(x) p(y | x)^s, of which the guided score is not the score on
/// the way.
#[test]
fn larger_scales_draw_more_of_the_class() {
    let keys = || json!({ "_class_name": "DDIMScheduler", "clip_sample": false });
    let shares: Vec<f64> = [0.0, 0.5, 1.0, 3.0].map(|scale| moments(&drawn(keys(), scale, 100))[2]).to_vec();
    assert!(shares.windows(2).all(|pair| pair[0] < pair[1]), "{shares:?}");
    assert!((shares[0] - 0.3).abs() < 0.03 && shares[3] > 0.97, "{shares:?}");
    assert!(shares[3] > integrated(1.0)[2]);
}

fn small() -> (UNet, Classifier, Vec<f32>, Vec<f32>) {
    let config =
        UNetConfig { block_out_channels: vec![8, 16], norm_num_groups: Some(4), ..default_unet(8, 8, 1, None) };
    let (unet, classifier) = (UNet::new(&config).unwrap(), Classifier::new(&config, 10).unwrap());
    let weights = [unet.parameters().initialize(1), classifier.parameters().initialize(2)];
    let [of_unet, of_classifier] = weights;
    (unet, classifier, of_unet, of_classifier)
}

/// What a small network draws on a device, guided or not.
fn sample(device: &mut dyn Device, keys: &Value, scale: f64, aim: Option<Aim>) -> aquatint::Result<Vec<f32>> {
    let (unet, classifier, of_unet, of_classifier) = small();
    let config = SchedulerConfig::from_json(keys, "test").unwrap();
    let guidance = Guidance { classifier_scale: scale, ..Guidance::default() };
    let chain = Chain::new(&config, ChainOptions { steps: Some(4), guidance, ..ChainOptions::default() }).unwrap();
    let [weights, guiding] = [&of_unet, &of_classifier].map(|flat| Storage::f32("weights", flat.len()));
    let by_classes = !matches!(aim, Some(Aim::Features(_)));
    let guide = Guide { classifier: &classifier, weights: &guiding, by_classes };
    let guide = (scale > 0.0).then_some(&guide);
    let mut sampler =
        Sampler::with(&unet, &weights, chain, 2, [8, 8], SamplerOptions { guide, ..SamplerOptions::default() })?;
    sampler.load(device)?;
    device.upload(&weights, 0, &of_unet)?;
    if guide.is_some() {
        device.upload(&guiding, 0, &of_classifier)?;
    }
    // Two batches, the second half empty.
    let request = Request { count: 3, seed: 4, aim, ..Request::default() };
    sampler.sample(device, &request, |_, _, _| Ok(()))
}

fn largest(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn every_device_draws_the_same_and_every_picture_towards_its_own_class() {
    let threshold = json!({ "_class_name": "DDIMScheduler", "thresholding": true, "sample_max_value": 2.0 });
    for keys in [json!({}), json!({ "_class_name": "DDIMScheduler" }), threshold] {
        for aim in [Aim::Classes(vec![3, 8, 3]), Aim::Features((0..16).map(|i| (i as f32 - 7.0) / 8.0).collect())] {
            let expected = sample(&mut Host::<f64>::reference(), &keys, 5.0, Some(aim.clone())).unwrap();
            devices::on_each(|device| {
                let found = sample(device, &keys, 5.0, Some(aim.clone())).unwrap();
                assert!(largest(&found, &expected) < 1e-3, "{keys} {aim:?}: {}", largest(&found, &expected));
            });
            let plain = sample(&mut Host::<f64>::reference(), &keys, 0.0, None).unwrap();
            assert!(largest(&plain, &expected) > 1e-3, "{keys}: the gradient has done something");
        }
        let host = &mut Host::<f32>::new();
        let [one, other] = [vec![3, 8, 3], vec![3, 9, 3]]
            .map(|classes| sample(host, &keys, 5.0, Some(Aim::Classes(classes))).unwrap());
        assert!(one[..64] == other[..64] && one[64..128] != other[64..128] && one[128..] == other[128..]);
    }
}

#[test]
fn a_larger_scale_makes_pictures_liker() {
    // The classifier's own log-probability and similarity rise along its gradient.
    let host = &mut Host::<f64>::reference();
    let keys = json!({ "_class_name": "DDIMScheduler", "clip_sample": false });
    let aims = |class: u32| Some(Aim::Classes(vec![class; 3]));
    let [plain, guided] = [0.0, 30.0].map(|scale| sample(host, &keys, scale, aims(2)).unwrap());
    let scores = |pictures: &[f32]| -> f64 {
        let (_, classifier, _, weights) = small();
        let forward = aquatint::nn::ClassifierForward::new(&classifier, 3).unwrap();
        let mut host = Host::<f64>::reference();
        let plan = host.load(&forward.plan).unwrap();
        host.upload(&forward.weights, 0, &weights).unwrap();
        host.upload(&forward.pictures, 0, pictures).unwrap();
        host.run(plan, &Step::default()).unwrap();
        let log = |row: &[f64]| row[2] - row.iter().map(|score| score.exp()).sum::<f64>().ln();
        host.floats(&forward.scores).chunks_exact(10).map(log).sum()
    };
    assert!(scores(&guided) > scores(&plain) + 0.1, "{} {}", scores(&guided), scores(&plain));
}

#[test]
fn requests_that_do_not_fit_are_refused() {
    let host = &mut Host::<f32>::new();
    let mut refused = |scale: f64, aim: Option<Aim>, words: &str| {
        let message = sample(host, &json!({}), scale, aim).unwrap_err().to_string();
        assert!(message.contains(words) && !message.contains('\n'), "{message}");
    };
    refused(1.0, None, "nothing was said to draw");
    refused(1.0, Some(Aim::Classes(vec![1, 2])), "2 classes for 3 pictures");
    refused(1.0, Some(Aim::Classes(vec![1, 2, 10])), "class 10, expected 0 to 9");
    refused(1.0, Some(Aim::Features(vec![0.0; 3])), "3 features, expected 16");
    let (unet, classifier, ..) = small();
    let weights = Storage::f32("weights", unet.parameters().len());
    let guidance = Guidance { classifier_scale: 1.0, ..Guidance::default() };
    let chain =
        || Chain::new(&SchedulerConfig::default(), ChainOptions { guidance, ..ChainOptions::default() }).unwrap();
    let message = Sampler::new(&unet, &weights, chain(), 1, [8, 8], StepNoise::Drawn).err().unwrap().to_string();
    assert_eq!(message, "classifier scale is 1, but there is no classifier");
    let guide = Guide { classifier: &classifier, weights: &weights, by_classes: true };
    let options = SamplerOptions { guide: Some(&guide), ..SamplerOptions::default() };
    let guided = Sampler::with(&unet, &weights, chain(), 1, [16, 16], options);
    let message = guided.err().unwrap().to_string();
    assert_eq!(message, "the classifier is of pictures of 8x8x1, these are 16x16x1");
}

//! Classifier-free guidance through whole samplers: what it comes to at 0 and 1, where it acts, what rescaling does, and
//! which labels training drops.

mod devices;
mod runs;

use aquatint::device::{Device, Host};
use aquatint::diffusion::{
    Chain, ChainOptions, Guidance, NoiseSchedule, Passes, Request, Sampler, SchedulerClass, SchedulerConfig, StepNoise,
};
use aquatint::nn::{BlockType, UNet, UNetConfig};
use aquatint::plan::Storage;
use serde_json::json;

/// Three classes, and between them the one that stands for none.
const NONE: usize = 1;
const SIZE: [usize; 2] = [4, 6];
const COUNT: usize = 5;

fn unet(outputs: usize) -> UNet {
    let config = UNetConfig {
        sample_size: None,
        in_channels: 2,
        out_channels: outputs,
        block_out_channels: vec![8, 8],
        down_block_types: vec![BlockType::DownBlock2D; 2],
        up_block_types: vec![BlockType::UpBlock2D; 2],
        norm_num_groups: Some(4),
        attention_head_dim: None,
        layers_per_block: 1,
        num_class_embeds: Some(4),
        unconditional_class: Some(NONE),
        ..UNetConfig::default()
    };
    UNet::new(&config).unwrap()
}

fn scheduler(class: SchedulerClass, keys: serde_json::Value) -> SchedulerConfig {
    let mut all = json!({ "_class_name": class.name() });
    all.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
    SchedulerConfig::from_json(&all, "test").unwrap()
}

fn guided(scale: f64) -> Guidance {
    Guidance { scale, ..Guidance::default() }
}

/// Pictures of a network with random weights, and how many recordings they took.
fn draw(
    device: &mut dyn Device,
    config: &SchedulerConfig,
    steps: usize,
    guidance: Guidance,
    labels: Option<Vec<u32>>,
) -> (Vec<f32>, usize) {
    let options = ChainOptions { steps: Some(steps), guidance, ..ChainOptions::default() };
    let chain = Chain::new(config, options).unwrap();
    let unet = unet(if chain.learned_variances() == Some(true) { 4 } else { 2 });
    let weights = Storage::f32("weights", unet.parameters().len());
    let mut sampler = Sampler::new(&unet, &weights, chain, 3, SIZE, StepNoise::Drawn).unwrap();
    sampler.load(device).unwrap();
    device.upload(&weights, 0, &unet.parameters().initialize(5)).unwrap();
    let request = Request { count: COUNT, seed: 2, labels, ..Request::default() };
    let drawn = sampler.sample(device, &request, |_, _, _| Ok(())).unwrap();
    (drawn, sampler.plans().count())
}

fn bits(data: &[f32]) -> Vec<u32> {
    data.iter().map(|x| x.to_bits()).collect()
}

#[test]
fn at_0_and_1_there_is_one_pass_and_the_same_bits() {
    devices::on_each(|device| {
        for class in SchedulerClass::ALL {
            let config = scheduler(class, json!({}));
            let mut run = |guidance, labels| draw(device, &config, 3, guidance, labels);
            // All in turn, but the one that stands for none.
            let (plain, _) = run(Guidance::default(), None);
            assert_eq!(bits(&run(Guidance::default(), Some(vec![0, 2, 3, 0, 2])).0), bits(&plain));
            let (without, _) = run(Guidance::default(), Some(vec![NONE as u32; COUNT]));
            assert_ne!(bits(&without), bits(&plain));
            let (at_0, passes) = run(guided(0.0), None);
            assert_eq!((bits(&at_0), passes), (bits(&without), 1), "{class:?}");
            let (at_1, passes) = run(guided(1.0), None);
            assert_eq!((bits(&at_1), passes), (bits(&plain), 1), "{class:?}");
            let (beyond, passes) = run(guided(2.5), None);
            assert_eq!(passes, 1, "all stages are of both passes");
            assert_ne!(bits(&beyond), bits(&plain));
        }
    });
}

/// In a batch of its own size a picture's bits are the same wherever it stands; in another they agree.
#[test]
fn guided_pictures_do_not_depend_on_their_batch() {
    let guidance = Guidance { scale: 3.0, rescale: 0.7, interval: Some([0.1, 20.0]), ..Guidance::default() };
    devices::on_each(|device| {
        for class in [SchedulerClass::Ddpm, SchedulerClass::DpmSolverMultistep] {
            let config = scheduler(class, json!({}));
            let mut draw = |batch: usize, [first, count]: [usize; 2]| {
                let options = ChainOptions { steps: Some(4), guidance, ..ChainOptions::default() };
                let chain = Chain::new(&config, options).unwrap();
                let unet = unet(2);
                let weights = Storage::f32("weights", unet.parameters().len());
                let mut sampler = Sampler::new(&unet, &weights, chain, batch, SIZE, StepNoise::Drawn).unwrap();
                sampler.load(device).unwrap();
                device.upload(&weights, 0, &unet.parameters().initialize(5)).unwrap();
                let request = Request { count, first_picture: first as u32, seed: 2, ..Request::default() };
                sampler.sample(device, &request, |_, _, _| Ok(())).unwrap()
            };
            let whole = draw(3, [0, COUNT]);
            let picture = whole.len() / COUNT;
            assert_eq!(bits(&draw(3, [1, 4])), bits(&whole[picture..]), "{class:?}");
            let largest = whole.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
            for (a, b) in draw(5, [0, COUNT]).iter().zip(&whole) {
                assert!((a - b).abs() < 1e-4 * largest, "{class:?}: {a}, {b}");
            }
        }
    });
}

/// A chain of one stage is a line of the network's output, so that of the pictures with a class and without follow all
/// others. Learned variances, which add no noise in the last step, do not disturb it.
#[test]
fn one_step_goes_along_the_line_of_both_predictions() {
    devices::on_each(|device| {
        for class in SchedulerClass::ALL {
            for keys in [json!({}), json!({ "variance_type": "learned_range" })] {
                if class != SchedulerClass::Ddpm && keys.as_object().is_some_and(|keys| !keys.is_empty()) {
                    continue;
                }
                let mut keys = keys;
                if !class.is_continuous() {
                    keys.as_object_mut().unwrap().insert("clip_sample".into(), json!(false));
                }
                let config = scheduler(class, keys);
                let [without, with, beyond] =
                    [0.0, 1.0, 3.5].map(|scale| draw(device, &config, 1, guided(scale), None).0);
                let largest = beyond.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
                for ((without, with), beyond) in without.iter().zip(&with).zip(&beyond) {
                    let expected = without + 3.5 * (with - without);
                    assert!((beyond - expected).abs() < 2e-5 * largest, "{class:?}: {beyond}, {expected}");
                }
            }
        }
    });
}

#[test]
fn intervals_are_of_noise_over_signal() {
    let mut host = Host::<f32>::new();
    for class in SchedulerClass::ALL {
        let config = scheduler(class, json!({}));
        let interval =
            |low: f64, high: f64| Guidance { scale: 3.0, interval: Some([low, high]), ..Guidance::default() };
        let chain = |guidance| {
            Chain::new(&config, ChainOptions { steps: Some(8), guidance, ..ChainOptions::default() }).unwrap()
        };
        let passes =
            |guidance| -> Vec<Passes> { chain(guidance).stages().iter().map(|stage| stage.passes()).collect() };
        let all = passes(guided(3.0));
        assert!(all.iter().all(|&passes| passes == Passes::Both));
        assert_eq!(passes(interval(0.0, f64::INFINITY)), all);
        let some = passes(interval(0.4, 4.0));
        if !class.is_continuous() {
            // By the schedule's own table, for timesteps that are whole.
            let schedule = NoiseSchedule::new(&config);
            for (stage, passes) in chain(guided(3.0)).stages().iter().zip(&some) {
                let signal = schedule.alphas_cumprod[stage.timestep.round() as usize];
                let sigma = ((1.0 - signal) / signal).sqrt();
                if (sigma - 0.4).abs() > 0.01 && (sigma - 4.0).abs() > 0.1 {
                    let expected = if sigma > 0.4 && sigma <= 4.0 { Passes::Both } else { Passes::Conditional };
                    assert_eq!(*passes, expected, "{class:?} at {}", stage.timestep);
                }
            }
        }
        let both = some.iter().filter(|&&passes| passes == Passes::Both).count();
        assert!(both > 0 && both < some.len(), "{class:?}: {some:?}");
        // Beyond all levels nothing is guided: the same bits without a second pass.
        let (plain, _) = draw(&mut host, &config, 8, Guidance::default(), None);
        let (outside, recordings) = draw(&mut host, &config, 8, interval(1e6, 1e7), None);
        assert_eq!((bits(&outside), recordings), (bits(&plain), 1), "{class:?}");
        let (inside, recordings) = draw(&mut host, &config, 8, interval(0.4, 4.0), None);
        assert_eq!(recordings, 2);
        assert_ne!(bits(&inside), bits(&plain));
        // At 0 the class counts outside alone.
        let unguided = Guidance { scale: 0.0, ..interval(0.4, 4.0) };
        let chain = Chain::new(&config, ChainOptions { steps: Some(8), guidance: unguided, ..ChainOptions::default() });
        let zero: Vec<Passes> = chain.unwrap().stages().iter().map(|stage| stage.passes()).collect();
        for (zero, some) in zero.iter().zip(&some) {
            assert_eq!(*zero == Passes::Unconditional, *some == Passes::Both);
        }
        let (mixed, recordings) = draw(&mut host, &config, 8, unguided, None);
        assert_eq!(recordings, 1);
        assert_ne!(bits(&mixed), bits(&plain));
    }
}

fn deviation(values: &[f64]) -> f64 {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / values.len() as f64).sqrt()
}

/// Equations 14 to 16 of Lin et al. 2023, in double precision, of the outputs that pictures of one step tell.
#[test]
fn rescaling_brings_the_deviation_back() {
    devices::on_each(|device| {
        let config = scheduler(SchedulerClass::Ddim, json!({ "clip_sample": false }));
        let chain = Chain::new(&config, ChainOptions { steps: Some(1), ..ChainOptions::default() }).unwrap();
        let [of_x, of_output] = chain.stages()[0].weights.x0_of;
        // The noise of a network that says nothing at all.
        let noise: Vec<f64> = {
            let unet = unet(2);
            let weights = Storage::f32("weights", unet.parameters().len());
            let mut sampler = Sampler::new(&unet, &weights, chain, 3, SIZE, StepNoise::Drawn).unwrap();
            sampler.load(device).unwrap();
            let request = Request { count: COUNT, seed: 2, ..Request::default() };
            let drawn = sampler.sample(device, &request, |_, _, _| Ok(())).unwrap();
            drawn.iter().map(|x| f64::from(*x) / of_x).collect()
        };
        let outputs = |guidance: Guidance, device: &mut dyn Device| -> Vec<f64> {
            let drawn = draw(device, &config, 1, guidance, None).0;
            drawn.iter().zip(&noise).map(|(&x, noise)| (f64::from(x) - of_x * noise) / of_output).collect()
        };
        let [without, with] = [0.0, 1.0].map(|scale| outputs(guided(scale), device));
        for phi in [0.3, 1.0] {
            let found = outputs(Guidance { scale: 4.0, rescale: phi, ..Guidance::default() }, device);
            let len = found.len() / COUNT;
            for picture in 0..COUNT {
                let of = |all: &[f64]| all[picture * len..][..len].to_vec();
                let (without, with, found) = (of(&without), of(&with), of(&found));
                let guided: Vec<f64> = without.iter().zip(&with).map(|(u, c)| u + 4.0 * (c - u)).collect();
                let factor = phi * deviation(&with) / deviation(&guided) + 1.0 - phi;
                assert!((factor - 1.0).abs() > 1e-3, "rescaling does something: {factor}");
                for (found, guided) in found.iter().zip(&guided) {
                    assert!((found - factor * guided).abs() < 1e-4, "{found}, {}", factor * guided);
                }
            }
        }
    });
}

#[test]
fn what_cannot_be_guided_is_refused_in_one_line() {
    let config = SchedulerConfig::default();
    let refused = |guidance: Guidance, words: &[&str]| {
        let options = ChainOptions { steps: Some(2), guidance, ..ChainOptions::default() };
        let message = Chain::new(&config, options).unwrap_err().to_string();
        assert!(words.iter().all(|word| message.contains(word)) && !message.contains('\n'), "{message}");
    };
    refused(guided(-1.0), &["guidance is -1"]);
    refused(guided(f64::NAN), &["guidance is NaN"]);
    refused(guided(f64::INFINITY), &["guidance is inf"]);
    refused(Guidance { rescale: 1.5, ..guided(2.0) }, &["rescale is 1.5", "0 to 1"]);
    for bad in [[3.0, 1.0], [1.0, 1.0], [-1.0, 1.0], [f64::NAN, 1.0], [0.0, f64::NAN]] {
        refused(Guidance { interval: Some(bad), ..guided(2.0) }, &["guidance interval", "the lower first"]);
    }
    let with = unet(2).config().clone();
    let no_null = UNetConfig { unconditional_class: None, ..with.clone() };
    let no_classes = UNetConfig { num_class_embeds: None, ..no_null.clone() };
    for (network, word) in [(&no_null, "--unconditional-class"), (&no_classes, "no classes")] {
        let message = guided(3.0).check_network(network).unwrap_err().to_string();
        assert!(message.contains(word) && message.contains("--class-dropout") && !message.contains('\n'), "{message}");
        assert!(guided(1.0).check_network(network).is_ok());
    }
    assert!(guided(0.0).check_network(&with).is_ok() && guided(0.0).check_network(&no_null).is_err());
    for (class, config) in [(4, &no_null), (0, &no_classes)] {
        let message = config.with_unconditional_class(class, "test").unwrap_err().to_string();
        assert!(message.contains("unconditional_class is") && message.contains("expected"), "{message}");
    }
}

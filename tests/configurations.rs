//! Networks of all of a configuration's keys: gradients of the whole against central differences in 64 bits, training
//! with dropout, with parts computed again and in mixed precision, and tensors that are not trained.

mod devices;

use aquatint::device::{Device, Host};
use aquatint::diffusion::SchedulerConfig;
use aquatint::kernels::activation::Activation;
use aquatint::kernels::picture_loss::mse;
use aquatint::nn::{Network, Recompute, UNet, UNetConfig};
use aquatint::plan::{Element, Recorder, Step, Storage};
use aquatint::training::{Precision, RunConfig, Trainer, TrainingConfig};
use serde_json::json;

/// Networks that have, between them, every kind of block, embedding and activation.
fn networks() -> Vec<(&'static str, UNetConfig)> {
    let all = [
        (
            "resnets, scale and shift, mish",
            json!({
                "in_channels": 2, "out_channels": 2, "block_out_channels": [8, 12], "layers_per_block": 1,
                "down_block_types": ["ResnetDownsampleBlock2D", "AttnDownBlock2D"],
                "up_block_types": ["UpBlock2D", "ResnetUpsampleBlock2D"], "norm_num_groups": 4, "act_fn": "mish",
                "resnet_time_scale_shift": "scale_shift", "mid_block_scale_factor": 1.5, "attention_head_dim": 5,
                "center_input_sample": true, "dropout": 0.2, "class_embed_type": "timestep", "num_class_embeds": 7,
            }),
        ),
        (
            "skips, fourier, gelu",
            json!({
                "in_channels": 3, "out_channels": 3, "block_out_channels": [32, 32], "layers_per_block": 1,
                "down_block_types": ["SkipDownBlock2D", "AttnSkipDownBlock2D"],
                "up_block_types": ["AttnSkipUpBlock2D", "SkipUpBlock2D"], "norm_num_groups": null,
                "attention_head_dim": null, "act_fn": "gelu", "time_embedding_type": "fourier", "norm_eps": 1e-6,
                "mid_block_scale_factor": std::f32::consts::SQRT_2, "dropout": 0.5, "time_embedding_dim": 16,
            }),
        ),
        (
            "learned, resampled by resnets, relu",
            json!({
                "in_channels": 1, "out_channels": 2, "block_out_channels": [8, 8], "layers_per_block": 2,
                "down_block_types": ["AttnDownBlock2D", "SkipDownBlock2D"],
                "up_block_types": ["AttnUpBlock2D", "SkipUpBlock2D"], "norm_num_groups": 2, "act_fn": "relu",
                "downsample_type": "resnet", "upsample_type": "resnet", "time_embedding_type": "learned",
                "num_train_timesteps": 1000, "attn_norm_num_groups": 1, "attention_head_dim": 3,
                "resnet_time_scale_shift": "scale_shift", "class_embed_type": "identity", "time_embedding_dim": 12,
            }),
        ),
        (
            "one level without a middle",
            json!({
                "in_channels": 1, "out_channels": 1, "block_out_channels": [9], "layers_per_block": 1,
                "down_block_types": ["UNetResDownBlock2D"], "up_block_types": ["UpBlock2D"], "norm_num_groups": 3,
                "mid_block_type": null, "freq_shift": 0.5, "flip_sin_to_cos": false,
            }),
        ),
    ];
    all.map(|(name, json)| (name, UNetConfig::from_json(&json, name).unwrap())).into()
}

const PICTURES: usize = 2;
const SIZE: [usize; 2] = [4, 8];

/// A network's loss on random pictures, and what it reads.
struct Losses {
    unet: UNet,
    weights: Storage,
    gradients: Storage,
    inputs: Vec<(Storage, Vec<f32>)>,
    labels: Storage,
}

impl Losses {
    fn new(config: &UNetConfig) -> Self {
        let unet = UNet::new(config).unwrap();
        let len = unet.parameters().len();
        let numbers = |seed: usize, len: usize| (0..len).map(|i| ((i * 37 + seed * 101) as f32 * 0.7).sin()).collect();
        let pixels = PICTURES * SIZE[0] * SIZE[1];
        let embeddings = PICTURES * config.embedding_channels();
        let inputs = [
            ("x", pixels * config.in_channels),
            ("target", pixels * config.out_channels),
            ("class embeddings", embeddings),
        ];
        let mut inputs: Vec<_> = (inputs.into_iter().enumerate())
            .map(|(seed, (name, len))| (Storage::f32(name, len), numbers(seed, len)))
            .collect();
        inputs.push((Storage::f32("timesteps", PICTURES), vec![3.0, 2.0]));
        inputs.push((Storage::f32("one", 1), vec![1.0]));
        let [weights, gradients] = ["weights", "gradients"].map(|name| Storage::f32(name, len));
        Self { unet, weights, gradients, inputs, labels: Storage::u32("labels", PICTURES) }
    }

    /// Records the loss as in training and, if asked for, the backward calls.
    fn record(&self, r: &mut Recorder, backward: bool) -> Storage {
        let config = self.unet.config();
        let shape = |channels: usize| [PICTURES, SIZE[0], SIZE[1], channels];
        let x = r.input(&self.inputs[0].0, &shape(config.in_channels));
        let target = r.input(&self.inputs[1].0, &shape(config.out_channels));
        let labels = match (config.classes(), config.class_embed_type) {
            (Some(_), _) => Some(r.input(&self.labels, &[PICTURES])),
            (None, Some(_)) => Some(r.input(&self.inputs[2].0, &[PICTURES, config.embedding_channels()])),
            (None, None) => None,
        };
        let timesteps = r.input(&self.inputs[3].0, &[PICTURES]);
        let one = r.input(&self.inputs[4].0, &[1]);
        let mut net = Network {
            r,
            parameters: self.unet.parameters(),
            weights: &self.weights,
            gradients: Some(&self.gradients),
            halves: None,
            recompute: Recompute::None,
        };
        let y = self.unet.record(&mut net, x, timesteps, labels).unwrap();
        let loss = mse(r, y, target).unwrap();
        if backward {
            r.backward(loss, one).unwrap();
        }
        r.export("loss", loss)
    }
}

/// Of every tensor, the gradient along a direction against central differences of the loss.
#[test]
fn gradients_of_whole_networks_are_right() {
    for (name, config) in networks() {
        // So close that none of ReLU's corners lies between.
        let h = if config.act_fn == Activation::Relu { 1e-8 } else { 1e-5 };
        let losses = Losses::new(&config);
        let mut host = Host::<f64>::reference();
        let plans = [false, true].map(|backward| {
            let mut r = Recorder::new();
            let loss = losses.record(&mut r, backward);
            (host.load(&r.finish()).unwrap(), loss)
        });
        let mut weights = losses.unet.parameters().initialize(5);
        // Norms other than 1 and 0, so that all parameters matter.
        weights.iter_mut().enumerate().for_each(|(i, w)| *w += 0.1 * (i as f32 * 1.3).sin());
        host.upload(&losses.weights, 0, &weights).unwrap();
        host.upload_integers(&losses.labels, 0, &[2, 5]).unwrap();
        losses.inputs.iter().for_each(|(storage, data)| host.upload(storage, 0, data).unwrap());
        let step = Step { step: 3, first_picture: 9, ..Step::seeded(8) };
        host.run(plans[1].0, &step).unwrap();
        let gradients = host.floats(&losses.gradients).to_vec();
        let norm = |values: &[f64]| values.iter().map(|g| g * g).sum::<f64>().sqrt();
        let largest = norm(&gradients);
        for parameter in losses.unet.parameters().iter() {
            let range = parameter.offset..parameter.offset + parameter.len();
            let gradient = &gradients[range.clone()];
            if !parameter.trained {
                assert_eq!(norm(gradient), 0.0, "{name}: {}", parameter.name);
                continue;
            }
            let direction: Vec<f64> = (0..gradient.len()).map(|i| (i as f64 * 2.1 + 0.4).sin()).collect();
            let mut at = |distance: f64| {
                let floats = host.floats_mut(&losses.weights).unwrap();
                for ((float, &weight), d) in
                    floats[range.clone()].iter_mut().zip(&weights[range.clone()]).zip(&direction)
                {
                    *float = f64::from(weight) + distance * d;
                }
                host.run(plans[0].0, &step).unwrap();
                host.floats(&plans[0].1)[0]
            };
            let expected = (at(h) - at(-h)) / (2.0 * h);
            let loss = at(0.0);
            let found: f64 = gradient.iter().zip(&direction).map(|(g, d)| g * d).sum();
            // The loss is right to some units in its last place.
            let rounding = 32.0 * f64::EPSILON * loss / h;
            let allowed = 1e-5 * norm(gradient) * norm(&direction) + rounding;
            assert!((found - expected).abs() < allowed, "{name}: {}: {found:e}, expected {expected:e}", parameter.name);
            // A gradient that is nothing but rounding would pass all the same.
            let vanishes = parameter.name.ends_with("to_k.bias");
            let scale = norm(gradient) * norm(&direction);
            assert!(vanishes || scale > 10.0 * rounding, "{name}: {}: no more than rounding", parameter.name);
            assert!(vanishes || norm(gradient) > 1e-9 * largest, "{name}: {} has no gradient", parameter.name);
        }
    }
}

/// Three steps of training: losses, then every buffer.
fn train(device: &mut dyn Device, config: &UNetConfig, recompute: Recompute, precision: Precision) -> Vec<Vec<f32>> {
    let training = TrainingConfig {
        train_batch_size: 4,
        adam_weight_decay: 0.1,
        learning_rate: 1e-3,
        recompute,
        precision,
        ..TrainingConfig::default()
    };
    let run = RunConfig { unet: config.clone(), scheduler: SchedulerConfig::default(), training };
    let mut trainer = Trainer::new(&run, SIZE).unwrap();
    let weights = trainer.parameters().initialize(1);
    trainer.load(device).unwrap();
    for (name, storage) in trainer.buffers() {
        if matches!(name, "parameters" | "ema") {
            device.upload(storage, 0, &weights).unwrap();
        }
    }
    let batch: Vec<f32> = (0..4 * SIZE[0] * SIZE[1] * config.in_channels).map(|i| (i as f32 * 0.31).sin()).collect();
    let mut found = vec![(0..3).map(|n| trainer.step(device, n, &batch, &[1, 2, 3, 4]).unwrap()).collect()];
    for (_, storage) in trainer.buffers() {
        found.push(device.download(storage).unwrap());
    }
    for parameter in trainer.parameters().iter() {
        let range = parameter.offset..parameter.offset + parameter.len();
        for buffer in &found[1..3] {
            let same = buffer[range.clone()] == weights[range.clone()];
            assert_eq!(same, !parameter.trained, "{}", parameter.name);
        }
    }
    trainer.unload(device);
    found
}

/// Networks that a picture's pixels alone train.
fn trainable() -> impl Iterator<Item = (&'static str, UNetConfig)> {
    networks().into_iter().filter(|(_, config)| {
        config.in_channels == config.out_channels && (config.class_embed_type.is_none() || config.classes().is_some())
    })
}

/// On every device, in single precision and where there is half precision in mixed; the losses are everywhere alike.
#[test]
fn training_repeats_and_recomputes_to_the_same_bits() {
    assert_eq!(trainable().count(), 3);
    let mut gpu = devices::gpu(Default::default());
    for (name, config) in trainable() {
        let host = &mut Host::<f32>::new();
        let expected = train(host, &config, Recompute::None, Precision::F32);
        for recompute in [Recompute::None, Recompute::Norm, Recompute::Block] {
            assert!(train(host, &config, recompute, Precision::F32) == expected, "{name}: {recompute:?} on the host");
        }
        let Some(gpu) = &mut gpu else { continue };
        for (precision, tolerance) in [(Precision::F32, 1e-4), (Precision::Mixed, 0.02)] {
            if precision == Precision::Mixed && !gpu.has_half_precision() {
                continue;
            }
            let once = train(gpu, &config, Recompute::None, precision);
            let again = train(gpu, &config, Recompute::Block, precision);
            assert!(again == once, "{name}: {precision:?} on {}", gpu.description());
            for (found, expected) in once[0].iter().zip(&expected[0]) {
                assert!((found / expected - 1.0).abs() < tolerance, "{name}: losses {found} and {expected}");
            }
        }
    }
}

/// Weights in half precision, as they are recorded: every call takes them.
#[test]
fn every_network_records_in_half_precision() {
    for (_, config) in networks() {
        let losses = Losses::new(&config);
        let mut r = Recorder::new();
        r.set_activations(Element::F16);
        losses.record(&mut r, true);
        assert!(r.finish().calls.iter().any(|call| call.halves != 0));
    }
}

#[test]
fn configurations_go_to_json_and_back() {
    for (name, config) in networks() {
        assert_eq!(UNetConfig::from_json(&config.to_json(), name).unwrap(), config);
    }
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let good = json!({
        "in_channels": 3, "out_channels": 3, "block_out_channels": [32, 32], "layers_per_block": 1,
        "down_block_types": ["SkipDownBlock2D", "DownBlock2D"], "up_block_types": ["UpBlock2D", "SkipUpBlock2D"],
    });
    let read = UNetConfig::from_json(&good, "good").unwrap();
    let mut averaged = good.clone();
    averaged["optimization_step"] = json!(500);
    assert_eq!(UNetConfig::from_json(&averaged, "unet_ema").unwrap(), read);
    for (key, value, also) in [
        ("down_block_types", json!(["KDownBlock2D", "DownBlock2D"]), "KDownBlock2D"),
        ("down_block_types", json!(["CrossAttnDownBlock2D", "DownBlock2D"]), "CrossAttnDownBlock2D"),
        ("down_block_types", json!(["UpBlock2D", "DownBlock2D"]), "UpBlock2D"),
        ("up_block_types", json!(["SimpleCrossAttnUpBlock2D", "UpBlock2D"]), "SimpleCrossAttnUpBlock2D"),
        ("up_block_types", json!(["SkipUpBlock2D", "UpBlock2D"]), "Skip"),
        ("mid_block_type", json!("UNetMidBlock2DCrossAttn"), "UNetMidBlock2DCrossAttn"),
        ("act_fn", json!("tanh"), "tanh"),
        ("time_embedding_type", json!("sinus"), "sinus"),
        ("time_embedding_type", json!("learned"), "num_train_timesteps"),
        ("resnet_time_scale_shift", json!("spatial"), "spatial"),
        ("class_embed_type", json!("projection"), "projection"),
        ("downsample_type", json!(null), "null"),
        ("layers_per_block", json!([1, 2]), "sequence"),
        ("layers_per_block", json!(100_000), "100000"),
        ("in_channels", json!(1), "SkipDownBlock2D"),
        ("norm_num_groups", json!(null), "null"),
        ("norm_num_groups", json!(5), "32"),
        ("attention_head_dim", json!(33), "32"),
        ("attn_norm_num_groups", json!(7), "32"),
        ("mid_block_scale_factor", json!(0), "0"),
        ("dropout", json!(1.5), "1.5"),
        ("freq_shift", json!(16), "16"),
        ("block_out_channels", json!(vec![32; 70]), "70"),
        ("only_cross_attention", json!(true), "no key of UNet2DModel"),
    ] {
        let mut bad = good.clone();
        bad[key] = value;
        let error = UNetConfig::from_json(&bad, "config.json").unwrap_err().to_string();
        assert!(error.starts_with("config.json: ") && error.lines().count() == 1, "{error}");
        assert!(error.contains(key) && error.contains(also), "{key}: {error}");
    }
}

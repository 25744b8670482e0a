//! Long trainings: `make test-long`.

mod devices;

use aquatint::data::{Dataset, Options};
use aquatint::device::Device;
use aquatint::diffusion::SchedulerConfig;
use aquatint::nn::UNetConfig;
use aquatint::training::{Order, Precision, RunConfig, Trainer, TrainingConfig, default_unet};
use std::cell::RefCell;
use std::path::Path;
use std::process::Command;

fn aquatint(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_aquatint")).args(arguments).output().unwrap();
    let [out, err] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
    println!("{out}{err}");
    assert!(output.status.success());
    out
}

/// The number after `word` in a text.
fn number_after(text: &str, word: &str) -> f64 {
    let rest = text.split(word).nth(1).unwrap_or_else(|| panic!("no {word:?} in {text}"));
    let number = rest.trim_start().split(|c: char| !c.is_ascii_digit() && c != '.').next().unwrap();
    number.trim_end_matches('.').parse().unwrap()
}

/// Precision and recall of the demo's digits against the held-out half. For scale: the training half itself 0.89 and
/// 0.89, a Gaussian fitted to each class 0.53 and 0.75, one Gaussian 0.08 and 0.80.
#[test]
#[ignore = "long: make test-long"]
fn the_demo_draws_digits_that_are_new_and_good() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().to_str().unwrap();
    let text = aquatint(&["demo", "--device", "cpu", "--out", out]);
    assert!(number_after(&text, "precision") >= 0.80, "{text}");
    assert!(number_after(&text, "recall") >= 0.70, "{text}");
    // Copies would lie much closer to the training half than real held-out digits do.
    let nearest = text.split("median distance").nth(1).unwrap_or_else(|| panic!("{text}"));
    assert!(number_after(nearest, "drawn") > 0.9 * number_after(nearest, "the held-out digits"), "{text}");
    assert!(Path::new(out).join("samples.png").is_file() && Path::new(out).join("samples.gif").is_file());
}

/// Ten steps of the 3.9M-parameter network for 32x32 pictures, on the host and on the test's GPU, which may be software.
#[test]
#[ignore = "long: make test-long"]
fn ten_steps_of_a_real_network_are_the_same_on_the_gpu() {
    let options = Options { image_size: Some(32), ..Options::default() };
    let digits = Dataset::open("digits", &options).unwrap();
    let training = TrainingConfig { train_batch_size: 2, learning_rate: 1e-3, ..TrainingConfig::default() };
    let config = RunConfig { unet: default_unet(32, 32, 1, None), scheduler: SchedulerConfig::default(), training };
    let losses = RefCell::new(Vec::new());
    devices::on_each(|device| {
        let mut trainer = Trainer::new(&config, [32, 32]).unwrap();
        trainer.load(device).unwrap();
        let [(_, parameters), (_, ema), ..] = trainer.buffers();
        for storage in [parameters, ema] {
            device.upload(storage, 0, &trainer.parameters().initialize(1)).unwrap();
        }
        let mut batch = vec![0.0; 2 * 1024];
        for n in 0..10 {
            batch.chunks_exact_mut(1024).enumerate().for_each(|(i, row)| digits.picture(2 * n + i, false, row));
            losses.borrow_mut().push(trainer.step(device, n, &batch, &[]).unwrap());
        }
    });
    let losses = losses.into_inner();
    println!("{losses:?}");
    for (host, gpu) in losses.iter().zip(losses.iter().skip(10)) {
        assert!((host / gpu - 1.0).abs() < 1e-4, "{losses:?}");
    }
}

/// 500 steps on the test's GPU in both precisions: the losses of the last hundred differ by less than 2% in the mean.
#[test]
#[ignore = "long: make test-long"]
fn mixed_precision_reaches_the_same_loss() {
    let Some(mut gpu) = devices::gpu_with_half_precision(Default::default()) else { return };
    let digits = Dataset::open("digits", &Options::default()).unwrap();
    let mut last = |precision: Precision| {
        let training = TrainingConfig {
            train_batch_size: 16,
            learning_rate: 1e-3,
            lr_warmup_steps: 50,
            precision,
            ..TrainingConfig::default()
        };
        let unet = UNetConfig { block_out_channels: vec![16, 32], ..default_unet(8, 8, 1, None) };
        let config = RunConfig { unet, scheduler: SchedulerConfig::default(), training };
        let mut trainer = Trainer::new(&config, [8, 8]).unwrap();
        trainer.load(&mut gpu).unwrap();
        let [(_, parameters), (_, ema), ..] = trainer.buffers();
        for storage in [parameters, ema] {
            gpu.upload(storage, 0, &trainer.parameters().initialize(1)).unwrap();
        }
        let mut order = Order::new(1, digits.len());
        let mut batch = vec![0.0; 16 * 64];
        let losses: Vec<f32> = (0..500)
            .map(|n| {
                let rows = batch.chunks_exact_mut(64).enumerate();
                rows.for_each(|(i, row)| digits.picture(order.picture(16 * n + i), false, row));
                trainer.step(&mut gpu, n, &batch, &[]).unwrap()
            })
            .collect();
        let scale = trainer.loss_scale().map(|scale| gpu.download(scale).unwrap());
        let mean = losses[400..].iter().sum::<f32>() / 100.0;
        println!("{precision:?}: {} at first, {mean} in the last hundred steps, loss scale {scale:?}", losses[0]);
        trainer.unload(&mut gpu);
        mean
    };
    let (single, mixed) = (last(Precision::F32), last(Precision::Mixed));
    assert!((mixed / single - 1.0).abs() < 0.02, "{mixed} in mixed precision, {single} in single");
}

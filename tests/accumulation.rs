//! Gradient accumulation: the same steps as with one large batch, on both devices, resumed to bitwise the same weights.

mod devices;

use aquatint::data::{Dataset, Options};
use aquatint::device::{Device, Host};
use aquatint::diffusion::SchedulerConfig;
use aquatint::nn::UNetConfig;
use aquatint::training::{Precision, Run, RunConfig, Trainer, TrainingConfig, TrainingState, default_unet};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const STEPS: usize = 5;

/// Sixteen pictures a step, in micro-batches. Adam's epsilon is large: where a gradient is nothing but rounding, as that
/// of a key's bias, a small one makes whole steps of it.
fn config(times: usize) -> RunConfig {
    let unet = default_unet(8, 8, 1, Some(10));
    RunConfig {
        unet: UNetConfig { block_out_channels: vec![8, 16], norm_num_groups: Some(4), dropout: 0.1, ..unet },
        scheduler: SchedulerConfig::default(),
        training: TrainingConfig {
            max_train_steps: STEPS,
            train_batch_size: 16 / times,
            gradient_accumulation_steps: times,
            class_conditional: true,
            learning_rate: 1e-3,
            adam_epsilon: 1e-2,
            lr_warmup_steps: 3,
            checkpointing_steps: 0,
            random_flip: true,
            max_grad_norm: 0.5,
            seed: 11,
            ..TrainingConfig::default()
        },
    }
}

fn digits() -> Dataset {
    Dataset::open("digits:even", &Options::default()).unwrap()
}

fn devices() -> Vec<Box<dyn Device>> {
    let mut devices: Vec<Box<dyn Device>> = vec![Box::new(Host::<f32>::new())];
    devices.extend(devices::gpu(Default::default()).map(|gpu| Box::new(gpu) as Box<dyn Device>));
    devices
}

fn run(device: &mut dyn Device, folder: &Path, config: RunConfig) -> TrainingState {
    go_on(device, folder, Run::start(folder, config, digits()).unwrap())
}

fn go_on(device: &mut dyn Device, folder: &Path, mut run: Run) -> TrainingState {
    run.load(device).unwrap();
    run.train(device, |_| {}).unwrap();
    TrainingState::read(folder).unwrap()
}

fn apart(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// Pictures in the run's order, noise, timesteps and dropout by a picture's place in the step, the mean of the gradients.
#[test]
fn micro_batches_make_the_steps_of_one_large_batch() {
    let folder = tempfile::tempdir().unwrap();
    for (number, mut device) in devices().into_iter().enumerate() {
        let [whole, fours, ones] =
            [1, 4, 16].map(|times| run(&mut *device, &folder.path().join(format!("{number}-{times}")), config(times)));
        for other in [fours, ones] {
            assert!(apart(&other.losses, &whole.losses) < 4e-6, "{:?} and {:?}", other.losses, whole.losses);
            for (name, expected) in &whole.buffers {
                let apart = apart(&other.buffers[name], expected);
                assert!(apart < 2e-6, "{name} differs by {apart} on {}", device.description());
            }
        }
        let initial = aquatint::nn::UNet::new(&config(1).unet).unwrap().parameters().initialize(11);
        assert!(apart(&whole.buffers["parameters"], &initial) > 1e-3, "the weights have not moved");
    }
}

/// The same in mixed precision, where halves round otherwise in another batch.
#[test]
fn micro_batches_in_mixed_precision() {
    let Some(mut gpu) = devices::gpu_with_half_precision(Default::default()) else { return };
    let folder = tempfile::tempdir().unwrap();
    let [whole, fours] = [1, 4].map(|times| {
        let mut config = config(times);
        config.training.precision = Precision::Mixed;
        run(&mut gpu, &folder.path().join(times.to_string()), config)
    });
    for (found, expected) in fours.losses.iter().zip(&whole.losses) {
        assert!((found / expected - 1.0).abs() < 2e-3, "{:?} and {:?}", fours.losses, whole.losses);
    }
    assert_eq!(fours.loss_scale, whole.loss_scale);
    let apart = apart(&fours.buffers["parameters"], &whole.buffers["parameters"]);
    assert!(apart < 1e-4, "the weights differ by {apart}");
}

/// A scale too large for half precision: one micro-batch that overflows skips the whole step.
#[test]
fn an_accumulated_step_that_overflows_is_skipped() {
    let Some(mut gpu) = devices::gpu_with_half_precision(Default::default()) else { return };
    let mut config = config(4);
    config.training.precision = Precision::Mixed;
    let mut trainer = Trainer::new(&config, [8, 8]).unwrap();
    let weights = trainer.unet().parameters().initialize(11);
    trainer.load(&mut gpu).unwrap();
    for (name, storage) in trainer.buffers() {
        if matches!(name, "parameters" | "ema") {
            gpu.upload(storage, 0, &weights).unwrap();
        }
    }
    let scale = trainer.loss_scale().unwrap().clone();
    gpu.upload(&scale, 0, &[2.0f32.powi(24), 5.0, 0.0]).unwrap();
    let digits = digits();
    let mut pictures = vec![0.0; 16 * 64];
    pictures.chunks_exact_mut(64).enumerate().for_each(|(index, row)| digits.picture(index, false, row));
    let labels = &digits.labels.as_ref().unwrap()[..16];
    trainer.step(&mut gpu, 0, &pictures, labels).unwrap();
    assert_eq!(gpu.download(&scale).unwrap(), [2.0f32.powi(23), 0.0, 1.0]);
    for (name, storage) in trainer.buffers() {
        let expected = if matches!(name, "parameters" | "ema") { weights.clone() } else { vec![0.0; weights.len()] };
        assert!(gpu.download(storage).unwrap() == expected, "the {name} changed in a step that was skipped");
    }
    let taken = (1..15).find(|&n| {
        trainer.step(&mut gpu, n, &pictures, labels).unwrap();
        gpu.download(&scale).unwrap()[1] > 0.0
    });
    assert!(taken.is_some(), "no scale is found");
}

/// One more flat buffer, and activations for a quarter of the pictures.
#[test]
fn accumulation_trades_a_buffer_for_activations() {
    let [whole, fours] = [1, 4].map(|times| Trainer::new(&config(times), [8, 8]).unwrap().memory());
    let flat = 4 * Trainer::new(&config(1), [8, 8]).unwrap().unet().parameters().len() as u64;
    assert_eq!(fours.parameters, whole.parameters);
    assert_eq!(fours.optimizer, whole.optimizer + flat);
    assert!(fours.activations < whole.activations / 2, "{fours:?} and {whole:?}");
}

fn bits(data: &[f32]) -> Vec<u32> {
    data.iter().map(|x| x.to_bits()).collect()
}

fn assert_same_bits(found: &TrainingState, expected: &TrainingState) {
    assert_eq!(found.step, expected.step);
    assert_eq!(bits(&found.losses), bits(&expected.losses));
    for (name, data) in &expected.buffers {
        assert!(bits(&found.buffers[name]) == bits(data), "{name} differs");
    }
}

#[test]
fn a_resumed_accumulation_ends_with_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    for (number, mut device) in devices().into_iter().enumerate() {
        let [whole, cut] = ["whole", "cut"].map(|name| folder.path().join(format!("{number}-{name}")));
        let expected = run(&mut *device, &whole, config(4));
        let mut short = config(4);
        short.training.max_train_steps = 2;
        let mut state = run(&mut *device, &cut, short);
        state.config.training.max_train_steps = STEPS;
        let found = go_on(&mut *device, &cut, Run::resume(&cut, state, digits()).unwrap());
        assert_same_bits(&found, &expected);
    }
}

fn train_command(out: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_aquatint"));
    command.args(["train", "--data", "digits", "--device", "cpu", "--batch", "2", "--accumulate", "3", "--seed", "3"]);
    command.args(["--steps", "24", "--checkpoint-every", "2", "--out"]).arg(out);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// The program is killed at moments spread over its run, in the middle of steps too, and resumed until it is through.
#[test]
fn a_killed_accumulation_continues_to_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let [whole, killed] = ["whole", "killed"].map(|name| folder.path().join(name));
    assert!(train_command(&whole).status().unwrap().success());
    let mut kills = 0;
    for attempt in 0u64.. {
        assert!(attempt < 200, "the run never ends");
        let mut command = train_command(&killed);
        if killed.join("training_state.safetensors").exists() {
            command.arg("--resume");
        }
        let mut child = command.spawn().unwrap();
        std::thread::sleep(Duration::from_millis(30 + attempt * 97));
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success(), "attempt {attempt} failed");
            break;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        kills += 1;
    }
    assert!(kills > 2, "killed {kills} times only");
    assert_same_bits(&TrainingState::read(&killed).unwrap(), &TrainingState::read(&whole).unwrap());
}

/// What does not fit is told with the flags that make the same steps in less memory.
#[test]
fn advice_names_the_flags_of_the_same_steps() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_aquatint"));
    command.args(["train", "--data", "digits", "--device", "cpu", "--batch", "1048576", "--accumulate", "2"]);
    let output = command.args(["--steps", "1", "--out"]).arg(folder.path().join("run")).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    let line = error.lines().last().unwrap();
    let words: Vec<&str> = line.split([' ', ',', ';']).collect();
    let number = |flag: &str| -> usize {
        let at = words.iter().position(|word| *word == flag).unwrap_or_else(|| panic!("no {flag} in {line}"));
        words[at + 1].parse().unwrap()
    };
    assert_eq!(number("--batch") * number("--accumulate"), 2 * 1_048_576, "{line}");
}

#[test]
fn impossible_numbers_are_refused() {
    for (times, expected) in [(0, "gradient_accumulation_steps is 0"), (1 << 30, "expected 1 to")] {
        let mut config = config(4);
        config.training.gradient_accumulation_steps = times;
        let error = Trainer::new(&config, [8, 8]).err().unwrap().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

//! Gradient accumulation: the same steps as with one large batch, on both devices, resumed to bitwise the same weights.

mod devices;
mod runs;

use aquatint::device::{Device, Host};
use aquatint::diffusion::SchedulerConfig;
use aquatint::nn::UNetConfig;
use aquatint::training::{
    ObjectiveName, Precision, Run, RunConfig, Trainer, TrainingConfig, TrainingState, default_unet,
};
use runs::{assert_same_bits, digits};
use std::path::Path;
use std::process::Command;

const STEPS: usize = 5;

/// Sixteen pictures a step, in micro-batches. Adam's epsilon is large: where a gradient is nothing but rounding, as that
/// of a key's bias, a small one makes whole steps of it.
fn config(times: usize) -> RunConfig {
    let unet = default_unet(8, 8, 1, Some(10));
    RunConfig {
        unet: UNetConfig { block_out_channels: vec![8, 16], norm_num_groups: Some(4), dropout: 0.1, ..unet },
        scheduler: SchedulerConfig::default(),
        training: TrainingConfig {
            dataset: "digits:even".into(),
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

/// Sliced score matching runs its network on each picture twice, with its class; the rounding of outputs is multiplied by 5
/// in the differences between the two.
#[test]
fn micro_batches_of_sliced_score_matching() {
    let folder = tempfile::tempdir().unwrap();
    for (number, mut device) in devices().into_iter().enumerate() {
        let [whole, fours] = [1, 4].map(|times| {
            let mut config = config(times);
            config.unet.dropout = 0.0;
            config.training.objective = ObjectiveName::Sliced;
            run(&mut *device, &folder.path().join(format!("{number}-{times}")), config)
        });
        assert!(apart(&fours.losses, &whole.losses) < 2e-5, "{:?} and {:?}", fours.losses, whole.losses);
        let apart = apart(&fours.buffers["parameters"], &whole.buffers["parameters"]);
        assert!(apart < 1e-5, "the weights differ by {apart} on {}", device.description());
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
    let weights = trainer.parameters().initialize(11);
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
    let flat = 4 * Trainer::new(&config(1), [8, 8]).unwrap().parameters().len() as u64;
    assert_eq!(fours.parameters, whole.parameters);
    assert_eq!(fours.optimizer, whole.optimizer + flat);
    assert!(fours.activations < whole.activations / 2, "{fours:?} and {whole:?}");
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

/// In the middle of steps too.
#[test]
fn a_killed_accumulation_continues_to_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    runs::killed_ends_with_the_same_bits(&["--batch", "2", "--accumulate", "3", "--steps", "24"], folder.path());
}

/// `log.csv` has a line a step, and is the same after a resumption; the state has the norms that it is made of.
#[test]
fn the_log_tells_the_noise_scale() {
    let folder = tempfile::tempdir().unwrap();
    let mut host = Host::<f32>::new();
    let [whole, cut, plain] = ["whole", "cut", "plain"].map(|name| folder.path().join(name));
    let log = |folder: &Path| std::fs::read_to_string(folder.join("log.csv")).unwrap();
    let state = run(&mut host, &whole, config(4));
    let mut short = config(4);
    short.training.max_train_steps = 2;
    let mut cut_state = run(&mut host, &cut, short);
    cut_state.config.training.max_train_steps = STEPS;
    go_on(&mut host, &cut, Run::resume(&cut, cut_state, digits()).unwrap());
    assert_eq!(log(&cut), log(&whole));

    let lines: Vec<Vec<String>> = log(&whole).lines().map(|line| line.split(',').map(String::from).collect()).collect();
    assert_eq!(lines[0], ["step", "loss", "gradient_norm", "learning_rate", "noise_scale"]);
    assert_eq!(lines.len(), 1 + STEPS);
    let history = &state.history;
    let (mut square, mut variance, mut weight) = (0.0, 0.0, 0.0);
    for n in 0..STEPS {
        let line = &lines[n + 1];
        assert_eq!(line[0], (n + 1).to_string());
        assert_eq!(line[1], state.losses[n].to_string());
        assert_eq!(line[2], history.gradient_norms[n].to_string());
        let rate = 1e-3 * ((n + 1) as f64 / 3.0).min(1.0);
        assert!((line[3].parse::<f64>().unwrap() / rate - 1.0).abs() < 1e-6, "{line:?}");
        // The norm of a mean is at most the root mean square of the norms.
        let [small, large] = [history.micro_batch_norms[n], history.gradient_norms[n]].map(|x| f64::from(x).powi(2));
        assert!(small > large && large > 0.0);
        square = 0.99 * square + 0.01 * (16.0 * large - 4.0 * small) / 12.0;
        variance = 0.99 * variance + 0.01 * (small - large) / (1.0 / 4.0 - 1.0 / 16.0);
        weight = 0.99 * weight + 0.01;
        let expected = if square > 0.0 { (variance / weight) / (square / weight) } else { f64::INFINITY };
        let found: f64 = line[4].parse().unwrap();
        assert!(found == expected || (found / expected - 1.0).abs() < 1e-5, "step {n}: {found}, expected {expected}");
    }
    run(&mut host, &plain, config(1));
    assert!(log(&plain).lines().skip(1).all(|line| line.ends_with(',')), "a noise scale from nothing");
}

/// A run from before there was a log continues: what was not told then is empty.
#[test]
fn a_run_without_a_history_continues() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    let mut short = config(4);
    short.training.max_train_steps = 2;
    let mut host = Host::<f32>::new();
    run(&mut host, &path, short);
    // The same file without the lists: their names are changed to others of the same length.
    let file = path.join("training_state.safetensors");
    let mut bytes = std::fs::read(&file).unwrap();
    for name in ["gradient_norms", "micro_batch_norms", "learning_rates"] {
        let at = bytes.windows(name.len()).position(|window| window == name.as_bytes()).unwrap();
        bytes[at] = b'x';
    }
    std::fs::write(&file, bytes).unwrap();
    let mut state = TrainingState::read(&path).unwrap();
    state.config.training.max_train_steps = 3;
    let state = go_on(&mut host, &path, Run::resume(&path, state, digits()).unwrap());
    assert!(state.history.gradient_norms[1].is_nan() && state.history.gradient_norms[2] > 0.0);
    let log = std::fs::read_to_string(path.join("log.csv")).unwrap();
    assert!(log.lines().nth(2).unwrap().ends_with(",,,"), "{log}");
}

fn suggestion(arguments: &[&str]) -> (bool, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_aquatint"));
    command.args(["train", "--device", "cpu", "--suggest-batch"]).args(arguments);
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.success(), text(output.stdout), text(output.stderr))
}

#[test]
fn a_batch_is_suggested_without_writing() {
    let folder = tempfile::tempdir().unwrap();
    let run_folder = folder.path().join("run");
    let (done, said, error) = suggestion(&["--data", "digits", "--batch", "16", "--steps", "12"]);
    assert!(done, "{error}");
    assert!(["|G|^2", "tr(Sigma)", "noise scale", "grows"].iter().all(|word| said.contains(word)), "{said}{error}");

    run(&mut Host::<f32>::new(), &run_folder, config(1));
    let names = |folder: &Path| {
        let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
        let mut entries: Vec<_> = entries.map(|e| (e.file_name(), e.metadata().unwrap().modified().unwrap())).collect();
        entries.sort();
        entries
    };
    let before = names(&run_folder);
    let out = run_folder.to_str().unwrap();
    let twice = [0, 1].map(|_| suggestion(&["--out", out, "--resume", "--steps", "6"]));
    assert!(twice[0].0, "{}", twice[0].2);
    assert!(twice[0].1.contains("noise scale"), "{}", twice[0].1);
    assert_eq!(twice[0].1, twice[1].1);
    assert_eq!(names(&run_folder), before);

    let (done, _, error) = suggestion(&["--data", "digits", "--batch", "1"]);
    assert!(!done && error.contains("--suggest-batch") && error.contains("--batch 2"), "{error}");
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

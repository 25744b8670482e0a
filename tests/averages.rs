//! Several averages of a run's weights: what they are made of, resumption, snapshots, and what `aquatint ema` writes.

mod devices;
mod runs;

use aquatint::checkpoint::{ModelFolder, WeightType};
use aquatint::device::{Device, Host};
use aquatint::diffusion::SchedulerConfig;
use aquatint::nn::UNetConfig;
use aquatint::training::power_ema::{Profile, gamma_of};
use aquatint::training::{
    EmaWarmup, Run, RunConfig, Trainer, TrainingConfig, TrainingState, default_unet, reconstruct,
};
use runs::digits;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};

fn config(steps: usize) -> RunConfig {
    let unet = default_unet(8, 8, 1, None);
    RunConfig {
        unet: UNetConfig { block_out_channels: vec![8, 16], norm_num_groups: Some(4), ..unet },
        scheduler: SchedulerConfig::default(),
        training: TrainingConfig {
            dataset: "digits:even".into(),
            max_train_steps: steps,
            train_batch_size: 2,
            learning_rate: 1e-2,
            lr_warmup_steps: 1,
            checkpointing_steps: 0,
            ema_max_decay: 0.9,
            ema_more_decays: vec![0.5, 0.999],
            ema_sigma_rel: vec![0.05, 0.1],
            ema_snapshot_every: 4,
            ema_snapshot_dtype: WeightType::F32,
            seed: 5,
            ..TrainingConfig::default()
        },
    }
}

fn go_on(device: &mut dyn Device, folder: &Path, mut run: Run) -> TrainingState {
    run.load(device).unwrap();
    run.train(device, |_| {}).unwrap();
    TrainingState::read(folder).unwrap()
}

fn train(device: &mut dyn Device, folder: &Path, config: RunConfig) -> TrainingState {
    go_on(device, folder, Run::start(folder, config, digits()).unwrap())
}

fn apart(a: &[f32], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max)
}

/// Every average is the weighted sum of the weights after each step that its definition says.
#[test]
fn averages_are_the_sums_that_they_are_said_to_be() {
    const STEPS: usize = 9;
    let mut devices: Vec<Box<dyn Device>> = vec![Box::new(Host::<f32>::new())];
    devices.extend(devices::gpu(Default::default()).map(|gpu| Box::new(gpu) as Box<dyn Device>));
    for mut device in devices {
        for warmup in [EmaWarmup::Ratio, EmaWarmup::None] {
            let mut config = config(STEPS);
            config.training.ema_warmup = warmup;
            let mut trainer = Trainer::new(&config, [8, 8]).unwrap();
            trainer.load(&mut *device).unwrap();
            let initial = trainer.parameters().initialize(5);
            let buffers: BTreeMap<String, _> = (trainer.buffers().into_iter().chain(trainer.more_averages()))
                .map(|(name, storage)| (name.to_string(), storage.clone()))
                .collect();
            for (_, storage) in buffers.iter().filter(|(name, _)| !name.ends_with("moments")) {
                device.upload(storage, 0, &initial).unwrap();
            }
            let digits = digits();
            let mut trajectory = vec![initial];
            for n in 0..STEPS {
                let mut batch = vec![0.0; 2 * 64];
                batch.chunks_exact_mut(64).enumerate().for_each(|(i, row)| digits.picture(2 * n + i, false, row));
                trainer.step(&mut *device, n, &batch, &[]).unwrap();
                trajectory.push(device.download(&buffers["parameters"]).unwrap());
            }
            let sum = |weights: &[f64]| -> Vec<f64> {
                let of =
                    |place: usize| trajectory.iter().zip(weights).map(|(w, weight)| weight * f64::from(w[place])).sum();
                (0..trajectory[0].len()).map(of).collect()
            };
            for (name, decay) in [("ema", 0.9), ("ema_decay_0.5", 0.5), ("ema_decay_0.999", 0.999)] {
                let mut weights = vec![0.0; STEPS + 1];
                weights[0] = 1.0;
                for n in 0..STEPS {
                    let growing = if n == 0 { 0.0 } else { (1.0 + n as f64) / (10.0 + n as f64) };
                    let decay = if warmup == EmaWarmup::None { decay } else { growing.min(decay) };
                    weights.iter_mut().for_each(|weight| *weight *= decay);
                    weights[n + 1] += 1.0 - decay;
                }
                let apart = apart(&device.download(&buffers[name]).unwrap(), &sum(&weights));
                assert!(apart < 1e-6, "{name}, {warmup:?}: {apart} on {}", device.description());
            }
            for (name, sigma) in [("ema_sigma_rel_0.05", 0.05), ("ema_sigma_rel_0.1", 0.1)] {
                let profile = Profile { time: STEPS, gamma: gamma_of(sigma) };
                let weights: Vec<f64> = (0..=STEPS).map(|s| profile.weight(s)).collect();
                let apart = apart(&device.download(&buffers[name]).unwrap(), &sum(&weights));
                assert!(apart < 1e-6, "{name}: {apart} on {}", device.description());
            }
            trainer.unload(&mut *device);
        }
    }
}

fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| (path.file_name().unwrap().to_str().unwrap().into(), std::fs::read(path).unwrap())).collect()
}

#[test]
fn a_resumed_run_has_the_same_averages_and_snapshots() {
    let folder = tempfile::tempdir().unwrap();
    let [whole, cut] = ["whole", "cut"].map(|name| folder.path().join(name));
    let mut host = Host::<f32>::new();
    let expected = train(&mut host, &whole, config(13));
    // Saved at step 6, killed after the snapshot of step 8: what --resume finds is the state of step 6.
    let mut early = train(&mut host, &cut, config(6));
    let later = go_on(&mut host, &cut, {
        early.config.training.max_train_steps = 9;
        Run::resume(&cut, early.clone(), digits()).unwrap()
    });
    assert_eq!(later.step, 9);
    early.config.training.max_train_steps = 13;
    let found = go_on(&mut host, &cut, Run::resume(&cut, early, digits()).unwrap());
    assert_eq!(found.buffers.keys().collect::<Vec<_>>(), expected.buffers.keys().collect::<Vec<_>>());
    assert_eq!(expected.buffers.len(), 8);
    for (name, data) in &expected.buffers {
        assert!(found.buffers[name].iter().zip(data).all(|(a, b)| a.to_bits() == b.to_bits()), "{name}");
    }
    let snapshots = files(&whole.join("snapshots"));
    assert_eq!(snapshots.keys().collect::<Vec<_>>(), [4, 8, 12].map(|n| format!("step-{n:07}.safetensors")).each_ref());
    assert!(files(&cut.join("snapshots")) == snapshots);
}

/// The averages that a run has tracked come out as they are; others as in a run that has tracked them.
#[test]
fn averages_of_other_widths_are_reconstructed() {
    let folder = tempfile::tempdir().unwrap();
    let [few, many, halves] = ["few", "many", "halves"].map(|name| folder.path().join(name));
    let mut host = Host::<f32>::new();
    let state = train(&mut host, &few, config(60));
    let mut all = config(60);
    all.training.ema_sigma_rel = vec![0.05, 0.1, 0.07, 0.15, 0.22];
    let tracked = train(&mut host, &many, all);
    let swing = |name: &str| {
        let (a, b) = (&tracked.buffers["parameters"], &tracked.buffers[name]);
        a.iter().zip(b).map(|(a, b)| f64::from((a - b).abs())).fold(0.0, f64::max)
    };
    for (sigma, tolerance) in [(0.05, 0.0), (0.1, 0.0), (0.07, 5e-3), (0.15, 5e-3), (0.22, 2e-2)] {
        let made = reconstruct(&few, &state, sigma).unwrap();
        assert_eq!(made.stored, 2 * 15);
        let name = format!("ema_sigma_rel_{sigma}");
        let expected: Vec<f64> = tracked.buffers[&name].iter().map(|&x| x.into()).collect();
        let apart = apart(&made.weights, &expected);
        assert!(apart < 1e-6 + tolerance * swing(&name), "{sigma}: {apart}, the average is {} off", swing(&name));
        assert!(made.error < 0.1, "{sigma}: {}", made.error);
    }
    // In half precision, halves' rounding apart.
    let mut half = config(60);
    half.training.ema_snapshot_dtype = WeightType::F16;
    let state = train(&mut host, &halves, half);
    let made = reconstruct(&halves, &state, 0.15).unwrap();
    let expected: Vec<f64> = tracked.buffers["ema_sigma_rel_0.15"].iter().map(|&x| x.into()).collect();
    let largest = expected.iter().fold(0.0f64, |most, x| most.max(x.abs()));
    let apart = apart(&made.weights, &expected);
    assert!(apart < 2e-3 * largest, "{apart}, weights up to {largest}");
    let size = |folder: &Path| files(&folder.join("snapshots"))["step-0000004.safetensors"].len() as f64;
    assert!(size(&halves) < 0.6 * size(&few));
}

fn aquatint(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_aquatint")).args(arguments).output().unwrap()
}

fn error(arguments: &[&str]) -> String {
    let output = aquatint(arguments);
    assert!(!output.status.success(), "{arguments:?}");
    let text = String::from_utf8(output.stderr).unwrap();
    text.lines().last().unwrap().to_string()
}

#[test]
fn the_command_trains_lists_and_writes_averages() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    let run = path("run");
    let flags = ["--batch", "2", "--seed", "3", "--checkpoint-every", "3", "--device", "cpu"];
    let averages = ["--ema", "0.9,0.99", "--ema-power", "0.05,0.10", "--ema-warmup", "none"];
    let command = |steps: &str, more: &[&str]| {
        aquatint(&[&["train", "--data", "digits", "--out", &run, "--steps", steps][..], &flags, more].concat())
    };
    let output = command("4", &averages);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(files(&Path::new(&run).join("snapshots")).len(), 2);
    let output = command("6", &[&averages[..], &["--resume"]].concat());
    assert!(output.status.success(), "{output:?}");
    let other = command("8", &["--resume", "--ema", "0.9"]);
    assert!(!other.status.success() && String::from_utf8_lossy(&other.stderr).contains("--ema is [0.9]"), "{other:?}");

    let listed = String::from_utf8(aquatint(&["ema", &run]).stdout).unwrap();
    assert!(["--decay 0.9 ", "--decay 0.99", "0.05 and 0.1"].iter().all(|text| listed.contains(text)), "{listed}");
    let state = TrainingState::read(Path::new(&run)).unwrap();
    for (flag, value, buffer) in [
        ("--decay", "0.9", "ema"),
        ("--decay", "0.99", "ema_decay_0.99"),
        ("--sigma-rel", "0.05", "ema_sigma_rel_0.05"),
    ] {
        let out = path(buffer);
        let output = aquatint(&["ema", &run, flag, value, "--out", &out]);
        assert!(output.status.success(), "{output:?}");
        let expected: Vec<f64> = state.buffers[buffer].iter().map(|&x| x.into()).collect();
        let found = ModelFolder::read(Path::new(&out)).unwrap();
        assert!(apart(&found.weights, &expected) < 1e-6, "{buffer}");
        assert!(error(&["ema", &run, flag, value, "--out", &out]).contains("choose a new folder"));
    }
    let out = path("none");
    assert!(error(&["ema", &run, "--decay", "0.5", "--out", &out]).contains("the run keeps 0.9, 0.99"));
    assert!(error(&["ema", &run, "--sigma-rel", "0.3", "--out", &out]).contains("--sigma-rel is 0.3"));
    assert!(error(&["ema", &run, "--out", &out]).contains("--decay or --sigma-rel"));
    std::fs::write(Path::new(&run).join("snapshots/step-0000003.safetensors"), b"no tensors").unwrap();
    assert!(error(&["ema", &run, "--sigma-rel", "0.1", "--out", &out]).contains("step-0000003"));
    let start = |flag: &str, value: &str| error(&["train", "--data", "digits", "--out", &out, flag, value]);
    assert!(start("--ema", "0.9,1.5").contains("ema_more_decays is 1.5"));
    assert!(start("--ema", "0.9,0.9").contains("twice"));
    assert!(start("--ema-power", "0.4").contains("ema_sigma_rel is 0.4"));
    assert!(!Path::new(&out).exists());
}

/// One run may be described in a file; a file from before there were these keys has none of these averages.
#[test]
fn the_keys_go_through_a_file() {
    let config = config(3);
    let text = config.to_toml().unwrap();
    assert_eq!(RunConfig::from_toml(&text, "run").unwrap(), config);
    let keys = ["ema_more_decays", "ema_warmup", "ema_sigma_rel", "ema_snapshot_every", "ema_snapshot_dtype"];
    let old: Vec<&str> = text.lines().filter(|line| !keys.iter().any(|key| line.starts_with(key))).collect();
    assert_eq!(text.lines().count() - old.len(), keys.len());
    let found = RunConfig::from_toml(&old.join("\n"), "run").unwrap().training;
    assert!(found.ema_more_decays.is_empty() && found.ema_sigma_rel.is_empty() && found.ema_warmup == EmaWarmup::Ratio);
}

//! Objectives in training: what is refused, what the hybrid's bound leaves alone, micro-batches, and that importance
//! sampling goes on alike after a resumption.

mod devices;
mod runs;

use aquatint::device::{Device, Host};
use aquatint::diffusion::SchedulerConfig;
use aquatint::nn::UNetConfig;
use aquatint::training::{
    LossName, ObjectiveName, Precision, Run, RunConfig, TimestepSampler, Trainer, TrainingConfig, TrainingState,
    WeightingName, default_unet,
};
use runs::digits;
use serde_json::{Value, json};
use std::path::Path;

const BATCH: usize = 8;

/// A small network for the digits, with a scheduler of these keys.
fn config(scheduler: Value, change: impl FnOnce(&mut TrainingConfig)) -> RunConfig {
    let scheduler = SchedulerConfig::from_json(&scheduler, "test").unwrap();
    let mut training = TrainingConfig {
        max_train_steps: 12,
        train_batch_size: BATCH,
        learning_rate: 1e-3,
        lr_warmup_steps: 3,
        checkpointing_steps: 0,
        seed: 11,
        ..TrainingConfig::default()
    };
    change(&mut training);
    let out_channels = if scheduler.learns_variances() { 2 } else { 1 };
    let unet = default_unet(8, 8, 1, None);
    let unet = UNetConfig { block_out_channels: vec![8, 16], norm_num_groups: Some(4), out_channels, ..unet };
    RunConfig { unet, scheduler, training }
}

/// The first pictures, as many as make a step.
fn pictures(config: &RunConfig) -> Vec<f32> {
    let (digits, training) = (digits(), &config.training);
    let mut batch = vec![0.0; training.train_batch_size * training.gradient_accumulation_steps * 64];
    batch.chunks_exact_mut(64).enumerate().for_each(|(index, row)| digits.picture(index, false, row));
    batch
}

fn loaded(config: &RunConfig, device: &mut dyn Device) -> Trainer {
    let mut trainer = Trainer::new(config, [8, 8]).unwrap();
    trainer.load(device).unwrap();
    let weights = trainer.parameters().initialize(config.training.seed);
    for (name, storage) in trainer.buffers() {
        if matches!(name, "parameters" | "ema") {
            device.upload(storage, 0, &weights).unwrap();
        }
    }
    trainer
}

fn losses(config: &RunConfig, steps: usize, device: &mut dyn Device) -> (Vec<f32>, Trainer) {
    let (mut trainer, batch) = (loaded(config, device), pictures(config));
    let losses = (0..steps).map(|n| trainer.step(device, n, &batch, &[]).unwrap()).collect();
    (losses, trainer)
}

#[track_caller]
fn refused(scheduler: Value, change: impl FnOnce(&mut TrainingConfig), words: &[&str]) {
    let Err(error) = Trainer::new(&config(scheduler, change), [8, 8]) else { panic!("not refused: {words:?}") };
    let text = error.to_string();
    assert!(!text.contains('\n') && words.iter().all(|word| text.contains(word)), "{words:?}: {text}");
}

#[test]
fn what_does_not_go_together_is_refused_by_name() {
    let learned = || json!({ "variance_type": "learned_range" });
    refused(learned(), |_| {}, &["objective \"simple\"", "learned_range", "hybrid"]);
    refused(
        json!({}),
        |t| t.objective = ObjectiveName::Hybrid,
        &["objective \"hybrid\"", "fixed_small", "learned_range"],
    );
    let l1 = |t: &mut TrainingConfig| (t.objective, t.loss) = (ObjectiveName::Vlb, LossName::L1);
    refused(json!({}), l1, &["objective \"vlb\"", "\"l1\""]);
    let snr = |t: &mut TrainingConfig| (t.objective, t.weighting) = (ObjectiveName::Vlb, Some(WeightingName::Snr));
    refused(learned(), snr, &["objective \"vlb\"", "\"snr\""]);
    let zero = |prediction: &str| json!({ "rescale_betas_zero_snr": true, "prediction_type": prediction });
    refused(zero("epsilon"), |t| t.weighting = Some(WeightingName::Kl), &["timestep 999", "pure noise", "\"epsilon\""]);
    refused(zero("score"), |t| t.objective = ObjectiveName::Vlb, &["timestep 999", "pure noise", "\"score\""]);
    refused(json!({}), |t| t.snr_gamma = -1.0, &["snr_gamma", "-1"]);
    refused(json!({}), |t| t.huber_delta = f32::NAN, &["huber_delta", "NaN"]);
    refused(json!({}), |t| t.p2_k = 0.0, &["p2_k", "0"]);
    refused(json!({}), |t| t.vlb_weight = f32::INFINITY, &["vlb_weight", "inf"]);
    let far =
        |t: &mut TrainingConfig| (t.timestep_sampler, t.log_normal_mean) = (Some(TimestepSampler::LogNormal), 900.0);
    refused(json!({}), far, &["log_normal_mean", "900"]);
    // What has a value at zero SNR is trained.
    for prediction in ["sample", "v_prediction"] {
        use WeightingName::{Kl, MinSnr, None, P2, Snr};
        for weighting in [None, Snr, MinSnr, P2, Kl] {
            Trainer::new(&config(zero(prediction), |t| t.weighting = Some(weighting)), [8, 8]).unwrap();
        }
        Trainer::new(&config(zero(prediction), |t| t.objective = ObjectiveName::Vlb), [8, 8]).unwrap();
    }
}

/// The loss falls, is finite and the same on both devices, whatever it is.
#[test]
fn every_objective_trains_alike_on_both_devices() {
    let Some(mut gpu) = devices::gpu(Default::default()) else { return };
    let scheduler = |variance: &str, prediction: &str| json!({ "variance_type": variance, "prediction_type": prediction, "num_train_timesteps": 20, "beta_end": 0.3 });
    for (variance, prediction, objective, weighting, sampler) in [
        ("learned_range", "epsilon", ObjectiveName::Hybrid, WeightingName::None, TimestepSampler::Stratified),
        ("learned", "v_prediction", ObjectiveName::Vlb, WeightingName::None, TimestepSampler::Importance),
        ("fixed_large", "sample", ObjectiveName::Simple, WeightingName::MinSnr, TimestepSampler::LogNormal),
        ("fixed_small", "score", ObjectiveName::Simple, WeightingName::Snr, TimestepSampler::Importance),
        ("fixed_small", "score", ObjectiveName::Sliced, WeightingName::None, TimestepSampler::Stratified),
    ] {
        let config = config(scheduler(variance, prediction), |t| {
            (t.objective, t.weighting, t.timestep_sampler) = (objective, Some(weighting), Some(sampler));
        });
        let on_host = losses(&config, 4, &mut Host::<f32>::new()).0;
        let on_gpu = losses(&config, 4, &mut gpu).0;
        for (host, gpu) in on_host.iter().zip(&on_gpu) {
            let close = host.is_finite() && (host / gpu - 1.0).abs() < 1e-3;
            assert!(close, "{variance} {prediction} {objective:?}: {on_host:?} and {on_gpu:?}");
        }
    }
}

/// Activations in halves change the losses of no objective by much.
#[test]
fn objectives_train_alike_in_mixed_precision() {
    let Some(mut gpu) = devices::gpu_with_half_precision(Default::default()) else { return };
    for (variance, prediction, objective, loss) in [
        ("learned_range", "epsilon", ObjectiveName::Hybrid, LossName::Huber),
        ("learned", "v_prediction", ObjectiveName::Vlb, LossName::L2),
        ("fixed_small", "sample", ObjectiveName::Simple, LossName::L1),
    ] {
        let scheduler = json!({ "variance_type": variance, "prediction_type": prediction, "num_train_timesteps": 20 });
        let [single, mixed] = [Precision::F32, Precision::Mixed].map(|precision| {
            let config =
                config(scheduler.clone(), |t| (t.objective, t.loss, t.precision) = (objective, loss, precision));
            losses(&config, 4, &mut gpu).0
        });
        // Of the steps that follow, those whose scaled gradient overflows are not taken.
        let close = mixed.iter().all(|loss| loss.is_finite()) && (mixed[0] / single[0] - 1.0).abs() < 0.01;
        assert!(close, "{variance} {prediction} {objective:?}: {single:?} and {mixed:?}");
        assert_ne!(single, mixed);
    }
}

/// The bound of the hybrid objective moves nothing of the prediction: the gradient of the last convolution's weights
/// that make it is the same to the bit, whatever the bound weighs; that of the others is not.
#[test]
fn the_hybrids_bound_leaves_the_prediction_alone() {
    let gradients = |variance: &str, weight: f32, device: &mut dyn Device| {
        let config = config(json!({ "variance_type": variance }), |t| {
            (t.objective, t.vlb_weight) = (ObjectiveName::Hybrid, weight);
        });
        let mut trainer = loaded(&config, device);
        trainer.step(device, 0, &pictures(&config), &[]).unwrap();
        let all = trainer.plan().storages().find(|storage| storage.name() == "gradients").cloned().unwrap();
        let last = trainer.parameters().iter().find(|p| p.name == "conv_out.weight").unwrap().clone();
        let flat = device.download(&all).unwrap();
        // [kernel row, kernel column, input, output]
        let of = |channel: usize| flat[last.offset..][..last.len()].iter().skip(channel).step_by(2).copied();
        [of(0).collect::<Vec<_>>(), of(1).collect()]
    };
    devices::on_each(|device| {
        for variance in ["learned_range", "learned"] {
            let [light, heavy] = [1e-6, 1.0].map(|weight| gradients(variance, weight, device));
            assert!(light[0].iter().any(|&gradient| gradient != 0.0));
            assert_eq!(light[0], heavy[0], "{variance} on {}", device.description());
            for (light, heavy) in light[1].iter().zip(&heavy[1]) {
                assert!((light * 1e6 - heavy).abs() <= 1e-3 * heavy.abs() + 1e-3, "{light} {heavy}");
            }
            assert!(heavy[1].iter().any(|&gradient| gradient != 0.0));
        }
    });
}

/// Steps of several micro-batches draw what one large batch draws, and learn the same of its losses.
#[test]
fn micro_batches_draw_as_one_batch() {
    for sampler in [TimestepSampler::Stratified, TimestepSampler::Importance, TimestepSampler::LogNormal] {
        let scheduler = || json!({ "num_train_timesteps": 6, "beta_end": 0.3 });
        let [whole, cut] = [(BATCH, 1), (BATCH / 4, 4)].map(|(batch, micro_batches)| {
            let config = config(scheduler(), |t| {
                t.timestep_sampler = Some(sampler);
                (t.train_batch_size, t.gradient_accumulation_steps) = (batch, micro_batches);
            });
            let (losses, trainer) = losses(&config, 14, &mut Host::<f32>::new());
            (losses, trainer.timestep_losses().to_vec())
        });
        let close = |a: &f32, b: &f32| (a - b).abs() <= 2e-3 * b.abs() + 1e-6;
        assert!(whole.0.iter().zip(&cut.0).all(|(a, b)| close(a, b)), "{sampler:?}: {whole:?} and {cut:?}");
        assert!(whole.1.len() == cut.1.len() && whole.1.iter().zip(&cut.1).all(|(a, b)| close(a, b)));
    }
}

fn trained(folder: &Path, mut run: Run, device: &mut dyn Device) -> TrainingState {
    run.load(device).unwrap();
    run.train(device, |_| {}).unwrap();
    TrainingState::read(folder).unwrap()
}

/// With few timesteps, the draws are no longer uniform when the run is stopped.
#[test]
fn importance_sampling_is_resumed_with_the_same_bits() {
    let config = |steps: usize| {
        let scheduler = json!({ "num_train_timesteps": 3, "beta_end": 0.5, "variance_type": "learned_range" });
        config(scheduler, |t| {
            (t.objective, t.timestep_sampler) = (ObjectiveName::Vlb, Some(TimestepSampler::Importance));
            t.max_train_steps = steps;
        })
    };
    devices::on_each(|device| {
        let folder = tempfile::tempdir().unwrap();
        let [whole, cut] = ["whole", "cut"].map(|name| folder.path().join(name));
        let expected = trained(&whole, Run::start(&whole, config(14), digits()).unwrap(), device);
        let mut state = trained(&cut, Run::start(&cut, config(9), digits()).unwrap(), device);
        let full = state.timestep_losses.chunks_exact(11).all(|row| row[10] == 10.0);
        assert!(full, "still uniform: {:?}", state.timestep_losses);
        state.config.training.max_train_steps = 14;
        let found = trained(&cut, Run::resume(&cut, state.clone(), digits()).unwrap(), device);
        assert_eq!(found.timestep_losses, expected.timestep_losses);
        assert_eq!(found.losses, expected.losses);
        assert!(found.buffers == expected.buffers, "{}", device.description());
        // Without what was learned the draws would be others.
        state.timestep_losses = vec![0.0; 33];
        let forgetful = trained(&cut, Run::resume(&cut, state.clone(), digits()).unwrap(), device);
        assert_ne!(forgetful.losses, expected.losses);
        state.timestep_losses = vec![0.0; 7];
        let Err(error) = Run::resume(&cut, state, digits()) else { panic!("a state of another schedule is taken") };
        assert!(error.to_string().contains("timestep_losses"), "{error}");
    });
}

const SMALL: &str = r#"
[unet]
in_channels = 1
out_channels = 2
block_out_channels = [8, 16]
down_block_types = ["DownBlock2D", "DownBlock2D"]
up_block_types = ["UpBlock2D", "UpBlock2D"]
layers_per_block = 1
norm_num_groups = 4
attention_head_dim = "null"
"#;

/// The flags make the configuration that `--resume` goes on with, and refuse to be others then.
#[test]
fn flags_are_kept_and_checked_by_resume() {
    let folder = tempfile::tempdir().unwrap();
    let [file, run] = ["small.toml", "run"].map(|name| folder.path().join(name).to_str().unwrap().to_string());
    std::fs::write(&file, SMALL).unwrap();
    let aquatint = |arguments: &[&str]| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_aquatint")).args(arguments).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let train = ["train", "--device", "cpu", "--out", &run, "--batch", "4", "--data", "digits"];
    let with = |more: &[&str]| aquatint(&[&train[..], more].concat());
    let hybrid =
        ["--objective", "hybrid", "--variance", "learned-range", "--prediction", "v", "--weighting", "min-snr"];
    let (ok, text) =
        with(&[&hybrid[..], &["--config", &file, "--steps", "2", "--timestep-sampler", "stratified"]].concat());
    assert!(ok, "{text}");
    let config = std::fs::read_to_string(Path::new(&run).join("config.toml")).unwrap();
    for line in [
        "objective = \"hybrid\"",
        "weighting = \"min_snr\"",
        "timestep_sampler = \"stratified\"",
        "variance_type = \"learned_range\"",
        "prediction_type = \"v_prediction\"",
    ] {
        assert!(config.contains(line), "{line}: {config}");
    }
    let (ok, text) = with(&[&hybrid[..], &["--resume", "--steps", "3"]].concat());
    assert!(ok, "{text}");
    for (flag, other) in [
        ("--objective", "vlb"),
        ("--loss", "l1"),
        ("--weighting", "none"),
        ("--timestep-sampler", "uniform"),
        ("--prediction", "epsilon"),
        ("--variance", "learned"),
    ] {
        let (ok, text) = with(&["--resume", flag, other]);
        assert!(!ok && text.contains(flag) && text.contains("--resume"), "{flag} {other}: {text}");
    }
    // What was trained is sampled, and trained further.
    let drawn = folder.path().join("drawn");
    let (ok, text) =
        aquatint(&["sample", &run, "--out", drawn.to_str().unwrap(), "-n", "2", "--steps", "3", "--device", "cpu"]);
    assert!(ok, "{text}");
    let further = folder.path().join("further");
    let further = further.to_str().unwrap();
    let from = ["train", "--device", "cpu", "--from", &run, "--data", "digits", "--out", further, "--steps", "1"];
    let (ok, text) = aquatint(&[&from[..], &["--batch", "4", "--objective", "vlb"]].concat());
    assert!(ok, "{text}");
    // A network that says no variances learns to.
    std::fs::write(&file, SMALL.replace("out_channels = 2", "out_channels = 1")).unwrap();
    let [plain, grown] = ["plain", "grown"].map(|name| folder.path().join(name).to_str().unwrap().to_string());
    let on = |out: &str, more: &[&str]| {
        aquatint(
            &[&["train", "--device", "cpu", "--data", "digits", "--batch", "4", "--steps", "1", "--out", out], more]
                .concat(),
        )
    };
    let (ok, text) = on(&plain, &["--config", &file]);
    assert!(ok, "{text}");
    let (ok, text) = on(&grown, &["--from", &plain, "--objective", "hybrid", "--variance", "learned-range"]);
    assert!(ok, "{text}");
    let config = std::fs::read_to_string(Path::new(&grown).join("config.toml")).unwrap();
    assert!(config.contains("out_channels = 2"), "{config}");
    // So does one that a file describes, if a flag asks for it, ...
    let out = folder.path().join("flag");
    let (ok, text) = on(out.to_str().unwrap(), &[&["--config", &file][..], &hybrid].concat());
    assert!(ok, "{text}");
    let config = std::fs::read_to_string(out.join("config.toml")).unwrap();
    assert!(config.contains("out_channels = 2"), "{config}");
    // ... but a file that says both itself is taken at its word.
    let both = SMALL.replace("out_channels = 2", "out_channels = 1");
    std::fs::write(&file, format!("{both}\n[scheduler]\nvariance_type = \"learned_range\"\n")).unwrap();
    let out = folder.path().join("other");
    let (ok, text) = on(out.to_str().unwrap(), &["--config", &file, "--objective", "hybrid"]);
    assert!(!ok && text.contains("out_channels 1") && text.contains("variances are learned"), "{text}");
}

//! Label dropout in training: a run that drops labels is bitwise one that is given the labels which are left, whatever its
//! micro-batches, on both devices, and resumed.

mod devices;
mod runs;

use aquatint::device::Device;
use aquatint::diffusion::SchedulerConfig;
use aquatint::kernels::class_dropout::ClassDropout;
use aquatint::nn::UNetConfig;
use aquatint::plan::Step;
use aquatint::training::{ObjectiveName, Run, RunConfig, Tables, Trainer, TrainingConfig, TrainingState, default_unet};
use runs::digits;
use std::path::Path;
use std::process::Command;

const NONE: usize = 10;
const WHOLE: usize = 12;
const STEPS: usize = 3;

fn config(times: usize, class_dropout: f32) -> RunConfig {
    let unet = default_unet(8, 8, 1, Some(NONE + 1));
    RunConfig {
        unet: UNetConfig {
            block_out_channels: vec![8, 16],
            norm_num_groups: Some(4),
            unconditional_class: Some(NONE),
            ..unet
        },
        scheduler: SchedulerConfig::default(),
        training: TrainingConfig {
            dataset: "digits:even".into(),
            max_train_steps: STEPS,
            train_batch_size: WHOLE / times,
            gradient_accumulation_steps: times,
            class_conditional: true,
            class_dropout,
            learning_rate: 1e-3,
            lr_warmup_steps: 1,
            checkpointing_steps: 0,
            seed: 11,
            ..TrainingConfig::default()
        },
    }
}

/// The weights' bits after some steps on the first digits, with these labels.
fn trained(device: &mut dyn Device, config: &RunConfig, labels: impl Fn(usize) -> Vec<u32>) -> Vec<u32> {
    let digits = digits();
    let mut trainer = Trainer::new(config, [8, 8]).unwrap();
    let weights = trainer.parameters().initialize(config.training.seed);
    trainer.load(device).unwrap();
    for (name, storage) in trainer.buffers() {
        if matches!(name, "parameters" | "ema") {
            device.upload(storage, 0, &weights).unwrap();
        }
    }
    let mut pictures = vec![0.0; WHOLE * 64];
    pictures.chunks_exact_mut(64).enumerate().for_each(|(index, row)| digits.picture(index, false, row));
    for step in 0..STEPS {
        trainer.step(device, step, &pictures, &labels(step)).unwrap();
    }
    let (_, storage) = trainer.buffers()[0];
    device.download(storage).unwrap().iter().map(|weight| weight.to_bits()).collect()
}

#[test]
fn a_run_that_drops_labels_is_one_of_those_that_are_left() {
    let all: Vec<u32> = digits().labels.as_ref().unwrap()[..WHOLE].to_vec();
    let dropout = ClassDropout { probability: 0.4, unconditional: NONE as u32 };
    let left = |n: usize| -> Vec<u32> {
        let step = Step { step: n as u32, ..Step::seeded(11) };
        let label = |(place, &label)| if dropout.drops(&step, place as u32) { NONE as u32 } else { label };
        all.iter().enumerate().map(label).collect()
    };
    let dropped: usize = (0..STEPS).map(|n| left(n).iter().filter(|&&label| label == NONE as u32).count()).sum();
    assert!(dropped > 5 && dropped < STEPS * WHOLE - 5, "{dropped} of {} labels", STEPS * WHOLE);
    devices::on_each(|device| {
        // Sliced score matching gives its network the batch twice.
        for (times, objective) in [(1, ObjectiveName::Simple), (3, ObjectiveName::Simple), (1, ObjectiveName::Sliced)] {
            let of = |share: f32| {
                let mut config = config(times, share);
                config.training.objective = objective;
                config
            };
            let found = trained(device, &of(0.4), |_| all.clone());
            assert!(found == trained(device, &of(0.0), left), "{times} micro-batches, {objective:?}");
            assert!(found != trained(device, &of(0.0), |_| all.clone()));
        }
        let none = trained(device, &config(2, 0.0), |_| vec![NONE as u32; WHOLE]);
        assert!(trained(device, &config(2, 1.0), |_| all.clone()) == none);
    });
}

#[test]
fn a_killed_run_ends_with_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let flags =
        ["--classes", "--class-dropout", "0.3", "--batch", "2", "--accumulate", "2", "--steps", "20", "--warmup", "1"];
    runs::killed_ends_with_the_same_bits(&flags, folder.path());
}

#[test]
fn what_cannot_be_dropped_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |change: &dyn Fn(&mut RunConfig), words: &[&str]| {
        let mut config = config(1, 0.1);
        change(&mut config);
        let started = Run::start(&folder.path().join("run"), config, digits());
        let message = started.err().unwrap().to_string();
        assert!(words.iter().all(|word| message.contains(word)) && !message.contains('\n'), "{message}");
    };
    refused(&|config| config.training.class_dropout = 1.5, &["class_dropout is 1.5", "0 to 1"]);
    refused(&|config| config.training.class_dropout = f32::NAN, &["class_dropout is NaN"]);
    refused(&|config| config.unet.unconditional_class = None, &["class_dropout is 0.1", "unconditional_class", "11"]);
    refused(&|config| config.unet.unconditional_class = Some(4), &["unconditional_class", "10 classes"]);
    refused(&|config| config.unet.unconditional_class = Some(11), &["unconditional_class is 11", "0 to 10"]);
    refused(
        &|config| (config.unet.unconditional_class, config.unet.num_class_embeds) = (None, None),
        &["class_dropout is 0.1", "--classes"],
    );
}

fn aquatint(words: &[&str], folder: &Path) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_aquatint"));
    let output = command.args(words).current_dir(folder).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.success(), text(output.stdout) + &text(output.stderr))
}

/// As somebody new to it would: train, look at the folder, draw, and what was forgotten is told.
#[test]
fn flags_go_from_training_to_guided_samples() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    std::fs::write(
        at.join("small.toml"),
        "[unet]\nin_channels = 1\nout_channels = 1\nblock_out_channels = [8, 8]\nnorm_num_groups = 4\nlayers_per_block = 1\n\
         attention_head_dim = \"null\"\ndown_block_types = [\"DownBlock2D\", \"DownBlock2D\"]\n\
         up_block_types = [\"UpBlock2D\", \"UpBlock2D\"]\n[training]\ntrain_batch_size = 4\n",
    )
    .unwrap();
    let train = |flags: &[&str]| {
        let all = ["train", "--data", "digits", "--config", "small.toml", "--steps", "2", "--device", "cpu"];
        aquatint(&[&all, flags].concat(), at)
    };
    let (done, said) = train(&["--class-dropout", "0.2", "--out", "none"]);
    assert!(!done && said.contains("class_dropout is 0.2") && said.contains("--classes"), "{said}");
    let (done, said) = train(&["--classes", "--class-dropout", "0.2", "--out", "run"]);
    assert!(done, "{said}");
    let config = std::fs::read_to_string(at.join("run/unet/config.json")).unwrap();
    assert!(config.contains("\"unconditional_class\": 10") && config.contains("\"num_class_embeds\": 11"), "{config}");
    assert!(std::fs::read_to_string(at.join("run/config.toml")).unwrap().contains("class_dropout = 0.2"));
    let resumed = ["--classes", "--class-dropout", "0.2", "--resume", "--out", "run"];
    let (done, said) = train(&resumed);
    assert!(done, "{said}");
    let (done, said) =
        aquatint(&["train", "--class-dropout", "0.1", "--resume", "--out", "run", "--device", "cpu"], at);
    assert!(!done && said.contains("--class-dropout is 0.1") && said.contains("0.2"), "{said}");
    assert!(train(&["--classes", "--out", "plain"]).0);
    let config = std::fs::read_to_string(at.join("plain/unet/config.json")).unwrap();
    assert!(!config.contains("unconditional_class"), "{config}");

    let sample = |model: &str, flags: &[&str]| {
        let all = ["sample", model, "-n", "4", "--steps", "3", "--device", "cpu", "--out", "drawn", "--overwrite"];
        aquatint(&[&all, flags].concat(), at)
    };
    for flags in [
        &["--guidance", "3"][..],
        &["--guidance", "0"],
        &["--guidance", "4", "--guidance-rescale", "0.7", "--guidance-interval", "0.2,3", "--class", "7"],
        &["--guidance", "2", "--guidance-interval", "0.2,inf", "--sampler", "dpmpp-2m"],
        &["--class", "10"],
    ] {
        let (done, said) = sample("run", flags);
        assert!(done, "{flags:?}: {said}");
    }
    for (model, flags, words) in [
        ("plain", &["--guidance", "3"][..], &["guidance is 3", "--class-dropout", "--unconditional-class"][..]),
        ("run", &["--guidance", "1", "--guidance-rescale", "0.5"], &["--guidance-rescale is 0.5"]),
        ("run", &["--guidance", "2", "--guidance-interval", "1"], &["--guidance-interval has 1 number", "LOW,HIGH"]),
        ("run", &["--guidance", "2", "--guidance-interval", "3,1"], &["guidance interval is 3,1"]),
        ("run", &["--guidance-interval", "1,3"], &["--guidance <SCALE>"]),
        ("run", &["--guidance", "-2"], &["guidance is -2", "from 0"]),
        ("run", &["--class", "11"], &["class 11", "0 to 10"]),
        ("plain", &["--unconditional-class", "10"], &["unconditional_class is 10", "0 to 9"]),
    ] {
        let (done, said) = sample(model, flags);
        assert!(!done && words.iter().all(|word| said.contains(word)), "{flags:?}: {said}");
    }
    // A class is added to a model that was trained without dropping.
    let from = ["train", "--data", "digits", "--from", "plain", "--classes", "--class-dropout", "0.2", "--steps", "2"];
    let (done, said) = aquatint(&[&from[..], &["--batch", "4", "--device", "cpu", "--out", "tuned"]].concat(), at);
    assert!(done, "{said}");
    let (done, said) = sample("tuned", &["--guidance", "2", "--class", "3"]);
    assert!(done, "{said}");
    // A model of another program, whose last class is known to stand for none.
    assert!(sample("plain", &["--guidance", "3", "--unconditional-class", "9"]).0);
}

#[test]
fn a_run_from_before_drops_nothing() {
    let text = config(1, 0.25).to_toml().unwrap();
    let read = RunConfig::from_toml(&text, "test").unwrap();
    assert_eq!(read, config(1, 0.25));
    let before: String =
        text.lines().filter(|line| !line.contains("class_dropout")).map(|l| l.to_string() + "\n").collect();
    assert_eq!(Tables::parse(&before, "test").unwrap().training.class_dropout, 0.0);
    let folder = tempfile::tempdir().unwrap();
    let mut run = Run::start(folder.path(), config(1, 0.25), digits()).unwrap();
    let mut host = aquatint::device::Host::<f32>::new();
    run.load(&mut host).unwrap();
    run.train(&mut host, |_| {}).unwrap();
    assert_eq!(TrainingState::read(folder.path()).unwrap().config.training.class_dropout, 0.25);
}

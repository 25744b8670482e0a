//! Classifiers of noisy pictures: their gradients, a training on the digits, the folder, and the commands.

mod devices;
mod runs;

use aquatint::checkpoint::ClassifierFolder;
use aquatint::data::{Dataset, Options};
use aquatint::device::{Device, Host};
use aquatint::diffusion::SchedulerConfig;
use aquatint::metrics::{Gaussian, Judge, PARTS, frechet_distance};
use aquatint::nn::{Classifier, Network, Parameters, Recompute, Toward, UNetConfig};
use aquatint::plan::{Recorder, Step, Storage};
use aquatint::training::{ClassifierTable, Precision, Run, RunConfig, TrainingConfig, TrainingState, default_unet};
use runs::{assert_same_bits, digits};
use std::path::Path;

fn small_unet() -> UNetConfig {
    let unet = default_unet(8, 8, 1, None);
    UNetConfig { block_out_channels: vec![8, 16], norm_num_groups: Some(4), attention_head_dim: Some(8), ..unet }
}

const PICTURES: usize = 3;

/// A recording of d/dx of sum(weights log p(label | x)), and what it reads and writes.
struct Gradient {
    plan: aquatint::plan::Plan,
    weights: Storage,
    x: Storage,
    timesteps: Storage,
    labels: Storage,
    upstream: Storage,
    scores: Storage,
    gradient: Storage,
}

fn network<'a>(r: &'a mut Recorder, parameters: &'a Parameters, weights: &'a Storage) -> Network<'a> {
    Network { r, parameters, weights, gradients: None, halves: None, recompute: Recompute::None }
}

fn gradient(classifier: &Classifier) -> Gradient {
    let [height, width] = classifier.size();
    let shape = [PICTURES, height, width, 1];
    let weights = Storage::f32("weights", classifier.parameters().len());
    let x = Storage::f32("x", shape.iter().product());
    let [timesteps, upstream] = ["timesteps", "upstream"].map(|name| Storage::f32(name, PICTURES));
    let labels = Storage::u32("labels", PICTURES);
    let mut r = Recorder::new();
    let values = [r.input(&x, &shape), r.input(&timesteps, &[PICTURES])];
    let [label_values, upstream_values] = [&labels, &upstream].map(|storage| r.input(storage, &[PICTURES]));
    let parameters = classifier.parameters();
    let again = r.input(&x, &shape);
    let scores = classifier.record(&mut network(&mut r, parameters, &weights), again, values[1]).unwrap().scores;
    let gradient = classifier
        .record_gradient(
            &mut network(&mut r, parameters, &weights),
            values,
            Toward::Classes(label_values),
            upstream_values,
        )
        .unwrap();
    let [scores, gradient] = [r.export("scores", scores), r.export("gradient", gradient)];
    Gradient { plan: r.finish(), weights, x, timesteps, labels, upstream, scores, gradient }
}

fn upload(device: &mut dyn Device, g: &Gradient, classifier: &Classifier) {
    device.upload(&g.weights, 0, &classifier.parameters().initialize(5)).unwrap();
    let set = digits();
    let mut x = vec![0.0; g.x.len()];
    x.chunks_exact_mut(64).enumerate().for_each(|(index, row)| set.picture(index, false, row));
    device.upload(&g.x, 0, &x).unwrap();
    device.upload(&g.timesteps, 0, &[0.0, 400.0, 999.0]).unwrap();
    device.upload(&g.upstream, 0, &[1.0, -0.5, 2.0]).unwrap();
    device.upload_integers(&g.labels, 0, &[0, 9, 4]).unwrap();
}

#[test]
fn gradients_in_the_picture_agree_with_central_differences() {
    const H: f64 = 1e-4;
    let classifier = Classifier::new(&small_unet(), 10).unwrap();
    let g = gradient(&classifier);
    let mut host = Host::<f64>::reference();
    let plan = host.load(&g.plan).unwrap();
    upload(&mut host, &g, &classifier);
    host.run(plan, &Step::default()).unwrap();
    let found = host.floats(&g.gradient).to_vec();
    let (labels, upstream) = ([0, 9, 4], [1.0, -0.5, 2.0]);
    let sum = |host: &mut Host<f64>| -> f64 {
        host.run(plan, &Step::default()).unwrap();
        let rows = host.floats(&g.scores).chunks_exact(10).zip(labels).zip(upstream);
        let log = |row: &[f64], label: usize| row[label] - row.iter().map(|score| score.exp()).sum::<f64>().ln();
        rows.map(|((row, label), weight)| weight * log(row, label)).sum()
    };
    let largest = found.iter().fold(0.0_f64, |largest, value| largest.max(value.abs()));
    assert!(largest > 1e-4, "the gradient is not nothing: {largest}");
    for index in (0..found.len()).step_by(5) {
        let before = host.floats(&g.x)[index];
        let mut at = |value: f64| {
            host.floats_mut(&g.x).unwrap()[index] = value;
            sum(&mut host)
        };
        let near = at(before + H) - at(before - H);
        let far = at(before + 2.0 * H) - at(before - 2.0 * H);
        at(before);
        let expected = (8.0 * near - far) / (12.0 * H);
        let difference = (found[index] - expected).abs();
        assert!(difference < 1e-6 * largest, "element {index}: {} for {expected}", found[index]);
    }
}

#[test]
fn gradients_are_those_of_the_reference_on_every_device() {
    let classifier = Classifier::new(&small_unet(), 10).unwrap();
    let g = gradient(&classifier);
    let read = |device: &mut dyn Device| {
        let plan = device.load(&g.plan).unwrap();
        upload(device, &g, &classifier);
        device.run(plan, &Step::default()).unwrap();
        device.download(&g.gradient).unwrap()
    };
    let expected = read(&mut Host::<f64>::reference());
    let largest = expected.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
    devices::on_each(|device| {
        for (found, expected) in read(device).iter().zip(&expected) {
            assert!((found - expected).abs() < 1e-4 * largest, "{found} for {expected}");
        }
    });
}

fn config(steps: usize, noiseless: bool) -> RunConfig {
    let set = digits();
    let classifier = Some(ClassifierTable { class_names: set.class_names, noiseless, held_out: None });
    RunConfig {
        unet: default_unet(8, 8, 1, None),
        scheduler: SchedulerConfig::default(),
        training: TrainingConfig {
            max_train_steps: steps,
            train_batch_size: 64,
            learning_rate: 1e-3,
            lr_warmup_steps: 20,
            adam_weight_decay: 0.05,
            checkpointing_steps: 0,
            classifier,
            ..TrainingConfig::default()
        },
    }
}

fn half(odd: usize) -> Dataset {
    Dataset::open("digits", &Options::default()).unwrap().rows(|index| index % 2 == odd)
}

fn trained(folder: &Path, config: RunConfig, device: &mut dyn Device) -> ClassifierFolder {
    let mut run = Run::start(folder, config, half(0)).unwrap();
    run.load(device).unwrap();
    run.train(device, |_| {}).unwrap();
    ClassifierFolder::read(folder).unwrap()
}

#[test]
fn the_digits_are_learnt_and_told_apart_on_held_out_pictures() {
    let device = &mut Host::<f32>::new();
    let place = tempfile::tempdir().unwrap();
    let folder = trained(&place.path().join("run"), config(150, true), device);
    let odd = half(1);
    let labels = odd.labels.clone().unwrap();
    let mut judge = Judge::new(&folder, 100).unwrap();
    judge.load(device, &folder.weights).unwrap();
    let judged = judge.clean(device, &odd, |_| {}).unwrap();
    let accuracy = judged.hits(&labels) as f64 / labels.len() as f64;
    assert!(accuracy > 0.95, "{accuracy}");
    assert!(judge.noisy(device, &odd, 0, 0, |_| {}).is_err(), "it has learnt no noise");

    // Features tell the sets apart: halves of the digits are near, one class is far.
    let even = judge.clean(device, &half(0), |_| {}).unwrap();
    let ones = odd.rows(|index| labels[index] == 1);
    let ones = judge.clean(device, &ones, |_| {}).unwrap();
    let gaussian = |features: &[f32]| Gaussian::of("features", features, judge.dim()).unwrap();
    let all = gaussian(&judged.features);
    let near = frechet_distance(&all, &gaussian(&even.features)).unwrap();
    let far = frechet_distance(&all, &gaussian(&ones.features)).unwrap();
    assert!(frechet_distance(&all, &all).unwrap() < 1e-6 && 10.0 * near < far, "{near}, {far}");
    assert!(
        judge
            .clean(device, &Dataset::open("digits", &Options { multiple_of: 3, ..Options::default() }).unwrap(), |_| {})
            .is_err()
    );
}

#[test]
fn noise_is_learnt_too_the_less_of_it_the_better() {
    let device = &mut Host::<f32>::new();
    let place = tempfile::tempdir().unwrap();
    let folder = trained(&place.path().join("run"), config(150, false), device);
    let odd = half(1);
    let labels = odd.labels.clone().unwrap();
    let mut judge = Judge::new(&folder, 128).unwrap();
    judge.load(device, &folder.weights).unwrap();
    let shares: Vec<f64> = (0..PARTS)
        .map(|part| judge.noisy(device, &odd, part, 1, |_| {}).unwrap().hits(&labels) as f64 / labels.len() as f64)
        .collect();
    assert!(shares[0] > 0.7 && shares[0] > shares[1] && shares[1] > shares[2], "{shares:?}");
    assert!((0.05..0.2).contains(&shares[3]), "of pure noise one in ten is guessed: {shares:?}");
    let again = judge.noisy(device, &odd, 1, 1, |_| {}).unwrap().features;
    let judged = judge.noisy(device, &odd, 1, 1, |_| {}).unwrap();
    assert!(again == judged.features, "the same noise again");
}

#[test]
fn a_run_that_was_stopped_goes_on_to_the_same_bits() {
    let device = &mut Host::<f32>::new();
    let place = tempfile::tempdir().unwrap();
    let small = |steps: usize| {
        let mut config = config(steps, false);
        (config.unet, config.training.train_batch_size) = (small_unet(), 8);
        config
    };
    let whole = place.path().join("whole");
    trained(&whole, small(6), device);
    let stopped = place.path().join("stopped");
    trained(&stopped, small(3), device);
    let mut state = TrainingState::read(&stopped).unwrap();
    assert_eq!(state.config, {
        let mut config = small(3).resolved();
        config.unet.sample_size = state.config.unet.sample_size;
        config
    });
    state.config.training.max_train_steps = 6;
    let mut run = Run::resume(&stopped, state, half(0)).unwrap();
    run.load(device).unwrap();
    run.train(device, |_| {}).unwrap();
    assert_same_bits(&TrainingState::read(&stopped).unwrap(), &TrainingState::read(&whole).unwrap());
    let [stopped, whole] = [stopped, whole].map(|folder| ClassifierFolder::read(&folder).unwrap().weights);
    assert!(stopped == whole, "the folders' weights differ");
}

#[test]
fn runs_that_do_not_fit_are_refused() {
    let refused = |change: &dyn Fn(&mut RunConfig), words: &str| {
        let mut config = config(1, false);
        change(&mut config);
        let place = tempfile::tempdir().unwrap();
        let message = Run::start(&place.path().join("run"), config, half(0)).err().unwrap().to_string();
        assert!(message.contains(words) && !message.contains('\n'), "{message}");
    };
    use aquatint::training::{ObjectiveName, TimestepSampler};
    refused(
        &|c| c.training.objective = ObjectiveName::Vlb,
        "objective is \"vlb\", of a classifier expected \"simple\"",
    );
    refused(&|c| c.training.timestep_sampler = Some(TimestepSampler::Importance), "timestep_sampler is \"importance\"");
    refused(&|c| c.unet.num_class_embeds = Some(10), "num_class_embeds");
    let few = |c: &mut RunConfig| {
        if let Some(table) = &mut c.training.classifier {
            table.class_names.truncate(7);
        }
    };
    refused(&few, "10 classes, the classifier's class_names are 7");
    let one = |c: &mut RunConfig| {
        if let Some(table) = &mut c.training.classifier {
            table.class_names.truncate(1);
        }
    };
    refused(&one, "1 classes, expected 2 to 65536");
}

#[test]
fn mixed_precision_learns_the_same() {
    let Some(mut gpu) = devices::gpu_with_half_precision(aquatint::device::gpu::Options::default()) else { return };
    let losses = |device: &mut dyn Device, precision: Precision| {
        let mut config = config(4, false);
        (config.unet, config.training.train_batch_size) = (small_unet(), 8);
        config.training.precision = precision;
        let place = tempfile::tempdir().unwrap();
        let mut run = Run::start(&place.path().join("run"), config, half(0)).unwrap();
        run.load(device).unwrap();
        run.train(device, |_| {}).unwrap();
        run.losses().to_vec()
    };
    let expected = losses(&mut Host::<f32>::new(), Precision::F32);
    for (found, expected) in losses(&mut gpu, Precision::Mixed).iter().zip(&expected) {
        assert!((found - expected).abs() < 2e-2 * expected, "{found} for {expected}");
    }
}

/// Runs the program; its standard output, or its standard error if it fails.
fn aquatint(arguments: &[&str]) -> Result<String, String> {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_aquatint")).args(arguments).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

#[test]
fn commands_train_judge_guide_and_refuse() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name).display().to_string();
    let (model, guide, judge, drawn, figures) =
        (at("model"), at("guide"), at("judge"), at("drawn"), at("figures.json"));
    let digits = ["--data", "digits:even", "--device", "cpu", "--batch", "8", "--steps", "2"];
    let with = |command: &str, more: &[&str]| aquatint(&[&[command], &digits[..], more].concat());
    with("train", &["--out", &model, "--schedule", "cosine"]).unwrap();
    let text = with("train-classifier", &["--out", &guide, "--for", &model]).unwrap();
    assert!(text.contains("accuracy") && text.contains("89 pictures of digits:even, every 10th"), "{text}");
    with("train-classifier", &["--out", &judge, "--noiseless", "--held-out", "digits:odd"]).unwrap();
    let sample = |more: &[&str]| {
        let all = ["sample", &model, "--device", "cpu", "-n", "4", "--steps", "2", "--out", &drawn, "--overwrite"];
        aquatint(&[&all[..], more].concat())
    };
    sample(&["--classifier", &guide, "--class", "3"]).unwrap();
    let like = at("drawn/0001.png");
    sample(&["--classifier", &guide, "--like", &like, "--classifier-scale", "2", "--sampler", "ddim"]).unwrap();
    let judged = ["judge", &judge, "--device", "cpu", "--data", &drawn, "--labels", "0,3", "--against", "digits:odd"];
    let text = aquatint(&[&judged[..], &["--json", &figures]].concat()).unwrap();
    assert!(text.contains("of 4 pictures") && text.contains("and 898 of digits:odd"), "{text}");
    let json: serde_json::Value = serde_json::from_slice(&std::fs::read(&figures).unwrap()).unwrap();
    assert!(json["pictures"] == 4 && json["against"]["pictures"] == 898 && json["accuracy"].is_number(), "{json}");
    assert!(json["against"]["frechet_distance"].as_f64().unwrap() > 0.0);

    let refused = |result: Result<String, String>, words: &str| {
        let text = result.unwrap_err();
        let errors: Vec<&str> = text.lines().filter(|line| line.starts_with("aquatint: ")).collect();
        assert!(errors.len() == 1 && errors[0].contains(words) && !text.contains("panicked"), "{text}");
    };
    let resume = |command: &str, out: &str, more: &[&str]| {
        aquatint(&[&[command, "--out", out, "--resume", "--device", "cpu"], more].concat())
    };
    refused(sample(&["--classifier", &judge]), "it has learnt clean pictures alone");
    refused(sample(&["--classifier", &model]), "no config.json, expected a classifier's folder");
    refused(sample(&["--classifier", &guide, "--class", "10"]), "class 10, expected 0 to 9");
    refused(sample(&["--classifier", &guide, "--classifier-scale", "-1"]), "classifier scale is -1");
    refused(sample(&["--classifier", &guide, "--like", &at("none.png")]), "none.png");
    let other = at("other");
    with("train", &["--out", &other]).unwrap();
    let of_other =
        ["sample", &other, "--device", "cpu", "-n", "1", "--steps", "2", "--out", &drawn, "--classifier", &guide];
    refused(aquatint(&of_other), "it knows another noise than the model");
    refused(with("train-classifier", &["--out", &model]), "training run already");
    refused(resume("train", &guide, &[]), "`aquatint train-classifier --resume` continues it");
    refused(resume("train-classifier", &model, &[]), "`aquatint train --resume` continues it");
    refused(resume("train-classifier", &guide, &["--schedule", "linear"]), "the noise is linear");
    refused(resume("train-classifier", &guide, &["--held-out", "digits:odd"]), "--held-out is");
    refused(aquatint(&["train-classifier", "--data", &drawn, "--out", &at("new")]), "no labels to learn classes from");
    refused(aquatint(&["train-classifier", "--out", &at("new")]), "--data is missing");
    refused(
        aquatint(&["judge", &judge, "--data", &drawn, "--labels", "12"]),
        "class 12, expected one of the classifier's",
    );
    refused(aquatint(&["ema", &guide, "--decay", "0.9999", "--out", &at("new")]), "trains a classifier");
    resume("train-classifier", &guide, &["--steps", "3", "--for", &model]).unwrap();
    assert_eq!(TrainingState::read(Path::new(&guide)).unwrap().step, 3);
}

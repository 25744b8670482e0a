//! Training as a whole: the same on both devices, resumed to bitwise the same weights, killed at any moment.

mod devices;
mod runs;

#[path = "reference/tensor_file.rs"]
mod tensor_file;

use aquatint::device::gpu::Gpu;
use aquatint::device::{Choices, Device, Host};
use aquatint::diffusion::{Chain, ChainOptions, Request, Sampler, SchedulerConfig, StepNoise};
use aquatint::nn::{Recompute, UNetConfig};
use aquatint::plan::{Call, Element, Plan};
use aquatint::training::{Precision, Run, RunConfig, Trainer, TrainingConfig, TrainingState, default_unet};
use runs::{assert_same_bits, digits};
use std::path::Path;
use tensor_file::read_tensors;

/// A network small enough for software Vulkan.
fn small_unet(classes: Option<usize>) -> UNetConfig {
    let unet = default_unet(8, 8, 1, classes);
    UNetConfig { block_out_channels: vec![8, 16], norm_num_groups: Some(4), ..unet }
}

fn config(steps: usize) -> RunConfig {
    RunConfig {
        unet: small_unet(None),
        scheduler: SchedulerConfig::default(),
        training: TrainingConfig {
            max_train_steps: steps,
            train_batch_size: 8,
            learning_rate: 1e-3,
            lr_warmup_steps: 3,
            checkpointing_steps: 0,
            random_flip: true,
            seed: 11,
            ..TrainingConfig::default()
        },
    }
}

/// Losses of a few steps on the first pictures.
fn losses(device: &mut dyn Device, config: &RunConfig) -> Vec<f32> {
    losses_and_state(device, config).0
}

/// Losses of a few steps on the first pictures, then weights, averages, moments and gradients.
fn losses_and_state(device: &mut dyn Device, config: &RunConfig) -> (Vec<f32>, Vec<Vec<f32>>) {
    let digits = digits();
    let mut trainer = Trainer::new(config, [8, 8]).unwrap();
    let weights = trainer.parameters().initialize(config.training.seed);
    trainer.load(device).unwrap();
    for (name, storage) in trainer.buffers() {
        if matches!(name, "parameters" | "ema") {
            device.upload(storage, 0, &weights).unwrap();
        }
    }
    let mut batch = vec![0.0; 8 * 64];
    batch.chunks_exact_mut(64).enumerate().for_each(|(index, row)| digits.picture(index, false, row));
    let labels = &digits.labels.as_ref().unwrap()[..8];
    let losses = (0..6).map(|n| trainer.step(device, n, &batch, labels).unwrap()).collect();
    let floats = trainer.plan().storages().filter(|storage| storage.element() == Element::F32);
    (losses, floats.map(|storage| device.download(storage).unwrap()).collect())
}

fn with_recompute(config: &RunConfig, recompute: Recompute) -> RunConfig {
    RunConfig { training: TrainingConfig { recompute, ..config.training.clone() }, ..config.clone() }
}

fn with_precision(config: &RunConfig, precision: Precision) -> RunConfig {
    RunConfig { training: TrainingConfig { precision, ..config.training.clone() }, ..config.clone() }
}

#[test]
fn recomputing_gives_the_same_bits() {
    let mut devices: Vec<Box<dyn Device>> = vec![Box::new(Host::<f32>::new())];
    devices.extend(devices::gpu(Default::default()).map(|gpu| Box::new(gpu) as Box<dyn Device>));
    let config = RunConfig { unet: small_unet(Some(10)), ..config(6) };
    let bits = |data: &[f32]| data.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    for mut device in devices {
        let [none, norm, block] = [Recompute::None, Recompute::Norm, Recompute::Block]
            .map(|recompute| losses_and_state(&mut *device, &with_recompute(&config, recompute)));
        for (other, what) in [(norm, "norm"), (block, "block")] {
            let device = device.description();
            assert_eq!(bits(&other.0), bits(&none.0), "{what}: losses on {device}");
            assert_eq!(other.1.len(), none.1.len());
            for (number, (found, expected)) in other.1.iter().zip(&none.1).enumerate() {
                assert!(bits(found) == bits(expected), "{what}: storage {number} on {device}");
            }
        }
    }
}

/// Mixed precision follows single precision closely, saves memory, and repeats itself to the bit.
#[test]
fn mixed_precision_trains_alike() {
    let Some(mut gpu) = devices::gpu_with_half_precision(Default::default()) else { return };
    let single = RunConfig { unet: small_unet(Some(10)), ..config(6) };
    let mixed = with_precision(&single, Precision::Mixed);
    let expected = losses(&mut gpu, &single);
    let (found, state) = losses_and_state(&mut gpu, &mixed);
    for (found, expected) in found.iter().zip(&expected) {
        assert!((found / expected - 1.0).abs() < 0.01, "losses {found:?}, in single precision {expected:?}");
    }
    assert_ne!(found, expected);
    assert!(losses_and_state(&mut gpu, &mixed).1 == state, "not repeatable");
    assert!(losses_and_state(&mut gpu, &with_recompute(&mixed, Recompute::Block)).1 == state, "recomputing differs");
    let bytes = |config: &RunConfig| {
        let large = UNetConfig { layers_per_block: 2, ..default_unet(32, 32, 3, None) };
        let config = RunConfig { unet: large, ..config.clone() };
        Trainer::new(&config, [32, 32]).unwrap().plan().memory().activations
    };
    assert!(bytes(&mixed) as f64 <= 0.6 * bytes(&single) as f64, "{} and {} bytes", bytes(&mixed), bytes(&single));
}

/// A scale too large for half precision: steps are skipped, leaving everything as it is, until it fits.
#[test]
fn steps_that_overflow_are_skipped() {
    let Some(mut gpu) = devices::gpu_with_half_precision(Default::default()) else { return };
    let config = with_precision(&config(40), Precision::Mixed);
    let digits = digits();
    let mut trainer = Trainer::new(&config, [8, 8]).unwrap();
    let weights = trainer.parameters().initialize(config.training.seed);
    trainer.load(&mut gpu).unwrap();
    for (name, storage) in trainer.buffers() {
        if matches!(name, "parameters" | "ema") {
            gpu.upload(storage, 0, &weights).unwrap();
        }
    }
    let scale = trainer.loss_scale().unwrap().clone();
    gpu.upload(&scale, 0, &[2.0f32.powi(24), 5.0, 0.0]).unwrap();
    let mut batch = vec![0.0; 8 * 64];
    batch.chunks_exact_mut(64).enumerate().for_each(|(index, row)| digits.picture(index, false, row));
    trainer.step(&mut gpu, 0, &batch, &[]).unwrap();
    assert_eq!(gpu.download(&scale).unwrap(), [2.0f32.powi(23), 0.0, 1.0]);
    for (name, storage) in trainer.buffers() {
        let found = gpu.download(storage).unwrap();
        let expected = if matches!(name, "parameters" | "ema") { weights.clone() } else { vec![0.0; weights.len()] };
        assert!(found == expected, "the {name} changed in a step that was skipped");
    }
    let taken = (1..15).find(|&n| {
        trainer.step(&mut gpu, n, &batch, &[]).unwrap();
        gpu.download(&scale).unwrap()[1] > 0.0
    });
    let taken = taken.expect("no scale is found");
    assert_eq!(gpu.download(&scale).unwrap()[2], taken as f32);
    // The first step that is taken is the first in everything: Adam moves by the learning rate, which is the first of the
    // warm-up's three, and the average becomes the weights.
    let moved = gpu.download(trainer.buffers()[0].1).unwrap();
    let largest = moved.iter().zip(&weights).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    let rate = 1e-3 / 3.0;
    assert!((largest / rate - 1.0).abs() < 0.03, "step {taken}: {largest}, the learning rate is {rate}");
    let average = gpu.download(trainer.ema()).unwrap();
    let apart = average.iter().zip(&moved).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(apart < 1e-6, "step {taken}: the average is {apart} away from the weights");
}

/// A gradient that is not finite at the smallest scale is an error, with everything as it was before.
#[test]
fn divergence_in_mixed_precision_is_an_error() {
    let Some(mut gpu) = devices::gpu_with_half_precision(Default::default()) else { return };
    let mut trainer = Trainer::new(&with_precision(&config(2), Precision::Mixed), [8, 8]).unwrap();
    let mut weights = trainer.parameters().initialize(11);
    // So large that the loss is finite, but not the gradient of what goes into the last convolution.
    let last = trainer.parameters().iter().find(|p| p.name == "conv_out.weight").unwrap().clone();
    weights[last.offset..][..last.len()].iter_mut().for_each(|weight| *weight *= 2e4);
    trainer.load(&mut gpu).unwrap();
    let [(_, parameters), ..] = trainer.buffers();
    let (parameters, scale) = (parameters.clone(), trainer.loss_scale().unwrap().clone());
    gpu.upload(&parameters, 0, &weights).unwrap();
    gpu.upload(&scale, 0, &[2.0, 7.0, 1.0]).unwrap();
    let batch: Vec<f32> = (0..8 * 64).map(|i| ((i * 7919) % 64) as f32 / 32.0 - 1.0).collect();
    let loss = trainer.step(&mut gpu, 1, &batch, &[]).unwrap();
    assert!(loss.is_finite());
    assert_eq!(gpu.download(&scale).unwrap(), [1.0, 0.0, 2.0]);
    let error = trainer.step(&mut gpu, 2, &batch, &[]).unwrap_err().to_string();
    assert!(error.contains("step 2") && error.contains("gradient's norm"), "{error}");
    assert!(gpu.download(&parameters).unwrap() == weights);
}

#[test]
fn recomputing_saves_memory() {
    let plans = [Recompute::None, Recompute::Norm, Recompute::Block].map(|recompute| {
        let unet = UNetConfig { layers_per_block: 2, ..default_unet(32, 32, 3, None) };
        let trainer = Trainer::new(&with_recompute(&RunConfig { unet, ..config(1) }, recompute), [32, 32]).unwrap();
        let bytes = trainer.plan().memory().activations;
        assert!(bytes as f64 <= 1.2 * trainer.plan().most_alive as f64, "{recompute:?}: {bytes} bytes of slots");
        (bytes, trainer.plan().flops())
    });
    let [none, norm, block] = plans;
    assert!(norm.0 * 4 < none.0 * 3 && block.0 * 2 < none.0, "bytes and operations: {plans:?}");
    // A second forward pass at most, of three passes that a step has.
    assert!(norm.1 as f64 <= 1.02 * none.1 as f64 && block.1 as f64 <= 1.34 * none.1 as f64, "{plans:?}");
}

#[test]
fn both_devices_train_alike() {
    let Some(mut gpu) = devices::gpu(Default::default()) else { return };
    for classes in [None, Some(10)] {
        let config = RunConfig { unet: small_unet(classes), ..config(6) };
        let (on_host, on_gpu) = (losses(&mut Host::<f32>::new(), &config), losses(&mut gpu, &config));
        for (host, gpu) in on_host.iter().zip(&on_gpu) {
            assert!((host / gpu - 1.0).abs() < 1e-4, "losses {on_host:?} and {on_gpu:?}");
        }
        assert!(on_host[5] < on_host[0], "the loss does not fall: {on_host:?}");
    }
}

#[test]
fn a_run_is_bitwise_repeatable_on_each_device() {
    let mut gpus: Vec<Box<dyn Device>> = vec![Box::new(Host::<f32>::new())];
    gpus.extend(devices::gpu(Default::default()).map(|gpu| Box::new(gpu) as Box<dyn Device>));
    for mut device in gpus {
        let [first, second] = [0, 1].map(|_| losses(&mut *device, &config(6)));
        let bits = |losses: &[f32]| losses.iter().map(|loss| loss.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&first), bits(&second), "{}", device.description());
    }
}

/// Nine steps at once, and four with five more after a resumption.
fn resumed_ends_with_the_same_bits(device: &mut dyn Device, with: impl Fn(&RunConfig) -> RunConfig) {
    let folder = tempfile::tempdir().unwrap();
    let mut train = |folder: &Path, mut run: Run| {
        run.load(device).unwrap();
        run.train(device, |_| {}).unwrap();
        TrainingState::read(folder).unwrap()
    };
    let whole = folder.path().join("whole");
    let expected = train(&whole, Run::start(&whole, with(&config(9)), digits()).unwrap());
    let cut = folder.path().join("cut");
    train(&cut, Run::start(&cut, with(&config(4)), digits()).unwrap());
    let mut state = TrainingState::read(&cut).unwrap();
    state.config.training.max_train_steps = 9;
    let found = train(&cut, Run::resume(&cut, state, digits()).unwrap());
    assert_same_bits(&found, &expected);
}

/// A run goes on with the variants that it was started with, on a device that would choose others.
#[test]
fn a_run_keeps_the_variants_that_it_was_tuned_to() {
    let Some(mut gpu) = devices::gpu(Default::default()) else { return };
    let folder = tempfile::tempdir().unwrap();
    let folder_of = |name: &str| folder.path().join(name);
    let train = |gpu: &mut Gpu, folder: &Path, mut run: Run| {
        run.load(gpu).unwrap();
        run.train(gpu, |_| {}).unwrap();
        TrainingState::read(folder).unwrap()
    };
    let fresh = || devices::gpu(Default::default()).unwrap();
    let plain = train(&mut fresh(), &folder_of("plain"), Run::start(&folder_of("plain"), config(4), digits()).unwrap());

    // The last variant of every kernel, where measuring might have chosen any.
    let trainer = Trainer::new(&config(4), [8, 8]).unwrap();
    let mut choices = Choices::default();
    for call in &trainer.plan().calls {
        choices.choose(call, call.kernel.variants().last().unwrap());
    }
    gpu.adopt(&choices);
    let whole = folder_of("whole");
    let expected = train(&mut gpu, &whole, Run::start(&whole, config(4), digits()).unwrap());
    assert!(expected.losses != plain.losses, "the variants add up in the same order: this test shows nothing");
    assert!(expected.tuned != plain.tuned);

    let cut = folder_of("cut");
    train(&mut gpu, &cut, Run::start(&cut, config(2), digits()).unwrap());
    let mut state = TrainingState::read(&cut).unwrap();
    state.config.training.max_train_steps = 4;
    let run = Run::resume(&cut, state, digits()).unwrap();
    let mut other = fresh();
    run.tune(&mut other, &mut |_, _| {}).unwrap();
    let found = train(&mut other, &cut, run);
    assert_same_bits(&found, &expected);
}

/// What was measured is measured once, is a variant that there is, and decides what runs.
#[test]
fn tuning_measures_every_shape_once() {
    let Some(mut gpu) = devices::gpu(Default::default()) else { return };
    let trainer = Trainer::new(&config(1), [8, 8]).unwrap();
    let several = |plan: &Plan| plan.calls.iter().filter(|call| call.kernel.variants().len() > 1).cloned().collect();
    let calls: Vec<Call> = several(trainer.plan());
    let mut told = Vec::new();
    gpu.tune(&[trainer.plan()], &mut |done, total| told.push((done, total))).unwrap();
    let total = told.len();
    assert!(total > 0 && total <= calls.len());
    assert_eq!(told, (1..=total).map(|done| (done, total)).collect::<Vec<_>>());
    assert!(calls.iter().all(|call| gpu.choices().has(call)));
    gpu.tune(&[trainer.plan()], &mut |_, _| panic!("measured again")).unwrap();
    let [first, second] = [0, 1].map(|_| losses(&mut gpu, &config(6)));
    assert_eq!(first, second);
}

#[test]
fn a_resumed_run_ends_with_the_same_bits() {
    resumed_ends_with_the_same_bits(&mut Host::<f32>::new(), RunConfig::clone);
}

#[test]
fn a_resumed_run_in_mixed_precision_ends_with_the_same_bits() {
    let Some(mut gpu) = devices::gpu_with_half_precision(Default::default()) else { return };
    resumed_ends_with_the_same_bits(&mut gpu, |config| with_precision(config, Precision::Mixed));
}

/// The model's folder is the state's moving average.
#[test]
fn a_killed_run_continues_to_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    runs::killed_ends_with_the_same_bits(&["--batch", "4", "--steps", "40"], folder.path());
    let [whole, killed] = ["whole", "killed"].map(|run| {
        let weights = folder.path().join(run).join("unet/diffusion_pytorch_model.safetensors");
        read_tensors(&weights).unwrap().tensors
    });
    assert_eq!(killed, whole);
}

/// Picture k of a seed gets the same noise whatever the batch; padded to the same size, the same bits.
#[test]
fn a_picture_does_not_depend_on_its_batch() {
    let mut host = Host::<f32>::new();
    let unet = aquatint::nn::UNet::new(&small_unet(None)).unwrap();
    let weights = aquatint::plan::Storage::f32("weights", unet.parameters().len());
    host.upload(&weights, 0, &unet.parameters().initialize(5)).unwrap();
    let mut draw = |batch: usize, first_picture: u32, count: usize| {
        let options = ChainOptions { steps: Some(5), ..ChainOptions::default() };
        let chain = Chain::new(&SchedulerConfig::default(), options).unwrap();
        let mut sampler = Sampler::new(&unet, &weights, chain, batch, [8, 8], StepNoise::Drawn).unwrap();
        let request = Request { count, first_picture, seed: 9, ..Request::default() };
        sampler.sample(&mut host, &request, |_, _, _| Ok(())).unwrap()
    };
    let all = draw(6, 0, 6);
    let close = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-3);
    assert!(close(&draw(4, 0, 6), &all));
    assert!(close(&draw(1, 3, 3), &all[3 * 64..]));
    assert!(draw(6, 0, 2) == all[..2 * 64], "padded to the same batch, the bits are the same");
}

/// A network that is recorded twice in one plan adds both gradients of its parameters up.
#[test]
fn a_parameter_used_by_two_recordings_gets_both_gradients() {
    use aquatint::kernels::linear::linear;
    use aquatint::plan::{Recorder, Step, Storage, add};
    let (weights, gradients) = (Storage::f32("weights", 4), Storage::f32("gradients", 4));
    let (x, upstream) = (Storage::f32("x", 2), Storage::f32("upstream", 2));
    let mut r = Recorder::new();
    let input = r.input(&x, &[1, 2]);
    let halves = [0, 1].map(|_| {
        let weight = r.parameter(&weights, Some(&gradients), 0, &[2, 2]);
        linear(&mut r, input, weight, None).unwrap()
    });
    let sum = add(&mut r, halves[0], halves[1]).unwrap();
    let ones = r.input(&upstream, &[1, 2]);
    r.backward(sum, ones).unwrap();
    let plan = r.finish();
    let mut host = Host::<f32>::new();
    let id = host.load(&plan).unwrap();
    host.upload(&x, 0, &[3.0, 5.0]).unwrap();
    host.upload(&upstream, 0, &[1.0, 10.0]).unwrap();
    host.run(id, &Step::default()).unwrap();
    assert_eq!(host.download(&gradients).unwrap(), [6.0, 60.0, 10.0, 100.0]);
}

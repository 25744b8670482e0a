//! A whole network against PyTorch: outputs, every gradient, five steps of Adam, EMA, on both devices.

mod devices;
mod reference;

use aquatint::device::{Device, Host};
use aquatint::diffusion::{
    Chain, ChainOptions, NoiseSchedule, Request, Sampler, SchedulerClass, SchedulerConfig, StepNoise,
};
use aquatint::kernels::adam::{Adam, OptimizerState, adam_step};
use aquatint::kernels::ema::ema_step;
use aquatint::kernels::forward_process::add_noise;
use aquatint::kernels::gradient_norm::gradient_norm;
use aquatint::kernels::picture_loss::mse;
use aquatint::kernels::schedule_tables::TABLES;
use aquatint::nn::{Network, Recompute, UNet, UNetConfig};
use aquatint::plan::{Plan, Recorder, Step, Storage};
use reference::{Golden, assert_close};
use std::collections::HashMap;

struct Model {
    unet: UNet,
    state: OptimizerState,
    ema: Storage,
    initial: Vec<f32>,
}

fn model(golden: &Golden) -> Model {
    let json = serde_json::from_str(&golden.metadata["config"]).unwrap();
    let unet = UNet::new(&UNetConfig::from_json(&json, "golden").unwrap()).unwrap();
    let tensors: HashMap<_, _> = (golden.tensors.iter())
        .filter_map(|(name, t)| Some((name.strip_prefix("param/")?.to_string(), (t.shape.clone(), t.data.clone()))))
        .collect();
    let initial = unet.parameters().flatten(&tensors, "golden").unwrap();
    let len = unet.parameters().len();
    let state = OptimizerState::new(len);
    Model { unet, state, ema: Storage::f32("ema", len), initial }
}

fn check_output_and_gradients(device: &mut dyn Device) {
    let golden = Golden::open("unet_tiny");
    let model = model(&golden);
    let (shape, x) = golden.get("in/x").nhwc();
    let (_, target) = golden.get("in/target").nhwc();
    let inputs = [Storage::f32("x", x.len()), Storage::f32("target", x.len()), Storage::f32("one", 1)];
    let t = Storage::f32("t", 2);
    let mut r = Recorder::new();
    let [x_value, target_value] = [&inputs[0], &inputs[1]].map(|storage| r.input(storage, &shape));
    let t_value = r.input(&t, &[2]);
    let one = r.input(&inputs[2], &[1]);
    let mut net = Network {
        r: &mut r,
        parameters: model.unet.parameters(),
        weights: &model.state.parameters,
        gradients: Some(&model.state.gradients),
        halves: None,
        recompute: Recompute::None,
    };
    let y = model.unet.record(&mut net, x_value, t_value, None).unwrap();
    let loss = mse(&mut r, y, target_value).unwrap();
    r.backward(loss, one).unwrap();
    let (y, loss) = (r.export("y", y), r.export("loss", loss));
    let plan = r.finish();
    let id = device.load(&plan).unwrap();
    device.upload(&model.state.parameters, 0, &model.initial).unwrap();
    device.upload(&inputs[0], 0, &x).unwrap();
    device.upload(&inputs[1], 0, &target).unwrap();
    device.upload(&inputs[2], 0, &[1.0]).unwrap();
    device.upload(&t, 0, &golden.get("in/t").data).unwrap();
    device.run(id, &Step::default()).unwrap();

    assert_close("output", &device.download(&y).unwrap(), &golden.get("out/y").nhwc().1, 1e-4, 0.0);
    assert_close("loss", &device.download(&loss).unwrap(), &golden.get("out/loss").data, 1e-4, 0.0);
    let gradients = device.download(&model.state.gradients).unwrap();
    let all = golden.tensors.iter().filter(|(name, _)| name.starts_with("grad/"));
    let largest = all.flat_map(|(_, t)| &t.data).fold(0.0f32, |largest, g| largest.max(g.abs()));
    for (name, shape, found) in model.unet.parameters().unflatten(&gradients) {
        let expected = golden.get(&format!("grad/{name}"));
        assert_eq!(shape, expected.shape, "{name}");
        // A gradient that is truly zero (to_k.bias) is compared at 1e-6 of the largest of the network.
        let floor = if name.ends_with("to_k.bias") { largest * 1e-2 } else { 0.0 };
        assert_close(&name, &found, &expected.data, 1e-4, floor);
    }
}

#[test]
fn output_and_gradients_are_pytorchs_on_the_host() {
    check_output_and_gradients(&mut Host::<f32>::new());
}

#[test]
fn output_and_gradients_are_pytorchs_on_the_gpu() {
    if let Some(mut gpu) = devices::gpu(Default::default()) {
        check_output_and_gradients(&mut gpu);
    }
}

/// A training step with the noise and the timesteps given, as golden.py takes it.
fn training_plan(model: &Model, shape: &[usize], inputs: &[Storage; 4], t: &Storage) -> (Plan, Storage) {
    let mut r = Recorder::new();
    let tables = r.input(&inputs[3], &[TABLES, 1000]);
    let [x0, noise] = [&inputs[0], &inputs[1]].map(|storage| r.input(storage, shape));
    let timesteps = r.input(t, &shape[..1]);
    let one = r.input(&inputs[2], &[1]);
    let noisy = add_noise(&mut r, tables, x0, noise, timesteps).unwrap();
    let mut net = Network {
        r: &mut r,
        parameters: model.unet.parameters(),
        weights: &model.state.parameters,
        gradients: Some(&model.state.gradients),
        halves: None,
        recompute: Recompute::None,
    };
    let y = model.unet.record(&mut net, noisy, timesteps, None).unwrap();
    let loss = mse(&mut r, y, noise).unwrap();
    r.backward(loss, one).unwrap();
    let norm = gradient_norm(&mut r, &model.state.gradients);
    adam_step(&mut r, &model.state, norm, Adam::default());
    ema_step(&mut r, &model.state.parameters, &model.ema);
    let loss = r.export("loss", loss);
    (r.finish(), loss)
}

fn check_training(device: &mut dyn Device) {
    let golden = Golden::open("unet_tiny");
    let model = model(&golden);
    let (shape, x0) = golden.get("train/x0").nhwc();
    let schedule = NoiseSchedule::new(&SchedulerConfig::default()).tables();
    let sizes = [("x0", x0.len()), ("noise", x0.len()), ("one", 1), ("noise schedule", schedule.len())];
    let inputs = sizes.map(|(name, len)| Storage::f32(name, len));
    let t = Storage::f32("t", shape[0]);
    let (plan, loss) = training_plan(&model, &shape, &inputs, &t);
    let id = device.load(&plan).unwrap();
    device.upload(&model.state.parameters, 0, &model.initial).unwrap();
    device.upload(&model.ema, 0, &model.initial).unwrap();
    device.upload(&inputs[0], 0, &x0).unwrap();
    device.upload(&inputs[2], 0, &[1.0]).unwrap();
    device.upload(&inputs[3], 0, &schedule).unwrap();
    let mut losses = Vec::new();
    for number in 0..5 {
        device.upload(&inputs[1], 0, &golden.get(&format!("train/noise{number}")).nhwc().1).unwrap();
        device.upload(&t, 0, &golden.get(&format!("train/t{number}")).data).unwrap();
        let step = Step {
            step: number,
            learning_rate: 1e-3,
            bias_correction1: 1.0 - 0.9f32.powi(number as i32 + 1),
            bias_correction2: (1.0 - 0.999f64.powi(number as i32 + 1)) as f32,
            ema_decay: 0.9,
            clip_norm: f32::MAX,
            ..Step::default()
        };
        device.run(id, &step).unwrap();
        losses.push(device.download(&loss).unwrap()[0]);
    }
    assert_close("losses", &losses, &golden.get("train/losses_adam_lr1e-3").data, 1e-4, 0.0);
    let order: Vec<String> = serde_json::from_str(&golden.metadata["param_order"]).unwrap();
    for (storage, expected) in
        [(&model.state.parameters, "train/final_param_norms"), (&model.ema, "train/final_ema0.9_norms")]
    {
        let tensors = model.unet.parameters().unflatten(&device.download(storage).unwrap());
        for (name, expected) in order.iter().zip(&golden.get(expected).data) {
            // Adam turns the rounding noise of a gradient that is truly zero into full steps.
            if !name.ends_with("to_k.bias") {
                let (_, _, data) = tensors.iter().find(|(found, _, _)| found == name).unwrap();
                let norm = data.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt() as f32;
                assert_close(name, &[norm], &[*expected], 1e-4, 0.0);
            }
        }
    }
}

#[test]
fn five_steps_of_adam_are_pytorchs_on_the_host() {
    check_training(&mut Host::<f32>::new());
}

#[test]
fn five_steps_of_adam_are_pytorchs_on_the_gpu() {
    if let Some(mut gpu) = devices::gpu(Default::default()) {
        check_training(&mut gpu);
    }
}

#[test]
fn ten_steps_of_ddim_are_diffusers() {
    let golden = Golden::open("unet_tiny");
    let model = model(&golden);
    let (shape, x) = golden.get("in/x").nhwc();
    let expected = golden.get("sample/ddim10_leading_clip_final").nhwc().1;
    devices::on_each(|device| {
        let config = SchedulerConfig::default().with_class(SchedulerClass::Ddim, "golden").unwrap();
        let chain = Chain::new(&config, ChainOptions { steps: Some(10), ..ChainOptions::default() }).unwrap();
        let weights = Storage::f32("weights", model.initial.len());
        let size = [shape[1], shape[2]];
        let mut sampler = Sampler::new(&model.unet, &weights, chain, shape[0], size, StepNoise::Drawn).unwrap();
        device.upload(&weights, 0, &model.initial).unwrap();
        let request = Request { count: shape[0], initial_noise: Some(x.clone()), ..Request::default() };
        let drawn = sampler.sample(device, &request, |_, _, _| Ok(())).unwrap();
        assert_close("ten steps of DDIM", &drawn, &expected, 1e-4, 0.0);
    });
}

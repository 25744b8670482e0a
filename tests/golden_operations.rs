//! Every operation of the U-Net, its optimiser and its moving average against PyTorch's outputs and gradients
//! (`tests/golden/ops.safetensors`, computed in double precision), on the host and on the GPU.

mod devices;
mod reference;

use aquatint::Result;
use aquatint::check::relative_difference;
use aquatint::device::Device;
use aquatint::kernels::adam::{Adam, OptimizerState, adam_step, bias_correction};
use aquatint::kernels::attention::attention;
use aquatint::kernels::average_pool::average_pool;
use aquatint::kernels::channels::concat_channels;
use aquatint::kernels::convolution::{Added, Window, convolution, convolution_plus};
use aquatint::kernels::ema::ema_step;
use aquatint::kernels::gradient_norm::gradient_norm;
use aquatint::kernels::group_norm::{GroupNorm, group_norm};
use aquatint::kernels::linear::linear;
use aquatint::kernels::matmul::matmul;
use aquatint::kernels::modulate::modulate;
use aquatint::kernels::picture_loss::mse;
use aquatint::kernels::residual::add;
use aquatint::kernels::silu::silu;
use aquatint::kernels::softmax::softmax;
use aquatint::kernels::timestep_embedding::{SinusoidalEmbedding, timestep_embedding};
use aquatint::kernels::upsample::upsample;
use aquatint::plan::{Recorder, Step, Storage, Value};
use reference::{Golden, Tensor};

/// Allowed difference, relative to the largest value of the tensor.
const TOLERANCE: f64 = 1e-5;

/// Records an operation; the second argument finds its inputs and parameters by the golden file's names.
type Record = fn(&mut Recorder, &dyn Fn(&str) -> Value) -> Result<Value>;

const SAME: Window = Window { stride: 1, before: 1, after: 1 };

const OPERATIONS: &[(&str, Record)] = &[
    ("conv3x3_s1", |r, v| convolution(r, v("x"), v("w"), Some(v("b")), SAME)),
    ("conv3x3_s2_p1", |r, v| convolution(r, v("x"), v("w"), Some(v("b")), Window { stride: 2, ..SAME })),
    ("conv1x1", |r, v| convolution(r, v("x"), v("w"), Some(v("b")), Window { stride: 1, before: 0, after: 0 })),
    ("conv3x3_s2_asym", |r, v| convolution(r, v("x"), v("w"), Some(v("b")), Window { stride: 2, before: 0, after: 1 })),
    ("conv3x3_odd", |r, v| convolution(r, v("x"), v("w"), Some(v("b")), SAME)),
    ("group_norm_g2_eps1e-5", |r, v| {
        group_norm(r, v("x"), v("w"), v("b"), GroupNorm { groups: 2, epsilon: 1e-5, silu: false })
    }),
    ("group_norm_g4_eps1e-6", |r, v| {
        group_norm(r, v("x"), v("w"), v("b"), GroupNorm { groups: 4, epsilon: 1e-6, silu: false })
    }),
    ("group_norm_silu_g2_eps1e-5", |r, v| {
        group_norm(r, v("x"), v("w"), v("b"), GroupNorm { groups: 2, epsilon: 1e-5, silu: true })
    }),
    ("silu", |r, v| silu(r, v("x"))),
    ("softmax_lastdim", |r, v| softmax(r, v("x"))),
    ("linear", |r, v| linear(r, v("x"), v("w"), Some(v("b")))),
    ("matmul_nn", |r, v| matmul(r, v("a"), v("b"), false, false)),
    ("attn_1head", |r, v| attention(r, v("q"), v("k"), v("v"), 1)),
    ("attn_4head", |r, v| attention(r, v("q"), v("k"), v("v"), 4)),
    ("upsample_nearest2x", |r, v| upsample(r, v("x"))),
    ("avg_pool2x", |r, v| average_pool(r, v("x"))),
    ("concat_channels", |r, v| concat_channels(r, v("a"), v("b"))),
    ("mse", |r, v| mse(r, v("x"), v("target"))),
    ("resnet_default", |r, v| resnet_block(r, v, true, false)),
    ("resnet_same", |r, v| resnet_block(r, v, false, false)),
    ("resnet_scale_shift", |r, v| resnet_block(r, v, true, true)),
    ("attnblock_h1", |r, v| attention_block(r, v, 1)),
    ("attnblock_h4", |r, v| attention_block(r, v, 4)),
];

/// The same calls as `src/nn/resnet_block.rs`, whose block is private.
fn resnet_block(r: &mut Recorder, v: &dyn Fn(&str) -> Value, shortcut: bool, scale_shift: bool) -> Result<Value> {
    let norm = GroupNorm { groups: 4, epsilon: 1e-5, silu: true };
    let h = group_norm(r, v("x"), v("norm1.weight"), v("norm1.bias"), norm)?;
    let time = silu(r, v("temb"))?;
    let time = linear(r, time, v("time_emb_proj.weight"), Some(v("time_emb_proj.bias")))?;
    let added = Added { bias: Some(v("conv1.bias")), per_picture: (!scale_shift).then_some(time), residual: None };
    let h = convolution_plus(r, h, v("conv1.weight"), added, SAME)?;
    let (mut weight, mut bias) = (v("norm2.weight"), v("norm2.bias"));
    if scale_shift {
        weight = modulate(r, weight, time, false)?;
        bias = modulate(r, bias, time, true)?;
    }
    let h = group_norm(r, h, weight, bias, norm)?;
    let mut residual = v("x");
    if shortcut {
        let weight = v("conv_shortcut.weight");
        let matrix = r.shape(weight)[2..].to_vec();
        let weight = r.reshape(weight, &matrix)?;
        residual = linear(r, residual, weight, Some(v("conv_shortcut.bias")))?;
    }
    let added = Added { bias: Some(v("conv2.bias")), per_picture: None, residual: Some(residual) };
    convolution_plus(r, h, v("conv2.weight"), added, SAME)
}

/// The same calls as `src/nn/attention_block.rs`, whose block is private.
fn attention_block(r: &mut Recorder, v: &dyn Fn(&str) -> Value, heads: usize) -> Result<Value> {
    let norm = GroupNorm { groups: 4, epsilon: 1e-5, silu: false };
    let shape = r.shape(v("x")).to_vec();
    let h = group_norm(r, v("x"), v("group_norm.weight"), v("group_norm.bias"), norm)?;
    let h = r.reshape(h, &[shape[0], shape[1] * shape[2], shape[3]])?;
    let q = linear(r, h, v("to_q.weight"), Some(v("to_q.bias")))?;
    let k = linear(r, h, v("to_k.weight"), Some(v("to_k.bias")))?;
    let values = linear(r, h, v("to_v.weight"), Some(v("to_v.bias")))?;
    let h = attention(r, q, k, values, heads)?;
    let h = linear(r, h, v("to_out.0.weight"), Some(v("to_out.0.bias")))?;
    let h = r.reshape(h, &shape)?;
    add(r, h, v("x"))
}

/// A tensor of an operation in our layout: pictures NHWC, weights [.., inputs, outputs], heads side by side.
fn in_our_layout(operation: &str, name: &str, tensor: &Tensor) -> (Vec<usize>, Vec<f32>) {
    let is_weight = name.ends_with("/w") || name.ends_with("weight");
    match (&tensor.shape[..], is_weight) {
        ([_, _, _, _], true) => tensor.hwio(),
        ([_, _], true) => tensor.transposed(),
        (&[pictures, heads, tokens, size], false) if operation.starts_with("attn_") => {
            let channels = heads * size;
            let at = |i: usize| {
                let (picture, token, channel) = (i / (tokens * channels), i / channels % tokens, i % channels);
                ((picture * heads + channel / size) * tokens + token) * size + channel % size
            };
            let data = (0..tensor.data.len()).map(|i| tensor.data[at(i)]).collect();
            (vec![pictures, tokens, channels], data)
        }
        _ => tensor.nhwc(),
    }
}

/// Panics unless the storage holds `expected`, to `tolerance` of its largest value.
fn assert_holds(device: &mut dyn Device, what: &str, storage: &Storage, expected: &[f32], tolerance: f64) {
    assert_eq!(storage.len(), expected.len(), "{what}: sizes differ");
    let expected: Vec<f64> = expected.iter().map(|&x| x.into()).collect();
    let difference = relative_difference(&device.download(storage).unwrap(), &expected);
    println!("{what}: {difference:.1e}");
    assert!(difference <= tolerance, "{what}: {difference:.1e} on {}", device.description());
}

/// An operation's outputs, and its gradients from the upstream gradient that is given.
fn check_operation(device: &mut dyn Device, golden: &Golden, operation: &str, record: Record) {
    let layout = |name: &str| in_our_layout(operation, name, golden.get(&format!("{operation}/{name}")));
    let mut r = Recorder::new();
    let mut uploads = Vec::new();
    let mut given = |r: &mut Recorder, name: &str| {
        let (shape, data) = layout(name);
        let storage = Storage::f32(name, data.len());
        let value = r.input(&storage, &shape);
        uploads.push((storage, data));
        value
    };
    // Short name, value, and the golden name of the gradient.
    let mut inputs = Vec::new();
    for (folder, gradients) in [("in", "d"), ("param", "grad")] {
        let prefix = format!("{operation}/{folder}/");
        for name in golden.tensors.keys().filter_map(|key| key.strip_prefix(&prefix)) {
            let value = given(&mut r, &format!("{folder}/{name}"));
            r.require_gradient(value);
            inputs.push((name, value, Some(format!("{gradients}/{name}"))));
        }
    }
    if golden.tensors.contains_key(&format!("{operation}/target")) {
        inputs.push(("target", given(&mut r, "target"), None));
    }
    let upstream = given(&mut r, "dout");

    let find = |name: &str| inputs.iter().find(|(found, ..)| *found == name).unwrap().1;
    let output = record(&mut r, &find).unwrap();
    r.backward(output, upstream).unwrap();
    let mut results = vec![("out".to_string(), r.export("out", output))];
    for (_, value, gradient) in inputs {
        if let Some(name) = gradient {
            let gradient = r.gradient(value).unwrap();
            results.push((name, r.export("gradient", gradient)));
        }
    }

    let plan = device.load(&r.finish()).unwrap();
    uploads.iter().for_each(|(storage, data)| device.upload(storage, 0, data).unwrap());
    device.run(plan, &Step::default()).unwrap();
    let gradients = golden.tensors.iter().filter(|(name, _)| name.starts_with(&format!("{operation}/grad/")));
    let largest = gradients.flat_map(|(_, tensor)| &tensor.data).fold(0.0f32, |largest, x| largest.max(x.abs()));
    for (name, storage) in results {
        let what = format!("{operation}/{name}");
        if name == "grad/to_k.bias" {
            // Truly zero, since softmax does not see a shift.
            let found = device.download(&storage).unwrap();
            assert!(found.iter().all(|x| x.abs() <= 1e-6 * largest), "{what}: {found:?}, largest {largest}");
        } else {
            assert_holds(device, &what, &storage, &layout(&name).1, TOLERANCE);
        }
    }
}

#[test]
fn operations_and_blocks_are_pytorchs() {
    let golden = Golden::open("ops");
    devices::on_each(|device| {
        OPERATIONS.iter().for_each(|(operation, record)| check_operation(device, &golden, operation, *record));
    });
}

#[test]
fn no_golden_operation_is_left_out() {
    let golden = Golden::open("ops");
    let mut missing: Vec<&str> = golden.tensors.keys().filter_map(|name| name.strip_suffix("/dout")).collect();
    missing.retain(|name| !OPERATIONS.iter().any(|(operation, _)| operation == name));
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn timestep_embeddings_are_diffusers() {
    let golden = Golden::open("ops");
    let timesteps = &golden.get("temb/t").data;
    devices::on_each(|device| {
        for (dim, flip, shift) in (0..8).map(|i| (32 + i / 4, i / 2 % 2, i % 2)) {
            let embedding = SinusoidalEmbedding { dim, flip_sin_to_cos: flip == 1, freq_shift: shift as f32 };
            let mut r = Recorder::new();
            let storage = Storage::f32("timesteps", timesteps.len());
            let value = r.input(&storage, &[timesteps.len()]);
            let y = timestep_embedding(&mut r, value, embedding).unwrap();
            let y = r.export("y", y);
            let plan = device.load(&r.finish()).unwrap();
            device.upload(&storage, 0, timesteps).unwrap();
            device.run(plan, &Step::default()).unwrap();

            // diffusers' angles are products in single precision: at t = 999 they are off by up to 6e-5.
            let name = format!("temb/dim{dim}_flip{flip}_shift{shift}");
            assert_holds(device, &name, &y, &golden.get(&name).data, 1e-4);
            let half = dim / 2;
            let exact = |i: usize| {
                let (t, column) = (f64::from(timesteps[i / dim]), i % dim);
                let angle = t * 10_000_f64.powf(-((column % half) as f64) / (half - shift) as f64);
                match column / half {
                    2 => 0.0,
                    side if side == flip => angle.sin() as f32,
                    _ => angle.cos() as f32,
                }
            };
            let exact: Vec<f32> = (0..y.len()).map(exact).collect();
            // Our frequencies are whole numbers of 2^-32 turns: at t = 999 the angle is off by up to 7.3e-7.
            assert_holds(device, &format!("{name}, exactly"), &y, &exact, 1e-6);
        }
    });
}

/// The buffers of an optimiser, loaded with a plan of one step of it. Returns the norm that clipping uses, too.
fn load_optimizer(
    device: &mut dyn Device,
    len: usize,
    adam: Adam,
) -> (aquatint::device::PlanId, OptimizerState, Storage) {
    let state = OptimizerState::new(len);
    let mut r = Recorder::new();
    let norm = gradient_norm(&mut r, &state.gradients);
    adam_step(&mut r, &state, norm, adam);
    let norm = r.export("norm", norm);
    (device.load(&r.finish()).unwrap(), state, norm)
}

#[test]
fn three_steps_of_adam_and_adamw_are_pytorchs() {
    let golden = Golden::open("ops");
    let adam = Adam::default();
    let adamw = Adam { beta2: 0.99, epsilon: 1e-6, weight_decay: 0.1, decoupled: true, ..adam };
    devices::on_each(|device| {
        for (name, adam) in [
            ("adam_lr1e-2", adam),
            ("adam_l2wd0.1_lr1e-2", Adam { weight_decay: 0.1, ..adam }),
            ("adamw_wd0.1_lr1e-2_b0.9_0.99_eps1e-6", adamw),
        ] {
            let tensor = |part: &str| &golden.get(&format!("optim/{name}/{part}")).data;
            let (plan, state, _) = load_optimizer(device, tensor("p0").len(), adam);
            device.upload(&state.parameters, 0, tensor("p0")).unwrap();
            for number in 0..3 {
                device.upload(&state.gradients, 0, tensor(&format!("g{number}"))).unwrap();
                let step = Step {
                    step: number as u32,
                    learning_rate: 1e-2,
                    bias_correction1: bias_correction(adam.beta1, number),
                    bias_correction2: bias_correction(adam.beta2, number),
                    clip_norm: f32::MAX,
                    ..Step::default()
                };
                device.run(plan, &step).unwrap();
                let after = format!("p{}", number + 1);
                assert_holds(device, &format!("{name}/{after}"), &state.parameters, tensor(&after), 1e-6);
            }
            assert_holds(device, &format!("{name}/m3"), &state.first_moments, tensor("m3"), 1e-6);
            assert_holds(device, &format!("{name}/v3"), &state.second_moments, tensor("v3"), 1e-6);
        }
    });
}

#[test]
fn gradients_are_clipped_by_their_norm_as_pytorchs() {
    let golden = Golden::open("ops");
    let both = |a: &str, b: &str| [a, b].map(|name| golden.get(&format!("clipnorm1/{name}")).data.clone()).concat();
    let (gradients, clipped) = (both("in_a", "in_b"), both("out_a", "out_b"));
    devices::on_each(|device| {
        // Without decay, the first moment is the clipped gradient.
        let (plan, state, norm) = load_optimizer(device, gradients.len(), Adam { beta1: 0.0, ..Adam::default() });
        device.upload(&state.gradients, 0, &gradients).unwrap();
        let step = Step { bias_correction1: 1.0, bias_correction2: 1e-3, clip_norm: 1.0, ..Step::default() };
        device.run(plan, &step).unwrap();
        assert_holds(device, "clipnorm1/norm", &norm, &golden.get("clipnorm1/norm").data, 1e-6);
        assert_holds(device, "clipnorm1/out", &state.first_moments, &clipped, 1e-6);
        // A limit above the norm leaves the gradient as it is.
        device.run(plan, &Step { clip_norm: 100.0, ..step }).unwrap();
        assert_eq!(device.download(&state.first_moments).unwrap(), gradients);
    });
}

#[test]
fn moving_averages_are_diffusers() {
    let golden = Golden::open("ops");
    devices::on_each(|device| {
        for name in ["const0.9", "warmup_decay0.9999"] {
            let tensor = |part: String| &golden.get(&format!("ema/{name}/{part}")).data;
            let first = tensor("p0".into());
            let [parameters, average] = ["parameters", "average"].map(|name| Storage::f32(name, first.len()));
            let mut r = Recorder::new();
            ema_step(&mut r, &parameters, &average);
            let plan = device.load(&r.finish()).unwrap();
            device.upload(&average, 0, first).unwrap();
            for number in 1..=3 {
                device.upload(&parameters, 0, tensor(format!("p{number}"))).unwrap();
                let ema_decay = tensor(format!("decay{number}"))[0];
                device.run(plan, &Step { ema_decay, ..Step::default() }).unwrap();
                assert_holds(device, &format!("{name}/{number}"), &average, tensor(format!("ema{number}")), 1e-6);
            }
        }
    });
}

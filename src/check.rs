//! Runs the registry's cases on a device and compares them with the twins in `f64`.

use crate::device::{Device, Host};
use crate::error::Result;
use crate::kernels::silu::silu;
use crate::kernels::{Case, Fill, Input};
use crate::plan::{Element, Plan, Recorder, Storage, Value, add};

/// A case, recorded: what to upload, what to run, what to compare.
pub struct Built {
    /// Forward calls, and backward calls where the case is differentiable.
    pub plan: Plan,
    /// The case's inputs.
    pub inputs: Vec<Storage>,
    /// The gradient of the first output, which the backward calls start from.
    pub upstream: Option<Storage>,
    /// Outputs, by number.
    pub outputs: Vec<Storage>,
    /// Gradients of the inputs that are differentiated, by number of the input.
    pub gradients: Vec<(usize, Storage)>,
}

impl Built {
    /// Frees the memory of everything that it has on a device.
    pub fn release(&self, device: &mut dyn Device) {
        let gradients = self.gradients.iter().map(|(_, storage)| storage);
        let all = self.inputs.iter().chain(&self.upstream).chain(&self.outputs).chain(gradients);
        all.for_each(|storage| device.release(storage));
    }
}

/// Where an operation is put for a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// Between its inputs and its outputs alone.
    Alone,
    /// In the middle of a graph: every input x becomes x + silu(x), every output likewise, so that gradients flow
    /// through it and are summed on both sides.
    MidGraph,
}

fn fork(r: &mut Recorder, value: Value) -> Result<Value> {
    let other = silu(r, value)?;
    add(r, value, other)
}

/// Records a case.
///
/// # Errors
/// What the operation says of its shapes.
pub fn build(case: &Case, position: Position) -> Result<Built> {
    build_in(case, position, Element::F32)
}

/// Records a case of which what is differentiated, and what is made of it, is of this precision.
///
/// # Errors
/// What the operation says of its shapes.
pub fn build_in(case: &Case, position: Position, activations: Element) -> Result<Built> {
    let mut r = Recorder::new();
    r.set_activations(activations);
    let mut inputs = Vec::new();
    let mut leaves = Vec::new();
    let mut values = Vec::new();
    for (number, input) in case.inputs.iter().enumerate() {
        let element = if input.differentiate { activations } else { input.element() };
        let storage = Storage::new(format!("input {number}"), element, input.len());
        let leaf = r.input(&storage, &input.shape);
        let mut value = leaf;
        if input.differentiate {
            r.require_gradient(leaf);
            if position == Position::MidGraph {
                value = fork(&mut r, leaf)?;
            }
        }
        inputs.push(storage);
        leaves.push(leaf);
        values.push(value);
    }
    let mut results = case.record(&mut r, &values)?;
    let mut upstream = None;
    if case.differentiable() {
        if position == Position::MidGraph {
            results[0] = fork(&mut r, results[0])?;
        }
        let shape = r.shape(results[0]).to_vec();
        let storage = Storage::new("upstream", r.element(results[0]), shape.iter().product());
        let gradient = r.input(&storage, &shape);
        r.backward(results[0], gradient)?;
        upstream = Some(storage);
    }
    let outputs = results.iter().enumerate().map(|(i, &value)| r.export(&format!("output {i}"), value)).collect();
    let mut gradients = Vec::new();
    for (number, &leaf) in leaves.iter().enumerate().filter(|(number, _)| case.inputs[*number].differentiate) {
        if let Some(gradient) = r.gradient(leaf) {
            gradients.push((number, r.export(&format!("gradient {number}"), gradient)));
        }
    }
    Ok(Built { plan: r.finish(), inputs, upstream, outputs, gradients })
}

/// Uploads a case's inputs and a random upstream gradient.
///
/// # Errors
/// The device's.
pub fn upload(case: &Case, built: &Built, device: &mut dyn Device) -> Result<()> {
    // Every device is given numbers that its storage holds without rounding.
    let rounded = |data: Vec<f32>, storage: &Storage| match storage.element() {
        Element::F16 => data.into_iter().map(|value| half::f16::from_f32(value).to_f32()).collect(),
        Element::F32 | Element::U32 => data,
    };
    for (number, (input, storage)) in case.inputs.iter().zip(&built.inputs).enumerate() {
        match input.element() {
            Element::F32 | Element::F16 => {
                device.upload(storage, 0, &rounded(input.floats(number as u32), storage))?;
            }
            Element::U32 => device.upload_integers(storage, 0, &input.integers(number as u32))?,
        }
    }
    if let Some(upstream) = &built.upstream {
        let random = Input { shape: vec![upstream.len()], fill: Fill::Normal(1.0), differentiate: false };
        device.upload(upstream, 0, &rounded(random.floats(1000), upstream))?;
    }
    Ok(())
}

/// A tensor that a case has made.
#[derive(Clone, Debug, PartialEq)]
pub enum Tensor {
    /// Floats.
    Floats(Vec<f32>),
    /// Integers.
    Integers(Vec<u32>),
}

/// Runs a recorded case on a device and reads back its outputs and gradients, in that order.
///
/// # Errors
/// The device's.
pub fn run(case: &Case, built: &Built, device: &mut dyn Device) -> Result<Vec<Tensor>> {
    let plan = device.load(&built.plan)?;
    upload(case, built, device)?;
    device.run(plan, &case.step)?;
    let all = built.outputs.iter().chain(built.gradients.iter().map(|(_, storage)| storage));
    let tensors = all
        .map(|storage| match storage.element() {
            Element::F32 | Element::F16 => Ok(Tensor::Floats(device.download(storage)?)),
            Element::U32 => Ok(Tensor::Integers(device.download_integers(storage)?)),
        })
        .collect();
    device.unload(plan);
    tensors
}

/// Compares a device with the twins in one case, once for every variant that the case's kernels have on the device.
///
/// # Errors
/// The device's, or what the operation says of its shapes.
pub fn compare_variants(case: &Case, device: &mut dyn Device) -> Result<Vec<Outcome>> {
    compare_variants_in(case, device, Element::F32)
}

/// The tolerance of a case in half precision. A value that is stored is off by 2^-11 of itself; what an operation and
/// its gradients store on the way to a result is a handful.
const HALF_TOLERANCE: f64 = 2e-3;

/// [`compare_variants`] with what is differentiated, and what is made of it, of this precision.
///
/// # Errors
/// The device's, or what the operation says of its shapes.
pub fn compare_variants_in(case: &Case, device: &mut dyn Device, activations: Element) -> Result<Vec<Outcome>> {
    let built = build_in(case, Position::Alone, activations)?;
    let least = if activations == Element::F16 { HALF_TOLERANCE } else { 0.0 };
    let numbers = device.variant_numbers(&built.plan);
    let several = numbers.len() > 1;
    let outcomes = (numbers.into_iter())
        .map(|number| {
            device.force_variant(Some(number));
            let outcome = compare(case, &built, device)?;
            let name = match device.variant_names(&built.plan, number) {
                names if several => format!("{} [{}]", case.name, names.join(", ")),
                _ => case.name.clone(),
            };
            Ok(Outcome { name, tolerance: outcome.tolerance.max(least), ..outcome })
        })
        .collect();
    device.force_variant(None);
    outcomes
}

/// How far a device is from the twins in one case.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The case's name.
    pub name: String,
    /// The largest difference, relative to the largest value of the tensor; infinite for NaN or other integers.
    pub difference: f64,
    /// What is allowed.
    pub tolerance: f64,
}

impl Outcome {
    /// Whether the device computes this case rightly.
    pub fn passed(&self) -> bool {
        self.difference <= self.tolerance
    }
}

/// The largest difference between two tensors relative to the largest expected value (or to 1, if that is tiny).
pub fn relative_difference(found: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len(), "tensors of different sizes are not compared");
    let largest = expected.iter().fold(0.0f64, |largest, value| largest.max(value.abs()));
    let scale = if largest > 1e-12 { largest } else { 1.0 };
    let difference = |(&found, &expected): (&f32, &f64)| (f64::from(found) - expected).abs();
    found
        .iter()
        .zip(expected)
        .map(difference)
        .fold(0.0f64, |worst, d| if d.is_nan() { f64::INFINITY } else { worst.max(d) })
        / scale
}

/// Compares a device with the twins in `f64` in one case, as it has been [built](build).
///
/// # Errors
/// The device's.
pub fn compare(case: &Case, built: &Built, device: &mut dyn Device) -> Result<Outcome> {
    let found = run(case, built, device)?;
    let mut reference = Host::<f64>::reference();
    let expected = run(case, built, &mut reference)?;
    let storages = built.outputs.iter().chain(built.gradients.iter().map(|(_, storage)| storage));
    let mut worst = 0.0f64;
    for ((found, expected), storage) in found.iter().zip(&expected).zip(storages) {
        worst = worst.max(match (found, expected) {
            (Tensor::Floats(found), _) => relative_difference(found, reference.floats(storage)),
            (found, expected) if found == expected => 0.0,
            _ => f64::INFINITY,
        });
    }
    built.release(device);
    Ok(Outcome { name: case.name.clone(), difference: worst, tolerance: case.tolerance })
}

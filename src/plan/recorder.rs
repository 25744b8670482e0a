//! Recording: calls, values and the tape.

use super::kernel::{Access, Kernel, MOST_BINDINGS};
use super::recording::{Call, Plan, Region};
use super::storage::{Element, Storage};
use super::sum::Sum;
use super::{add, memory};
use crate::error::{Error, Result};
use std::collections::HashMap;
use std::sync::Arc;

/// A tensor in a recording: a shape and a place, no data. Belongs to the [`Recorder`] that made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Value(usize);

struct Meta {
    shape: Vec<usize>,
    place: usize,
    offset: usize,
    needs_gradient: bool,
    /// The storage and offset of a parameter whose gradient is wanted.
    parameter: Option<(u64, usize)>,
}

/// A place before memory is planned.
pub(super) struct Pending {
    pub(super) element: Element,
    pub(super) len: usize,
    pub(super) storage: Option<Storage>,
}

type Rule = Box<dyn FnOnce(&mut Recorder, Value) -> Result<()>>;

/// Where a backward rule writes a gradient.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The place, shaped like the value whose gradient it is.
    pub value: Value,
    /// Whether the kernel adds to what is there instead of assigning.
    pub accumulate: bool,
}

/// Where a parameter's gradient is kept between calls.
struct ParameterGradient {
    value: Value,
    written: bool,
}

/// Writes kernel calls down. Each differentiable operation records its forward call and, with
/// [`Recorder::differentiable`], its backward rule; [`Recorder::backward`] walks these rules in reverse. All of
/// this happens once: a [`Plan`] is replayed as it is.
#[derive(Default)]
pub struct Recorder {
    values: Vec<Meta>,
    places: Vec<Pending>,
    place_of_storage: HashMap<u64, usize>,
    calls: Vec<Call>,
    tape: Vec<(Value, Rule)>,
    gradients: HashMap<Value, Value>,
    /// By storage and offset: a network may be recorded twice in one plan.
    parameter_gradients: HashMap<(u64, usize), ParameterGradient>,
    fresh_gradients: Vec<(Value, Value)>,
    in_backward: bool,
    /// Places that the backward calls do not read but compute again, and where they have done so.
    forgotten: HashMap<usize, Option<usize>>,
    activations: Element,
}

impl Recorder {
    /// An empty recording.
    pub fn new() -> Self {
        Self::default()
    }

    fn push(&mut self, place: usize, offset: usize, shape: Vec<usize>, needs_gradient: bool) -> Value {
        self.values.push(Meta { shape, place, offset, needs_gradient, parameter: None });
        Value(self.values.len() - 1)
    }

    /// A new value in memory of the plan's own.
    pub fn value(&mut self, element: Element, shape: &[usize]) -> Value {
        let len = shape.iter().product();
        self.places.push(Pending { element, len, storage: None });
        self.push(self.places.len() - 1, 0, shape.to_vec(), false)
    }

    /// What [`Recorder::activation`] makes from now on: [`Element::F16`] in mixed precision.
    pub fn set_activations(&mut self, element: Element) {
        self.activations = element;
    }

    /// A new float value of the precision that activations have.
    pub fn activation(&mut self, shape: &[usize]) -> Value {
        self.value(self.activations, shape)
    }

    /// A new float value of single precision, in memory of the plan's own: statistics, sums, losses.
    pub fn f32(&mut self, shape: &[usize]) -> Value {
        self.value(Element::F32, shape)
    }

    /// Elements `offset..` of a storage as a value.
    pub fn bind(&mut self, storage: &Storage, offset: usize, shape: &[usize]) -> Value {
        let len: usize = shape.iter().product();
        assert!(offset + len <= storage.len(), "{shape:?} at {offset} is past the end of {}", storage.name());
        let place = *self.place_of_storage.entry(storage.id()).or_insert_with(|| {
            let (element, len) = (storage.element(), storage.len());
            self.places.push(Pending { element, len, storage: Some(storage.clone()) });
            self.places.len() - 1
        });
        self.push(place, offset, shape.to_vec(), false)
    }

    /// The whole of a storage as a value.
    pub fn input(&mut self, storage: &Storage, shape: &[usize]) -> Value {
        self.bind(storage, 0, shape)
    }

    /// A parameter: a tensor at `offset` of `parameters` whose gradient is written at the same offset of
    /// `gradients`, where one is wanted.
    pub fn parameter(
        &mut self,
        parameters: &Storage,
        gradients: Option<&Storage>,
        offset: usize,
        shape: &[usize],
    ) -> Value {
        let value = self.bind(parameters, offset, shape);
        if let Some(gradients) = gradients {
            let gradient = self.bind(gradients, offset, shape);
            let key = (parameters.id(), offset);
            let meta = &mut self.values[value.0];
            meta.needs_gradient = true;
            meta.parameter = Some(key);
            self.parameter_gradients.entry(key).or_insert(ParameterGradient { value: gradient, written: false });
        }
        value
    }

    /// Asks for the gradient of an input; [`Recorder::gradient`] gives it after [`Recorder::backward`].
    pub fn require_gradient(&mut self, value: Value) {
        self.values[value.0].needs_gradient = true;
    }

    /// Whether backward rules have to produce this value's gradient.
    pub fn needs_gradient(&self, value: Value) -> bool {
        self.values[value.0].needs_gradient
    }

    /// Sizes, outermost first.
    pub fn shape(&self, value: Value) -> &[usize] {
        &self.values[value.0].shape
    }

    /// The sizes as an array of `N`, or an error that names the operation.
    ///
    /// # Errors
    /// [`Shape`](Error::Shape) if it has another number of sizes.
    pub fn dims<const N: usize>(&self, op: &'static str, value: Value) -> Result<[usize; N]> {
        let shape = self.shape(value);
        shape.try_into().map_err(|_| Error::Shape { op, message: format!("found shape {shape:?}, expected {N} sizes") })
    }

    /// Number of elements.
    pub fn len(&self, value: Value) -> usize {
        self.shape(value).iter().product()
    }

    /// What it holds.
    pub fn element(&self, value: Value) -> Element {
        self.places[self.values[value.0].place].element
    }

    /// Elements `offset..` of a value, in the same memory; not differentiable. On a GPU the offset must be a multiple
    /// of 256 bytes: of 64 elements, of 128 halves.
    pub fn view(&mut self, value: Value, offset: usize, shape: &[usize]) -> Value {
        let len: usize = shape.iter().product();
        assert!(offset + len <= self.len(value), "{shape:?} at {offset} is past the end of {:?}", self.shape(value));
        let Meta { place, offset: first, needs_gradient, .. } = self.values[value.0];
        assert!(!needs_gradient, "a view is not differentiable");
        self.push(place, first + offset, shape.to_vec(), false)
    }

    /// The same elements under other sizes.
    ///
    /// # Errors
    /// [`Shape`](Error::Shape) if that makes another number of elements.
    pub fn reshape(&mut self, value: Value, shape: &[usize]) -> Result<Value> {
        let found = self.shape(value).to_vec();
        if found.iter().product::<usize>() != shape.iter().product::<usize>() {
            let message = format!("{found:?} does not have as many elements as {shape:?}");
            return Err(Error::Shape { op: "reshape", message });
        }
        let Meta { place, offset, .. } = self.values[value.0];
        let output = self.push(place, offset, shape.to_vec(), false);
        self.differentiable(output, &[value], move |r, upstream| {
            let gradient = r.reshape(upstream, &found)?;
            r.pass_gradient(value, gradient);
            Ok(())
        });
        Ok(output)
    }

    /// Records one dispatch. The values' sizes must be what the kernel's bindings say, and a buffer that is
    /// written may be bound only once: anything else is a mistake in the calling operation.
    pub fn call(&mut self, kernel: impl Kernel + 'static, values: &[Value]) {
        let bindings = kernel.bindings();
        let name = kernel.shader().name;
        assert_eq!(bindings.len(), values.len(), "{name}: wrong number of bindings");
        assert!(bindings.len() <= MOST_BINDINGS, "{name}: {} bindings, at most {MOST_BINDINGS}", bindings.len());
        let mut halves = 0;
        let places: Vec<usize> = values.iter().map(|&value| self.place(value)).collect();
        let regions: Vec<Region> = (values.iter().zip(&bindings))
            .enumerate()
            .map(|(index, (&value, binding))| {
                let len = self.len(value);
                assert_eq!(len, binding.len, "{name}: binding {index} has the wrong size: {:?}", self.shape(value));
                match (self.element(value), binding.element) {
                    (Element::F16, Element::F32) => halves |= 1 << index,
                    (found, expected) => assert_eq!(found, expected, "{name}: binding {index} has the wrong type"),
                }
                let meta = &self.values[value.0];
                Region { buffer: places[index], offset: meta.offset, len }
            })
            .collect();
        for (index, binding) in bindings.iter().enumerate().filter(|(_, b)| b.access != Access::Read) {
            let bound = regions.iter().filter(|region| region.buffer == regions[index].buffer).count();
            assert_eq!(bound, 1, "{name}: the buffer of binding {index} is written ({binding:?}) and bound twice");
        }
        if bindings.iter().any(|b| b.access != Access::Read && b.len > 0) {
            let call = Call { kernel: Arc::new(kernel), regions, halves };
            assert!(halves == 0 || !call.variants().is_empty(), "{name}: takes no halves at the bindings {halves:b}");
            self.calls.push(call);
        }
    }

    /// The place to bind for a value. Backward calls that read what was forgotten compute it again first.
    fn place(&mut self, value: Value) -> usize {
        let place = self.values[value.0].place;
        if self.in_backward { self.remember(place) } else { place }
    }

    fn remember(&mut self, place: usize) -> usize {
        match self.forgotten.get(&place) {
            None => return place,
            Some(&Some(again)) => return again,
            Some(None) => {}
        }
        let makes = |call: &&Call| call.written().any(|region| region.buffer == place);
        let makers: Vec<Call> = self.calls.iter().filter(makes).cloned().collect();
        for mut call in makers {
            for (region, binding) in call.regions.iter_mut().zip(call.kernel.bindings()) {
                region.buffer = match binding.access {
                    Access::Read => self.remember(region.buffer),
                    Access::Write | Access::ReadWrite => self.again(region.buffer),
                };
            }
            self.calls.push(call);
        }
        self.again(place)
    }

    /// The place that stands for `place` in backward calls, made if there is none.
    fn again(&mut self, place: usize) -> usize {
        if let Some(&Some(again)) = self.forgotten.get(&place) {
            return again;
        }
        let Pending { element, len, .. } = self.places[place];
        self.places.push(Pending { element, len, storage: None });
        self.forgotten.insert(place, Some(self.places.len() - 1));
        self.places.len() - 1
    }

    /// Frees a value's memory between the forward and the backward calls: where these read it, the calls that have
    /// made it are recorded once more, to the same bits. What they read stays, unless it is forgotten too, and must not be
    /// written to later.
    pub fn forget(&mut self, value: Value) {
        self.forget_place(self.values[value.0].place);
    }

    fn forget_place(&mut self, place: usize) {
        if self.places[place].storage.is_none() {
            self.forgotten.entry(place).or_insert(None);
        }
    }

    /// Records `forward` and [forgets](Recorder::forget) what it has made but its output, and what is small beside
    /// that: statistics, embeddings.
    ///
    /// # Errors
    /// Those of `forward`.
    pub fn recompute(&mut self, forward: impl FnOnce(&mut Self) -> Result<Value>) -> Result<Value> {
        let first = self.places.len();
        let output = forward(self)?;
        let (kept, least) = (self.values[output.0].place, self.len(output) / 8);
        for place in first..self.places.len() {
            if place != kept && self.places[place].len >= least {
                self.forget_place(place);
            }
        }
        Ok(output)
    }

    /// Gives the backward rule of what was just recorded: called with the gradient of `output`, it records the
    /// calls that make the gradients of `inputs`. Kept only if one of them needs it.
    pub fn differentiable(
        &mut self,
        output: Value,
        inputs: &[Value],
        rule: impl FnOnce(&mut Recorder, Value) -> Result<()> + 'static,
    ) {
        if !self.in_backward && inputs.iter().any(|&input| self.needs_gradient(input)) {
            self.values[output.0].needs_gradient = true;
            self.tape.push((output, Box::new(rule)));
        }
    }

    /// For backward rules: where to write the gradient of `value`, for a kernel that can add to what is there.
    /// `None` where no gradient is wanted.
    pub fn gradient_target(&mut self, value: Value) -> Option<Target> {
        if !self.needs_gradient(value) {
            return None;
        }
        if let Some(parameter) = self.parameter_gradient(value) {
            let accumulate = std::mem::replace(&mut parameter.written, true);
            return Some(Target { value: parameter.value, accumulate });
        }
        let gradient = self.fresh(value);
        Some(Target { value: gradient, accumulate: false })
    }

    /// For backward rules: where to write the gradient of `value`, for a kernel that assigns.
    /// `None` where no gradient is wanted.
    pub fn new_gradient(&mut self, value: Value) -> Option<Value> {
        match self.parameter_gradient(value) {
            Some(parameter) if parameter.written => Some(self.fresh(value)),
            _ => self.gradient_target(value).map(|target| target.value),
        }
    }

    fn parameter_gradient(&mut self, value: Value) -> Option<&mut ParameterGradient> {
        self.values[value.0].parameter.and_then(|key| self.parameter_gradients.get_mut(&key))
    }

    fn fresh(&mut self, value: Value) -> Value {
        let shape = self.shape(value).to_vec();
        // A parameter's gradient is single even where its copy that is computed with is not.
        let is_parameter = self.values[value.0].parameter.is_some();
        let gradient = self.value(if is_parameter { Element::F32 } else { self.element(value) }, &shape);
        self.fresh_gradients.push((value, gradient));
        gradient
    }

    /// For backward rules: the gradient of `value` is `gradient`, which exists already.
    pub fn pass_gradient(&mut self, value: Value, gradient: Value) {
        if self.needs_gradient(value) {
            self.fresh_gradients.push((value, gradient));
        }
    }

    /// Adds the gradients that a rule has made to those that were there.
    fn settle(&mut self) -> Result<()> {
        for (value, gradient) in std::mem::take(&mut self.fresh_gradients) {
            let len = self.len(value);
            if let Some(parameter) = self.parameter_gradient(value) {
                let accumulate = std::mem::replace(&mut parameter.written, true);
                let place = parameter.value;
                self.call(Sum { len, terms: 1, accumulate }, &[gradient, gradient, place]);
                continue;
            }
            let sum = match self.gradients.get(&value) {
                Some(&before) => add(self, before, gradient)?,
                None => gradient,
            };
            self.gradients.insert(value, sum);
        }
        Ok(())
    }

    /// Walks the tape in reverse from `output`, whose gradient is `upstream`, and records the backward calls. A
    /// value that was used twice gets the sum. The tape is used up.
    ///
    /// # Errors
    /// [`Shape`](Error::Shape) if output and upstream differ in it; those of the backward rules.
    pub fn backward(&mut self, output: Value, upstream: Value) -> Result<()> {
        if self.shape(output) != self.shape(upstream) {
            let message = format!("output {:?} and upstream {:?} differ", self.shape(output), self.shape(upstream));
            return Err(Error::Shape { op: "backward", message });
        }
        self.in_backward = true;
        self.pass_gradient(output, upstream);
        self.settle()?;
        for (output, rule) in std::mem::take(&mut self.tape).into_iter().rev() {
            if let Some(&upstream) = self.gradients.get(&output) {
                rule(self, upstream)?;
                self.settle()?;
            }
        }
        self.in_backward = false;
        Ok(())
    }

    /// The gradient of an input or an intermediate value, after [`Recorder::backward`]. `None` for what the output
    /// does not depend on; a parameter's gradient is in the storage given for it.
    pub fn gradient(&self, value: Value) -> Option<Value> {
        let parameter = self.values[value.0].parameter.and_then(|key| self.parameter_gradients.get(&key));
        match parameter {
            Some(parameter) => parameter.written.then_some(parameter.value),
            None => self.gradients.get(&value).copied(),
        }
    }

    /// Keeps a value's memory after the run, to be read back; a value that is in a storage already stays there.
    pub fn export(&mut self, name: &str, value: Value) -> Storage {
        let meta = &self.values[value.0];
        let place = &mut self.places[meta.place];
        assert!(meta.offset == 0 && meta.shape.iter().product::<usize>() == place.len, "{name}: only part of a buffer");
        let (element, len) = (place.element, place.len);
        let storage = place.storage.get_or_insert_with(|| Storage::new(name, element, len));
        storage.clone()
    }

    /// Plans the memory. The calls run in the order in which they were recorded.
    pub fn finish(self) -> Plan {
        memory::plan(self.calls, self.places)
    }
}

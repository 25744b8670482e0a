//! A test case of an operation: what it is given and how it is recorded. The same list serves the tests against
//! the twins, the gradient checks, `aquatint check` and the benchmarks.

use super::random::{Purpose, picture_key, threefry2x32, uniform};
use crate::error::Result;
use crate::plan::{Element, Recorder, Step, Value};
use std::sync::Arc;

/// What an input holds.
#[derive(Clone, Debug)]
pub enum Fill {
    /// Normal numbers of this standard deviation.
    Normal(f64),
    /// Uniform numbers between two bounds.
    Uniform(f64, f64),
    /// Random integers below a bound.
    Below(u32),
    /// These floats, repeated.
    Floats(Vec<f32>),
    /// These integers, repeated.
    Integers(Vec<u32>),
}

/// An input of a case.
#[derive(Clone, Debug)]
pub struct Input {
    /// Sizes.
    pub shape: Vec<usize>,
    /// Contents.
    pub fill: Fill,
    /// Whether its gradient is asked for and checked.
    pub differentiate: bool,
}

impl Input {
    /// Floats or integers.
    pub fn element(&self) -> Element {
        match self.fill {
            Fill::Below(_) | Fill::Integers(_) => Element::U32,
            _ => Element::F32,
        }
    }

    /// Elements.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// The contents, as words; the same for the same `number`.
    fn words(&self, number: u32) -> impl Iterator<Item = [u32; 2]> + '_ {
        let key = picture_key([20_061_107, 0], Purpose::TestData, number);
        (0..self.len()).map(move |index| threefry2x32(key, [0, index as u32]))
    }

    /// The contents of a float input; `number` is its place among the case's inputs.
    pub fn floats(&self, number: u32) -> Vec<f32> {
        let unit = |words: [u32; 2]| [uniform::<f64>(words[0]), uniform::<f64>(words[1])];
        match &self.fill {
            Fill::Normal(deviation) => (self.words(number).map(unit))
                .map(|[u, v]| (deviation * (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()) as f32)
                .collect(),
            Fill::Uniform(low, high) => {
                self.words(number).map(unit).map(|[u, _]| (low + (high - low) * u) as f32).collect()
            }
            Fill::Floats(given) => given.iter().copied().cycle().take(self.len()).collect(),
            Fill::Below(_) | Fill::Integers(_) => Vec::new(),
        }
    }

    /// The contents of an integer input.
    pub fn integers(&self, number: u32) -> Vec<u32> {
        match &self.fill {
            Fill::Below(bound) => self.words(number).map(|[word, _]| word % bound).collect(),
            Fill::Integers(given) => given.iter().copied().cycle().take(self.len()).collect(),
            _ => Vec::new(),
        }
    }
}

type Record = dyn Fn(&mut Recorder, &[Value]) -> Result<Vec<Value>> + Send + Sync;

/// One operation at one set of sizes.
#[derive(Clone)]
pub struct Case {
    /// `operation/what is special about it`.
    pub name: String,
    /// What it is given.
    pub inputs: Vec<Input>,
    /// Allowed difference from the `f64` twin, relative to the largest value of the tensor. Zero asks for the same bits.
    pub tolerance: f64,
    /// What changes from run to run.
    pub step: Step,
    record: Arc<Record>,
}

impl Case {
    /// A case without inputs.
    pub fn new(name: impl Into<String>) -> Self {
        let record: Arc<Record> = Arc::new(|_, _| Ok(Vec::new()));
        Self { name: name.into(), inputs: Vec::new(), tolerance: 1e-5, step: Step::seeded(1), record }
    }

    /// Adds an input whose gradient is checked, if it holds floats and the operation has a gradient.
    pub fn input(mut self, shape: &[usize], fill: Fill) -> Self {
        let differentiate = matches!(fill, Fill::Normal(_) | Fill::Uniform(..));
        self.inputs.push(Input { shape: shape.to_vec(), fill, differentiate });
        self
    }

    /// Adds an input that is not differentiated.
    pub fn constant(mut self, shape: &[usize], fill: Fill) -> Self {
        self.inputs.push(Input { shape: shape.to_vec(), fill, differentiate: false });
        self
    }

    /// Another tolerance than 1e-5.
    pub fn tolerance(self, tolerance: f64) -> Self {
        Self { tolerance, ..self }
    }

    /// Another step than the first.
    pub fn step(self, step: Step) -> Self {
        Self { step, ..self }
    }

    /// How the case is recorded: from the inputs to the values that are compared.
    pub fn records(
        self,
        record: impl Fn(&mut Recorder, &[Value]) -> Result<Vec<Value>> + Send + Sync + 'static,
    ) -> Self {
        Self { record: Arc::new(record), ..self }
    }

    /// Records it.
    ///
    /// # Errors
    /// Those of what was given to [`Case::records`].
    pub fn record(&self, r: &mut Recorder, inputs: &[Value]) -> Result<Vec<Value>> {
        (self.record)(r, inputs)
    }

    /// Whether any gradient is asked for.
    pub fn differentiable(&self) -> bool {
        self.inputs.iter().any(|input| input.differentiate)
    }
}

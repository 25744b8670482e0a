//! The terms of the variational bound (Ho et al. 2020, eq. 5; Nichol & Dhariwal 2021, section 2): for every picture the
//! divergence of its timestep's posterior from the model's Gaussian, or at the first timestep the discretised Gaussian's
//! negative log-likelihood, in bits per dimension.

mod cases;
mod gaussian;
mod transition;

use super::sampler_step::place;
use super::schedule_tables::{TABLES, Table};
use super::sum_rows::sum_rows;
use super::total::PER_PARTIAL;
use super::prediction::PredictionType;
use crate::error::{Error, Result};
use crate::plan::{Binding, Bindings, Kernel, Real, Recorder, Shader, Target, Twin, Value, shader};
pub(super) use cases::cases;
pub use gaussian::{Decoder, HALF_LEVEL, Term, gaussian_kl};
pub use transition::{LEAST_SHARE, OutputTerm, Transition};

/// Where the variance of a transition is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variance {
    /// The posterior's; at the first timestep, whose posterior has none, the second's, as in the published codes.
    Small = 0,
    /// beta_t; at the first timestep as [`Variance::Small`], as in the published codes.
    Large = 1,
    /// The network's second half of channels.
    Learned = 2,
    /// Between both, where the network's second half of channels says, from -1 to 1 (Nichol & Dhariwal 2021, eq. 15).
    LearnedRange = 3,
}

impl Variance {
    /// Whether the network says it.
    pub fn is_learned(self) -> bool {
        matches!(self, Self::Learned | Self::LearnedRange)
    }
}

/// What the bound is of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct VariationalBound {
    /// What the network predicts.
    pub prediction: PredictionType,
    /// The variances of the reverse process.
    pub variance: Variance,
    /// How the first timestep's levels are decoded.
    pub decoder: Decoder,
    /// What the predicted x_0 is clipped to on both sides: as sampling does, for the bound of what is really sampled.
    pub clip: Option<f32>,
    /// No gradient for the prediction, only for the variances (Nichol & Dhariwal 2021, section 3.1).
    pub stop_mean: bool,
}

/// What the bound is worked out of; pictures are `[pictures, height, width, channels]`.
#[derive(Clone, Copy, Debug)]
pub struct BoundOperands {
    /// `[6, timesteps]`, as [`schedule_tables`](super::schedule_tables::schedule_tables) makes them.
    pub tables: Value,
    /// Each picture's timestep: `[pictures]`, or column 6 of `[pictures, 8]`.
    pub indices: Value,
    /// The network's output, of as many channels or twice as many. It alone is differentiated.
    pub output: Value,
    /// The pictures.
    pub x0: Value,
    /// The noisy pictures that the network was given.
    pub x_t: Value,
}

#[derive(Clone, Copy, Debug)]
struct Sizes {
    bound: VariationalBound,
    pictures: usize,
    /// Elements of a picture.
    elements: usize,
    channels: usize,
    output_channels: usize,
    timesteps: usize,
    /// Numbers that the indices have for a picture, and which of them is the index.
    columns: [usize; 2],
}

impl Sizes {
    fn len(&self) -> usize {
        self.pictures * self.elements
    }

    /// Parts of a picture that are summed up alone.
    fn parts(&self) -> usize {
        self.elements.div_ceil(PER_PARTIAL)
    }

    fn transition<T: Real>(&self, tables: &[T], indices: &[T], picture: usize) -> Transition {
        let index = indices[picture * self.columns[0] + self.columns[1]].as_f64() as usize;
        let at = |table: Table, t: usize| tables[table as usize * self.timesteps + t].as_f64();
        Transition::new(self.bound, self.timesteps, index.min(self.timesteps - 1), at)
    }

    /// Where an element's prediction and what is said of its variance are in the output.
    fn places(&self, i: usize) -> [usize; 2] {
        let at = place(i, self.channels, self.output_channels);
        [at, if self.bound.variance.is_learned() { at + self.channels } else { at }]
    }

    fn parameters(&self) -> Vec<u32> {
        let Self { pictures, elements, channels, output_channels, timesteps, columns, bound } = *self;
        let sizes = [pictures, elements, channels, output_channels, timesteps, columns[0], columns[1]];
        let VariationalBound { prediction, variance, decoder, clip, stop_mean } = bound;
        let kinds = [prediction as u32, variance as u32, decoder as u32, clip.unwrap_or(f32::MAX).to_bits()];
        sizes.into_iter().map(|size| size as u32).chain(kinds).chain([stop_mean.into()]).collect()
    }

    fn operands(&self) -> [Binding; 5] {
        let pixels = Binding::read(self.len());
        let output = Binding::read(self.len() / self.channels * self.output_channels);
        [
            Binding::read(TABLES * self.timesteps),
            Binding::read(self.pictures * self.columns[0]),
            output,
            pixels,
            pixels,
        ]
    }
}

/// The sums over runs of 4096 elements of a picture, in bits, of the picture's number of elements.
#[derive(Clone, Copy, Debug)]
struct Forward(Sizes);

impl<T: Real> Twin<T> for Forward {
    fn twin(&self, io: &mut Bindings<T>) {
        let (tables, indices, output, x0, x_t) = (io.read(0), io.read(1), io.read(2), io.read(3), io.read(4));
        let Self(sizes) = self;
        let nats = (sizes.elements as f64 * std::f64::consts::LN_2).recip();
        for (number, partial) in io.write(5).iter_mut().enumerate() {
            let picture = number / sizes.parts();
            let transition = sizes.transition(tables, indices, picture);
            let first = number % sizes.parts() * PER_PARTIAL;
            let run = first..(first + PER_PARTIAL).min(sizes.elements);
            let term = |element: usize| {
                let i = picture * sizes.elements + element;
                let [prediction, said] = sizes.places(i).map(|at| output[at].as_f64());
                transition.of_output(x0[i].as_f64(), x_t[i].as_f64(), prediction, said).value
            };
            *partial = T::from_f64(nats * run.map(term).sum::<f64>());
        }
    }
}

impl Kernel for Forward {
    fn shader(&self) -> Shader {
        shader!("variational_bound_forward", "grid", "reduce", "prediction", "erfc", "gaussian", "variational_bound")
    }
    fn parameters(&self) -> Vec<u32> {
        self.0.parameters()
    }
    fn bindings(&self) -> Vec<Binding> {
        self.0.operands().into_iter().chain([Binding::write(self.groups())]).collect()
    }
    fn groups(&self) -> usize {
        self.0.pictures * self.0.parts()
    }
}

/// The gradient of the output.
#[derive(Clone, Copy, Debug)]
struct Backward(Sizes);

impl<T: Real> Twin<T> for Backward {
    fn twin(&self, io: &mut Bindings<T>) {
        let (tables, indices, output, x0, x_t) = (io.read(0), io.read(1), io.read(2), io.read(3), io.read(4));
        let (upstream, gradient) = (io.read(5), io.write(6));
        let Self(sizes) = self;
        gradient.fill(T::zero());
        for (picture, upstream) in upstream.iter().enumerate() {
            let transition = sizes.transition(tables, indices, picture);
            let scale = upstream.as_f64() / (sizes.elements as f64 * std::f64::consts::LN_2);
            for i in picture * sizes.elements..(picture + 1) * sizes.elements {
                let [at, at_variance] = sizes.places(i);
                let [prediction, said] = [at, at_variance].map(|at| output[at].as_f64());
                let term = transition.of_output(x0[i].as_f64(), x_t[i].as_f64(), prediction, said);
                gradient[at] = T::from_f64(scale * term.of_prediction);
                if at_variance != at {
                    gradient[at_variance] = T::from_f64(scale * term.of_variance);
                }
            }
        }
    }
}

impl Kernel for Backward {
    fn shader(&self) -> Shader {
        shader!("variational_bound_backward", "grid", "prediction", "erfc", "gaussian", "variational_bound")
    }
    fn parameters(&self) -> Vec<u32> {
        self.0.parameters()
    }
    fn bindings(&self) -> Vec<Binding> {
        let operands = self.0.operands();
        let gradient = Binding::write(operands[2].len);
        operands.into_iter().chain([Binding::read(self.0.pictures), gradient]).collect()
    }
    fn groups(&self) -> usize {
        self.0.len().div_ceil(1024)
    }
}

fn sizes(r: &Recorder, bound: VariationalBound, operands: &BoundOperands) -> Result<Sizes> {
    let BoundOperands { tables, indices, output, x0, x_t } = *operands;
    let wrong = || {
        let [tables, indices, output, x0, x_t] = [tables, indices, output, x0, x_t].map(|value| r.shape(value));
        let message = format!(
            "tables {tables:?}, indices {indices:?}, output {output:?}, x_0 {x0:?}, x_t {x_t:?} do not fit together"
        );
        Error::Shape { op: "variational_bound", message }
    };
    let (&[TABLES, timesteps], &[pictures, h, w, channels]) = (r.shape(tables), r.shape(x0)) else {
        return Err(wrong());
    };
    let columns = match *r.shape(indices) {
        [n] if n == pictures => [1, 0],
        [n, 8] if n == pictures => [8, 6],
        _ => return Err(wrong()),
    };
    let output_channels = match *r.shape(output) {
        [n, a, b, outputs] if [n, a, b] == [pictures, h, w] => outputs,
        _ => return Err(wrong()),
    };
    let twice = output_channels == 2 * channels;
    let fits = twice || (output_channels == channels && !bound.variance.is_learned());
    if timesteps == 0 || channels == 0 || !fits || r.shape(x_t) != r.shape(x0) {
        return Err(wrong());
    }
    Ok(Sizes { bound, pictures, elements: h * w * channels, channels, output_channels, timesteps, columns })
}

/// The term of every picture's timestep, `[pictures]`, in bits per dimension. Timesteps are validated before they are
/// uploaded; the x_0 that epsilon and score say of pure noise is not finite.
///
/// # Errors
/// [`Shape`](Error::Shape) if the sizes do not fit together.
pub fn variational_bound(r: &mut Recorder, bound: VariationalBound, operands: BoundOperands) -> Result<Value> {
    let sizes = sizes(r, bound, &operands)?;
    let BoundOperands { tables, indices, output, x0, x_t } = operands;
    let parts = sizes.parts();
    let terms = r.f32(&[sizes.pictures]);
    let partials = if parts == 1 { terms } else { r.f32(&[sizes.pictures, parts]) };
    r.call(Forward(sizes), &[tables, indices, output, x0, x_t, partials]);
    if parts > 1 {
        sum_rows(r, partials, sizes.pictures, parts, 1, Target { value: terms, accumulate: false })?;
    }
    r.differentiable(terms, &[output], move |r, upstream| {
        if let Some(gradient) = r.new_gradient(output) {
            r.call(Backward(sizes), &[tables, indices, output, x0, x_t, upstream, gradient]);
        }
        Ok(())
    });
    Ok(terms)
}

//! Sliced score matching (Song, Garg, Shi & Ermon 2019, in the variance-reduced form, SSM-VR) of pictures with noise: the
//! score of x_t is learned without being told the noise that is in x_t.
//!
//! With s the score that the network says, sigma the noise's factor and v of 1 and -1 at random, a picture of D elements
//! costs sigma^2 / D times the mean over v of `v^T (ds/dx) v + |s|^2 / 2`. In eps = -sigma s, which a network that predicts
//! eps says itself, that is `(-sigma v^T (deps/dx) v + |eps|^2 / 2) / D`. In the mean over x_t (Stein's lemma) it is half of
//! what denoising score matching costs, less 1/2.
//!
//! The tape has no second derivatives, so the derivative along v is a difference between x + h v and x - h v, and the
//! square is the mean of those at both ends: two runs of the network, with h = r sigma. Up to a constant, that is a quarter
//! of the squared error of eps towards v / r at x + h v and towards -v / r at x - h v. So it is bounded below whatever the
//! network does between them, which with the square of their mean it would not be: at half a wavelength apart, that is 0.
//! Where the score hardly changes over h, the optimum is `tanh(r eps) / r`: too small by a share of r^2 / 3 at eps = 1.
//!
//! r is [`REACH`]: at a tenth the optimum is off by 0.3 %, while the difference of two outputs near 1, each right to some
//! 1e-6, is divided by 0.2 and is right to 1e-5, and sigma = 0.01 still leaves h v at 1e-3 some 16 000 steps of an `f32`
//! near 1.

use super::levels::{COLUMNS, Column};
use super::random::{Purpose, picture_key, threefry2x32};
use super::sum_rows::sum_rows;
use super::total::PER_PARTIAL;
use super::{Case, Fill};
use crate::error::{Error, Result};
use crate::plan::{Binding, Bindings, Kernel, Real, Recorder, Shader, Step, Target, Twin, Value, shader};

/// How far from x_t the network is asked, in standard deviations of the noise.
pub const REACH: f32 = 0.1;

#[derive(Clone, Copy, Debug)]
struct Sizes {
    pictures: usize,
    /// Elements of a picture.
    elements: usize,
}

impl Sizes {
    fn len(&self) -> usize {
        self.pictures * self.elements
    }
    fn runs(&self) -> usize {
        self.elements.div_ceil(PER_PARTIAL)
    }
    fn parameters(&self) -> Vec<u32> {
        vec![self.pictures as u32, self.elements as u32, REACH.to_bits()]
    }
    /// Output, directions and levels.
    fn read(&self) -> [Binding; 3] {
        [Binding::read(2 * self.len()), Binding::read(self.len()), Binding::read(COLUMNS * self.pictures)]
    }
}

/// Bindings: levels, x_t, both inputs, directions, and what the network is told.
#[derive(Clone, Copy, Debug)]
struct Inputs(Sizes);

impl<T: Real> Twin<T> for Inputs {
    fn twin(&self, io: &mut Bindings<T>) {
        let (levels, x, step) = (io.read(0), io.read(1), io.step());
        let (both, directions, told) = (io.write(2), io.write(3), io.write(4));
        let Sizes { pictures, elements } = self.0;
        let Step { seed, step, first_picture, .. } = *step;
        let (ahead, behind) = both.split_at_mut(self.0.len());
        for (picture, level) in levels.chunks_exact(COLUMNS).enumerate() {
            let key = picture_key(seed, Purpose::TrainingDirection, first_picture.wrapping_add(picture as u32));
            let distance = T::from_f32(REACH) * level[Column::Noise as usize];
            for element in 0..elements {
                let bits = threefry2x32(key, [step, (element / 2) as u32])[element % 2];
                let direction = if bits >> 31 == 1 { -T::one() } else { T::one() };
                let i = picture * elements + element;
                directions[i] = direction;
                ahead[i] = x[i] + distance * direction;
                behind[i] = x[i] - distance * direction;
            }
            told[picture] = level[Column::Told as usize];
            told[pictures + picture] = level[Column::Told as usize];
        }
    }
}

impl Kernel for Inputs {
    fn shader(&self) -> Shader {
        shader!("sliced_score_inputs", "grid", "step", "threefry")
    }
    fn parameters(&self) -> Vec<u32> {
        self.0.parameters()
    }
    fn bindings(&self) -> Vec<Binding> {
        let Sizes { pictures, .. } = self.0;
        let len = self.0.len();
        vec![
            Binding::read(COLUMNS * pictures),
            Binding::read(len),
            Binding::write(2 * len),
            Binding::write(len),
            Binding::write(2 * pictures),
        ]
    }
    fn groups(&self) -> usize {
        (self.0.pictures * self.0.elements.div_ceil(2)).div_ceil(256)
    }
}

/// What eps a picture's output says.
fn factor_of_epsilon<T: Real>(levels: &[T], picture: usize) -> T {
    T::one() / levels[picture * COLUMNS + Column::OfEpsilon as usize]
}

/// Bindings: output, directions, levels, and the sums over runs of 4096 elements of a picture.
#[derive(Clone, Copy, Debug)]
struct Forward(Sizes);

impl<T: Real> Twin<T> for Forward {
    fn twin(&self, io: &mut Bindings<T>) {
        let (output, directions, levels, partials) = (io.read(0), io.read(1), io.read(2), io.write(3));
        let Sizes { elements, .. } = self.0;
        let (ahead, behind) = output.split_at(self.0.len());
        let (half, over) = (T::from_f64(0.5), T::from_f64(0.5) / T::from_f32(REACH));
        for (index, partial) in partials.iter_mut().enumerate() {
            let (picture, run) = (index / self.0.runs(), index % self.0.runs());
            let factor = factor_of_epsilon(levels, picture);
            let inside = run * PER_PARTIAL..((run + 1) * PER_PARTIAL).min(elements);
            let all = inside.map(|element| {
                let i = picture * elements + element;
                let (ahead, behind) = (factor * ahead[i], factor * behind[i]);
                half * half * (ahead * ahead + behind * behind) - directions[i] * (ahead - behind) * over
            });
            *partial = all.sum::<T>() / T::from_usize(elements);
        }
    }
}

impl Kernel for Forward {
    fn shader(&self) -> Shader {
        shader!("sliced_score_forward", "grid", "reduce")
    }
    fn parameters(&self) -> Vec<u32> {
        self.0.parameters()
    }
    fn bindings(&self) -> Vec<Binding> {
        let [output, directions, levels] = self.0.read();
        vec![output, directions, levels, Binding::write(self.groups())]
    }
    fn groups(&self) -> usize {
        self.0.pictures * self.0.runs()
    }
}

/// Bindings: output, directions, levels, the losses' gradients and the output's.
#[derive(Clone, Copy, Debug)]
struct Backward(Sizes);

impl<T: Real> Twin<T> for Backward {
    fn twin(&self, io: &mut Bindings<T>) {
        let (output, directions, levels) = (io.read(0), io.read(1), io.read(2));
        let (upstream, gradient) = (io.read(3), io.write(4));
        let Sizes { elements, .. } = self.0;
        let over = T::from_f64(0.5) / T::from_f32(REACH);
        let halves = gradient.chunks_exact_mut(self.0.len()).zip(output.chunks_exact(self.0.len()));
        for ((gradient, output), sign) in halves.zip([-T::one(), T::one()]) {
            for (i, (gradient, &output)) in gradient.iter_mut().zip(output).enumerate() {
                let factor = factor_of_epsilon(levels, i / elements);
                let scale = factor * upstream[i / elements] / T::from_usize(elements);
                *gradient = scale * (T::from_f64(0.5) * factor * output + sign * directions[i] * over);
            }
        }
    }
}

impl Kernel for Backward {
    fn shader(&self) -> Shader {
        shader!("sliced_score_backward", "grid")
    }
    fn parameters(&self) -> Vec<u32> {
        self.0.parameters()
    }
    fn bindings(&self) -> Vec<Binding> {
        let [output, directions, levels] = self.0.read();
        vec![output, directions, levels, Binding::read(self.0.pictures), Binding::write(output.len)]
    }
    fn groups(&self) -> usize {
        (2 * self.0.len()).div_ceil(1024)
    }
}

/// What the network is asked instead of x_t.
#[derive(Clone, Copy, Debug)]
pub struct SlicedInputs {
    /// x_t + h v of every picture, then x_t - h v: `[2 pictures, ..]`.
    pub sample: Value,
    /// What it is told, twice: `[2 pictures]`.
    pub told: Value,
    /// v, shaped as x_t.
    pub directions: Value,
}

/// Draws a direction for every picture of x_t `[pictures, ..]`, by the step's seed and number, and goes both ways.
///
/// # Errors
/// [`Shape`](Error::Shape) if x_t and its levels `[pictures, 8]` do not fit together.
pub fn sliced_inputs(r: &mut Recorder, levels: Value, x: Value) -> Result<SlicedInputs> {
    let shape = r.shape(x).to_vec();
    let pictures = shape.first().copied().unwrap_or(0);
    if pictures == 0 || r.shape(levels) != [pictures, COLUMNS] {
        let message = format!("levels {:?} and x_t {shape:?} do not fit", r.shape(levels));
        return Err(Error::Shape { op: "sliced_inputs", message });
    }
    let twice = [&[2 * pictures], &shape[1..]].concat();
    let (sample, directions, told) = (r.f32(&twice), r.f32(&shape), r.f32(&[2 * pictures]));
    let kernel = Inputs(Sizes { pictures, elements: r.len(x) / pictures });
    r.call(kernel, &[levels, x, sample, directions, told]);
    Ok(SlicedInputs { sample, told, directions })
}

/// Each picture's loss, `[pictures]`, of what the network says of both inputs, `[2 pictures, ..]`: eps or a score, as
/// [`Column::OfEpsilon`] of the levels `[pictures, 8]` has it. The weight sigma^2 of a score is a part of it.
///
/// # Errors
/// [`Shape`](Error::Shape) if the sizes do not fit together.
pub fn sliced_score(r: &mut Recorder, output: Value, directions: Value, levels: Value) -> Result<Value> {
    let shape = r.shape(directions).to_vec();
    let pictures = shape.first().copied().unwrap_or(0);
    let twice = [&[2 * pictures], shape.get(1..).unwrap_or_default()].concat();
    if r.len(directions) == 0 || r.shape(output) != twice || r.shape(levels) != [pictures, COLUMNS] {
        let (found, levels) = (r.shape(output), r.shape(levels));
        let message = format!("output {found:?}, directions {shape:?} and levels {levels:?} do not fit");
        return Err(Error::Shape { op: "sliced_score", message });
    }
    let sizes = Sizes { pictures, elements: r.len(directions) / pictures };
    let losses = r.f32(&[pictures]);
    if sizes.runs() == 1 {
        r.call(Forward(sizes), &[output, directions, levels, losses]);
    } else {
        let partials = r.f32(&[pictures, sizes.runs()]);
        r.call(Forward(sizes), &[output, directions, levels, partials]);
        sum_rows(r, partials, pictures, sizes.runs(), 1, Target { value: losses, accumulate: false })?;
    }
    r.differentiable(losses, &[output], move |r, upstream| {
        if let Some(gradient) = r.new_gradient(output) {
            r.call(Backward(sizes), &[output, directions, levels, upstream, gradient]);
        }
        Ok(())
    });
    Ok(losses)
}

/// One element, odd sizes, more than one workgroup, more than one run of a picture.
pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for shape in [[1, 1, 1, 1], [3, 5, 5, 3], [2, 7, 3, 2], [5, 16, 15, 1], [3, 40, 40, 3]] {
        let [n, h, w, c] = shape;
        let step = Step { step: 7, first_picture: 64, ..Step::seeded(99) };
        cases.push(
            Case::new(format!("sliced_score/inputs {shape:?}"))
                .constant(&[n, COLUMNS], Fill::Uniform(0.1, 2.0))
                .constant(&shape, Fill::Normal(1.0))
                .step(step)
                .records(|r, v| {
                    let inputs = sliced_inputs(r, v[0], v[1])?;
                    Ok(vec![inputs.sample, inputs.told, inputs.directions])
                }),
        );
        cases.push(
            Case::new(format!("sliced_score/loss {shape:?}"))
                .input(&[2 * n, h, w, c], Fill::Normal(1.0))
                .constant(&shape, Fill::Floats(vec![1.0, -1.0, -1.0, 1.0, 1.0]))
                .constant(&[n, COLUMNS], Fill::Floats(vec![-2.0, 0.7, -0.6, 1.0, 1.5]))
                .records(|r, v| Ok(vec![sliced_score(r, v[0], v[1], v[2])?])),
        );
    }
    cases
}

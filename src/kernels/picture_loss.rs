//! How far a network's output is from what it was to predict, picture by picture:
//! L_simple of Ho et al. 2020 (eq. 14) and its relatives.

use super::sampler_step::place;
use super::sum_rows::sum_rows;
use super::total::PER_PARTIAL;
use super::weighted_mean::mean;
use super::{Case, Fill, parallel};
use crate::error::{Error, Result};
use crate::plan::{Binding, Bindings, Kernel, Real, Recorder, Shader, Target, Twin, Value, shader};

/// What an error d of one element costs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ElementLoss {
    /// d^2.
    L2,
    /// |d|.
    L1,
    /// d^2 / 2 up to delta, delta (|d| - delta / 2) beyond (Huber 1964).
    Huber {
        /// Where the square ends.
        delta: f32,
    },
}

impl ElementLoss {
    fn parameters(self) -> [u32; 2] {
        match self {
            Self::L2 => [0, 0],
            Self::L1 => [1, 0],
            Self::Huber { delta } => [2, delta.to_bits()],
        }
    }

    #[inline(always)]
    fn of<T: Real>(self, d: T) -> T {
        let half = T::from_f64(0.5);
        match self {
            Self::L2 => d * d,
            Self::L1 => d.abs(),
            Self::Huber { delta } => {
                let delta = T::from_f32(delta);
                if d.abs() <= delta { half * d * d } else { delta * (d.abs() - half * delta) }
            }
        }
    }

    /// The derivative; 0 for L1 at 0.
    #[inline(always)]
    fn slope<T: Real>(self, d: T) -> T {
        let sign = if d > T::zero() {
            T::one()
        } else if d < T::zero() {
            -T::one()
        } else {
            d // 0, or NaN
        };
        match self {
            Self::L2 => d + d,
            Self::L1 => sign,
            Self::Huber { delta } => {
                let delta = T::from_f32(delta);
                if d.abs() > delta { sign * delta } else { d }
            }
        }
    }
}

/// Bindings: output `[pictures, pixels, outputs]`, target `[pictures, pixels, channels]`, and in the forward pass the sums
/// over runs of 4096 elements of a picture, divided by its elements; in the backward pass, the losses' gradients and the
/// output's.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    pictures: usize,
    /// Elements of a picture's target.
    elements: usize,
    channels: usize,
    /// Channels of the output; the loss looks at the first of them.
    outputs: usize,
    loss: ElementLoss,
}

impl Sizes {
    fn runs(&self) -> usize {
        self.elements.div_ceil(PER_PARTIAL)
    }
    fn output_elements(&self) -> usize {
        self.elements / self.channels * self.outputs
    }
    fn parameters(&self) -> Vec<u32> {
        let sizes = [self.pictures, self.elements, self.channels, self.outputs].map(|size| size as u32);
        [&sizes[..], &self.loss.parameters()].concat()
    }
    fn read(&self) -> [Binding; 2] {
        [Binding::read(self.pictures * self.output_elements()), Binding::read(self.pictures * self.elements)]
    }
}

#[derive(Clone, Copy, Debug)]
struct Forward(Sizes);

impl<T: Real> Twin<T> for Forward {
    fn twin(&self, io: &mut Bindings<T>) {
        let (output, target, partials) = (io.read(0), io.read(1), io.write(2));
        let Sizes { elements, channels, outputs, loss, .. } = self.0;
        for (index, partial) in partials.iter_mut().enumerate() {
            let (picture, run) = (index / self.0.runs(), index % self.0.runs());
            let inside = run * PER_PARTIAL..((run + 1) * PER_PARTIAL).min(elements);
            let all = inside.map(|element| {
                let i = picture * elements + element;
                loss.of(output[place(i, channels, outputs)] - target[i])
            });
            *partial = all.sum::<T>() / T::from_usize(elements);
        }
    }
}

impl Kernel for Forward {
    fn shader(&self) -> Shader {
        shader!("picture_loss_forward", "grid", "reduce")
    }
    fn parameters(&self) -> Vec<u32> {
        self.0.parameters()
    }
    fn bindings(&self) -> Vec<Binding> {
        let [output, target] = self.0.read();
        vec![output, target, Binding::write(self.groups())]
    }
    fn groups(&self) -> usize {
        self.0.pictures * self.0.runs()
    }
}

#[derive(Clone, Copy, Debug)]
struct Backward(Sizes);

impl<T: Real> Twin<T> for Backward {
    fn twin(&self, io: &mut Bindings<T>) {
        let (output, target, upstream, gradient) = (io.read(0), io.read(1), io.read(2), io.write(3));
        let Sizes { elements, channels, outputs, loss, .. } = self.0;
        for (i, gradient) in gradient.iter_mut().enumerate() {
            let (pixel, channel) = (i / outputs, i % outputs);
            *gradient = if channel < channels {
                let scale = upstream[i / self.0.output_elements()] / T::from_usize(elements);
                scale * loss.slope(output[i] - target[pixel * channels + channel])
            } else {
                T::zero()
            };
        }
    }
}

impl Kernel for Backward {
    fn shader(&self) -> Shader {
        shader!("picture_loss_backward", "grid")
    }
    fn parameters(&self) -> Vec<u32> {
        self.0.parameters()
    }
    fn bindings(&self) -> Vec<Binding> {
        let [output, target] = self.0.read();
        vec![output, target, Binding::read(self.0.pictures), Binding::write(output.len)]
    }
    fn groups(&self) -> usize {
        (self.0.pictures * self.0.output_elements()).div_ceil(1024)
    }
    fn host(&self, io: &mut Bindings<f32>) {
        let Sizes { elements, channels, outputs, loss, .. } = self.0;
        if channels != outputs {
            return self.twin(io);
        }
        let (output, target, upstream, gradient) = (io.read(0), io.read(1), io.read(2), io.write(3));
        parallel::for_rows(gradient, elements, #[inline(always)] |picture, gradient| {
            let scale = upstream[picture] / elements as f32;
            let row = picture * elements;
            parallel::for_elements(gradient, #[inline(always)] |first, gradient| {
                let both = output[row + first..].iter().zip(&target[row + first..]);
                for (gradient, (output, target)) in gradient.iter_mut().zip(both) {
                    *gradient = scale * loss.slope(output - target);
                }
            });
        });
    }
}

/// The mean of each picture's elements, `[pictures]`, of what the errors of `output` `[pictures, .., channels or more]`
/// cost. The output's channels beyond the target's are not looked at, and get gradients of 0. The target is not
/// differentiated.
///
/// # Errors
/// [`Shape`](Error::Shape) if output and target do not fit together.
pub fn picture_loss(r: &mut Recorder, output: Value, target: Value, loss: ElementLoss) -> Result<Value> {
    let (found, expected) = (r.shape(output).to_vec(), r.shape(target).to_vec());
    let wrong = || {
        let message = format!("output {found:?} and target {expected:?} do not fit");
        Err(Error::Shape { op: "picture_loss", message })
    };
    let (Some((&outputs, pixels)), Some((&channels, other))) = (found.split_last(), expected.split_last()) else {
        return wrong();
    };
    if pixels != other || outputs < channels || channels == 0 || r.len(target) == 0 {
        return wrong();
    }
    // A list is one picture of one channel.
    let (pictures, channels, outputs) = if pixels.is_empty() { (1, 1, 1) } else { (pixels[0], channels, outputs) };
    if pixels.is_empty() && found != expected {
        return wrong();
    }
    let sizes = Sizes { pictures, elements: r.len(target) / pictures, channels, outputs, loss };
    let losses = r.f32(&[pictures]);
    if sizes.runs() == 1 {
        r.call(Forward(sizes), &[output, target, losses]);
    } else {
        let partials = r.f32(&[pictures, sizes.runs()]);
        r.call(Forward(sizes), &[output, target, partials]);
        sum_rows(r, partials, pictures, sizes.runs(), 1, Target { value: losses, accumulate: false })?;
    }
    r.differentiable(losses, &[output], move |r, upstream| {
        if let Some(gradient) = r.new_gradient(output) {
            r.call(Backward(sizes), &[output, target, upstream, gradient]);
        }
        Ok(())
    });
    Ok(losses)
}

/// Mean of (output - target)^2 over all elements, as `[1]`. The target is not differentiated.
///
/// # Errors
/// [`Shape`](Error::Shape) if output and target do not fit together.
pub fn mse(r: &mut Recorder, output: Value, target: Value) -> Result<Value> {
    let losses = picture_loss(r, output, target, ElementLoss::L2)?;
    Ok(mean(r, losses))
}

/// One element, odd sizes, more channels than the target has, more than one run of a picture; every loss.
pub(super) fn cases() -> Vec<Case> {
    use ElementLoss::{Huber, L1, L2};
    let mut cases = Vec::new();
    for loss in [L2, L1, Huber { delta: 0.6 }] {
        for (shape, outputs) in [([1, 1, 1, 1], 1), ([3, 5, 5, 3], 3), ([2, 7, 3, 2], 4), ([5, 40, 40, 3], 6)] {
            let [n, h, w, _] = shape;
            cases.push(
                Case::new(format!("picture_loss/{loss:?} {shape:?} of {outputs}"))
                    .input(&[n, h, w, outputs], Fill::Normal(1.0))
                    .constant(&shape, Fill::Normal(1.0))
                    .records(move |r, v| Ok(vec![picture_loss(r, v[0], v[1], loss)?])),
            );
        }
    }
    for len in [1, 33, 9000] {
        cases.push(
            Case::new(format!("picture_loss/mse of {len}"))
                .input(&[len], Fill::Normal(1.0))
                .constant(&[len], Fill::Normal(1.0))
                .records(|r, v| Ok(vec![mse(r, v[0], v[1])?])),
        );
    }
    cases
}

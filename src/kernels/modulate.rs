//! Weights and biases of a normalisation that the time embedding scales and shifts, for each picture by its own
//! (Nichol & Dhariwal 2021, arXiv 2102.09672, section 3.2): norm(h) (1 + scale) + shift is the same normalisation with
//! the weight w (1 + scale) and the bias b (1 + scale) + shift.

use super::{Case, Fill};
use crate::error::{Error, Result};
use crate::plan::{Binding, Bindings, Kernel, Real, Recorder, Shader, Target, Twin, Value, shader};

#[derive(Clone, Copy, Debug)]
struct Sizes {
    pictures: usize,
    channels: usize,
}

impl Sizes {
    fn len(&self) -> usize {
        self.pictures * self.channels
    }
    /// Where picture and channel of element `i` have their scale; their shift is `channels` later.
    fn of_time(&self, i: usize) -> usize {
        i / self.channels * 2 * self.channels + i % self.channels
    }
    fn parameters(&self, flag: bool) -> Vec<u32> {
        vec![self.pictures as u32, self.channels as u32, flag.into()]
    }
}

/// `y[n, c] = vector[c] (1 + time[n, c])`, plus `time[n, channels + c]` if shifted.
#[derive(Clone, Copy, Debug)]
struct Forward {
    sizes: Sizes,
    shifted: bool,
}

impl<T: Real> Twin<T> for Forward {
    fn twin(&self, io: &mut Bindings<T>) {
        let (vector, time, y) = (io.read(0), io.read(1), io.write(2));
        let Sizes { channels, .. } = self.sizes;
        for (i, y) in y.iter_mut().enumerate() {
            let of_time = self.sizes.of_time(i);
            let shift = if self.shifted { time[of_time + channels] } else { T::zero() };
            *y = vector[i % channels] * (T::one() + time[of_time]) + shift;
        }
    }
}

impl Kernel for Forward {
    fn shader(&self) -> Shader {
        shader!("modulate_forward", "grid")
    }
    fn parameters(&self) -> Vec<u32> {
        self.sizes.parameters(self.shifted)
    }
    fn bindings(&self) -> Vec<Binding> {
        let len = self.sizes.len();
        vec![Binding::read(self.sizes.channels), Binding::read(2 * len), Binding::write(len)]
    }
    fn groups(&self) -> usize {
        self.sizes.len().div_ceil(1024)
    }
}

/// The gradient of `time`.
#[derive(Clone, Copy, Debug)]
struct BackwardTime {
    sizes: Sizes,
    shifted: bool,
}

impl<T: Real> Twin<T> for BackwardTime {
    fn twin(&self, io: &mut Bindings<T>) {
        let (vector, dy, dtime) = (io.read(0), io.read(1), io.write(2));
        let Sizes { channels, .. } = self.sizes;
        for (i, &dy) in dy.iter().enumerate() {
            let of_time = self.sizes.of_time(i);
            dtime[of_time] = dy * vector[i % channels];
            dtime[of_time + channels] = if self.shifted { dy } else { T::zero() };
        }
    }
}

impl Kernel for BackwardTime {
    fn shader(&self) -> Shader {
        shader!("modulate_backward_time", "grid")
    }
    fn parameters(&self) -> Vec<u32> {
        self.sizes.parameters(self.shifted)
    }
    fn bindings(&self) -> Vec<Binding> {
        let len = self.sizes.len();
        vec![Binding::read(self.sizes.channels), Binding::read(len), Binding::write(2 * len)]
    }
    fn groups(&self) -> usize {
        self.sizes.len().div_ceil(1024)
    }
}

/// The gradient of `vector`: a sum over the pictures.
#[derive(Clone, Copy, Debug)]
struct BackwardVector {
    sizes: Sizes,
    accumulate: bool,
}

impl<T: Real> Twin<T> for BackwardVector {
    fn twin(&self, io: &mut Bindings<T>) {
        let (time, dy, dvector) = (io.read(0), io.read(1), io.write(2));
        if !self.accumulate {
            dvector.fill(T::zero());
        }
        for (i, &dy) in dy.iter().enumerate() {
            dvector[i % self.sizes.channels] += dy * (T::one() + time[self.sizes.of_time(i)]);
        }
    }
}

impl Kernel for BackwardVector {
    fn shader(&self) -> Shader {
        shader!("modulate_backward_vector", "grid")
    }
    fn parameters(&self) -> Vec<u32> {
        self.sizes.parameters(self.accumulate)
    }
    fn bindings(&self) -> Vec<Binding> {
        let Sizes { channels, .. } = self.sizes;
        let len = self.sizes.len();
        vec![Binding::read(2 * len), Binding::read(len), Binding::write_or_add(channels, self.accumulate)]
    }
    fn groups(&self) -> usize {
        self.sizes.channels.div_ceil(256)
    }
}

/// vector `[channels]` times 1 + scale, plus shift if `shifted`, for every picture: `[pictures, channels]`. The scales
/// of time `[pictures, 2 channels]` come before the shifts.
///
/// # Errors
/// [`Shape`](Error::Shape) if the sizes do not fit together.
pub fn modulate(r: &mut Recorder, vector: Value, time: Value, shifted: bool) -> Result<Value> {
    let [channels] = r.dims("modulate", vector)?;
    let [pictures, width] = r.dims("modulate", time)?;
    if width != 2 * channels {
        let message = format!("time {:?}, expected {} channels", r.shape(time), 2 * channels);
        return Err(Error::Shape { op: "modulate", message });
    }
    let sizes = Sizes { pictures, channels };
    let y = r.f32(&[pictures, channels]);
    r.call(Forward { sizes, shifted }, &[vector, time, y]);
    r.differentiable(y, &[vector, time], move |r, dy| {
        if let Some(Target { value, accumulate }) = r.gradient_target(vector) {
            r.call(BackwardVector { sizes, accumulate }, &[time, dy, value]);
        }
        if let Some(dtime) = r.new_gradient(time) {
            r.call(BackwardTime { sizes, shifted }, &[vector, dy, dtime]);
        }
        Ok(())
    });
    Ok(y)
}

/// One element, odd sizes, more than one workgroup; a vector that is used twice.
pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (pictures, channels) in [(1, 1), (3, 21), (5, 300)] {
        for shifted in [false, true] {
            cases.push(
                Case::new(format!("modulate/{pictures}x{channels}{}", if shifted { " and shift" } else { "" }))
                    .input(&[channels], Fill::Normal(1.0))
                    .input(&[pictures, 2 * channels], Fill::Normal(1.0))
                    .records(move |r, v| Ok(vec![modulate(r, v[0], v[1], shifted)?])),
            );
        }
    }
    cases.push(Case::new("modulate/twice").input(&[5], Fill::Normal(1.0)).input(&[2, 10], Fill::Normal(1.0)).records(
        |r, v| {
            let (a, b) = (modulate(r, v[0], v[1], true)?, modulate(r, v[0], v[1], false)?);
            Ok(vec![crate::plan::add(r, a, b)?])
        },
    ));
    cases
}

//! What attention pooling attends over: the pixels of a picture and, before them, their mean, each with a learned
//! position (Radford et al. 2021; the classifiers of Dhariwal & Nichol 2021).

use super::sum_rows::sum_rows;
use super::{Case, Fill};
use crate::error::{Error, Result};
use crate::plan::{Binding, Bindings, Kernel, Real, Recorder, Shader, Twin, Value, shader};

#[derive(Clone, Copy, Debug)]
struct Sizes {
    pictures: usize,
    pixels: usize,
    channels: usize,
}

impl Sizes {
    fn parameters(&self) -> Vec<u32> {
        vec![self.pictures as u32, self.pixels as u32, self.channels as u32]
    }
    fn pixels(&self) -> usize {
        self.pictures * self.pixels * self.channels
    }
    fn tokens(&self) -> usize {
        self.pictures * (self.pixels + 1) * self.channels
    }
}

/// `y[n, 0] = mean of x[n] + position[0]`, `y[n, 1 + i] = x[n, i] + position[1 + i]`.
#[derive(Clone, Copy, Debug)]
struct Forward(Sizes);

impl<T: Real> Twin<T> for Forward {
    fn twin(&self, io: &mut Bindings<T>) {
        let (x, position, y) = (io.read(0), io.read(1), io.write(2));
        let Sizes { pixels, channels, .. } = self.0;
        let row = (pixels + 1) * channels;
        for (x, y) in x.chunks_exact(pixels * channels).zip(y.chunks_exact_mut(row)) {
            for within in 0..row {
                let token = if within < channels {
                    x.iter().skip(within).step_by(channels).copied().sum::<T>() / T::from_usize(pixels)
                } else {
                    x[within - channels]
                };
                y[within] = token + position[within];
            }
        }
    }
}

impl Kernel for Forward {
    fn shader(&self) -> Shader {
        shader!("pooling_tokens_forward", "grid")
    }
    fn parameters(&self) -> Vec<u32> {
        self.0.parameters()
    }
    fn bindings(&self) -> Vec<Binding> {
        let position = (self.0.pixels + 1) * self.0.channels;
        vec![Binding::read(self.0.pixels()), Binding::read(position), Binding::write(self.0.tokens())]
    }
    fn groups(&self) -> usize {
        self.0.tokens().div_ceil(256)
    }
}

/// `dx[n, i] = dy[n, 1 + i] + dy[n, 0] / pixels`.
#[derive(Clone, Copy, Debug)]
struct Backward(Sizes);

impl<T: Real> Twin<T> for Backward {
    fn twin(&self, io: &mut Bindings<T>) {
        let (dy, dx) = (io.read(0), io.write(1));
        let Sizes { pixels, channels, .. } = self.0;
        for (dy, dx) in dy.chunks_exact((pixels + 1) * channels).zip(dx.chunks_exact_mut(pixels * channels)) {
            for (within, dx) in dx.iter_mut().enumerate() {
                *dx = dy[channels + within] + dy[within % channels] / T::from_usize(pixels);
            }
        }
    }
}

impl Kernel for Backward {
    fn shader(&self) -> Shader {
        shader!("pooling_tokens_backward", "grid")
    }
    fn parameters(&self) -> Vec<u32> {
        self.0.parameters()
    }
    fn bindings(&self) -> Vec<Binding> {
        vec![Binding::read(self.0.tokens()), Binding::write(self.0.pixels())]
    }
    fn groups(&self) -> usize {
        self.0.pixels().div_ceil(256)
    }
}

/// The tokens `[pictures, pixels + 1, channels]` of x `[pictures, pixels, channels]` and `position`
/// `[pixels + 1, channels]`.
///
/// # Errors
/// [`Shape`](Error::Shape) if the sizes do not fit together.
pub fn pooling_tokens(r: &mut Recorder, x: Value, position: Value) -> Result<Value> {
    let [pictures, pixels, channels] = r.dims("pooling_tokens", x)?;
    if r.shape(position) != [pixels + 1, channels] {
        let message = format!("x {:?} and position {:?} do not fit", r.shape(x), r.shape(position));
        return Err(Error::Shape { op: "pooling_tokens", message });
    }
    let sizes = Sizes { pictures, pixels, channels };
    let y = r.activation(&[pictures, pixels + 1, channels]);
    r.call(Forward(sizes), &[x, position, y]);
    r.differentiable(y, &[x, position], move |r, dy| {
        if let Some(dx) = r.new_gradient(x) {
            r.call(Backward(sizes), &[dy, dx]);
        }
        if let Some(target) = r.gradient_target(position) {
            sum_rows(r, dy, 1, pictures, (pixels + 1) * channels, target)?;
        }
        Ok(())
    });
    Ok(y)
}

/// One pixel, odd sizes, more than one workgroup.
pub(super) fn cases() -> Vec<Case> {
    [[1, 1, 1], [3, 15, 7], [5, 49, 12]]
        .into_iter()
        .map(|[pictures, pixels, channels]| {
            Case::new(format!("pooling_tokens/{pictures}x{pixels}x{channels}"))
                .input(&[pictures, pixels, channels], Fill::Normal(1.0))
                .input(&[pixels + 1, channels], Fill::Normal(1.0))
                .records(|r, v| Ok(vec![pooling_tokens(r, v[0], v[1])?]))
        })
        .collect()
}

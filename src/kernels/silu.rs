//! SiLU, x sigmoid(x) (Hendrycks & Gimpel 2016, arXiv 1606.08415).

use super::vector::sigmoid;
use super::{Case, Fill, parallel};
use crate::error::Result;
use crate::plan::{Binding, Bindings, Kernel, Real, Recorder, Shader, Twin, Value, shader};

/// x sigmoid(x).
pub(super) fn silu_of<T: Real>(x: T) -> T {
    x / (T::one() + (-x).exp())
}

/// Derivative of [`silu_of`]: s (1 + x (1 - s)) with s = sigmoid(x).
pub(super) fn silu_slope<T: Real>(x: T) -> T {
    let s = T::one() / (T::one() + (-x).exp());
    s * (T::one() + x * (T::one() - s))
}

/// y = x sigmoid(x).
#[derive(Clone, Copy, Debug)]
struct Forward {
    len: usize,
}

impl<T: Real> Twin<T> for Forward {
    fn twin(&self, io: &mut Bindings<T>) {
        let (x, y) = (io.read(0), io.write(1));
        for i in 0..self.len {
            y[i] = silu_of(x[i]);
        }
    }
}

impl Kernel for Forward {
    fn shader(&self) -> Shader {
        shader!("silu_forward", "grid", "silu")
    }
    fn parameters(&self) -> Vec<u32> {
        vec![self.len as u32]
    }
    fn bindings(&self) -> Vec<Binding> {
        vec![Binding::read(self.len), Binding::write(self.len)]
    }
    fn groups(&self) -> usize {
        self.len.div_ceil(1024)
    }
    fn host(&self, io: &mut Bindings<f32>) {
        let (x, y) = (io.read(0), io.write(1));
        parallel::for_elements(y, #[inline(always)] |first, y| {
            for (y, &x) in y.iter_mut().zip(&x[first..]) {
                *y = x * sigmoid(x);
            }
        });
    }
}

/// dx = dy silu'(x).
#[derive(Clone, Copy, Debug)]
struct Backward {
    len: usize,
}

impl<T: Real> Twin<T> for Backward {
    fn twin(&self, io: &mut Bindings<T>) {
        let (x, dy, dx) = (io.read(0), io.read(1), io.write(2));
        for i in 0..self.len {
            dx[i] = dy[i] * silu_slope(x[i]);
        }
    }
}

impl Kernel for Backward {
    fn shader(&self) -> Shader {
        shader!("silu_backward", "grid", "silu")
    }
    fn parameters(&self) -> Vec<u32> {
        vec![self.len as u32]
    }
    fn bindings(&self) -> Vec<Binding> {
        vec![Binding::read(self.len), Binding::read(self.len), Binding::write(self.len)]
    }
    fn groups(&self) -> usize {
        self.len.div_ceil(1024)
    }
    fn host(&self, io: &mut Bindings<f32>) {
        let (x, dy, dx) = (io.read(0), io.read(1), io.write(2));
        parallel::for_elements(dx, #[inline(always)] |first, dx| {
            for ((dx, &dy), &x) in dx.iter_mut().zip(&dy[first..]).zip(&x[first..]) {
                let s = sigmoid(x);
                *dx = dy * s * (1.0 + x * (1.0 - s));
            }
        });
    }
}

/// x sigmoid(x), element by element; any shape.
///
/// # Errors
/// None so far: it takes any shape.
pub fn silu(r: &mut Recorder, x: Value) -> Result<Value> {
    let shape = r.shape(x).to_vec();
    let len = r.len(x);
    let y = r.activation(&shape);
    r.call(Forward { len }, &[x, y]);
    r.differentiable(y, &[x], move |r, dy| {
        if let Some(dx) = r.new_gradient(x) {
            r.call(Backward { len }, &[x, dy, dx]);
        }
        Ok(())
    });
    Ok(y)
}

/// One element, an odd number, and more than one workgroup.
pub(super) fn cases() -> Vec<Case> {
    [1, 77, 2500]
        .into_iter()
        .map(|len| {
            Case::new(format!("silu/{len}")).input(&[len], Fill::Normal(4.0)).records(|r, v| Ok(vec![silu(r, v[0])?]))
        })
        .collect()
}

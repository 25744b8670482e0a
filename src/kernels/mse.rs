//! The mean squared error, L_simple of Ho et al. 2020 (eq. 14).

use super::total::{PER_PARTIAL, total};
use super::{Case, Fill, parallel};
use crate::error::{Error, Result};
use crate::plan::{Binding, Bindings, Kernel, Real, Recorder, Shader, Twin, Value, shader};

/// Sums of (x - target)^2 over runs of 4096 elements.
#[derive(Clone, Copy, Debug)]
struct Forward {
    len: usize,
}

impl<T: Real> Twin<T> for Forward {
    fn twin(&self, io: &mut Bindings<T>) {
        let (x, target, partials) = (io.read(0), io.read(1), io.write(2));
        for (index, partial) in partials.iter_mut().enumerate() {
            let run = index * PER_PARTIAL..((index + 1) * PER_PARTIAL).min(self.len);
            *partial = run.map(|i| (x[i] - target[i]).powi(2)).sum();
        }
    }
}

impl Kernel for Forward {
    fn shader(&self) -> Shader {
        shader!("mse_forward", "grid", "reduce")
    }
    fn parameters(&self) -> Vec<u32> {
        vec![self.len as u32]
    }
    fn bindings(&self) -> Vec<Binding> {
        vec![Binding::read(self.len), Binding::read(self.len), Binding::write(self.groups())]
    }
    fn groups(&self) -> usize {
        self.len.div_ceil(PER_PARTIAL)
    }
}

/// dx = upstream 2 (x - target) / len.
#[derive(Clone, Copy, Debug)]
struct Backward {
    len: usize,
}

impl<T: Real> Twin<T> for Backward {
    fn twin(&self, io: &mut Bindings<T>) {
        let (x, target, upstream, dx) = (io.read(0), io.read(1), io.read(2), io.write(3));
        let scale = upstream[0] * T::from_f64(2.0) / T::from_usize(self.len);
        for i in 0..self.len {
            dx[i] = scale * (x[i] - target[i]);
        }
    }
}

impl Kernel for Backward {
    fn shader(&self) -> Shader {
        shader!("mse_backward", "grid")
    }
    fn parameters(&self) -> Vec<u32> {
        vec![self.len as u32]
    }
    fn bindings(&self) -> Vec<Binding> {
        let all = Binding::read(self.len);
        vec![all, all, Binding::read(1), Binding::write(self.len)]
    }
    fn groups(&self) -> usize {
        self.len.div_ceil(1024)
    }
    fn host(&self, io: &mut Bindings<f32>) {
        let (x, target, upstream, dx) = (io.read(0), io.read(1), io.read(2), io.write(3));
        let scale = upstream[0] * 2.0 / self.len as f32;
        parallel::for_elements(dx, #[inline(always)] |first, dx| {
            for ((dx, x), target) in dx.iter_mut().zip(&x[first..]).zip(&target[first..]) {
                *dx = scale * (x - target);
            }
        });
    }
}

/// Mean of (x - target)^2, as `[1]`. The target is not differentiated.
///
/// # Errors
/// [`Shape`](Error::Shape) if x and the target differ in it.
pub fn mse(r: &mut Recorder, x: Value, target: Value) -> Result<Value> {
    if r.shape(x) != r.shape(target) {
        let message = format!("{:?} and {:?} differ", r.shape(x), r.shape(target));
        return Err(Error::Shape { op: "mse", message });
    }
    let len = r.len(x);
    let kernel = Forward { len };
    let partials = r.f32(&[kernel.groups()]);
    r.call(kernel, &[x, target, partials]);
    let loss = r.f32(&[1]);
    total(r, partials, (len as f32).recip(), false, loss);
    r.differentiable(loss, &[x], move |r, upstream| {
        if let Some(dx) = r.new_gradient(x) {
            r.call(Backward { len }, &[x, target, upstream, dx]);
        }
        Ok(())
    });
    Ok(loss)
}

/// One element, an odd number, more than one partial sum.
pub(super) fn cases() -> Vec<Case> {
    [1, 33, 9000]
        .into_iter()
        .map(|len| {
            Case::new(format!("mse/{len}"))
                .input(&[len], Fill::Normal(1.0))
                .constant(&[len], Fill::Normal(1.0))
                .records(|r, v| Ok(vec![mse(r, v[0], v[1])?]))
        })
        .collect()
}

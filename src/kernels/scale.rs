//! Multiplying all elements with a number, and adding one.

use super::{Case, Fill, parallel};
use crate::error::Result;
use crate::plan::{Binding, Bindings, Kernel, Real, Recorder, Shader, Twin, Value, shader};

/// y = factor x + offset.
#[derive(Clone, Copy, Debug)]
struct Scale {
    len: usize,
    factor: f32,
    offset: f32,
}

impl<T: Real> Twin<T> for Scale {
    fn twin(&self, io: &mut Bindings<T>) {
        let (x, y) = (io.read(0), io.write(1));
        for i in 0..self.len {
            y[i] = T::from_f32(self.factor) * x[i] + T::from_f32(self.offset);
        }
    }
}

impl Kernel for Scale {
    fn shader(&self) -> Shader {
        shader!("scale", "grid")
    }
    fn parameters(&self) -> Vec<u32> {
        vec![self.len as u32, self.factor.to_bits(), self.offset.to_bits()]
    }
    fn bindings(&self) -> Vec<Binding> {
        vec![Binding::read(self.len), Binding::write(self.len)]
    }
    fn groups(&self) -> usize {
        self.len.div_ceil(1024)
    }
    fn host(&self, io: &mut Bindings<f32>) {
        let (x, y) = (io.read(0), io.write(1));
        let Self { factor, offset, .. } = *self;
        parallel::for_elements(
            y,
            #[inline(always)]
            |first, y| {
                for (y, &x) in y.iter_mut().zip(&x[first..]) {
                    *y = factor * x + offset;
                }
            },
        );
    }
}

/// factor x, any shape; x itself for a factor of 1.
pub fn scale(r: &mut Recorder, x: Value, factor: f32) -> Value {
    scale_and_shift(r, x, factor, 0.0)
}

/// factor x + offset, any shape; x itself where that changes nothing.
pub fn scale_and_shift(r: &mut Recorder, x: Value, factor: f32, offset: f32) -> Value {
    if factor == 1.0 && offset == 0.0 {
        return x;
    }
    let shape = r.shape(x).to_vec();
    let len = r.len(x);
    let y = r.activation(&shape);
    r.call(Scale { len, factor, offset }, &[x, y]);
    r.differentiable(y, &[x], move |r, dy| -> Result<()> {
        if let Some(dx) = r.new_gradient(x) {
            r.call(Scale { len, factor, offset: 0.0 }, &[dy, dx]);
        }
        Ok(())
    });
    y
}

/// One element, an odd number, more than one workgroup.
pub(super) fn cases() -> Vec<Case> {
    [(1, 0.5, 0.0), (77, 2.0, -1.0), (2500, std::f32::consts::FRAC_1_SQRT_2, 0.0)]
        .into_iter()
        .map(|(len, factor, offset)| {
            Case::new(format!("scale/{len}, {factor} x + {offset}"))
                .input(&[len], Fill::Normal(1.0))
                .records(move |r, v| Ok(vec![scale_and_shift(r, v[0], factor, offset)]))
        })
        .collect()
}

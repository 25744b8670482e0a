//! The tape's own operation: the sum of the gradients of a value that was used twice. It is also the network's
//! residual addition.

use super::kernel::{Binding, Kernel, Shader, Twin, elementwise};
use super::{Bindings, Real, Recorder, Value};
use crate::error::{Error, Result};
use crate::parallel::for_elements;

/// `out = a`, `out = a + b`, or the same added to what is there.
#[derive(Clone, Copy, Debug)]
pub struct Sum {
    /// Elements.
    pub len: usize,
    /// 1 leaves the second binding unread.
    pub terms: usize,
    /// Adds to `out`.
    pub accumulate: bool,
}

impl<T: Real> Twin<T> for Sum {
    fn twin(&self, io: &mut Bindings<T>) {
        let (a, b, out) = (io.read(0), io.read(1), io.write(2));
        for i in 0..self.len {
            let mut sum = a[i];
            if self.terms == 2 {
                sum += b[i];
            }
            if self.accumulate {
                sum += out[i];
            }
            out[i] = sum;
        }
    }
}

impl Kernel for Sum {
    fn shader(&self) -> Shader {
        elementwise!(self.len, "sum", "grid")
    }
    fn parameters(&self) -> Vec<u32> {
        vec![self.len as u32, self.terms as u32, self.accumulate.into()]
    }
    fn bindings(&self) -> Vec<Binding> {
        vec![Binding::read(self.len), Binding::read(self.len), Binding::write_or_add(self.len, self.accumulate)]
    }
    fn groups(&self) -> usize {
        self.len.div_ceil(1024)
    }
    fn host(&self, io: &mut Bindings<f32>) {
        let (a, b, out) = (io.read(0), io.read(1), io.write(2));
        let Self { terms, accumulate, .. } = *self;
        for_elements(
            out,
            #[inline(always)]
            |first, out| {
                for ((out, &a), &b) in out.iter_mut().zip(&a[first..]).zip(&b[first..]) {
                    let sum = if terms == 2 { a + b } else { a };
                    *out = if accumulate { sum + *out } else { sum };
                }
            },
        );
    }
}

/// `a + b`, element by element, of two values of the same shape.
///
/// # Errors
/// [`Shape`](Error::Shape) if a and b differ in it.
pub fn add(r: &mut Recorder, a: Value, b: Value) -> Result<Value> {
    let shape = r.shape(a).to_vec();
    if shape != r.shape(b) {
        return Err(Error::Shape { op: "add", message: format!("{shape:?} and {:?} differ", r.shape(b)) });
    }
    let output = r.activation(&shape);
    r.call(Sum { len: r.len(a), terms: 2, accumulate: false }, &[a, b, output]);
    r.differentiable(output, &[a, b], move |r, upstream| {
        r.pass_gradient(a, upstream);
        r.pass_gradient(b, upstream);
        Ok(())
    });
    Ok(output)
}

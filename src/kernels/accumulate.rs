//! The mean of several micro-batches' gradients, added up one after the other.

use super::gradient_norm::chunks;
use super::{Case, Fill, parallel};
use crate::plan::{Binding, Bindings, Kernel, Real, Recorder, Shader, Step, Storage, Twin, elementwise};

/// sum = factor x for the first micro-batch of a step, sum += factor x for the others: the step block's number says which.
#[derive(Clone, Copy, Debug)]
struct Accumulate {
    len: usize,
    factor: f32,
}

impl<T: Real> Twin<T> for Accumulate {
    fn twin(&self, io: &mut Bindings<T>) {
        let (x, step, sum) = (io.read(0), io.step(), io.write(1));
        let factor = T::from_f32(self.factor);
        for i in 0..self.len {
            sum[i] = if step.micro_batch == 0 { factor * x[i] } else { sum[i] + factor * x[i] };
        }
    }
}

impl Kernel for Accumulate {
    fn shader(&self) -> Shader {
        elementwise!(self.len, "accumulate", "grid", "step")
    }
    fn parameters(&self) -> Vec<u32> {
        vec![self.len as u32, self.factor.to_bits()]
    }
    fn bindings(&self) -> Vec<Binding> {
        vec![Binding::read(self.len), Binding::update(self.len)]
    }
    fn groups(&self) -> usize {
        self.len.div_ceil(1024)
    }
    fn flops(&self) -> u64 {
        2 * self.len as u64
    }
    fn host(&self, io: &mut Bindings<f32>) {
        let (x, step, sum) = (io.read(0), io.step(), io.write(1));
        let Self { factor, .. } = *self;
        let assign = step.micro_batch == 0;
        parallel::for_elements(sum, #[inline(always)] |first, sum| {
            for (sum, x) in sum.iter_mut().zip(&x[first..]) {
                *sum = if assign { factor * x } else { *sum + factor * x };
            }
        });
    }
}

/// Adds `factor` times `gradients` to `sum`, of the same length; a step's first micro-batch assigns.
pub fn accumulate(r: &mut Recorder, gradients: &Storage, sum: &Storage, factor: f32) {
    for (first, len) in chunks(gradients.len()) {
        let (x, sum) = (r.bind(gradients, first, &[len]), r.bind(sum, first, &[len]));
        r.call(Accumulate { len, factor }, &[x, sum]);
    }
}

/// One element, an odd number, more than one workgroup; the first micro-batch and a later one.
pub(super) fn cases() -> Vec<Case> {
    [(1, 0), (77, 3), (2500, 0), (2500, 1), (1027, 2)]
        .into_iter()
        .map(|(len, micro_batch)| {
            Case::new(format!("accumulate/{len}, micro-batch {micro_batch}"))
                .constant(&[len], Fill::Normal(1.0))
                .constant(&[len], Fill::Normal(1.0))
                .step(Step { micro_batch, ..Step::default() })
                .records(move |r, v| {
                    r.call(Accumulate { len, factor: 0.25 }, &[v[0], v[1]]);
                    Ok(vec![v[1]])
                })
        })
        .collect()
}

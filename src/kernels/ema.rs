//! The exponential moving average of the weights, which is what samples are drawn with.

use super::gradient_norm::chunks;
use super::{Case, Fill, parallel};
use crate::plan::{Binding, Bindings, Kernel, Real, Recorder, Shader, Step, Storage, Twin, shader};

/// average += (1 - decay) (parameter - average), with the step block's decay.
#[derive(Clone, Copy, Debug)]
struct Ema {
    len: usize,
}

impl<T: Real> Twin<T> for Ema {
    fn twin(&self, io: &mut Bindings<T>) {
        let (parameter, step, average) = (io.read(0), io.step(), io.write(1));
        let rate = T::one() - T::from_f32(step.ema_decay);
        for i in 0..self.len {
            average[i] += rate * (parameter[i] - average[i]);
        }
    }
}

impl Kernel for Ema {
    fn shader(&self) -> Shader {
        shader!("ema", "grid", "step")
    }
    fn parameters(&self) -> Vec<u32> {
        vec![self.len as u32]
    }
    fn bindings(&self) -> Vec<Binding> {
        vec![Binding::read(self.len), Binding::update(self.len)]
    }
    fn groups(&self) -> usize {
        self.len.div_ceil(1024)
    }
    fn flops(&self) -> u64 {
        3 * self.len as u64
    }
    fn host(&self, io: &mut Bindings<f32>) {
        let (parameter, step, average) = (io.read(0), io.step(), io.write(1));
        let rate = 1.0 - step.ema_decay;
        parallel::for_elements(average, #[inline(always)] |first, average| {
            for (average, parameter) in average.iter_mut().zip(&parameter[first..]) {
                *average += rate * (parameter - *average);
            }
        });
    }
}

/// Records one step of the average of `parameters` into `average`, of the same length.
pub fn ema_step(r: &mut Recorder, parameters: &Storage, average: &Storage) {
    for (first, len) in chunks(parameters.len()) {
        let (parameters, average) = (r.bind(parameters, first, &[len]), r.bind(average, first, &[len]));
        r.call(Ema { len }, &[parameters, average]);
    }
}

/// One element, an odd number, more than one workgroup.
pub(super) fn cases() -> Vec<Case> {
    [1, 77, 2500]
        .into_iter()
        .map(|len| {
            Case::new(format!("ema/{len}"))
                .constant(&[len], Fill::Normal(1.0))
                .constant(&[len], Fill::Normal(1.0))
                .step(Step { ema_decay: 0.9375, ..Step::default() })
                .records(move |r, v| {
                    r.call(Ema { len }, &[v[0], v[1]]);
                    Ok(vec![v[1]])
                })
        })
        .collect()
}

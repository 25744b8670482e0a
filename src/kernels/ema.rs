//! The exponential moving average of the weights, which is what samples are drawn with.

use super::gradient_norm::chunks;
use super::{Case, Fill, parallel};
use crate::plan::{Binding, Bindings, Kernel, Real, Recorder, Shader, Step, Storage, Twin, Value, elementwise};

/// average += (1 - decay) (parameter - average), with the step block's decay.
#[derive(Clone, Copy, Debug)]
struct Ema {
    len: usize,
    /// Whether the third binding says if this is a step at all; see [`loss_scale`](super::loss_scale).
    scaled: bool,
}

impl<T: Real> Twin<T> for Ema {
    fn twin(&self, io: &mut Bindings<T>) {
        let (parameter, step, average, control) = (io.read(0), io.step(), io.write(1), io.read(2));
        if self.scaled && control[1] == T::zero() {
            return;
        }
        let rate = T::one() - T::from_f32(step.ema_decay);
        for i in 0..self.len {
            average[i] += rate * (parameter[i] - average[i]);
        }
    }
}

impl Kernel for Ema {
    fn shader(&self) -> Shader {
        elementwise!(self.len, "ema", "grid", "step")
    }
    fn parameters(&self) -> Vec<u32> {
        vec![self.len as u32, self.scaled.into()]
    }
    fn bindings(&self) -> Vec<Binding> {
        let control = if self.scaled { 2 } else { self.len };
        vec![Binding::read(self.len), Binding::update(self.len), Binding::read(control)]
    }
    fn groups(&self) -> usize {
        self.len.div_ceil(1024)
    }
    fn flops(&self) -> u64 {
        3 * self.len as u64
    }
    fn host(&self, io: &mut Bindings<f32>) {
        let (parameter, step, average, control) = (io.read(0), io.step(), io.write(1), io.read(2));
        if self.scaled && control[1] == 0.0 {
            return;
        }
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
    ema_step_scaled(r, parameters, average, None);
}

/// [`ema_step`] that leaves the average as it is where `control` `[2]`, which [`loss_scale`](super::loss_scale) has made,
/// says that there is no step.
pub fn ema_step_scaled(r: &mut Recorder, parameters: &Storage, average: &Storage, control: Option<Value>) {
    for (first, len) in chunks(parameters.len()) {
        let (parameters, average) = (r.bind(parameters, first, &[len]), r.bind(average, first, &[len]));
        let scaled = control.is_some();
        r.call(Ema { len, scaled }, &[parameters, average, control.unwrap_or(parameters)]);
    }
}

/// One element, an odd number, more than one workgroup; a step and none in mixed precision.
pub(super) fn cases() -> Vec<Case> {
    [(1, None), (77, None), (2500, None), (2500, Some([3.0, 0.25])), (300, Some([0.0, 0.0]))]
        .into_iter()
        .map(|(len, control)| {
            let case = Case::new(format!("ema/{len}{}", control.map_or("", |_| " scaled")))
                .constant(&[len], Fill::Normal(1.0))
                .constant(&[len], Fill::Normal(1.0));
            let scaled = control.is_some();
            let case = control.into_iter().fold(case, |case, control| case.constant(&[2], Fill::Floats(control.to_vec())));
            case.step(Step { ema_decay: 0.9375, ..Step::default() }).records(move |r, v| {
                r.call(Ema { len, scaled }, &[v[0], v[1], v.get(2).copied().unwrap_or(v[0])]);
                Ok(vec![v[1]])
            })
        })
        .collect()
}

//! Mixed precision (Micikevicius et al. 2017, arXiv 1710.03740): the loss is scaled so that small gradients are not lost
//! in half precision, by as much as the numbers bear; and the weights' copy in half precision.

use super::gradient_norm::chunks;
use super::{Case, Fill};
use crate::plan::{Binding, Bindings, Kernel, Real, Recorder, Shader, Storage, Sum, Twin, Value, shader};

/// The state before the first step: the scale, good steps since it changed, steps that were skipped.
pub const INITIAL: [f32; 3] = [65_536.0, 0.0, 0.0];
/// Good steps after which the scale doubles.
const PATIENCE: f32 = 2000.0;
/// The smallest scale.
pub const SMALLEST: f32 = 1.0;
/// The largest scale.
const LARGEST: f32 = 16_777_216.0;

/// Bindings: the norm of the scaled gradient, the state, and what it says of this step: the norm of the gradient itself
/// and the factor that takes the scale out, or zeros where the norm is not finite.
#[derive(Clone, Copy, Debug)]
struct LossScale;

impl<T: Real> Twin<T> for LossScale {
    fn twin(&self, io: &mut Bindings<T>) {
        let (norm, state, control) = (io.read(0)[0], io.write(1), io.write(2));
        let (scale, good) = (state[0], state[1] + T::one());
        if !norm.is_finite() {
            control.fill(T::zero());
            state[0] = (scale / T::from_f64(2.0)).max(T::from_f32(SMALLEST));
            state[1] = T::zero();
            state[2] += T::one();
            return;
        }
        control[0] = norm / scale;
        control[1] = scale.recip();
        if good >= T::from_f32(PATIENCE) {
            state[0] = (scale + scale).min(T::from_f32(LARGEST));
            state[1] = T::zero();
        } else {
            state[1] = good;
        }
    }
}

impl Kernel for LossScale {
    fn shader(&self) -> Shader {
        shader!("loss_scale")
    }
    fn parameters(&self) -> Vec<u32> {
        vec![PATIENCE.to_bits(), SMALLEST.to_bits(), LARGEST.to_bits()]
    }
    fn bindings(&self) -> Vec<Binding> {
        vec![Binding::read(1), Binding::update(3), Binding::write(2)]
    }
    fn groups(&self) -> usize {
        1
    }
}

/// From the norm `[1]` of a scaled gradient to `[2]`, what [`adam_step`](super::adam::adam_step) and
/// [`ema_step_scaled`](super::ema::ema_step_scaled) do with the step; `state` `[3]` gets the scale of the next.
pub fn loss_scale(r: &mut Recorder, norm: Value, state: &Storage) -> Value {
    let (state, control) = (r.input(state, &[3]), r.f32(&[2]));
    r.call(LossScale, &[norm, state, control]);
    control
}

/// Rounds `weights` to `copy`, a buffer of as many halves.
pub fn copy_weights(r: &mut Recorder, weights: &Storage, copy: &Storage) {
    for (first, len) in chunks(weights.len()) {
        let (weights, copy) = (r.bind(weights, first, &[len]), r.bind(copy, first, &[len]));
        r.call(Sum { len, terms: 1, accumulate: false }, &[weights, weights, copy]);
    }
}

/// A good step, the last before the scale grows, the largest scale, and norms that are not finite.
pub(super) fn cases() -> Vec<Case> {
    [
        ("good", 12.5, INITIAL),
        ("grows", 12.5, [1024.0, PATIENCE - 1.0, 3.0]),
        ("largest", 12.5, [LARGEST, PATIENCE - 1.0, 3.0]),
        ("infinite", f32::INFINITY, [1024.0, 77.0, 3.0]),
        ("nan", f32::NAN, [1.0, 77.0, 0.0]),
    ]
    .into_iter()
    .map(|(name, norm, state)| {
        Case::new(format!("loss_scale/{name}"))
            .constant(&[1], Fill::Floats(vec![norm]))
            .constant(&[3], Fill::Floats(state.to_vec()))
            .records(|r, v| {
                let control = r.f32(&[2]);
                r.call(LossScale, &[v[0], v[1], control]);
                Ok(vec![control, v[1]])
            })
    })
    .collect()
}

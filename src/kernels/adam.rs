//! Adam (Kingma & Ba 2015, arXiv 1412.6980, algorithm 1) and AdamW (Loshchilov & Hutter 2019, arXiv 1711.05101), with the
//! gradient clipped by its norm on the way.

use super::gradient_norm::chunks;
use super::{Case, Fill, parallel};
use crate::plan::{Binding, Bindings, Kernel, Real, Recorder, Shader, Step, Storage, Twin, Value, elementwise};

/// The numbers of Adam that do not change during a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adam {
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub epsilon: f32,
    /// Pulls the weights to zero.
    pub weight_decay: f32,
    /// Whether the pull is apart from the gradient (AdamW) or part of it.
    pub decoupled: bool,
}

impl Default for Adam {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0, decoupled: false }
    }
}

/// 1 - beta^(n + 1), what the moments of step `n` are divided by: they began at zero.
pub fn bias_correction(beta: f64, n: usize) -> f32 {
    (1.0 - beta.powf((n + 1) as f64)) as f32
}

/// One step over a run of a flat buffer: bindings gradient, norm of the whole gradient, parameter, both moments. The
/// learning rate, the bias corrections and the largest norm are the step block's.
#[derive(Clone, Copy, Debug)]
struct AdamStep {
    len: usize,
    adam: Adam,
    /// Whether the second binding is what [`loss_scale`](super::loss_scale) has made of the norm: the factor that takes
    /// the loss's scale out of the gradient follows it, 0 for a step that is to leave everything as it is.
    scaled: bool,
}

impl AdamStep {
    /// What the gradient is multiplied with: as PyTorch's `clip_grad_norm_`. NaN for a norm that is NaN, so that it
    /// spreads and is noticed.
    fn clip<T: Real>(step: &Step, norm: T) -> T {
        let clip = T::from_f32(step.clip_norm) / (norm + T::from_f64(1e-6));
        if clip > T::one() { T::one() } else { clip }
    }
}

impl<T: Real> Twin<T> for AdamStep {
    fn twin(&self, io: &mut Bindings<T>) {
        let (gradient, norm, step) = (io.read(0), io.read(1), io.step());
        let (parameter, first, second) = (io.write(2), io.write(3), io.write(4));
        let Adam { beta1, beta2, epsilon, weight_decay, decoupled } = self.adam;
        let [epsilon, weight_decay] = [epsilon, weight_decay].map(T::from_f32);
        let [keep1, take1, keep2, take2] = [beta1, 1.0 - beta1, beta2, 1.0 - beta2].map(T::from_f64);
        let [rate, correction1, correction2] =
            [step.learning_rate, step.bias_correction1, step.bias_correction2].map(T::from_f32);
        if self.scaled && norm[1] == T::zero() {
            return;
        }
        let clip = Self::clip(step, norm[0]) * if self.scaled { norm[1] } else { T::one() };
        for i in 0..self.len {
            let mut g = gradient[i] * clip;
            if decoupled {
                parameter[i] -= rate * weight_decay * parameter[i];
            } else {
                g += weight_decay * parameter[i];
            }
            first[i] = keep1 * first[i] + take1 * g;
            second[i] = keep2 * second[i] + take2 * g * g;
            let deviation = (second[i] / correction2).sqrt() + epsilon;
            parameter[i] -= rate * (first[i] / correction1) / deviation;
        }
    }
}

impl Kernel for AdamStep {
    fn shader(&self) -> Shader {
        elementwise!(self.len, "adam", "grid", "step")
    }
    fn parameters(&self) -> Vec<u32> {
        let Adam { beta1, beta2, epsilon, weight_decay, decoupled } = self.adam;
        // 1 - beta is rounded once: in f32, 1 - 0.999 would be off by 1e-5.
        let betas = [beta1, 1.0 - beta1, beta2, 1.0 - beta2].map(|beta| beta as f32);
        let numbers = [betas[0], betas[1], betas[2], betas[3], epsilon, weight_decay].map(f32::to_bits);
        [&[self.len as u32], &numbers[..], &[decoupled.into(), self.scaled.into()]].concat()
    }
    fn bindings(&self) -> Vec<Binding> {
        let update = Binding::update(self.len);
        vec![Binding::read(self.len), Binding::read(1 + usize::from(self.scaled)), update, update, update]
    }
    fn groups(&self) -> usize {
        self.len.div_ceil(1024)
    }
    fn flops(&self) -> u64 {
        14 * self.len as u64
    }
    fn host(&self, io: &mut Bindings<f32>) {
        use parallel::PIECE;
        use rayon::prelude::*;
        let (gradient, norm, step) = (io.read(0), io.read(1), io.step());
        let (parameter, first, second) = (io.write(2), io.write(3), io.write(4));
        let Adam { beta1, beta2, epsilon, weight_decay, decoupled } = self.adam;
        let [keep1, take1, keep2, take2] = [beta1, 1.0 - beta1, beta2, 1.0 - beta2].map(|beta| beta as f32);
        if self.scaled && norm[1] == 0.0 {
            return;
        }
        let clip = Self::clip(step, norm[0]) * if self.scaled { norm[1] } else { 1.0 };
        let rate = step.learning_rate;
        let step_size = rate / step.bias_correction1;
        let root = step.bias_correction2.sqrt().recip();
        (parameter.par_chunks_mut(PIECE).zip(first.par_chunks_mut(PIECE)))
            .zip(second.par_chunks_mut(PIECE).zip(gradient.par_chunks(PIECE)))
            .for_each(|((parameter, first), (second, gradient))| {
                parallel::vectorized(#[inline(always)] || {
                    let moments = first.iter_mut().zip(second.iter_mut());
                    for ((p, (m, v)), &g) in parameter.iter_mut().zip(moments).zip(gradient) {
                        let mut g = g * clip;
                        if decoupled {
                            *p -= rate * weight_decay * *p;
                        } else {
                            g += weight_decay * *p;
                        }
                        *m = keep1 * *m + take1 * g;
                        *v = keep2 * *v + take2 * g * g;
                        *p -= step_size * *m / (v.sqrt() * root + epsilon);
                    }
                });
            });
    }
}

/// The flat buffers that an optimiser works on, all of the same length.
#[derive(Clone, Debug)]
pub struct OptimizerState {
    /// The weights.
    pub parameters: Storage,
    /// Their gradients.
    pub gradients: Storage,
    /// Adam's first moments.
    pub first_moments: Storage,
    /// Adam's second moments.
    pub second_moments: Storage,
}

impl OptimizerState {
    /// Buffers of `len` elements each.
    pub fn new(len: usize) -> Self {
        let [parameters, gradients, first_moments, second_moments] =
            ["parameters", "gradients", "first moments", "second moments"].map(|name| Storage::f32(name, len));
        Self { parameters, gradients, first_moments, second_moments }
    }
}

/// Records one step of the optimiser. `norm` `[1]` is the norm of the whole gradient, see
/// [`gradient_norm`](super::gradient_norm::gradient_norm), or `[2]`, what [`loss_scale`](super::loss_scale) makes of it.
pub fn adam_step(r: &mut Recorder, state: &OptimizerState, norm: Value, adam: Adam) {
    adam_step_over(r, state, &[(0, state.parameters.len())], norm, adam);
}

/// [`adam_step`] over some runs of the buffers alone, given as (first, length): the rest stays as it is.
pub fn adam_step_over(r: &mut Recorder, state: &OptimizerState, runs: &[(usize, usize)], norm: Value, adam: Adam) {
    let scaled = r.len(norm) == 2;
    let pieces = runs.iter().flat_map(|&(start, len)| chunks(len).map(move |(first, len)| (start + first, len)));
    for (first, len) in pieces {
        let [parameters, gradients, first_moments, second_moments] =
            [&state.parameters, &state.gradients, &state.first_moments, &state.second_moments]
                .map(|storage| r.bind(storage, first, &[len]));
        r.call(AdamStep { len, adam, scaled }, &[gradients, norm, parameters, first_moments, second_moments]);
    }
}

/// Adam with and without decay, AdamW, clipped and not, the first and a later step.
pub(super) fn cases() -> Vec<Case> {
    let adamw = Adam { weight_decay: 0.1, decoupled: true, ..Adam::default() };
    let mut cases = Vec::new();
    for (name, len, adam, number, clip_norm, norm) in [
        ("one", 1, Adam::default(), 0, f32::MAX, vec![7.5]),
        ("plain", 1025, Adam::default(), 9, f32::MAX, vec![7.5]),
        ("decay, clipped", 333, Adam { weight_decay: 0.1, ..Adam::default() }, 2, 1.0, vec![7.5]),
        ("decoupled decay", 2100, adamw, 3, 100.0, vec![7.5]),
        ("scaled", 2100, adamw, 3, 1.0, vec![7.5, 0.25]),
        ("skipped", 300, adamw, 3, 1.0, vec![0.0, 0.0]),
    ] {
        let scaled = norm.len() == 2;
        let step = Step {
            learning_rate: 1e-2,
            bias_correction1: bias_correction(adam.beta1, number),
            bias_correction2: bias_correction(adam.beta2, number),
            clip_norm,
            ..Step::default()
        };
        cases.push(
            Case::new(format!("adam/{name}"))
                .constant(&[len], Fill::Normal(1.0))
                .constant(&[len], Fill::Normal(1.0))
                .constant(&[len], Fill::Normal(0.1))
                .constant(&[len], Fill::Uniform(0.0, 0.1))
                .constant(&[norm.len()], Fill::Floats(norm))
                .step(step)
                .records(move |r, v| {
                    r.call(AdamStep { len, adam, scaled }, &[v[1], v[4], v[0], v[2], v[3]]);
                    Ok(vec![v[0], v[2], v[3]])
                }),
        );
    }
    cases
}

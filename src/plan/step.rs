//! What changes from one run of a plan to the next.

use bytemuck::{Pod, Zeroable};

/// The one small uniform block that every kernel may read (`shaders/shared/step.wgsl` declares the same fields).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
pub struct Step {
    /// The run's seed, low word first.
    pub seed: [u32; 2],
    /// Optimiser steps taken before this one.
    pub step: u32,
    /// Number, within the run, of the batch's first picture: the key of a picture's noise is made from it.
    pub first_picture: u32,
    /// Learning rate.
    pub learning_rate: f32,
    /// `1 - beta1^(step + 1)` of Adam.
    pub bias_correction1: f32,
    /// `1 - beta2^(step + 1)` of Adam.
    pub bias_correction2: f32,
    /// Weight of the old average in this step's moving average of the weights.
    pub ema_decay: f32,
    /// Largest allowed norm of the whole gradient; infinity leaves it alone.
    pub clip_norm: f32,
    /// The row of a sampler's table that says what this stage does.
    pub sampler_row: u32,
    /// Numbers the noise of a sampler's step: no two steps of a chain have the same.
    pub sampler_noise: u32,
    /// Which of the micro-batches that a step of gradient accumulation is made of.
    pub micro_batch: u32,
}

impl Step {
    /// A step of the run with this seed; everything else is zero.
    pub fn seeded(seed: u64) -> Self {
        Self { seed: [seed as u32, (seed >> 32) as u32], ..Self::default() }
    }
}

//! The flags that say how steps are taken, of `train` and of `train-classifier`.

use super::objective::{differs, set};
use crate::data::Fit;
use crate::error::Result;
use crate::nn::Recompute;
use crate::training::{Precision, TrainingConfig};

/// What both kinds of runs take.
#[derive(clap::Args)]
pub(super) struct StepFlags {
    /// Optimiser steps in all
    #[arg(long, value_name = "N")]
    pub(super) steps: Option<usize>,
    /// Pictures in a step, or with --accumulate in each of its micro-batches
    #[arg(long, value_name = "N")]
    batch: Option<usize>,
    /// Micro-batches in a step: the same update as from a batch N times larger, in the memory of one
    #[arg(long, value_name = "N")]
    accumulate: Option<usize>,
    /// Height and width that pictures are brought to
    #[arg(long, value_name = "PIXELS")]
    pub(super) image_size: Option<usize>,
    /// How pictures of another shape are brought to it
    #[arg(long, value_enum)]
    fit: Option<Fit>,
    /// Learning rate after the warm-up
    #[arg(long, value_name = "RATE")]
    lr: Option<f64>,
    /// Steps over which the learning rate rises from zero
    #[arg(long, value_name = "N")]
    warmup: Option<usize>,
    /// Largest norm of the gradient
    #[arg(long, value_name = "NORM")]
    clip: Option<f32>,
    /// Mirrors half of the pictures
    #[arg(long)]
    flip: bool,
    /// Where all randomness comes from; the same seed gives the same run on the same machine, device and build, with
    /// the same tuned kernels
    #[arg(long, value_name = "SEED")]
    seed: Option<u64>,
    /// Steps between checkpoints
    #[arg(long, value_name = "N")]
    checkpoint_every: Option<usize>,
    /// What is computed twice to save memory: the norms, or whole blocks; the weights are the same bits
    #[arg(long, value_enum)]
    recompute: Option<Recompute>,
    /// What activations are held in: mixed takes half the memory, on GPUs with 16-bit floats in shaders
    #[arg(long, value_enum)]
    precision: Option<Precision>,
}

impl StepFlags {
    /// Lays the flags over what a file says, or over the defaults.
    pub(super) fn apply(&self, t: &mut TrainingConfig) {
        set(&mut t.max_train_steps, self.steps);
        set(&mut t.train_batch_size, self.batch);
        set(&mut t.gradient_accumulation_steps, self.accumulate);
        set(&mut t.learning_rate, self.lr);
        set(&mut t.lr_warmup_steps, self.warmup);
        set(&mut t.max_grad_norm, self.clip);
        set(&mut t.seed, self.seed);
        set(&mut t.fit, self.fit);
        set(&mut t.precision, self.precision);
        t.resolution = self.image_size.or(t.resolution);
        t.random_flip |= self.flip;
        self.apply_of_resume(t);
    }

    /// Lays those over a run's own that may change from one call to the next.
    pub(super) fn apply_of_resume(&self, t: &mut TrainingConfig) {
        set(&mut t.checkpointing_steps, self.checkpoint_every);
        set(&mut t.recompute, self.recompute);
    }

    /// Whether every flag that was given says what the run was started with, but for those that may change.
    pub(super) fn check(&self, t: &TrainingConfig) -> Result<()> {
        differs("--batch", self.batch.as_ref(), &t.train_batch_size)?;
        differs("--accumulate", self.accumulate.as_ref(), &t.gradient_accumulation_steps)?;
        differs("--image-size", self.image_size.map(Some).as_ref(), &t.resolution)?;
        differs("--fit", self.fit.as_ref(), &t.fit)?;
        differs("--lr", self.lr.as_ref(), &t.learning_rate)?;
        differs("--warmup", self.warmup.as_ref(), &t.lr_warmup_steps)?;
        differs("--clip", self.clip.as_ref(), &t.max_grad_norm)?;
        differs("--precision", self.precision.as_ref(), &t.precision)?;
        differs("--seed", self.seed.as_ref(), &t.seed)?;
        differs("--flip", self.flip.then_some(&true), &t.random_flip)
    }
}

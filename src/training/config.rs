//! The table `[training]` of a run's configuration, with the key names of diffusers' training scripts.

use super::averages::EmaWarmup;
use super::distillation::DistillationTable;
use super::network::ClassifierTable;
use super::objective::{LossName, ObjectiveName, TimestepSampler, WeightingName};
use super::power_ema;
use crate::checkpoint::WeightType;
use crate::data::Fit;
use crate::error::{Error, Result};
use crate::nn::Recompute;
use serde::{Deserialize, Serialize};

/// What activations are held in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// Single precision.
    #[default]
    F32,
    /// Half precision, as are the weights in products; sums, norms and the optimiser are single. GPUs only.
    Mixed,
}

/// The `[training]` table; names as in diffusers' training scripts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainingConfig {
    /// Where the pictures come from: `digits`, IDX files or a folder.
    pub dataset: String,
    /// Height and width; none takes the pictures as they are.
    pub resolution: Option<usize>,
    /// How pictures of another shape are brought to it.
    pub fit: Fit,
    /// Without a resolution, IDX pictures are padded to a multiple of this; none is what the network needs.
    pub pad_to_multiple: Option<usize>,
    /// Mirrors half of the pictures.
    pub random_flip: bool,
    /// Whether the pictures' labels are learnt with them.
    pub class_conditional: bool,
    /// How probable it is that a picture's label is replaced by the class that stands for none: Ho & Salimans 2022, p_uncond.
    #[serde(serialize_with = "crate::decimal::shortest")]
    pub class_dropout: f32,
    /// Optimiser steps in all.
    pub max_train_steps: usize,
    /// Pictures in a step, or in each of its micro-batches.
    pub train_batch_size: usize,
    /// Micro-batches whose gradients make a step.
    pub gradient_accumulation_steps: usize,
    /// Learning rate after the warm-up.
    pub learning_rate: f64,
    /// Steps over which the learning rate rises from zero.
    pub lr_warmup_steps: usize,
    /// Adam's decay of the first moment.
    pub adam_beta1: f64,
    /// Adam's decay of the second moment.
    pub adam_beta2: f64,
    /// Adam's epsilon.
    #[serde(serialize_with = "crate::decimal::shortest")]
    pub adam_epsilon: f32,
    /// Decay of the weights, apart from the gradient (AdamW).
    #[serde(serialize_with = "crate::decimal::shortest")]
    pub adam_weight_decay: f32,
    /// Largest norm of the gradient.
    #[serde(serialize_with = "crate::decimal::shortest")]
    pub max_grad_norm: f32,
    /// Decay of the moving average of the weights, once it has warmed up.
    pub ema_max_decay: f64,
    /// Decays of further moving averages that are kept beside the model's.
    pub ema_more_decays: Vec<f64>,
    /// How the decays begin.
    pub ema_warmup: EmaWarmup,
    /// Relative widths of power-function averages that are kept and stored on the way.
    pub ema_sigma_rel: Vec<f64>,
    /// Steps between the snapshots of these; 0 writes one with every checkpoint.
    pub ema_snapshot_every: usize,
    /// What the snapshots hold.
    pub ema_snapshot_dtype: WeightType,
    /// Steps between checkpoints; 0 writes one at the end only.
    pub checkpointing_steps: usize,
    /// Makes everything random.
    pub seed: u64,
    /// What is made small.
    pub objective: ObjectiveName,
    /// Factor of the bound in the hybrid objective.
    #[serde(serialize_with = "crate::decimal::shortest")]
    pub vlb_weight: f32,
    /// What an error of one element costs.
    pub loss: LossName,
    /// Where Huber's loss becomes straight.
    #[serde(serialize_with = "crate::decimal::shortest")]
    pub huber_delta: f32,
    /// How timesteps are weighted; none is what fits the objective and the prediction.
    pub weighting: Option<WeightingName>,
    /// Where min-SNR cuts the signal-to-noise ratio.
    #[serde(serialize_with = "crate::decimal::shortest")]
    pub snr_gamma: f32,
    /// P2's power.
    #[serde(serialize_with = "crate::decimal::shortest")]
    pub p2_gamma: f32,
    /// What P2 adds to the signal-to-noise ratio.
    #[serde(serialize_with = "crate::decimal::shortest")]
    pub p2_k: f32,
    /// How timesteps are drawn; none is what fits the noise.
    pub timestep_sampler: Option<TimestepSampler>,
    /// Mean of the logarithm of noise / signal, for the log-normal draw.
    pub log_normal_mean: f64,
    /// Its standard deviation.
    pub log_normal_std: f64,
    /// What is computed twice to save memory.
    pub recompute: Recompute,
    /// What activations are held in.
    pub precision: Precision,
    /// Trains a classifier, with the `[unet]` table's way down, instead of a network that predicts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub classifier: Option<ClassifierTable>,
    /// Trains a student of another network; the learning rate then falls to zero.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub distillation: Option<DistillationTable>,
}

impl Default for TrainingConfig {
    fn default() -> Self {
        Self {
            dataset: "digits".into(),
            resolution: None,
            fit: Fit::Crop,
            pad_to_multiple: None,
            random_flip: false,
            class_conditional: false,
            class_dropout: 0.0,
            max_train_steps: 10_000,
            train_batch_size: 64,
            gradient_accumulation_steps: 1,
            learning_rate: 2e-4,
            lr_warmup_steps: 500,
            adam_beta1: 0.9,
            adam_beta2: 0.999,
            adam_epsilon: 1e-8,
            adam_weight_decay: 0.0,
            max_grad_norm: 1.0,
            ema_max_decay: 0.9999,
            ema_more_decays: Vec::new(),
            ema_warmup: EmaWarmup::Ratio,
            ema_sigma_rel: Vec::new(),
            ema_snapshot_every: 0,
            ema_snapshot_dtype: WeightType::F16,
            checkpointing_steps: 1000,
            seed: 0,
            objective: ObjectiveName::Simple,
            vlb_weight: 0.001,
            loss: LossName::L2,
            huber_delta: 1.0,
            weighting: None,
            snr_gamma: 5.0,
            p2_gamma: 1.0,
            p2_k: 1.0,
            timestep_sampler: None,
            log_normal_mean: -1.2,
            log_normal_std: 1.2,
            recompute: Recompute::None,
            precision: Precision::F32,
            classifier: None,
            distillation: None,
        }
    }
}

impl TrainingConfig {
    /// The decays of all moving averages, the model's first.
    pub fn ema_decays(&self) -> Vec<f64> {
        [&[self.ema_max_decay], &self.ema_more_decays[..]].concat()
    }

    /// Pictures in a step, in all its micro-batches.
    pub fn pictures_in_a_step(&self) -> usize {
        self.train_batch_size * self.gradient_accumulation_steps
    }

    /// Whether the numbers make sense.
    ///
    /// # Errors
    /// [`Input`](Error::Input) naming the key.
    pub fn validate(&self) -> Result<()> {
        let wrong = |key: &str, found: String, expected: &str| {
            Err(Error::input(format!("training: {key} is {found}, expected {expected}")))
        };
        if i64::try_from(self.seed).is_err() {
            return wrong("seed", self.seed.to_string(), "at most 9223372036854775807, the largest integer of TOML");
        }
        if !(1..=1 << 20).contains(&self.train_batch_size) {
            return wrong("train_batch_size", self.train_batch_size.to_string(), "1 to 1048576");
        }
        let most = (1 << 31) / self.train_batch_size;
        if !(1..=most).contains(&self.gradient_accumulation_steps) {
            let expected = format!("1 to {most} with batches of {}", self.train_batch_size);
            return wrong("gradient_accumulation_steps", self.gradient_accumulation_steps.to_string(), &expected);
        }
        if !(1..=u32::MAX as usize).contains(&self.max_train_steps) {
            return wrong("max_train_steps", self.max_train_steps.to_string(), "1 to 4294967295");
        }
        if self.resolution.is_some_and(|size| !(1..=4096).contains(&size)) {
            return wrong("resolution", format!("{:?}", self.resolution.unwrap_or(0)), "1 to 4096");
        }
        if self.pad_to_multiple.is_some_and(|multiple| !(1..=4096).contains(&multiple)) {
            return wrong("pad_to_multiple", format!("{:?}", self.pad_to_multiple.unwrap_or(0)), "1 to 4096");
        }
        if !(0.0..=1.0).contains(&self.class_dropout) {
            return wrong("class_dropout", self.class_dropout.to_string(), "0 to 1");
        }
        if !(self.learning_rate > 0.0 && self.learning_rate <= 10.0) {
            return wrong("learning_rate", self.learning_rate.to_string(), "more than 0, at most 10");
        }
        for (key, value) in [("adam_beta1", self.adam_beta1), ("adam_beta2", self.adam_beta2)] {
            if !(0.0..1.0).contains(&value) {
                return wrong(key, value.to_string(), "0 or more, less than 1");
            }
        }
        for (index, decay) in self.ema_decays().into_iter().enumerate() {
            let key = if index == 0 { "ema_max_decay" } else { "ema_more_decays" };
            if !(0.0..1.0).contains(&decay) {
                return wrong(key, decay.to_string(), "0 or more, less than 1");
            }
            if self.ema_decays()[..index].contains(&decay) {
                return wrong(key, format!("{decay} twice"), "each decay once");
            }
        }
        for (index, sigma) in self.ema_sigma_rel.iter().enumerate() {
            if !(power_ema::NARROWEST..power_ema::WIDEST).contains(sigma) {
                return wrong("ema_sigma_rel", sigma.to_string(), "0.001 to less than 0.2887");
            }
            if self.ema_sigma_rel[..index].contains(sigma) {
                return wrong("ema_sigma_rel", format!("{sigma} twice"), "each width once");
            }
        }
        if self.ema_snapshot_every > 0 && self.ema_sigma_rel.is_empty() {
            let found = self.ema_snapshot_every.to_string();
            return wrong(
                "ema_snapshot_every",
                found,
                "0 without ema_sigma_rel (--ema-power), whose averages it stores",
            );
        }
        for (key, value) in [("adam_epsilon", self.adam_epsilon), ("max_grad_norm", self.max_grad_norm)] {
            if !value.is_finite() || value <= 0.0 {
                return wrong(key, value.to_string(), "more than 0, and finite");
            }
        }
        if !(0.0..1.0).contains(&self.adam_weight_decay) {
            return wrong("adam_weight_decay", self.adam_weight_decay.to_string(), "0 or more, less than 1");
        }
        self.validate_objective()
    }
}

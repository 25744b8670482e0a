//! What a run may be told about its loss, in the words of the `[training]` table and of the flags.

use super::super::TrainingConfig;
use crate::error::{Error, Result};
use crate::kernels::picture_loss::ElementLoss;
use crate::kernels::weighting::Weighting;
use serde::{Deserialize, Serialize};

/// What is made small: `objective`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum ObjectiveName {
    /// The error of the prediction (Ho et al. 2020, eq. 14)
    #[default]
    Simple,
    /// The variational bound, in bits per dimension (Ho et al. 2020, eq. 5)
    Vlb,
    /// simple for the prediction, and vlb_weight times vlb for learned variances (Nichol & Dhariwal 2021, eq. 16)
    Hybrid,
    /// The score, without the noise that is in the pictures (Song, Garg, Shi & Ermon 2019)
    Sliced,
}

/// What an error of one element costs: `loss`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum LossName {
    /// Its square
    #[default]
    L2,
    /// Its size
    L1,
    /// Half its square up to huber_delta, straight beyond
    Huber,
}

/// How timesteps are weighted: `weighting`. See [`Weighting`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum WeightingName {
    /// All alike, in what the network predicts
    #[default]
    None,
    /// By SNR in x_0, which is all alike in eps
    Snr,
    /// By min(SNR, snr_gamma) in x_0
    #[value(alias = "min_snr")]
    MinSnr,
    /// By 1 / (p2_k + SNR)^p2_gamma in eps
    P2,
    /// As in the variational bound
    Kl,
}

/// How timesteps are drawn: `timestep_sampler`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum TimestepSampler {
    /// Each picture's for itself, all alike
    #[default]
    Uniform,
    /// All alike, the step's pictures at equal distances (Kingma et al. 2021, appendix I.1)
    Stratified,
    /// By the losses that each had, corrected for (Nichol & Dhariwal 2021, section 3.3)
    Importance,
    /// So that the logarithm of noise / signal is normal (Karras et al. 2022, table 1)
    #[value(alias = "log_normal")]
    LogNormal,
}

impl TrainingConfig {
    /// What an error of one element costs.
    pub(super) fn element_loss(&self) -> ElementLoss {
        match self.loss {
            LossName::L2 => ElementLoss::L2,
            LossName::L1 => ElementLoss::L1,
            LossName::Huber => ElementLoss::Huber { delta: self.huber_delta },
        }
    }

    /// How timesteps are weighted.
    pub(super) fn weighting_of_timesteps(&self) -> Weighting {
        match self.weighting {
            WeightingName::None => Weighting::None,
            WeightingName::Snr => Weighting::Snr,
            WeightingName::MinSnr => Weighting::MinSnr { gamma: self.snr_gamma },
            WeightingName::P2 => Weighting::P2 { gamma: self.p2_gamma, k: self.p2_k },
            WeightingName::Kl => Weighting::Kl,
        }
    }

    /// Whether the numbers of the loss make sense.
    pub(in crate::training) fn validate_objective(&self) -> Result<()> {
        let finite = |value: f64| value.abs() < f64::from(f32::MAX);
        let positive = |value: f64| value > 0.0 && finite(value);
        let numbers: [(&str, f64, bool, &str); 7] = [
            ("vlb_weight", self.vlb_weight.into(), positive(self.vlb_weight.into()), "more than 0, and finite"),
            ("huber_delta", self.huber_delta.into(), positive(self.huber_delta.into()), "more than 0, and finite"),
            ("snr_gamma", self.snr_gamma.into(), positive(self.snr_gamma.into()), "more than 0, and finite"),
            ("p2_gamma", self.p2_gamma.into(), (0.0..=100.0).contains(&self.p2_gamma), "0 to 100"),
            ("p2_k", self.p2_k.into(), positive(self.p2_k.into()), "more than 0, and finite"),
            ("log_normal_mean", self.log_normal_mean, finite(self.log_normal_mean), "a finite number"),
            ("log_normal_std", self.log_normal_std, positive(self.log_normal_std), "more than 0, and finite"),
        ];
        match numbers.into_iter().find(|(_, _, allowed, _)| !allowed) {
            Some((key, found, _, expected)) => {
                Err(Error::input(format!("training: {key} is {found}, expected {expected}")))
            }
            None => Ok(()),
        }
    }
}

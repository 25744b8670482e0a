//! The averages of the weights that a run keeps beside the model's own, and what each step weighs in them.

use super::TrainingConfig;
use super::power_ema::gamma_of;
use crate::plan::Storage;
use serde::{Deserialize, Serialize};

/// How the decay of a moving average begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum EmaWarmup {
    /// Nothing of the first weights, then at most (1 + n) / (10 + n), as diffusers' EMAModel.
    #[default]
    Ratio,
    /// The decay itself from the first step on.
    None,
}

impl EmaWarmup {
    /// The decay after `taken` steps of an average whose limit is `most`.
    pub fn decay(self, most: f64, taken: usize) -> f64 {
        match self {
            Self::None => most,
            Self::Ratio if taken == 0 => 0.0,
            Self::Ratio => most.min((1 + taken) as f64 / (10 + taken) as f64),
        }
    }
}

/// What a step's weights weigh in an average.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum AverageKind {
    /// Exponential, of this decay.
    Decay(f64),
    /// The power function of this relative width (Karras et al. 2024, arXiv 2312.02696, eq. 3).
    SigmaRel(f64),
}

impl AverageKind {
    /// The name of its buffer in a run's state.
    pub fn name(self) -> String {
        match self {
            Self::Decay(decay) => format!("ema_decay_{decay}"),
            Self::SigmaRel(sigma) => format!("ema_sigma_rel_{sigma}"),
        }
    }

    /// The weight of the new weights after `taken` steps, exact where one less the decay is not in single precision.
    pub fn rate(self, warmup: EmaWarmup, taken: usize) -> f64 {
        match self {
            Self::Decay(most) => 1.0 - warmup.decay(most, taken),
            // 1 - (1 - 1/t)^(gamma + 1) at t = taken + 1, which is all at the first.
            Self::SigmaRel(sigma) => {
                let logarithm = (-1.0 / (taken + 1) as f64).ln_1p();
                -((gamma_of(sigma) + 1.0) * logarithm).exp_m1()
            }
        }
    }
}

impl TrainingConfig {
    /// The averages beside the model's own.
    pub fn more_averages(&self) -> impl Iterator<Item = AverageKind> {
        let decays = self.ema_more_decays.iter().copied().map(AverageKind::Decay);
        decays.chain(self.ema_sigma_rel.iter().copied().map(AverageKind::SigmaRel))
    }
}

/// The buffers of these averages, and the table of what the step weighs in each.
pub(super) struct Averages {
    pub(super) all: Vec<(AverageKind, String, Storage)>,
    pub(super) rates: Storage,
}

impl Averages {
    /// Buffers of `len` weights each.
    pub(super) fn new(training: &TrainingConfig, len: usize) -> Self {
        let average = |kind: AverageKind| (kind, kind.name(), Storage::f32(kind.name(), len));
        let all: Vec<_> = training.more_averages().map(average).collect();
        Self { rates: Storage::f32("averages' rates", all.len()), all }
    }

    /// The table's contents after `taken` steps.
    pub(super) fn rates(&self, warmup: EmaWarmup, taken: usize) -> Vec<f32> {
        self.all.iter().map(|(kind, ..)| kind.rate(warmup, taken) as f32).collect()
    }

    /// Bytes of the averages.
    pub(super) fn bytes(&self) -> u64 {
        self.all.iter().map(|(.., storage)| storage.bytes()).sum()
    }
}

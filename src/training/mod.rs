//! Training: algorithm 1 of Ho et al. 2020, its configuration, and the run's folder.

mod averages;
mod config;
mod default_unet;
pub mod distillation;
mod history;
mod network;
pub mod noise_scale;
mod objective;
mod order;
pub mod power_ema;
mod run;
mod run_config;
mod snapshots;
mod state;
mod suggestion;
mod trainer;

pub use averages::{AverageKind, EmaWarmup};
pub use config::{Precision, TrainingConfig};
pub use default_unet::default_unet;
pub use distillation::{DistillationMethod, DistillationTable};
pub use history::History;
pub use network::{ClassifierTable, Trained};
pub use objective::{LossName, ObjectiveName, TimestepSampler, WeightingName};
pub use order::Order;
pub use run::{Progress, Run, write_model};
pub use run_config::{RunConfig, Tables};
pub use snapshots::{Reconstruction, reconstruct};
pub use state::{FILE as STATE_FILE, TrainingState, Tuned};
pub use suggestion::Suggestion;
pub use trainer::{MemoryTable, StepRecord, Trainer};

//! Training: algorithm 1 of Ho et al. 2020, its configuration, and the run's folder.

mod config;
mod history;
pub mod noise_scale;
mod objective;
mod order;
mod run;
mod state;
mod suggestion;
mod trainer;

pub use config::{Precision, RunConfig, Tables, TrainingConfig, default_unet};
pub use history::History;
pub use objective::{LossName, ObjectiveName, TimestepSampler, WeightingName};
pub use order::Order;
pub use run::{Progress, Run, write_model};
pub use state::{TrainingState, Tuned};
pub use suggestion::Suggestion;
pub use trainer::{MemoryTable, StepRecord, Trainer};

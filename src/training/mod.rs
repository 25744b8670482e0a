//! Training: algorithm 1 of Ho et al. 2020, its configuration, and the run's folder.

mod config;
mod objective;
mod order;
mod run;
mod state;
mod trainer;

pub use config::{Precision, RunConfig, Tables, TrainingConfig, default_unet};
pub use objective::{LossName, ObjectiveName, TimestepSampler, WeightingName};
pub use order::Order;
pub use run::{Progress, Run, write_model};
pub use state::{TrainingState, Tuned};
pub use trainer::{MemoryTable, StepRecord, Trainer};

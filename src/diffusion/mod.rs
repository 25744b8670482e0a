//! Diffusion itself: the scheduler's configuration, and sampling.

mod sampler;
mod scheduler;

pub use sampler::{Request, Sampler};
pub use scheduler::{BetaScheduleName, PredictionType, SchedulerConfig, VarianceType};

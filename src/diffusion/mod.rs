//! Diffusion itself: noise schedules, the scheduler's configuration, and sampling.

mod chain;
pub mod likelihood;
mod noise_schedule;
mod sampler;
mod samplers;
mod scheduler;
mod sigmas;
mod timesteps;

pub use chain::{Chain, ChainOptions, Stage};
pub use noise_schedule::NoiseSchedule;
pub use sampler::{Request, Sampler, StepNoise};
pub use scheduler::{
    AlgorithmType, BetaSchedule, FinalSigmas, InterpolationType, PredictionType, SchedulerClass, SchedulerConfig,
    SolverType, TimestepSpacing, TimestepType, VarianceType,
};

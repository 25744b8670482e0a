//! Diffusion itself: noise schedules, the scheduler's configuration, and sampling.

mod betas_file;
mod chain;
mod classifier_guidance;
mod guidance;
pub mod likelihood;
mod noise_levels;
mod noise_schedule;
mod noise_shares;
mod process;
mod sampler;
mod samplers;
mod scheduler;
mod sigmas;
mod timesteps;

pub use betas_file::read_betas;
pub use chain::{Chain, ChainOptions, Stage};
pub use classifier_guidance::{Aim, Guide};
pub use guidance::{Guidance, Passes};
pub use noise_levels::NoiseLevels;
pub use noise_schedule::{DeviceTables, NoiseSchedule};
pub use noise_shares::{Given, NoiseShares};
pub use process::{NetworkLevel, Process};
pub use sampler::{Request, Sampler, StepNoise};
pub use scheduler::{
    AlgorithmType, BetaSchedule, FinalSigmas, InterpolationType, PredictionType, SchedulerClass, SchedulerConfig,
    SigmaSchedule, SolverType, TimestepSpacing, TimestepType, VarianceType,
};

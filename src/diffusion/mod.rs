//! Diffusion itself: noise schedules, the scheduler's configuration, and sampling.

mod betas_file;
mod chain;
mod chain_options;
mod classifier_guidance;
mod dormand_prince;
mod flow;
mod flow_paths;
mod guidance;
mod interpolation;
mod known;
pub mod likelihood;
mod look;
mod noise_levels;
mod noise_schedule;
mod noise_shares;
mod point;
mod process;
mod request_part;
mod resampling;
mod sampler;
mod sampler_name;
mod samplers;
mod scheduler;
mod sigmas;
mod timestep_choice;
mod timesteps;

pub use betas_file::read_betas;
pub use chain::{Chain, Stage};
pub use chain_options::{ChainOptions, Churn};
pub use classifier_guidance::{Aim, Guide};
pub use flow_paths::{Direction, FlowPaths, follow_flow};
pub use guidance::{Guidance, Passes};
pub use interpolation::slerp;
pub use known::Known;
pub use look::Look;
pub use noise_levels::NoiseLevels;
pub use noise_schedule::{DeviceTables, NoiseSchedule};
pub use noise_shares::{Given, NoiseShares};
pub use process::{NetworkLevel, Process};
pub use resampling::Resampling;
pub use sampler::{Request, Sampler, SamplerOptions, StepNoise};
pub use sampler_name::SamplerName;
pub use samplers::lcm::boundary;
pub use scheduler::{
    AlgorithmType, BetaSchedule, FinalSigmas, InterpolationType, PredictionType, SchedulerClass, SchedulerConfig,
    SigmaSchedule, SolverType, TimestepSpacing, TimestepType, VarianceType,
};
pub use timestep_choice::Timesteps;

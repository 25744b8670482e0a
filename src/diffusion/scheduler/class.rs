//! The scheduler classes of diffusers that this program has, and which keys each of them looks at.

use super::{BetaSchedule, PredictionType, SchedulerConfig, SolverType, TimestepSpacing};
use serde::{Deserialize, Serialize};

/// A scheduler class of diffusers: how a chain from noise to a picture is stepped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SchedulerClass {
    /// Ancestral sampling (Ho et al. 2020, algorithm 2).
    #[default]
    #[serde(rename = "DDPMScheduler")]
    Ddpm,
    /// Denoising diffusion implicit models (Song et al. 2021, eq. 12); --eta 0 draws no noise
    #[serde(rename = "DDIMScheduler")]
    Ddim,
    /// DPM-Solver++ of order 1 to 3 in several steps (Lu et al. 2022)
    #[serde(rename = "DPMSolverMultistepScheduler")]
    DpmSolverMultistep,
    /// UniPC: a predictor, and a corrector that costs no run of the network (Zhao et al. 2023)
    #[serde(rename = "UniPCMultistepScheduler")]
    UniPcMultistep,
    /// Euler's method on the probability-flow ODE (Karras et al. 2022)
    #[serde(rename = "EulerDiscreteScheduler")]
    EulerDiscrete,
    /// Heun's method (Karras et al. 2022, algorithm 1): the network runs twice in a step
    #[serde(rename = "HeunDiscreteScheduler")]
    HeunDiscrete,
    /// Multistep consistency sampling (Luo et al. 2023)
    #[serde(rename = "LCMScheduler")]
    Lcm,
    /// The SDE that preserves variance, in continuous time (Song et al. 2021), or with `sub_vp`, a key that diffusers lacks,
    /// the one below it
    #[serde(rename = "ScoreSdeVpScheduler")]
    SdeVp,
    /// The SDE whose variance explodes (Song et al. 2021), or with `num_noise_levels`, a key that diffusers lacks, so many
    /// of its levels of noise (Song & Ermon 2019)
    #[serde(rename = "ScoreSdeVeScheduler")]
    SdeVe,
    /// Karras et al. 2022, with its preconditioning
    #[serde(rename = "EDMEulerScheduler")]
    EdmEuler,
}

/// Keys that every class has.
const OF_ALL: [&str; 8] = [
    "num_train_timesteps",
    "beta_start",
    "beta_end",
    "beta_schedule",
    "trained_betas",
    "prediction_type",
    "timestep_spacing",
    "steps_offset",
];
/// Keys of those in continuous time; diffusers' SDEs have no `prediction_type`, and leave it aside.
const CONTINUOUS_KEYS: [&str; 2] = ["num_train_timesteps", "prediction_type"];
const ZERO_SNR: &str = "rescale_betas_zero_snr";
const CLIPPING: [&str; 2] = ["clip_sample", "clip_sample_range"];
const THRESHOLDING: [&str; 3] = ["thresholding", "dynamic_thresholding_ratio", "sample_max_value"];
/// `sigma_min` and `sigma_max` bound the ladders of noise levels of any class that finds them in its configuration.
const SIGMAS: [&str; 5] = ["use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas", "sigma_min", "sigma_max"];

impl SchedulerClass {
    /// All that step between timesteps, each with any network that was trained on timesteps; [`Lcm`](Self::Lcm) is for those
    /// that were distilled to it.
    pub const ALL: [Self; 6] = [
        Self::Ddpm,
        Self::Ddim,
        Self::DpmSolverMultistep,
        Self::UniPcMultistep,
        Self::EulerDiscrete,
        Self::HeunDiscrete,
    ];

    /// Those in continuous time, whose networks are told something else.
    pub const CONTINUOUS: [Self; 3] = [Self::SdeVp, Self::SdeVe, Self::EdmEuler];

    /// Whether it is one of [`CONTINUOUS`](Self::CONTINUOUS).
    pub fn is_continuous(self) -> bool {
        Self::CONTINUOUS.contains(&self)
    }

    /// diffusers' name, `_class_name`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ddpm => "DDPMScheduler",
            Self::Ddim => "DDIMScheduler",
            Self::DpmSolverMultistep => "DPMSolverMultistepScheduler",
            Self::UniPcMultistep => "UniPCMultistepScheduler",
            Self::EulerDiscrete => "EulerDiscreteScheduler",
            Self::HeunDiscrete => "HeunDiscreteScheduler",
            Self::Lcm => "LCMScheduler",
            Self::SdeVp => "ScoreSdeVpScheduler",
            Self::SdeVe => "ScoreSdeVeScheduler",
            Self::EdmEuler => "EDMEulerScheduler",
        }
    }

    /// Whether diffusers' class makes these betas. Ours all do.
    pub(super) fn has_in_diffusers(self, schedule: BetaSchedule) -> bool {
        match schedule {
            BetaSchedule::Linear | BetaSchedule::ScaledLinear | BetaSchedule::SquaredCosine => true,
            BetaSchedule::Sigmoid | BetaSchedule::Laplace => self == Self::Ddpm,
            BetaSchedule::Exponential => self == Self::HeunDiscrete,
            BetaSchedule::Constant | BetaSchedule::Jsd => false,
        }
    }

    /// The keys that it looks at.
    pub(crate) fn keys(self) -> Vec<&'static str> {
        let own: &[&[&str]] = match self {
            Self::Ddpm => &[&["variance_type", ZERO_SNR], &CLIPPING, &THRESHOLDING],
            Self::Ddim => &[&["set_alpha_to_one", "num_inference_steps", ZERO_SNR], &CLIPPING, &THRESHOLDING],
            Self::DpmSolverMultistep => &[
                &["solver_order", "algorithm_type", "solver_type", "lower_order_final", "euler_at_final"],
                &["use_lu_lambdas", "use_flow_sigmas", "use_dynamic_shifting", "final_sigmas_type"],
                &["lambda_min_clipped", "variance_type", ZERO_SNR],
                &SIGMAS,
                &THRESHOLDING,
            ],
            Self::UniPcMultistep => &[
                &["solver_order", "predict_x0", "solver_type", "lower_order_final", "disable_corrector"],
                &["use_flow_sigmas", "use_dynamic_shifting", "final_sigmas_type", ZERO_SNR],
                &SIGMAS,
                &THRESHOLDING,
            ],
            Self::EulerDiscrete => &[&["interpolation_type", "timestep_type", "final_sigmas_type", ZERO_SNR], &SIGMAS],
            Self::HeunDiscrete => &[&CLIPPING, &SIGMAS],
            Self::Lcm => &[
                &["original_inference_steps", "timestep_scaling", "num_inference_steps", "set_alpha_to_one", ZERO_SNR],
                &CLIPPING,
                &THRESHOLDING,
            ],
            Self::SdeVp => &[&CONTINUOUS_KEYS, &["beta_min", "beta_max", "sampling_eps", "sub_vp"]],
            Self::SdeVe => &[
                &CONTINUOUS_KEYS,
                &["snr", "sigma_min", "sigma_max", "sampling_eps", "correct_steps", "num_noise_levels"],
            ],
            Self::EdmEuler => &[
                &CONTINUOUS_KEYS,
                &["sigma_min", "sigma_max", "sigma_data", "sigma_schedule", "rho", "final_sigmas_type"],
            ],
        };
        if self.is_continuous() {
            return own.iter().copied().flatten().copied().collect();
        }
        OF_ALL.iter().chain(own.iter().copied().flatten()).copied().collect()
    }

    /// Its configuration where a file says nothing.
    pub(super) fn defaults(self) -> SchedulerConfig {
        let defaults = SchedulerConfig { class: self, ..SchedulerConfig::default() };
        match self {
            Self::Ddpm | Self::Ddim => defaults,
            Self::DpmSolverMultistep => SchedulerConfig {
                timestep_spacing: TimestepSpacing::Linspace,
                variance_type: None,
                clip_sample: false,
                ..defaults
            },
            Self::UniPcMultistep => SchedulerConfig {
                timestep_spacing: TimestepSpacing::Linspace,
                solver_type: SolverType::Bh2,
                clip_sample: false,
                ..defaults
            },
            Self::EulerDiscrete => {
                SchedulerConfig { timestep_spacing: TimestepSpacing::Linspace, clip_sample: false, ..defaults }
            }
            Self::HeunDiscrete => SchedulerConfig {
                beta_start: 0.00085,
                beta_end: 0.012,
                timestep_spacing: TimestepSpacing::Linspace,
                clip_sample: false,
                ..defaults
            },
            Self::Lcm => SchedulerConfig {
                beta_start: 0.00085,
                beta_end: 0.012,
                beta_schedule: BetaSchedule::ScaledLinear,
                clip_sample: false,
                ..defaults
            },
            Self::SdeVp => SchedulerConfig { num_train_timesteps: 2000, clip_sample: false, ..defaults },
            Self::SdeVe => SchedulerConfig {
                num_train_timesteps: 2000,
                prediction_type: PredictionType::Score,
                sigma_min: Some(0.01),
                sigma_max: Some(1348.0),
                sampling_eps: 1e-5,
                clip_sample: false,
                ..defaults
            },
            Self::EdmEuler => {
                SchedulerConfig { sigma_min: Some(0.002), sigma_max: Some(80.0), clip_sample: false, ..defaults }
            }
        }
    }
}

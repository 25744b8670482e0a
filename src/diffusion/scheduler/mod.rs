//! The configuration of a diffusers scheduler, as in `scheduler_config.json`.

mod class;
mod continuous;
mod names;
mod pipeline;
mod reading;

use crate::error::{Error, Result};
pub use crate::kernels::prediction::PredictionType;
pub use crate::kernels::schedule_tables::BetaSchedule;
pub use class::SchedulerClass;
pub use names::{
    AlgorithmType, FinalSigmas, InterpolationType, SigmaSchedule, SolverType, TimestepSpacing, TimestepType,
    VarianceType,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// What describes the noise and the way back. The keys and their defaults are diffusers'; a class looks at some of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SchedulerConfig {
    /// How a chain is stepped; the default is [`SchedulerClass::Ddpm`].
    #[serde(skip)]
    pub class: SchedulerClass,
    #[serde(skip)]
    given: Given,
    /// T.
    pub num_train_timesteps: usize,
    /// First beta of the schedules that go from one to another.
    #[serde(serialize_with = "crate::decimal::shortest")]
    pub beta_start: f32,
    /// Last beta of these.
    #[serde(serialize_with = "crate::decimal::shortest")]
    pub beta_end: f32,
    /// How the betas grow.
    pub beta_schedule: BetaSchedule,
    /// The betas themselves, instead.
    pub trained_betas: Option<Vec<f64>>,
    /// Moves and stretches the schedule so that the last timestep is pure noise (Lin et al. 2023, algorithm 1).
    pub rescale_betas_zero_snr: bool,
    /// What the network predicts.
    pub prediction_type: PredictionType,
    /// Variance of an ancestral step; small if it is not said.
    pub variance_type: Option<VarianceType>,
    /// Whether the predicted x_0 is clipped.
    pub clip_sample: bool,
    /// To what, on both sides of zero.
    #[serde(serialize_with = "crate::decimal::shortest")]
    pub clip_sample_range: f32,
    /// Whether it is clipped at a quantile of each picture, and divided by that (Saharia et al. 2022, section 2.3);
    /// goes before `clip_sample`.
    pub thresholding: bool,
    /// Which quantile.
    #[serde(serialize_with = "crate::decimal::shortest")]
    pub dynamic_thresholding_ratio: f32,
    /// The quantile is at least 1 and at most this.
    #[serde(serialize_with = "crate::decimal::shortest")]
    pub sample_max_value: f32,
    /// Which timesteps a chain takes.
    pub timestep_spacing: TimestepSpacing,
    /// Added to timesteps with leading spacing.
    pub steps_offset: usize,
    /// Whether DDIM's last step goes to a picture without noise, or to the first timestep's noise.
    pub set_alpha_to_one: bool,
    /// Order of DPM-Solver, 1 to 3, or of UniPC, 1 or 2.
    pub solver_order: usize,
    /// Whether UniPC integrates the prediction of x_0, or that of the noise.
    pub predict_x0: bool,
    /// Steps of UniPC, from 0 on, that are not corrected once they are made.
    #[serde(deserialize_with = "reading::null_is_none_of_them")]
    pub disable_corrector: Vec<usize>,
    /// What DPM-Solver integrates.
    pub algorithm_type: AlgorithmType,
    /// How the second order weighs the slope.
    pub solver_type: SolverType,
    /// Whether chains of fewer than 15 steps end with lower orders.
    pub lower_order_final: bool,
    /// Whether the last step is of the first order.
    pub euler_at_final: bool,
    /// The noise level that a chain ends with.
    pub final_sigmas_type: FinalSigmas,
    /// Timesteps with less log signal-to-noise ratio are not visited.
    #[serde(deserialize_with = "reading::number_or_minus_infinity")]
    pub lambda_min_clipped: f64,
    /// Noise levels of Karras et al. 2022, eq. 5, instead of those of the timesteps.
    #[serde(deserialize_with = "reading::null_is_false")]
    pub use_karras_sigmas: bool,
    /// Noise levels whose logarithms are spaced evenly.
    #[serde(deserialize_with = "reading::null_is_false")]
    pub use_exponential_sigmas: bool,
    /// The same, between other ends.
    #[serde(deserialize_with = "reading::null_is_false")]
    pub use_lu_lambdas: bool,
    /// Not supported.
    #[serde(deserialize_with = "reading::null_is_false")]
    pub use_beta_sigmas: bool,
    /// Not supported.
    #[serde(deserialize_with = "reading::null_is_false")]
    pub use_flow_sigmas: bool,
    /// Not supported.
    #[serde(deserialize_with = "reading::null_is_false")]
    pub use_dynamic_shifting: bool,
    /// The least of such noise levels; that of the chain's own if it is not said.
    pub sigma_min: Option<f64>,
    /// The largest.
    pub sigma_max: Option<f64>,
    /// How the noise level between two timesteps is found.
    pub interpolation_type: InterpolationType,
    /// What the network is told of the noise level.
    pub timestep_type: TimestepType,
    /// beta(0) of a variance that is preserved in continuous time.
    pub beta_min: f64,
    /// beta(1) of it.
    pub beta_max: f64,
    /// The first time that a network in continuous time is trained and sampled at.
    pub sampling_eps: f64,
    /// Whether the variance stays below the preserved one; diffusers does not know this key.
    pub sub_vp: bool,
    /// How many levels of noise a network of VE is trained on, at equal ratios from `sigma_min` to `sigma_max` (Song & Ermon
    /// 2019); 0, as in continuous time, for all of them. diffusers does not know this key.
    pub num_noise_levels: u32,
    /// Signal-to-noise ratio of the Langevin steps of predictor-corrector sampling.
    pub snr: f64,
    /// How many of them are taken at every level.
    pub correct_steps: usize,
    /// Standard deviation of pictures, for EDM's networks.
    pub sigma_data: f64,
    /// How densely low noise is visited (Karras et al. 2022, eq. 5).
    pub rho: f64,
    /// How EDM's chain goes through its noise levels.
    pub sigma_schedule: SigmaSchedule,
    /// Sampling steps of a network that was distilled to draw in so many, if nothing else is asked for; diffusers does not
    /// know this key.
    pub num_inference_steps: Option<usize>,
    /// Steps of the teacher that a consistent network was distilled at.
    pub original_inference_steps: usize,
    /// How much faster than timesteps a consistent network's boundary goes by.
    pub timestep_scaling: f64,
}

/// The keys that a file gave: another class takes these and no more. Two configurations that say the same are the same,
/// whatever of it was written down.
#[derive(Clone, Debug, Default)]
struct Given(BTreeSet<String>);

impl PartialEq for Given {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Default for SchedulerConfig {
    /// That of [`SchedulerClass::Ddpm`].
    fn default() -> Self {
        Self {
            class: SchedulerClass::Ddpm,
            given: Given::default(),
            num_train_timesteps: 1000,
            beta_start: 1e-4,
            beta_end: 0.02,
            beta_schedule: BetaSchedule::Linear,
            trained_betas: None,
            rescale_betas_zero_snr: false,
            prediction_type: PredictionType::Epsilon,
            variance_type: Some(VarianceType::FixedSmall),
            clip_sample: true,
            clip_sample_range: 1.0,
            thresholding: false,
            dynamic_thresholding_ratio: 0.995,
            sample_max_value: 1.0,
            timestep_spacing: TimestepSpacing::Leading,
            steps_offset: 0,
            set_alpha_to_one: true,
            solver_order: 2,
            predict_x0: true,
            disable_corrector: Vec::new(),
            algorithm_type: AlgorithmType::DpmSolverPlusPlus,
            solver_type: SolverType::Midpoint,
            lower_order_final: true,
            euler_at_final: false,
            final_sigmas_type: FinalSigmas::Zero,
            lambda_min_clipped: f64::NEG_INFINITY,
            use_karras_sigmas: false,
            use_exponential_sigmas: false,
            use_lu_lambdas: false,
            use_beta_sigmas: false,
            use_flow_sigmas: false,
            use_dynamic_shifting: false,
            sigma_min: None,
            sigma_max: None,
            interpolation_type: InterpolationType::Linear,
            timestep_type: TimestepType::Discrete,
            beta_min: 0.1,
            beta_max: 20.0,
            sampling_eps: 1e-3,
            sub_vp: false,
            num_noise_levels: 0,
            snr: 0.15,
            correct_steps: 1,
            sigma_data: 0.5,
            rho: 7.0,
            sigma_schedule: SigmaSchedule::Karras,
            num_inference_steps: None,
            original_inference_steps: 50,
            timestep_scaling: 10.0,
        }
    }
}

/// What may be asked of a number.
type Allowed<'a> = (&'a str, f64, &'a dyn Fn(f64) -> bool, &'a str);

impl SchedulerConfig {
    /// Whether the network says the variances of ancestral steps, in a second half of its channels.
    pub fn learns_variances(&self) -> bool {
        matches!(self.variance_type, Some(VarianceType::Learned | VarianceType::LearnedRange))
    }

    /// What no class can run with, naming the key.
    fn validate(&self, source: &str) -> Result<()> {
        let wrong = |message: String| Err(Error::input(format!("{source}: {message}")));
        let timesteps = self.num_train_timesteps;
        if !(1..=1_000_000).contains(&timesteps) {
            return wrong(format!("num_train_timesteps is {timesteps}, expected 1 to 1000000"));
        }
        let beta = |beta: f64| beta > 0.0 && beta < 1.0;
        let positive = |value: f64| value > 0.0 && value < f64::from(f32::MAX);
        let numbers: [Allowed; 7] = [
            ("beta_start", self.beta_start.into(), &beta, "a number between 0 and 1"),
            ("beta_end", self.beta_end.into(), &beta, "a number between 0 and 1"),
            ("clip_sample_range", self.clip_sample_range.into(), &positive, "more than 0"),
            (
                "dynamic_thresholding_ratio",
                self.dynamic_thresholding_ratio.into(),
                &|q| (0.0..=1.0).contains(&q),
                "0 to 1",
            ),
            ("sample_max_value", self.sample_max_value.into(), &positive, "more than 0"),
            ("sigma_min", self.sigma_min.unwrap_or(1.0), &positive, "more than 0"),
            ("sigma_max", self.sigma_max.unwrap_or(1.0), &positive, "more than 0"),
        ];
        for (key, found, allowed, expected) in numbers {
            if !allowed(found) {
                return wrong(format!("{key} is {found}, expected {expected}"));
            }
        }
        if let Some(betas) = &self.trained_betas {
            if betas.len() != timesteps {
                let found = betas.len();
                return wrong(format!("trained_betas has {found} numbers, expected num_train_timesteps, {timesteps}"));
            }
            if let Some(found) = betas.iter().find(|&&beta| !(beta > 0.0 && beta <= 1.0)) {
                return wrong(format!("trained_betas holds {found}, expected numbers between 0 and 1"));
            }
        }
        if self.steps_offset >= timesteps {
            return wrong(format!("steps_offset is {}, expected less than {timesteps}", self.steps_offset));
        }
        let (original, scaling) = (self.original_inference_steps, self.timestep_scaling);
        let lcm = self.class == SchedulerClass::Lcm;
        if lcm && !(1..=timesteps).contains(&original) {
            return wrong(format!(
                "original_inference_steps is {original}, expected 1 to num_train_timesteps, {timesteps}"
            ));
        }
        if lcm && !positive(scaling) {
            return wrong(format!("timestep_scaling is {scaling}, expected more than 0"));
        }
        if let Some(steps) = self.num_inference_steps.filter(|steps| !(1..=timesteps).contains(steps)) {
            return wrong(format!("num_inference_steps is {steps}, expected 1 to num_train_timesteps, {timesteps}"));
        }
        if self.class.is_continuous() {
            return self.validate_continuous(source);
        }
        // At zero terminal signal the last one is 0 to the bit, and only predictions that need no division are sampled.
        let schedule = super::NoiseSchedule::new(self);
        if schedule.alphas_cumprod.iter().any(|&signal| signal != 0.0 && signal < 1e-30) {
            return wrong(format!(
                "alphas_cumprod falls below 1e-30 in {timesteps} steps, expected smaller betas or fewer steps"
            ));
        }
        self.validate_solver(source)
    }

    /// What the class cannot run with.
    fn validate_solver(&self, source: &str) -> Result<()> {
        let keys = self.class.keys();
        let class = self.class.name();
        let wrong = |message: String| Err(Error::input(format!("{source}: {message}")));
        let unsupported = [
            ("use_beta_sigmas", self.use_beta_sigmas),
            ("use_flow_sigmas", self.use_flow_sigmas),
            ("use_dynamic_shifting", self.use_dynamic_shifting),
        ];
        if let Some((key, _)) = unsupported.into_iter().find(|(key, set)| *set && keys.contains(key)) {
            return wrong(format!("{key} is true, this program has only false"));
        }
        if keys.contains(&"use_karras_sigmas") && self.use_karras_sigmas && self.use_exponential_sigmas {
            return wrong("use_karras_sigmas and use_exponential_sigmas are both true, expected at most one".into());
        }
        let continuous = self.timestep_type == TimestepType::Continuous;
        if self.class == SchedulerClass::EulerDiscrete
            && continuous
            && self.prediction_type == PredictionType::VPrediction
        {
            return wrong(
                "timestep_type is \"continuous\", with v_prediction this program has only \"discrete\"".into(),
            );
        }
        if self.class == SchedulerClass::UniPcMultistep && !(1..=2).contains(&self.solver_order) {
            return wrong(format!("solver_order is {}, with {class} this program has 1 and 2", self.solver_order));
        }
        if self.class == SchedulerClass::DpmSolverMultistep {
            if !(1..=3).contains(&self.solver_order) {
                return wrong(format!("solver_order is {}, {class} has 1 to 3", self.solver_order));
            }
            let algorithm = serde_json::to_value(self.algorithm_type).unwrap_or_default();
            if self.solver_order == 3 && self.algorithm_type == AlgorithmType::SdeDpmSolver {
                return wrong(format!("solver_order is 3, with algorithm_type {algorithm} {class} has 1 and 2"));
            }
            let predicts_noise = matches!(self.algorithm_type, AlgorithmType::DpmSolver | AlgorithmType::SdeDpmSolver);
            if predicts_noise && self.final_sigmas_type == FinalSigmas::Zero {
                let expected = "\"sigma_min\"";
                return wrong(format!("final_sigmas_type is \"zero\", algorithm_type {algorithm} needs {expected}"));
            }
        }
        Ok(())
    }
}

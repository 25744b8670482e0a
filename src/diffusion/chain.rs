//! A chain from noise to pictures: what every run of the network is told, and what is made of its output.

use super::chain_options::{ChainOptions, Churn, MOST_CORRECTOR_STEPS};
use super::classifier_guidance;
use super::point::Point;
use super::samplers::{
    ddim, ddim_inversion, ddpm, dpmpp_2m, euler, heun, langevin, lcm, predictor_corrector, reverse_sde, unipc,
};
use super::{
    Guidance, NoiseSchedule, PredictionType, SamplerName, SchedulerClass, SchedulerConfig, TimestepSpacing,
    VarianceType,
};
use crate::error::{Error, Result};
use crate::kernels::dynamic_threshold::DynamicThreshold;
use crate::kernels::sampler_step::{COLUMNS, Clipping, Deviation, SamplerStep, Weights};

/// A run of the network, and what is made of its output; or, on the way back to more noise, no run of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stage {
    /// Whether the network runs.
    pub asks: bool,
    /// The sampling step that it belongs to, from 0 on.
    pub step: usize,
    /// The number of its noise within the chain, from 0 on. Stages of one number get the same noise.
    pub draw: usize,
    /// What the network is told.
    pub timestep: f64,
    /// Signal and noise of x before it: x is signal x_0 + noise eps.
    pub level: [f64; 2],
    /// What becomes of x and the output. The state is kept as the network takes it: of variance 1 if pictures had.
    pub weights: Weights,
}

impl Stage {
    /// A step's stage at a point, with the noise of that step.
    pub(super) fn at(point: &Point, step: usize, weights: Weights) -> Self {
        Self { asks: true, step, draw: step, timestep: point.told, level: point.level(), weights }
    }
}

/// All stages from noise to pictures.
#[derive(Clone, Debug)]
pub struct Chain {
    pub(super) stages: Vec<Stage>,
    /// Standard deviation of x at the beginning.
    pub(super) draws: usize,
    pub(super) initial_deviation: f64,
    pub(super) kernel: SamplerStep,
    pub(super) threshold: Option<DynamicThreshold>,
    pub(super) learned_variances: Option<bool>,
    pub(super) guidance: Guidance,
    pub(super) begins_with_pictures: bool,
}

/// What a sampler makes of a schedule: its stages, and the standard deviation of x at the beginning.
pub(super) struct Stages {
    pub(super) stages: Vec<Stage>,
    pub(super) initial_deviation: f64,
    pub(super) history: usize,
}

impl Stages {
    pub(super) fn new(stages: Vec<Stage>) -> Self {
        Self { stages, initial_deviation: 1.0, history: 0 }
    }
}

/// What a sampler is given.
pub(super) struct Plan<'a> {
    pub(super) config: &'a SchedulerConfig,
    pub(super) schedule: NoiseSchedule,
    pub(super) sampler: SamplerName,
    pub(super) steps: usize,
    /// The timesteps, where they were chosen one by one.
    pub(super) list: Option<Vec<usize>>,
    pub(super) options: ChainOptions,
}

impl Chain {
    /// The chain that a scheduler's configuration describes.
    ///
    /// # Errors
    /// [`Input`](Error::Input) if it has not this many steps, or cannot be taken.
    pub fn new(config: &SchedulerConfig, options: ChainOptions) -> Result<Self> {
        let sampler = options.sampler.unwrap_or_else(|| SamplerName::of(config.class));
        options.check(sampler)?;
        let config = &options.configuration(sampler, config)?;
        let (steps, list) = options.steps_and_list(sampler, config)?;
        let plan = Plan { config, schedule: NoiseSchedule::new(config), sampler, steps, list, options };
        let made = match sampler {
            SamplerName::Ddpm => ddpm::stages(&plan),
            SamplerName::Ddim => ddim::stages(&plan),
            SamplerName::DpmSolver | SamplerName::DpmSolverSde => dpmpp_2m::stages(&plan),
            SamplerName::UniPc => unipc::stages(&plan),
            SamplerName::Euler => euler::stages(&plan),
            SamplerName::Heun => heun::stages(&plan),
            SamplerName::ReverseSde => reverse_sde::euler_maruyama(&plan),
            SamplerName::StochasticHeun => reverse_sde::stochastic_heun(&plan),
            SamplerName::PredictorCorrector => predictor_corrector::stages(&plan),
            SamplerName::Langevin => langevin::stages(&plan),
            SamplerName::Lcm => lcm::stages(&plan),
            SamplerName::Rk45 => {
                Err(Error::input("rk45 has no chain: every picture takes steps of its own, which follow_flow takes"))
            }
        }?;
        let ancestral = sampler == SamplerName::Ddpm;
        let deviation = match config.variance_type {
            Some(VarianceType::Learned) if ancestral => Deviation::Learned,
            Some(VarianceType::LearnedRange) if ancestral => Deviation::LearnedRange,
            _ => Deviation::Fixed,
        };
        // What a class of diffusers has no key for, it does not do.
        let has = |key: &str| config.class.keys().contains(&key);
        let threshold = (config.thresholding && has("thresholding"))
            .then_some(DynamicThreshold { ratio: config.dynamic_thresholding_ratio, most: config.sample_max_value });
        let clipping = match threshold {
            Some(_) => Clipping::Threshold,
            None if config.clip_sample && has("clip_sample") => Clipping::Range(config.clip_sample_range),
            None => Clipping::None,
        };
        let kernel = SamplerStep { clipping, deviation, history: made.history };
        let mut chain = plan.finish(made, kernel, threshold)?;
        chain.learned_variances = ancestral.then_some(deviation != Deviation::Fixed);
        Ok(chain)
    }

    /// DDIM's chain the other way round, without noise: it begins with pictures, as a request's initial noise, and ends with
    /// x_T in the scale of [`initial_deviation`](Self::initial_deviation) of DDIM's chain with the same options. In continuous
    /// time, that is the flow's by Euler's method. The network runs `iterations` times in a step; with more, the way back is
    /// nearer to the way here. x_0 is not clipped.
    ///
    /// # Errors
    /// As of [`new`](Self::new).
    pub fn inversion(config: &SchedulerConfig, options: ChainOptions, iterations: usize) -> Result<Self> {
        if !(1..=MOST_CORRECTOR_STEPS).contains(&iterations) {
            return Err(Error::input(format!("{iterations} iterations, expected 1 to {MOST_CORRECTOR_STEPS}")));
        }
        let continuous = config.class.is_continuous();
        let sampler = if continuous { SamplerName::Euler } else { SamplerName::Ddim };
        let options = ChainOptions { sampler: Some(sampler), ..options };
        options.check(sampler)?;
        if options.eta > 0.0 || options.churn != Churn::default() || options.diffusers_exact {
            return Err(Error::input("an inversion has no eta, no churn and no --diffusers-exact"));
        }
        let config = &options.configuration(sampler, config)?;
        let (steps, list) = options.steps_and_list(sampler, config)?;
        let plan = Plan { config, schedule: NoiseSchedule::new(config), sampler, steps, list, options };
        let made = ddim_inversion::stages(&plan, iterations)?;
        plan.finish(made, SamplerStep { clipping: Clipping::None, deviation: Deviation::Fixed, history: 1 }, None)
    }

    /// The most sampling steps, up to `most`, whose timesteps the schedule has: with leading spacing, `steps_offset` can
    /// put the first of them beyond its last.
    pub fn steps_within(config: &SchedulerConfig, most: usize) -> usize {
        let all = config.most_steps();
        let first = |steps: usize| match config.class {
            // Its steps lie on one timestep if there are as many as timesteps.
            SchedulerClass::DpmSolverMultistep | SchedulerClass::UniPcMultistep if steps >= all => all,
            SchedulerClass::DpmSolverMultistep | SchedulerClass::UniPcMultistep => all / (steps + 1) * steps,
            _ => all / steps * (steps - 1),
        };
        let leading = config.timestep_spacing == TimestepSpacing::Leading;
        let has = |steps: &usize| !leading || first(*steps) + config.steps_offset < all;
        (1..=most.min(all)).rev().find(has).unwrap_or(1)
    }

    /// The runs of the network, in order.
    pub fn stages(&self) -> &[Stage] {
        &self.stages
    }

    /// Sampling steps.
    pub fn steps(&self) -> usize {
        self.stages.last().map_or(0, |stage| stage.step + 1)
    }

    /// How often it draws noise, the same noise for stages of one [`draw`](Stage::draw) counting once.
    pub fn draws(&self) -> usize {
        self.draws
    }

    /// Signal and noise of x after every stage; none within a step of several, where x is not yet what the step makes of it.
    pub fn levels_after(&self) -> Vec<Option<[f64; 2]>> {
        let ends = |stage: &Stage, next: &Stage| {
            let whole = self.kernel.history == 0 || next.step != stage.step || !next.asks;
            // On the way back to more noise what is known goes with the rest.
            (stage.asks && whole).then_some(next.level)
        };
        let inner = self.stages.windows(2).map(|pair| ends(&pair[0], &pair[1]));
        inner.chain([Some(Point::PICTURE.level())]).collect()
    }

    /// What x is multiplied by at the beginning, as standard normal noise: diffusers' `init_noise_sigma`, in the scale
    /// that the network takes.
    pub fn initial_deviation(&self) -> f64 {
        self.initial_deviation
    }

    /// Whether it is the last part of a chain, which begins with pictures and the noise of its first level.
    pub fn begins_with_pictures(&self) -> bool {
        self.begins_with_pictures
    }

    /// What all its stages have in common.
    pub fn kernel(&self) -> SamplerStep {
        self.kernel
    }

    /// Whether the network says the variances of the steps; `None` for samplers that have no use for them.
    pub fn learned_variances(&self) -> Option<bool> {
        self.learned_variances
    }

    /// How the class of a picture counts.
    pub fn guidance(&self) -> Guidance {
        self.guidance
    }

    /// How x_0 is thresholded, where it is.
    pub fn threshold(&self) -> Option<DynamicThreshold> {
        self.threshold
    }

    /// Whether a network of these channels says what the chain needs: a prediction, and the variances where they are
    /// learned. Samplers that have no use for variances leave them aside.
    ///
    /// # Errors
    /// [`Input`](Error::Input) with the channels that were found and expected.
    pub fn check_channels(&self, inputs: usize, outputs: usize) -> Result<()> {
        let found = format!("the network has {inputs} input and {outputs} output channels");
        let twice = outputs == 2 * inputs;
        let expected = match self.learned_variances {
            _ if outputs != inputs && !twice => "as many of each, or twice as many output channels",
            Some(true) if !twice => "twice as many output channels, for variance_type says that variances are learned",
            Some(false) if twice => "a variance_type of \"learned\" or \"learned_range\" with that",
            _ => return Ok(()),
        };
        Err(Error::input(format!("{found}, expected {expected}")))
    }

    /// The table that the kernel reads, a row for each stage.
    pub fn table(&self) -> Vec<f32> {
        let mut table = Vec::with_capacity(self.stages.len() * COLUMNS);
        self.stages.iter().for_each(|stage| table.extend(stage.weights.row().map(|weight| weight as f32)));
        table
    }
}

impl Plan<'_> {
    /// x_0 and eps, each of x and of the network's output, where x = signal x_0 + noise eps.
    pub(super) fn predictions(&self, signal: f64, noise: f64) -> [[f64; 2]; 2] {
        self.config.prediction_type.x0_and_epsilon(signal, noise)
    }

    /// The chain of these stages, guided.
    fn finish(&self, made: Stages, kernel: SamplerStep, threshold: Option<DynamicThreshold>) -> Result<Chain> {
        let Stages { mut stages, initial_deviation, .. } = made;
        let guidance = self.options.guidance;
        guidance.apply(self.config, &mut stages)?;
        let ancestral = self.sampler == SamplerName::Ddpm;
        classifier_guidance::apply(guidance.classifier_scale, self.config, ancestral, &mut stages)?;
        if let Some(stage) = stages.iter().find(|stage| stage.weights.row().iter().any(|w| !(*w as f32).is_finite())) {
            return Err(self.impossible(stage));
        }
        let ChainOptions { use_clipped_model_output: all, diffusers_exact, .. } = self.options;
        if kernel.clipping != Clipping::None && (all || !diffusers_exact) {
            Guidance::agree_with_clipping(&mut stages, all);
        }
        let of_steps_before =
            matches!(self.sampler, SamplerName::DpmSolver | SamplerName::DpmSolverSde | SamplerName::UniPc);
        if self.options.resampling.times > 1 && of_steps_before && kernel.history > 0 {
            let sampler = self.sampler.name();
            return Err(Error::input(format!(
                "{sampler} goes on from the steps before, of which none may be taken again; expected another sampler"
            )));
        }
        let begins_with_pictures = self.options.strength.is_some();
        let stages = self.options.resampling.apply(stages, self.end().level())?;
        let draws = stages.iter().map(|stage| stage.draw + 1).max().unwrap_or(0);
        Ok(Chain {
            stages,
            draws,
            initial_deviation,
            kernel,
            threshold,
            learned_variances: None,
            guidance,
            begins_with_pictures,
        })
    }

    /// Why a stage has no finite weights.
    fn impossible(&self, stage: &Stage) -> Error {
        let (class, timestep) = (self.sampler.name(), stage.timestep);
        let signal = self.schedule.alphas_cumprod.get(timestep as usize).copied().unwrap_or(1.0);
        let prediction = self.config.prediction_type;
        if signal == 0.0 && matches!(prediction, PredictionType::Epsilon | PredictionType::Score) {
            let prediction = serde_json::to_value(prediction).unwrap_or_default();
            return Error::input(format!(
                "{class}: timestep {timestep} is pure noise (a beta of 1, or rescale_betas_zero_snr), of which \
                 prediction_type {prediction} says no x_0; expected steps or a timestep_spacing that leave it out"
            ));
        }
        if signal == 0.0 {
            return Error::input(format!(
                "{class}: timestep {timestep} is pure noise, and so is the one that a step goes to; expected betas of which \
                 the last alone is 1"
            ));
        }
        let steps = self.steps;
        Error::input(format!(
            "{class}: {steps} steps put two on the same noise, at timestep {timestep}; expected fewer steps"
        ))
    }

    /// Refuses what diffusers itself does not get to the end of.
    pub(super) fn no_diffusers(&self, why: String) -> Error {
        Error::input(format!("--diffusers-exact: {}: {why}", self.config.class.name()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn chain(keys: Value, options: ChainOptions) -> Result<Chain> {
        Chain::new(&SchedulerConfig::from_json(&keys, "test").unwrap(), options)
    }

    fn refused(keys: Value, options: ChainOptions, words: &[&str]) {
        let message = chain(keys, options).unwrap_err().to_string();
        assert!(words.iter().all(|word| message.contains(word)) && !message.contains('\n'), "{message}");
    }

    #[test]
    fn a_chain_has_as_many_steps_as_asked_for() {
        for class in SchedulerClass::ALL {
            for timesteps in [2, 10, 50, 999, 1000] {
                for spacing in ["leading", "trailing", "linspace"] {
                    for steps in [None, Some(1), Some(timesteps / 2), Some(timesteps - 1)] {
                        let keys = json!({
                            "_class_name": class.name(), "num_train_timesteps": timesteps, "timestep_spacing": spacing,
                        });
                        let chain = chain(keys, ChainOptions { steps, ..ChainOptions::default() }).unwrap();
                        let expected = match (steps, class) {
                            (Some(steps), _) => steps,
                            (None, SchedulerClass::Ddpm) => timesteps,
                            (None, SchedulerClass::DpmSolverMultistep | SchedulerClass::UniPcMultistep) => {
                                50.min(timesteps - 1)
                            }
                            (None, _) => 50.min(timesteps),
                        };
                        assert_eq!(chain.steps(), expected, "{class:?} {timesteps} {spacing} {steps:?}");
                        let runs = if class == SchedulerClass::HeunDiscrete { 2 * expected - 1 } else { expected };
                        assert_eq!(chain.stages().len(), runs);
                        let last = chain.stages()[runs - 1].weights;
                        assert!(
                            last.x_of[0].abs() < 1e-9 && (last.x_of[1] - 1.0).abs() < 1e-9,
                            "ends at x_0: {last:?}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn chains_of_no_given_length_can_be_taken() {
        for class in SchedulerClass::ALL {
            for (timesteps, offset) in [(1000, 1), (100, 1), (100, 30), (52, 5), (50, 1), (2, 1), (50, 49)] {
                let keys = json!({
                    "_class_name": class.name(), "num_train_timesteps": timesteps, "timestep_spacing": "leading",
                    "steps_offset": offset, "beta_schedule": "scaled_linear", "beta_end": 0.02, "beta_start": 1e-4,
                });
                let config = SchedulerConfig::from_json(&keys, "test").unwrap();
                let first = |steps| {
                    let options = ChainOptions { steps, ..ChainOptions::default() };
                    Chain::new(&config, options).unwrap().stages()[0].timestep
                };
                let sheet = Chain::steps_within(&config, 50);
                // DPM-Solver begins half way down even with a single step.
                let allowed = (timesteps as f64).max(if sheet == 1 { f64::INFINITY } else { 0.0 });
                assert!(first(None) < allowed && first(Some(sheet)) < allowed, "{class:?} {timesteps} {offset}");
            }
        }
        let steps = |timesteps: usize, offset: usize| {
            let keys = json!({ "num_train_timesteps": timesteps, "steps_offset": offset });
            let config = SchedulerConfig::from_json(&keys, "test").unwrap();
            [timesteps, 50].map(|most| Chain::steps_within(&config, most))
        };
        assert_eq!(steps(100, 0), [100, 50]);
        assert_eq!(steps(100, 1), [99, 50]);
        assert_eq!(steps(50, 1), [49, 49]);
        assert_eq!(steps(100, 30), [70, 35]);
    }

    #[test]
    fn without_diffusers_mistake_ddim_goes_to_the_next_timestep() {
        let keys = json!({ "_class_name": "DDIMScheduler", "timestep_spacing": "linspace", "clip_sample": false });
        let schedule = NoiseSchedule::new(&SchedulerConfig::default());
        for (diffusers_exact, next) in [(false, 888), (true, 899)] {
            let options = ChainOptions { steps: Some(10), diffusers_exact, ..ChainOptions::default() };
            let chain = chain(keys.clone(), options).unwrap();
            assert_eq!(chain.stages()[1].timestep, 888.0);
            let expected = schedule.alphas_cumprod[next].sqrt();
            assert!((chain.stages()[0].weights.x_of[1] - expected).abs() < 1e-12);
        }
    }

    #[test]
    fn log_linear_sigmas_end_at_the_least_one() {
        let keys = json!({ "_class_name": "EulerDiscreteScheduler", "interpolation_type": "log_linear" });
        let chain = chain(keys, ChainOptions { steps: Some(7), ..ChainOptions::default() }).unwrap();
        let sigmas: Vec<f64> = chain.stages().iter().map(|stage| stage.level[1] / stage.level[0]).collect();
        let least = sigmas[6] * chain.stages()[6].weights.x_of[0] * chain.stages()[6].level[0];
        let schedule = NoiseSchedule::new(&SchedulerConfig::default());
        let first = (schedule.one_minus_alphas_cumprod[0] / schedule.alphas_cumprod[0]).sqrt();
        assert!((least / first - 1.0).abs() < 1e-9, "{least}, expected {first}");
        assert!((sigmas[5] / sigmas[6] - sigmas[6] / least).abs() < 1e-9, "{sigmas:?}");
    }

    #[test]
    fn chains_that_cannot_be_taken_are_refused() {
        let options = |steps: usize| ChainOptions { steps: Some(steps), ..ChainOptions::default() };
        refused(json!({}), options(1001), &["1001", "1000"]);
        refused(json!({}), options(0), &["0 sampling steps"]);
        refused(json!({}), ChainOptions { eta: 0.5, ..options(5) }, &["eta", "0.5", "ddpm"]);
        refused(json!({ "_class_name": "DDIMScheduler" }), ChainOptions { eta: 1.5, ..options(5) }, &["eta", "1.5"]);
        let offset = json!({ "_class_name": "DDIMScheduler", "steps_offset": 1 });
        refused(offset, options(1000), &["steps_offset 1", "1000", "999"]);
        let zero_snr = |spacing: &str| json!({ "rescale_betas_zero_snr": true, "timestep_spacing": spacing });
        refused(zero_snr("trailing"), options(10), &["timestep 999", "rescale_betas_zero_snr", "epsilon"]);
        assert!(chain(zero_snr("leading"), options(10)).is_ok(), "the last timestep is left out");
        let solver = |keys: Value| {
            let mut all = json!({ "_class_name": "DPMSolverMultistepScheduler" });
            all.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
            all
        };
        refused(solver(json!({})), options(1000), &["1000 steps", "fewer"]);
        refused(solver(json!({ "lambda_min_clipped": 1e9 })), options(10), &["lambda_min_clipped"]);
        // A ladder may end at one level twice: there is nothing to do between them.
        let ladder = json!({ "use_karras_sigmas": true, "final_sigmas_type": "sigma_min", "solver_type": "heun" });
        assert!(chain(solver(ladder), options(20)).is_ok());
        let exact = ChainOptions { diffusers_exact: true, ..options(29) };
        let trailing = json!({ "num_train_timesteps": 50, "timestep_spacing": "trailing" });
        refused(trailing.clone(), exact, &["--diffusers-exact", "29", "30"]);
        assert_eq!(chain(trailing, options(29)).unwrap().steps(), 29);
    }

    #[test]
    fn networks_have_the_channels_that_a_chain_needs() {
        let options = ChainOptions::default();
        let learned = chain(json!({ "variance_type": "learned_range" }), options.clone()).unwrap();
        assert!(learned.check_channels(3, 6).is_ok() && learned.check_channels(3, 3).is_err());
        let fixed = chain(json!({}), options.clone()).unwrap();
        assert!(fixed.check_channels(3, 3).is_ok() && fixed.check_channels(3, 6).is_err());
        let euler = chain(json!({ "_class_name": "EulerDiscreteScheduler" }), options).unwrap();
        assert!(euler.check_channels(3, 3).is_ok() && euler.check_channels(3, 6).is_ok());
        assert!(euler.check_channels(3, 4).is_err());
    }
}

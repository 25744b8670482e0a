//! What is asked of a chain.

use super::sigmas::{Sigmas, karras};
use super::timestep_choice::Timesteps;
use super::{Chain, Guidance, NoiseSchedule, Resampling, SamplerName, SchedulerConfig, TimestepSpacing};
use crate::error::{Error, Result};

/// Steps of the samplers that need few.
const FEW_STEPS: usize = 50;
/// Steps of those that need many, in continuous time, which has no number of its own.
const MANY_STEPS: usize = 200;
/// Steps of consistency models (Luo et al. 2023).
const CONSISTENT_STEPS: usize = 4;
/// Steps of the stochastic Heun's method.
const STABLE_STEPS: usize = 250;
/// Levels of annealed Langevin dynamics where the network knows all (Song & Ermon 2019).
const LANGEVIN_LEVELS: usize = 10;
/// Langevin steps at one level; more are a mistake.
pub(super) const MOST_CORRECTOR_STEPS: usize = 10_000;

/// How a chain is sampled, beside what the scheduler's configuration says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ChainOptions {
    /// The sampler; that of the configuration's class if not given.
    pub sampler: Option<SamplerName>,
    /// Sampling steps; if not given, the configuration's `num_inference_steps`, or else all timesteps for ancestral sampling
    /// and the reverse SDE, 250 for the stochastic Heun's method and at most 50 for the rest, fewer where
    /// [`Chain::steps_within`] says so.
    pub steps: Option<usize>,
    /// Which timesteps; as the configuration has them if not given.
    pub timesteps: Option<Timesteps>,
    /// Noise of DDIM's steps: 0 is none, 1 as much as in ancestral sampling (Song et al. 2021, eq. 16).
    pub eta: f64,
    /// Noise of Euler's and Heun's steps.
    pub churn: Churn,
    /// Langevin steps at every level, for predictor-corrector sampling (the configuration's `correct_steps` if not given)
    /// and annealed Langevin dynamics (100).
    pub corrector_steps: Option<usize>,
    /// Signal-to-noise ratio of predictor-corrector sampling's Langevin steps; the configuration's `snr` if not given.
    pub snr: Option<f64>,
    /// Annealed Langevin dynamics' step size at the least level, eps of Song & Ermon 2019, algorithm 1; 0.2 of that level's
    /// variance if not given, the paper's 2e-5 at 0.01.
    pub langevin_epsilon: Option<f64>,
    /// Goes on with the noise that the clipped x_0 says, as OpenAI's code does; diffusers' argument of `DDIMScheduler.step`.
    /// Guided stages do it whatever is said here.
    pub use_clipped_model_output: bool,
    /// Where diffusers is wrong, be wrong with it.
    pub diffusers_exact: bool,
    /// How the class of a picture counts, for a conditional network.
    pub guidance: Guidance,
    /// The part of the steps, more than 0 and up to 1, that is taken from given pictures, with as much noise as there is
    /// where that part begins (SDEdit, Meng et al. 2022); all, from noise alone, if not given.
    pub strength: Option<f64>,
    /// How often parts of the chain are taken.
    pub resampling: Resampling,
}

/// Noise that is added before a step, which begins at the level that this makes (Karras et al. 2022, algorithm 2).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Churn {
    /// S_churn, of all steps together; 0 is none.
    pub amount: f64,
    /// S_tmin, the least sigma that noise is added at.
    pub least: f64,
    /// S_tmax, the largest.
    pub most: f64,
    /// S_noise, the noise's standard deviation.
    pub deviation: f64,
}

impl Default for Churn {
    fn default() -> Self {
        Self { amount: 0.0, least: 0.0, most: f64::INFINITY, deviation: 1.0 }
    }
}

impl ChainOptions {
    /// What no chain of this sampler can be taken with.
    pub(super) fn check(&self, sampler: SamplerName) -> Result<()> {
        let wrong = |message: String| Err(Error::input(message));
        let name = sampler.name();
        if !(0.0..=1.0).contains(&self.eta) {
            return wrong(format!("eta is {}, expected 0 to 1", self.eta));
        }
        if self.use_clipped_model_output && sampler != SamplerName::Ddim {
            return wrong(format!("use_clipped_model_output is for ddim, the sampler is {name}"));
        }
        if self.eta > 0.0 && sampler != SamplerName::Ddim {
            return wrong(format!("eta is {}, {name} has none, only ddim has", self.eta));
        }
        if let Some(strength) = self.strength.filter(|strength| !(*strength > 0.0 && *strength <= 1.0)) {
            return wrong(format!("strength is {strength}, expected more than 0 and at most 1"));
        }
        self.resampling.check()?;
        let churn = self.churn;
        let allowed =
            churn.amount >= 0.0 && churn.amount.is_finite() && churn.least >= 0.0 && churn.most >= churn.least;
        if !allowed || !(0.0..=10.0).contains(&churn.deviation) {
            let Churn { amount, least, most, deviation } = churn;
            return wrong(format!(
                "s_churn {amount}, s_tmin {least}, s_tmax {most}, s_noise {deviation}, expected a finite s_churn of at \
                 least 0, 0 <= s_tmin <= s_tmax, s_noise from 0 to 10"
            ));
        }
        if churn != Churn::default() && !matches!(sampler, SamplerName::Euler | SamplerName::Heun) {
            return wrong(format!("s_churn and its like are for euler and heun, the sampler is {name}"));
        }
        let langevin = sampler == SamplerName::Langevin;
        if self.corrector_steps.is_some() && !langevin && sampler != SamplerName::PredictorCorrector {
            return wrong(format!("corrector steps are for predictor-corrector and langevin, the sampler is {name}"));
        }
        if self.corrector_steps.is_some_and(|steps| !(1..=MOST_CORRECTOR_STEPS).contains(&steps)) {
            let steps = self.corrector_steps.unwrap_or(0);
            return wrong(format!("{steps} corrector steps, expected 1 to {MOST_CORRECTOR_STEPS}"));
        }
        if let Some(snr) = self.snr {
            if sampler != SamplerName::PredictorCorrector {
                return wrong(format!("snr is for predictor-corrector, the sampler is {name}"));
            }
            // Of more, Langevin's steps overshoot: see predictor_corrector.rs.
            if !(snr > 0.0 && snr < 1.0) {
                return wrong(format!("snr is {snr}, expected more than 0 and less than 1"));
            }
        }
        if self.langevin_epsilon.is_some() && !langevin {
            return wrong(format!("langevin's epsilon is for langevin, the sampler is {name}"));
        }
        Ok(())
    }

    /// The configuration that a sampler draws with.
    pub(super) fn configuration(&self, sampler: SamplerName, config: &SchedulerConfig) -> Result<SchedulerConfig> {
        let mut config = match self.sampler {
            Some(_) => sampler.configuration(config, "sampler")?,
            None => config.clone(),
        };
        let spacing = match self.timesteps {
            Some(Timesteps::Leading) => TimestepSpacing::Leading,
            Some(Timesteps::Trailing) => TimestepSpacing::Trailing,
            Some(Timesteps::Linspace) => TimestepSpacing::Linspace,
            _ => config.timestep_spacing,
        };
        config.timestep_spacing = spacing;
        if let Some(choice) = &self.timesteps {
            // What is asked for goes before a ladder of the configuration's.
            config.use_karras_sigmas = *choice == Timesteps::Karras;
            (config.use_exponential_sigmas, config.use_lu_lambdas) = (false, false);
        }
        Ok(config)
    }

    /// How many steps there are, and, where they are chosen one by one, the timesteps.
    pub(super) fn steps_and_list(
        &self,
        sampler: SamplerName,
        config: &SchedulerConfig,
    ) -> Result<(usize, Option<Vec<usize>>)> {
        let all = config.most_steps();
        let default = match sampler {
            _ if sampler.takes_many() && config.class.is_continuous() => MANY_STEPS.min(all),
            _ if sampler.takes_many() => all,
            SamplerName::Langevin if config.noise_levels() > 0 => all,
            SamplerName::Langevin => LANGEVIN_LEVELS.min(all),
            SamplerName::Lcm => CONSISTENT_STEPS.min(config.original_inference_steps),
            // Their spacing has one timestep more, at the end.
            SamplerName::DpmSolver | SamplerName::DpmSolverSde | SamplerName::UniPc
                if !config.class.is_continuous() =>
            {
                FEW_STEPS.min(all.max(2) - 1)
            }
            // Its steps are stable only where they are short.
            SamplerName::StochasticHeun => STABLE_STEPS.min(all),
            _ => FEW_STEPS.min(all),
        };
        let own = self.timesteps.as_ref().and_then(Timesteps::steps);
        if let (Some(steps), Some(own)) = (self.steps, own)
            && steps != own
        {
            return Err(Error::input(format!("{steps} sampling steps, but the timesteps that were chosen are {own}")));
        }
        // What a network was distilled to is said for the class that draws so.
        let is_own = sampler.class() == Some(config.class) && config.class.keys().contains(&"num_inference_steps");
        let distilled = config.num_inference_steps.filter(|_| is_own);
        let steps = self.steps.or(own).or(distilled).unwrap_or_else(|| Chain::steps_within(config, default));
        if !(1..=all).contains(&steps) {
            return Err(Error::input(format!("{steps} sampling steps, expected 1 to {all}, the model's timesteps")));
        }
        let Some(choice) = self.timesteps.as_ref().filter(|_| !config.class.is_continuous()) else {
            return Ok((steps, None));
        };
        let list = match choice {
            Timesteps::Karras if matches!(sampler, SamplerName::Ddpm | SamplerName::Ddim) => {
                let sigmas = Sigmas::of(&NoiseSchedule::new(config), config.rescale_betas_zero_snr);
                let levels = karras(sigmas.last(), sigmas.first(), steps);
                let mut list: Vec<usize> =
                    levels.iter().map(|&sigma| sigmas.timestep(sigma).round() as usize).collect();
                list.dedup();
                Some(list)
            }
            choice => choice.list(all, steps)?,
        };
        Ok((list.as_ref().map_or(steps, Vec::len), list))
    }
}

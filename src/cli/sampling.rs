//! The flags that say how noise becomes a picture.

use crate::diffusion::likelihood::{Flow, Tolerance};
use crate::diffusion::{Chain, ChainOptions, Churn, Guidance, SamplerName, SchedulerConfig, Timesteps};
use crate::error::{Error, Result};
use serde_json::{Map, Value, json};

/// What is asked of the sampler.
#[derive(clap::Args)]
#[command(next_help_heading = "Sampler")]
pub(super) struct SamplingFlags {
    /// How noise becomes a picture; as the model's own scheduler has it if not given
    #[arg(long, value_enum, value_name = "SAMPLER")]
    sampler: Option<SamplerName>,
    /// Sampling steps; if not given, a distilled model's own number, else all of the model's timesteps for ddpm, reverse-sde
    /// and predictor-corrector (200 in continuous time), 250 for stochastic-heun, 10 for langevin (an ncsn
    /// model's levels), 4 for lcm, and at most 50 for the others
    #[arg(long, value_name = "K")]
    steps: Option<usize>,
    /// Which timesteps: leading, trailing, linspace, quadratic or karras, for as many as --steps says; OpenAI's ddimN, N or
    /// A,B,..; or list:T,T,.. with falling timesteps
    #[arg(long, value_name = "SPEC")]
    timesteps: Option<Timesteps>,
    /// Noise in the steps of ddim, from 0, none, to 1, as much as ddpm has
    #[arg(long, value_name = "ETA", allow_negative_numbers = true)]
    eta: Option<f64>,
    /// Noise that all steps of euler or heun together add before they begin (Karras et al. 2022, algorithm 2)
    #[arg(long, value_name = "S", allow_negative_numbers = true)]
    s_churn: Option<f64>,
    /// The least sigma that --s-churn adds noise at; 0 if not given
    #[arg(long, value_name = "SIGMA", requires = "s_churn", allow_negative_numbers = true)]
    s_tmin: Option<f64>,
    /// The largest sigma that --s-churn adds noise at; no bound if not given
    #[arg(long, value_name = "SIGMA", requires = "s_churn", allow_negative_numbers = true)]
    s_tmax: Option<f64>,
    /// Standard deviation of the noise that --s-churn adds; 1 if not given
    #[arg(long, value_name = "S", requires = "s_churn", allow_negative_numbers = true)]
    s_noise: Option<f64>,
    /// Langevin steps at every level; if not given, the scheduler's correct_steps for predictor-corrector and 100 for
    /// langevin, 5 at the levels of an ncsn model
    #[arg(long, value_name = "N")]
    corrector_steps: Option<usize>,
    /// Signal-to-noise ratio of predictor-corrector's Langevin steps; the scheduler's snr if not given
    #[arg(long, value_name = "R", allow_negative_numbers = true)]
    snr: Option<f64>,
    /// Step size of langevin at the least level; 0.2 of its variance if not given, the paper's 2e-5 at 0.01
    #[arg(long, value_name = "EPS", allow_negative_numbers = true)]
    langevin_epsilon: Option<f64>,
    /// Error of a step of rk45, of 1 and of x; 1e-4 if not given
    #[arg(long, value_name = "TOL", allow_negative_numbers = true)]
    tolerance: Option<f64>,
    /// Has ddim go on with the noise that the clipped x_0 says, as OpenAI's code does, instead of the predicted one
    #[arg(long)]
    use_clipped_model_output: bool,
    /// Where diffusers is wrong, be wrong with it: ddim goes to timestep t - T / steps whatever the spacing
    #[arg(long)]
    diffusers_exact: bool,
}

/// How it goes from noise to pictures, or back.
pub(super) enum Way {
    /// By a chain's stages.
    Chain(Chain),
    /// By the flow, with steps of this tolerance.
    Flow(Flow, Tolerance),
}

impl SamplingFlags {
    /// The way of the folder's scheduler, or of what the asked for sampler makes of it; `base` has what the flags do not say.
    pub(super) fn way(&self, scheduler: &SchedulerConfig, base: ChainOptions) -> Result<Way> {
        if let Some(way) = self.flow(scheduler, &base)? {
            return Ok(way);
        }
        let sampler = self.sampler.unwrap_or_else(|| SamplerName::of(scheduler.class));
        if self.eta.is_some() && sampler != SamplerName::Ddim {
            return Err(Error::input(format!("--eta is for ddim, the sampler is {}", sampler.name())));
        }
        Chain::new(scheduler, self.options(base)).map(Way::Chain)
    }

    /// The way back to noise.
    pub(super) fn way_back(&self, scheduler: &SchedulerConfig, guidance: Guidance, iterations: usize) -> Result<Way> {
        let base = ChainOptions { guidance, ..ChainOptions::default() };
        if let Some(way) = self.flow(scheduler, &base)? {
            return Ok(way);
        }
        let own = if scheduler.process().is_some() { SamplerName::Euler } else { SamplerName::Ddim };
        match self.sampler {
            Some(sampler) if sampler != own => {
                let (sampler, own) = (sampler.name(), own.name());
                Err(Error::input(format!(
                    "--sampler is {sampler}, pictures of this model are inverted by {own} or rk45"
                )))
            }
            _ => Chain::inversion(scheduler, self.options(base), iterations).map(Way::Chain),
        }
    }

    /// The chain that an inversion is the way back of.
    pub(super) fn forth(&self, scheduler: &SchedulerConfig, guidance: Guidance) -> Result<Chain> {
        let own = if scheduler.process().is_some() { SamplerName::Euler } else { SamplerName::Ddim };
        let options = self.options(ChainOptions { guidance, ..ChainOptions::default() });
        Chain::new(scheduler, ChainOptions { sampler: Some(own), ..options })
    }

    /// The way of the asked for sampler, or else of the one that inversion is the way back of; without noise in its steps.
    pub(super) fn way_without_noise(&self, scheduler: &SchedulerConfig, guidance: Guidance) -> Result<Way> {
        let base = ChainOptions { guidance, ..ChainOptions::default() };
        let way = match self.sampler {
            Some(_) => self.way(scheduler, base)?,
            None => Way::Chain(self.forth(scheduler, guidance)?),
        };
        match &way {
            Way::Chain(chain) if chain.stages().iter().any(|stage| stage.weights.noise != 0.0) => Err(Error::input(
                "the steps of this sampler draw noise, each picture's its own; expected one without, such as ddim or euler",
            )),
            _ => Ok(way),
        }
    }

    /// The flow with adaptive steps, if that is asked for.
    fn flow(&self, scheduler: &SchedulerConfig, base: &ChainOptions) -> Result<Option<Way>> {
        if self.sampler != Some(SamplerName::Rk45) {
            return match self.tolerance {
                Some(_) => Err(Error::input("--tolerance is for rk45, expected --sampler rk45 with it")),
                None => Ok(None),
            };
        }
        if self.steps.is_some() || self.timesteps.is_some() || self.eta.is_some() || self.s_churn.is_some() {
            return Err(Error::input("rk45 takes steps of its own, without noise; expected --tolerance alone with it"));
        }
        if *base != ChainOptions::default() {
            return Err(Error::input(
                "rk45 goes from noise alone, unguided; expected another sampler with --init, --resample or guidance",
            ));
        }
        let tolerance = self.tolerance.unwrap_or(TOLERANCE);
        if !(1e-12..1.0).contains(&tolerance) {
            return Err(Error::input(format!("--tolerance is {tolerance}, expected 1e-12 to less than 1")));
        }
        let tolerance = Tolerance { absolute: tolerance, relative: tolerance };
        Ok(Some(Way::Flow(Flow::new(scheduler)?, tolerance)))
    }

    /// What was asked for, for a record of what is drawn; the rest is as the model's scheduler has it.
    pub(super) fn record(&self, scheduler: &SchedulerConfig) -> Map<String, Value> {
        let flags = json!({
            "sampler": self.sampler.unwrap_or_else(|| SamplerName::of(scheduler.class)).name(),
            "steps": self.steps,
            "timesteps": self.timesteps.as_ref().map(|timesteps| format!("{timesteps:?}")),
            "eta": self.eta,
            "s_churn": self.s_churn,
            "s_tmin": self.s_tmin,
            "s_tmax": self.s_tmax,
            "s_noise": self.s_noise,
            "corrector_steps": self.corrector_steps,
            "snr": self.snr,
            "langevin_epsilon": self.langevin_epsilon,
            "tolerance": self.tolerance,
            "use_clipped_model_output": self.use_clipped_model_output,
            "diffusers_exact": self.diffusers_exact,
        });
        if let Value::Object(flags) = flags { flags } else { Map::new() }
    }

    fn options(&self, base: ChainOptions) -> ChainOptions {
        let none = Churn::default();
        ChainOptions {
            sampler: self.sampler,
            steps: self.steps,
            timesteps: self.timesteps.clone(),
            eta: self.eta.unwrap_or(0.0),
            churn: Churn {
                amount: self.s_churn.unwrap_or(none.amount),
                least: self.s_tmin.unwrap_or(none.least),
                most: self.s_tmax.unwrap_or(none.most),
                deviation: self.s_noise.unwrap_or(none.deviation),
            },
            corrector_steps: self.corrector_steps,
            snr: self.snr,
            langevin_epsilon: self.langevin_epsilon,
            use_clipped_model_output: self.use_clipped_model_output,
            diffusers_exact: self.diffusers_exact,
            ..base
        }
    }
}

/// Of rk45's steps.
const TOLERANCE: f64 = 1e-4;

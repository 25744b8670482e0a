//! Ancestral sampling (Ho et al. 2020, algorithm 2), on all timesteps or some of them.

use crate::diffusion::VarianceType;
use crate::diffusion::chain::{Plan, Stage, Stages};
use crate::error::Result;
use crate::kernels::sampler_step::Weights;
use crate::kernels::variational_bound::LEAST_SHARE;

/// The least variance that a logarithm is taken of.
const LEAST_VARIANCE: f64 = 1e-20;

pub(in crate::diffusion) fn stages(plan: &Plan) -> Result<Stages> {
    let variance_type = plan.config.variance_type.unwrap_or(VarianceType::FixedSmall);
    if variance_type == VarianceType::FixedLargeLog && plan.options.diffusers_exact {
        return Err(plan.no_diffusers("variance_type \"fixed_large_log\" takes the root of a logarithm: NaN".into()));
    }
    let timesteps = plan.whole_timesteps()?;
    let stage = |(step, &t): (usize, &usize)| {
        let level = Level::of(plan, t, timesteps.get(step + 1).copied());
        let beta = level.beta();
        let posterior_variance = beta * level.noise_after / level.noise;
        let mut weights = Weights {
            x0_of: plan.predictions(level.signal.sqrt(), level.noise.sqrt())[0],
            // Equation 7, for any two timesteps.
            x_of: [
                level.noise_after * (level.signal / level.signal_after).sqrt() / level.noise,
                beta * level.signal_after.sqrt() / level.noise,
                0.0,
            ],
            ..Weights::default()
        };
        // As in diffusers, a chain that ends before timestep 0 adds noise in its last step too.
        if t > 0 {
            use VarianceType::{FixedLarge, FixedLargeLog, FixedSmall, FixedSmallLog, Learned, LearnedRange};
            weights.noise = match variance_type {
                FixedSmall | FixedSmallLog => posterior_variance.sqrt(),
                FixedLarge | FixedLargeLog => beta.sqrt(),
                Learned | LearnedRange => 1.0,
            };
            weights.log_deviation = match variance_type {
                // The least that it is taken for in the bound that it is trained with, on all timesteps; diffusers
                // takes the root of whatever it is.
                Learned if plan.options.diffusers_exact => [f64::from(f32::MIN), 0.0],
                Learned => {
                    let noise = &plan.schedule.one_minus_alphas_cumprod;
                    [LEAST_SHARE * plan.schedule.betas[t] * noise[t - 1] / noise[t], 0.0]
                }
                // Half of the variance's logarithm, where v goes from -1 to 1 between the two.
                _ => {
                    let (least, most) = (posterior_variance.max(LEAST_VARIANCE).ln(), beta.ln());
                    [0.25 * (most + least), 0.25 * (most - least)]
                }
            };
        }
        Stage { asks: true, step, draw: step, timestep: t as f64, level: level.before(), weights }
    };
    Ok(Stages::new(timesteps.iter().enumerate().map(stage).collect()))
}

/// Signal and noise (alphas_cumprod and 1 - alphas_cumprod) before and after a step.
pub(super) struct Level {
    pub(super) signal: f64,
    pub(super) noise: f64,
    pub(super) signal_after: f64,
    pub(super) noise_after: f64,
}

impl Level {
    /// From timestep t to the next one; without one, to a picture.
    pub(super) fn of(plan: &Plan, t: usize, next: Option<usize>) -> Self {
        let at = |t: usize| (plan.schedule.alphas_cumprod[t], plan.schedule.one_minus_alphas_cumprod[t]);
        let (signal, noise) = at(t);
        let (signal_after, noise_after) = next.map_or((1.0, 0.0), at);
        Self { signal, noise, signal_after, noise_after }
    }

    /// Signal and noise before the step, as factors.
    pub(super) fn before(&self) -> [f64; 2] {
        [self.signal.sqrt(), self.noise.sqrt()]
    }

    /// The beta of this step. Of the two forms of the difference, the one between the smaller numbers.
    pub(super) fn beta(&self) -> f64 {
        let difference = if self.noise < 0.5 { self.noise - self.noise_after } else { self.signal_after - self.signal };
        difference / self.signal_after
    }
}

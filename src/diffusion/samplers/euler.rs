//! Euler's method on the probability-flow ODE, dx / dsigma = (x - x_0) / sigma (Karras et al. 2022).

use crate::diffusion::chain::{Plan, Stage, Stages};
use crate::diffusion::sigmas::{Ladder, signal_and_noise};
use crate::diffusion::{FinalSigmas, InterpolationType, TimestepSpacing};
use crate::error::Result;
use crate::kernels::sampler_step::Weights;

pub(in crate::diffusion) fn stages(plan: &Plan) -> Result<Stages> {
    let config = plan.config;
    let levels = plan.sigmas(config.rescale_betas_zero_snr);
    let timesteps = plan.real_timesteps()?;
    let sigmas: Vec<f64> = match config.interpolation_type {
        InterpolationType::Linear => timesteps.iter().map(|&t| levels.at(t)).collect(),
        InterpolationType::LogLinear => {
            let (most, least) = (levels.last().ln(), levels.first().ln());
            (0..=plan.steps).map(|i| (most + i as f64 / plan.steps as f64 * (least - most)).exp()).collect()
        }
    };
    let (first, last) = (sigmas[0], sigmas[sigmas.len() - 1]);
    let Ladder { mut sigmas, timesteps } =
        plan.ladder(&levels, first, last, false).unwrap_or(Ladder { sigmas, timesteps });
    sigmas.push(match config.final_sigmas_type {
        FinalSigmas::Zero => 0.0,
        FinalSigmas::SigmaMin => levels.first(),
    });
    let stage = |(step, &timestep): (usize, &f64)| {
        let (sigma, next) = (sigmas[step], sigmas[step + 1]);
        let weights = Weights { x0_of: plan.x0_of(sigma), x_of: euler_step(sigma, next), ..Weights::default() };
        Stage { step, timestep, weights }
    };
    let stages = timesteps.iter().enumerate().map(stage).collect();
    Ok(Stages { initial_deviation: plan.initial_deviation(&sigmas), ..Stages::new(stages) })
}

/// x' = x + (sigma' - sigma) (x - x_0) / sigma, of x / sqrt(1 + sigma^2), x_0 and the output.
fn euler_step(sigma: f64, next: f64) -> [f64; 3] {
    let scale = sigma.hypot(1.0) / next.hypot(1.0);
    [scale * next / sigma, (1.0 - next / sigma) / next.hypot(1.0), 0.0]
}

impl Plan<'_> {
    /// The predicted x_0 at a level.
    pub(super) fn x0_of(&self, sigma: f64) -> [f64; 2] {
        let [signal, noise] = signal_and_noise(sigma);
        self.predictions(signal, noise)[0]
    }

    /// Standard deviation of x at the beginning, in the network's scale: diffusers starts from `init_noise_sigma` times
    /// the noise, the largest sigma or, with leading spacing, what a picture of variance 1 has with it.
    pub(super) fn initial_deviation(&self, sigmas: &[f64]) -> f64 {
        let most = sigmas.iter().copied().fold(0.0, f64::max);
        let leading = self.config.timestep_spacing == TimestepSpacing::Leading;
        (if leading { most.hypot(1.0) } else { most }) / sigmas[0].hypot(1.0)
    }
}

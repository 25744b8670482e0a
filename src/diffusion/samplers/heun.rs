//! Heun's method on the probability-flow ODE (Karras et al. 2022, algorithm 1): a step of Euler's method, then the same
//! step with the mean of the slopes at both of its ends.

use crate::diffusion::chain::{Plan, Stage, Stages};
use crate::diffusion::sigmas::Ladder;
use crate::error::Result;
use crate::kernels::sampler_step::Weights;

pub(in crate::diffusion) fn stages(plan: &Plan) -> Result<Stages> {
    let levels = plan.sigmas(false);
    let timesteps = plan.real_timesteps()?;
    let sigmas: Vec<f64> = timesteps.iter().map(|&t| levels.at(t)).collect();
    let (first, last) = (sigmas[0], sigmas[sigmas.len() - 1]);
    let Ladder { mut sigmas, timesteps } =
        plan.ladder(&levels, first, last, false).unwrap_or(Ladder { sigmas, timesteps });
    sigmas.push(0.0);
    let mut stages = Vec::new();
    for (step, &timestep) in timesteps.iter().enumerate() {
        let (sigma, next) = (sigmas[step], sigmas[step + 1]);
        let (scale, next_scale) = (sigma.hypot(1.0), next.hypot(1.0));
        let dt = next - sigma;
        // x + part dt (x - x_0) / sigma, of x / scale and x_0.
        let moved = |part: f64| {
            let slope = part * dt / sigma;
            [scale * (1.0 + slope) / next_scale, -slope / next_scale, 0.0]
        };
        // With the whole slope here, and what half of it makes is kept.
        let weights = Weights { x0_of: plan.x0_of(sigma), x_of: moved(1.0), kept_of: moved(0.5), ..Weights::default() };
        stages.push(Stage { step, timestep, weights });
        // At no noise there is no slope.
        if let Some(&timestep) = timesteps.get(step + 1) {
            let slope = 0.5 * dt / next;
            let x_of = [slope, -slope / next_scale, 0.0];
            let weights = Weights { x0_of: plan.x0_of(next), x_of, x_of_kept: [1.0, 0.0], ..Weights::default() };
            stages.push(Stage { step, timestep, weights });
        }
    }
    Ok(Stages { stages, initial_deviation: plan.initial_deviation(&sigmas), history: 1 })
}

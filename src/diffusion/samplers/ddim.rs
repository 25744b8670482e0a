//! Denoising diffusion implicit models (Song et al. 2021, eq. 12).

use super::ddpm::Level;
use crate::diffusion::chain::{Plan, Stage, Stages};
use crate::error::Result;
use crate::kernels::sampler_step::Weights;

pub(in crate::diffusion) fn stages(plan: &Plan) -> Result<Stages> {
    let timesteps = plan.whole_timesteps()?;
    let stride = plan.config.num_train_timesteps / plan.steps;
    let stage = |(step, &t): (usize, &usize)| {
        let next = if plan.options.diffusers_exact {
            // diffusers goes to t - T / steps, which is the next of the timesteps with leading spacing only.
            t.checked_sub(stride)
        } else {
            timesteps.get(step + 1).copied()
        };
        let mut level = Level::of(plan, t, next);
        if next.is_none() && !plan.config.set_alpha_to_one {
            level.signal_after = plan.schedule.alphas_cumprod[0];
            level.noise_after = plan.schedule.one_minus_alphas_cumprod[0];
        }
        // Equation 16. From the first timestep to itself there is no noise to add.
        let variance = (level.noise_after / level.noise * level.beta()).max(0.0);
        let deviation = plan.options.eta * variance.sqrt();
        let towards_x = (level.noise_after - deviation.powi(2)).max(0.0).sqrt();
        // The noise that the network predicts, not what clipping x_0 would make of it.
        let [x0, [noise_of_x, noise_of_output]] = plan.predictions(level.signal.sqrt(), level.noise.sqrt());
        let x_of = [towards_x * noise_of_x, level.signal_after.sqrt(), towards_x * noise_of_output];
        let weights = Weights { x0_of: x0, x_of, noise: deviation, ..Weights::default() };
        Stage { asks: true, step, draw: step, timestep: t as f64, level: level.before(), weights }
    };
    Ok(Stages::new(timesteps.iter().enumerate().map(stage).collect()))
}

//! A picture's noise: DDIM's steps (Song et al. 2021, eq. 12, eta 0) the other way round.
//!
//! x_t is what DDIM's step takes to the x that is known: x_t / signal = x / signal + (sigma_t - sigma) eps(x_t, t). With one
//! run of the network, x stands for x_t within eps, which is Euler's method (Song et al. 2021, appendix; Dhariwal & Nichol
//! 2021, appendix F). Each further run puts what was found there (Pan et al. 2023, arXiv 2309.04907), until the way back is
//! the way here.

use crate::diffusion::chain::{Plan, Stage, Stages};
use crate::diffusion::point::Point;
use crate::error::Result;
use crate::kernels::sampler_step::Weights;

pub(in crate::diffusion) fn stages(plan: &Plan, iterations: usize) -> Result<Stages> {
    let mut points = match plan.config.process() {
        Some(_) => plan.points()?,
        None => {
            let levels = plan.sigmas(plan.config.rescale_betas_zero_snr);
            let timesteps = plan.whole_timesteps()?.into_iter().map(|t| t as f64);
            timesteps.map(|t| Point::discrete(plan, levels.at(t), t)).collect()
        }
    };
    points.reverse();
    let picture = match (plan.config.set_alpha_to_one, plan.config.process()) {
        (false, None) => Point::discrete(plan, plan.sigmas(false).first(), 0.0),
        _ => Point::PICTURE,
    };
    let mut stages = Vec::new();
    let mut from = &picture;
    for (step, to) in points.iter().enumerate() {
        // x is in the scale of the point that it goes to.
        let way = to.signal * (to.sigma() - from.sigma());
        let moved = to.epsilon_of.map(|of| way * of);
        for iteration in 0..iterations {
            let next = points.get(step + 1).filter(|_| iteration + 1 == iterations).unwrap_or(to);
            let scale = next.signal / to.signal;
            let weights = Weights {
                x0_of: to.x0_of,
                x_of: [scale * (1.0 + moved[0]), 0.0, scale * moved[1]],
                x_of_kept: [if iteration > 0 { -scale } else { 0.0 }, 0.0],
                kept_of: [moved[0], 0.0, moved[1]],
                ..Weights::default()
            };
            let level = [from.signal, from.noise].map(|part| part * to.signal / from.signal);
            stages.push(Stage { level, ..Stage::at(to, step, weights) });
        }
        from = to;
    }
    let initial_deviation = points[0].signal / picture.signal;
    Ok(Stages { stages, initial_deviation, history: 1 })
}

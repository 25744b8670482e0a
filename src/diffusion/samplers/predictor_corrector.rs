//! Predictor-corrector sampling (Song et al. 2021, algorithms 2 to 5): at every level Langevin steps, then a step of the
//! reverse SDE to the next one.
//!
//! The papers' code takes the size of a Langevin step from the mean norms of the batch's noise and scores. Here these are
//! what is expected of them, sqrt(d) and sqrt(d) / noise, so that a picture does not depend on those beside it: eps =
//! 2 alpha (r noise)^2, with r the signal-to-noise ratio and alpha the share of the signal's variance that the step to the
//! next level undoes, 1 for VE and EDM.

use super::reverse_sde::{picture, step};
use crate::diffusion::chain::{Plan, Stage, Stages};
use crate::diffusion::point::Point;
use crate::error::Result;
use crate::kernels::sampler_step::Weights;

pub(in crate::diffusion) fn stages(plan: &Plan) -> Result<Stages> {
    let snr = plan.options.snr.unwrap_or(plan.config.snr);
    let corrections = plan.options.corrector_steps.unwrap_or(plan.config.correct_steps);
    let points = plan.points()?;
    let mut stages: Vec<Stage> = Vec::new();
    for (number, point) in points.iter().enumerate() {
        let next = points.get(number + 1);
        let alpha = next.map_or(1.0, |next| (-2.0 * plan.increment(point, next).growth).exp());
        let predictor = next.map_or_else(|| picture(point), |next| step(plan, point, next));
        for weights in std::iter::repeat_n(langevin_step(point, alpha, snr), corrections).chain([predictor]) {
            stages.push(Stage { draw: stages.len(), ..Stage::at(point, number, weights) });
        }
    }
    // The picture's stage draws nothing.
    if let Some(last) = stages.last_mut() {
        last.draw = last.draw.saturating_sub(1);
    }
    Ok(Stages { initial_deviation: plan.prior_deviation(&points[0]), ..Stages::new(stages) })
}

/// x + eps score + sqrt(2 eps) z, where the score is (signal x_0 - x) / noise^2.
fn langevin_step(at: &Point, alpha: f64, snr: f64) -> Weights {
    let share = 2.0 * alpha * snr * snr;
    let x_of = [1.0 - share, share * at.signal, 0.0];
    Weights { x0_of: at.x0_of, x_of, noise: (2.0 * share).sqrt() * at.noise, ..Weights::default() }
}

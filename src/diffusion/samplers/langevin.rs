//! Annealed Langevin dynamics (Song & Ermon 2019, algorithm 1): at every level the same number of Langevin steps, of a size
//! in proportion to the level's variance, x + alpha / 2 score + sqrt(alpha) z of x_0 + sigma eps. The last run of the network
//! is the prediction of the picture (Jolicoeur-Martineau et al. 2021).

use super::reverse_sde::picture;
use crate::diffusion::chain::{Plan, Stage, Stages};
use crate::error::{Error, Result};
use crate::kernels::sampler_step::Weights;

/// Langevin steps at a level, as in the paper.
const STEPS: usize = 100;
/// At a level of a network that has learnt many of them, one near the other (Song & Ermon 2020, arXiv 2006.09011, table 2).
const STEPS_OF_MANY: usize = 5;
/// alpha / sigma^2, as in the paper: 2e-5 / 0.01^2.
const SHARE: f64 = 0.2;

pub(in crate::diffusion) fn stages(plan: &Plan) -> Result<Stages> {
    let few = if plan.config.noise_levels() > 0 { STEPS_OF_MANY } else { STEPS };
    let steps = plan.options.corrector_steps.unwrap_or(few);
    let points = plan.points()?;
    let last = points[points.len() - 1];
    let variance = last.sigma().powi(2);
    let share = plan.options.langevin_epsilon.map_or(SHARE, |epsilon| epsilon / variance);
    if !(share > 0.0 && share < 4.0) {
        let most = 4.0 * variance;
        return Err(Error::input(format!(
            "langevin's epsilon is {}, expected more than 0 and less than {most:.3e}, 4 times the variance of the least level",
            share * variance
        )));
    }
    let mut stages: Vec<Stage> = Vec::new();
    for (number, point) in points.iter().enumerate() {
        for correction in 0..steps {
            // The next level takes over what this one's last step has made.
            let to = if correction + 1 < steps { point } else { points.get(number + 1).unwrap_or(point) };
            let part = 0.5 * share;
            let weights = Weights {
                x0_of: point.x0_of,
                x_of: [to.signal / point.signal * (1.0 - part), to.signal * part, 0.0],
                noise: to.signal * point.sigma() * share.sqrt(),
                ..Weights::default()
            };
            stages.push(Stage { draw: stages.len(), ..Stage::at(point, number, weights) });
        }
    }
    let draw = stages.len() - 1;
    stages.push(Stage { draw, ..Stage::at(&last, points.len() - 1, picture(&last)) });
    Ok(Stages { initial_deviation: plan.prior_deviation(&points[0]), ..Stages::new(stages) })
}

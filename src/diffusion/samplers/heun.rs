//! Heun's method on the probability-flow ODE (Karras et al. 2022, algorithm 1, and 2 with churn): a step of Euler's method,
//! then the same step with the mean of the slopes at both of its ends.

use crate::diffusion::chain::{Plan, Stage, Stages};
use crate::diffusion::point::Point;
use crate::error::Result;
use crate::kernels::sampler_step::Weights;

pub(in crate::diffusion) fn stages(plan: &Plan) -> Result<Stages> {
    let points = plan.points()?;
    let begins = plan.churned(&points);
    let mut stages = Vec::new();
    for (step, begin) in begins.iter().enumerate() {
        let next = points.get(step + 1).unwrap_or(&Point::PICTURE);
        let dt = next.sigma() - begin.sigma();
        // x + part dt (x - x_0) / sigma of x / signal, in the scale of the next point.
        let moved = |part: f64| {
            let slope = part * dt / begin.sigma();
            [next.signal / begin.signal * (1.0 + slope), -slope * next.signal, 0.0]
        };
        // With the whole slope here, and what half of it makes is kept.
        let weights = Weights { x0_of: begin.x0_of, x_of: moved(1.0), kept_of: moved(0.5), ..Weights::default() };
        stages.push(Stage::at(begin, step, weights));
        // At no noise there is no slope.
        if let Some(after) = begins.get(step + 1) {
            let slope = 0.5 * dt / next.sigma();
            let scale = after.signal / next.signal;
            let weights = Weights {
                x0_of: next.x0_of,
                x_of: [scale * slope, -slope * after.signal, 0.0],
                x_of_kept: [scale, 0.0],
                noise: plan.churn_deviation(next, after),
                ..Weights::default()
            };
            stages.push(Stage { draw: step + 1, ..Stage::at(next, step, weights) });
        }
    }
    Ok(Stages { stages, initial_deviation: plan.flow_deviation(&points, &begins[0]), history: 1 })
}

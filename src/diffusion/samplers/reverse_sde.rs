//! The reverse SDE, dx = (f x - g^2 score) dt + g dw (Song et al. 2021, eq. 6), by the method of Euler & Maruyama, and by a
//! stochastic Heun's method (Roberts 2012, arXiv 1210.0933, with noise that does not depend on x, where both of its forms are
//! one): of strong order 1, and of weak order 2.
//!
//! Time goes by what the process does: by the integral of beta for VP, sub-VP and timesteps, by the variance of the noise for
//! VE and EDM, so that a step adds exactly the noise that the process has between its ends. The last run of the network is
//! the prediction of the picture (Jolicoeur-Martineau et al. 2021, section 3.1).

use crate::diffusion::Process;
use crate::diffusion::chain::{Plan, Stage, Stages};
use crate::diffusion::point::Point;
use crate::error::Result;
use crate::kernels::sampler_step::Weights;

/// What the SDE does to the process's x on the way from one point to the next, less noisy one.
pub(super) struct Increment {
    /// The integral of f over the way, its sign turned: x grows by so much of itself.
    pub(super) growth: f64,
    /// The integral of g^2, taken for g at the way's beginning and at its end.
    diffusion: [f64; 2],
}

impl Plan<'_> {
    /// The way between two points.
    pub(super) fn increment(&self, from: &Point, to: &Point) -> Increment {
        match self.config.process() {
            Some(Process::Ve { .. } | Process::Edm { .. }) => {
                let variance = |point: &Point| (point.noise / point.scale).powi(2);
                Increment { growth: 0.0, diffusion: [variance(from) - variance(to); 2] }
            }
            process => {
                // The integral of beta: the signal's logarithm changes by half of it.
                let beta = 2.0 * (to.signal / from.signal).ln();
                let of_beta = |point: &Point| match process {
                    Some(Process::SubVp { .. }) => 1.0 - point.signal.powi(4),
                    _ => 1.0,
                };
                Increment { growth: 0.5 * beta, diffusion: [beta * of_beta(from), beta * of_beta(to)] }
            }
        }
    }
}

/// The drift's weights of x and of x_0 in the process's scale: growth x - diffusion eps / noise.
fn drift(growth: f64, diffusion: f64, at: &Point) -> [f64; 2] {
    let [signal, noise] = [at.signal / at.scale, at.noise / at.scale];
    let of_epsilon = diffusion / (noise * noise);
    [growth - of_epsilon, of_epsilon * signal]
}

/// A step of Euler & Maruyama's, in the network's scales.
pub(super) fn step(plan: &Plan, from: &Point, to: &Point) -> Weights {
    let Increment { growth, diffusion } = plan.increment(from, to);
    let [of_x, of_x0] = drift(growth, diffusion[0], from);
    let x_of = [to.scale / from.scale * (1.0 + of_x), to.scale * of_x0, 0.0];
    Weights { x0_of: from.x0_of, x_of, noise: to.scale * diffusion[0].sqrt(), ..Weights::default() }
}

/// The last stage: the prediction of the picture.
pub(super) fn picture(at: &Point) -> Weights {
    Weights { x0_of: at.x0_of, x_of: [0.0, 1.0, 0.0], ..Weights::default() }
}

pub(in crate::diffusion) fn euler_maruyama(plan: &Plan) -> Result<Stages> {
    let points = plan.points()?;
    let stage = |(number, from): (usize, &Point)| {
        let weights = points.get(number + 1).map_or_else(|| picture(from), |to| step(plan, from, to));
        Stage::at(from, number, weights)
    };
    let stages = points.iter().enumerate().map(stage).collect();
    Ok(Stages { initial_deviation: plan.prior_deviation(&points[0]), ..Stages::new(stages) })
}

pub(in crate::diffusion) fn stochastic_heun(plan: &Plan) -> Result<Stages> {
    let points = plan.points()?;
    let mut stages = Vec::new();
    for (number, from) in points.iter().enumerate() {
        let Some(to) = points.get(number + 1) else {
            stages.push(Stage::at(from, number, picture(from)));
            break;
        };
        // A step of Euler & Maruyama's, while half of x is kept; then half of what a second one makes of its end, with the
        // same noise.
        let kept_of = [0.5 * to.scale / from.scale, 0.0, 0.0];
        stages.push(Stage::at(from, number, Weights { kept_of, ..step(plan, from, to) }));
        let Increment { growth, diffusion } = plan.increment(from, to);
        let [of_x, of_x0] = drift(growth, diffusion[1], to);
        let weights = Weights {
            x0_of: to.x0_of,
            x_of: [0.5 * (1.0 + of_x), 0.5 * to.scale * of_x0, 0.0],
            x_of_kept: [1.0, 0.0],
            noise: 0.5 * to.scale * diffusion[1].sqrt(),
            ..Weights::default()
        };
        stages.push(Stage::at(to, number, weights));
    }
    Ok(Stages { stages, initial_deviation: plan.prior_deviation(&points[0]), history: 1 })
}

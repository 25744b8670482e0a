//! Euler's method on the probability-flow ODE, dx / dsigma = (x - x_0) / sigma of x_0 + sigma eps (Song et al. 2021, eq. 13;
//! Karras et al. 2022), exact for predictions of x_0 and eps that stay; with churn, a step of algorithm 2 without its second
//! half.

use crate::diffusion::TimestepSpacing;
use crate::diffusion::chain::{Plan, Stage, Stages};
use crate::diffusion::point::Point;
use crate::error::Result;
use crate::kernels::sampler_step::Weights;

pub(in crate::diffusion) fn stages(plan: &Plan) -> Result<Stages> {
    let points = plan.points()?;
    let begins = plan.churned(&points);
    let stage = |(step, begin): (usize, &Point)| {
        let next = points.get(step + 1).copied().unwrap_or(plan.end());
        let after = begins.get(step + 1).copied().unwrap_or(next);
        // x' = x + (sigma' - sigma) (x - x_0) / sigma, of x / signal.
        let part = next.sigma() / begin.sigma();
        let x_of = [after.signal * part / begin.signal, after.signal * (1.0 - part), 0.0];
        let noise = plan.churn_deviation(&next, &after);
        let weights = Weights { x0_of: begin.x0_of, x_of, noise, ..Weights::default() };
        Stage { draw: (step + 1).min(points.len() - 1), ..Stage::at(begin, step, weights) }
    };
    let stages = begins.iter().enumerate().map(stage).collect();
    Ok(Stages { initial_deviation: plan.flow_deviation(&points, &begins[0]), ..Stages::new(stages) })
}

impl Plan<'_> {
    /// Where steps that are to begin at these points begin with churn: at sigma (1 + gamma), gamma being S_churn over the
    /// number of steps, at most sqrt(2) - 1 (Karras et al. 2022, algorithm 2). The noise that takes x there is the last one
    /// of the step before.
    pub(super) fn churned(&self, points: &[Point]) -> Vec<Point> {
        let churn = self.options.churn;
        let gamma = (churn.amount / points.len() as f64).min(std::f64::consts::SQRT_2 - 1.0);
        let churned = |point: &Point| {
            let sigma = point.sigma();
            let adds = gamma > 0.0 && (churn.least..=churn.most).contains(&sigma);
            if adds { self.point_at(sigma * (1.0 + gamma)) } else { *point }
        };
        points.iter().map(churned).collect()
    }

    /// Standard deviation of what churn adds to x on its way from a point to where its step begins.
    pub(super) fn churn_deviation(&self, point: &Point, begin: &Point) -> f64 {
        let added = (begin.sigma().powi(2) - point.sigma().powi(2)).max(0.0);
        if begin.noise == 0.0 { 0.0 } else { self.options.churn.deviation * begin.signal * added.sqrt() }
    }

    /// Standard deviation of x where the first step begins, the first point's with the churn of the first step: that of the
    /// process; with timesteps, diffusers starts from `init_noise_sigma` times the noise, the largest sigma or, with leading
    /// spacing, what a picture of variance 1 has with it.
    pub(super) fn flow_deviation(&self, points: &[Point], begin: &Point) -> f64 {
        let first = &points[0];
        let own = match self.config.process() {
            Some(_) => self.prior_deviation(first),
            None => {
                let most = points.iter().map(Point::sigma).fold(0.0, f64::max);
                let leading = self.config.timestep_spacing == TimestepSpacing::Leading;
                (if leading { most.hypot(1.0) } else { most }) * first.signal
            }
        };
        let added = self.churn_deviation(first, begin);
        if added > 0.0 { (own * begin.signal / first.signal).hypot(added) } else { own }
    }
}

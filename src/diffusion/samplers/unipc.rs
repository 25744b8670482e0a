//! UniPC (Zhao et al. 2023, arXiv 2302.04867), orders 1 and 2: a multistep predictor, and a corrector that uses the next
//! step's run of the network.
//!
//! Both are weighted sums of the same x and predictions, so that the corrected x is what the predictor made, more or less of
//! predictions: x itself need not be kept.

use crate::diffusion::chain::{Plan, Stage, Stages};
use crate::diffusion::point::Point;
use crate::diffusion::sigmas::Ladder;
use crate::diffusion::{FinalSigmas, SolverType};
use crate::error::Result;
use crate::kernels::sampler_step::Weights;

pub(in crate::diffusion) fn stages(plan: &Plan) -> Result<Stages> {
    let mut points = match plan.config.process() {
        Some(_) => plan.points()?,
        None => discrete_points(plan)?,
    };
    let steps = points.len();
    points.push(plan.solver_end(points[steps - 1]));
    let stages = (0..steps).map(|step| Stage::at(&points[step], step, weights(plan, &points, step))).collect();
    let stages = Stages::new(stages);
    Ok(Stages { history: 2, initial_deviation: plan.prior_deviation(&points[0]), ..stages })
}

fn discrete_points(plan: &Plan) -> Result<Vec<Point>> {
    let levels = plan.sigmas(plan.config.rescale_betas_zero_snr);
    let Ladder { sigmas, timesteps } = match plan.ladder(&levels, levels.last(), levels.first(), false) {
        Some(ladder) => {
            let whole = |&t: &f64| if plan.config.use_karras_sigmas { t.round_ties_even() } else { plan.whole(t) };
            Ladder { timesteps: ladder.timesteps.iter().map(whole).collect(), ..ladder }
        }
        None => {
            let timesteps = plan.solver_timesteps(plan.schedule.timesteps())?;
            Ladder { sigmas: timesteps.iter().map(|&t| levels.at(t)).collect(), timesteps }
        }
    };
    plan.begun(sigmas.iter().zip(timesteps).map(|(&sigma, told)| Point::discrete(plan, sigma, told)).collect())
}

impl Plan<'_> {
    /// What UniPC's chain ends with: a picture, or a level as low as the last, in the network's scale.
    fn solver_end(&self, last: Point) -> Point {
        let config = self.config;
        match (config.final_sigmas_type, config.process()) {
            (FinalSigmas::SigmaMin, None) if config.use_karras_sigmas || config.use_exponential_sigmas => last,
            (FinalSigmas::SigmaMin, None) => {
                let sigma = self.sigmas(config.rescale_betas_zero_snr).first();
                Point::discrete(self, sigma, 0.0)
            }
            _ => Point::PICTURE,
        }
    }
}

/// The order of a step's predictor and of its corrector.
fn order(plan: &Plan, step: usize, steps: usize) -> usize {
    let left = if plan.config.lower_order_final { steps - step } else { steps };
    plan.config.solver_order.min(left).min(step + 1)
}

/// A step from one point to the next: the new x of x, of the predictions before it, here and, corrected, after it.
struct Update {
    x: f64,
    /// The predictor's weights of this point's prediction and the last one's.
    predictor: [f64; 2],
    /// The corrector's, and that of the next point's prediction.
    corrector: [f64; 2],
    after: f64,
}

fn update(plan: &Plan, points: &[Point], step: usize) -> Update {
    let config = plan.config;
    let (point, next) = (&points[step], &points[step + 1]);
    let log = |from: &Point, to: &Point| (from.sigma() / to.sigma()).ln();
    // The step in lambda = -log sigma, with the sign that the prediction's exponential integral has.
    let h = log(point, next);
    let hh = if config.predict_x0 { -h } else { h };
    let grown = if config.predict_x0 { next.sigma() / point.sigma() - 1.0 } else { hh.exp_m1() };
    let b_of_h = if config.solver_type == SolverType::Bh1 { hh } else { grown };
    // Of the differences of predictions, of which the exponential integral takes these parts (eq. 10 and 11).
    let phi_1 = grown / hh - 1.0;
    let phi_2 = phi_1 / hh - 0.5;
    let (scale, x) = if config.predict_x0 {
        (-next.signal, next.noise / point.noise)
    } else {
        (-next.noise, next.signal / point.signal)
    };
    let whole = scale * grown;
    let (mut predictor, mut corrector) = ([whole, 0.0], [whole, 0.0]);
    let after = if order(plan, step, points.len() - 1) == 1 {
        0.5 * scale * b_of_h
    } else {
        // The place of the last prediction, where this one's is 0 and the next one's is 1.
        let r = -log(&points[step - 1], point) / h;
        let slope = |weight: f64, of: &mut [f64; 2]| {
            of[0] -= scale * b_of_h * weight / r;
            of[1] += scale * b_of_h * weight / r;
        };
        slope(0.5, &mut predictor);
        // What gives both of the integral's first moments: weights w, v of w + v = b_1 and r w + v = b_2.
        let (first, second) = (phi_1 / b_of_h, 2.0 * phi_2 / b_of_h);
        let of_last = (second - first) / (r - 1.0);
        slope(of_last, &mut corrector);
        scale * b_of_h * (first - of_last)
    };
    // What the corrector says of the next prediction's difference from this one.
    corrector[0] -= after;
    Update { x, predictor, corrector, after }
}

fn weights(plan: &Plan, points: &[Point], step: usize) -> Weights {
    let point = &points[step];
    // The prediction that is integrated, of x, of the clipped x_0 and of the output.
    let m = match (plan.config.predict_x0, plan.config.thresholding) {
        (true, _) => [0.0, 1.0, 0.0],
        (false, true) => [1.0 / point.noise, -point.signal / point.noise, 0.0],
        (false, false) => [point.epsilon_of[0], 0.0, point.epsilon_of[1]],
    };
    // The corrected x: x, and of the predictions here, one before and two before.
    let mut corrections = [0.0; 3];
    if step > 0 && !plan.config.disable_corrector.contains(&(step - 1)) {
        let Update { predictor, corrector, after, .. } = update(plan, points, step - 1);
        corrections = [after, corrector[0] - predictor[0], corrector[1] - predictor[1]];
    }
    let same = (point.sigma() / points[step + 1].sigma() - 1.0).abs() < SAME;
    let (x, [here, before]) = if same {
        (1.0, [0.0; 2])
    } else {
        let Update { x, predictor, .. } = update(plan, points, step);
        (x, predictor)
    };
    let of_m = x * corrections[0] + here;
    Weights {
        x0_of: point.x0_of,
        x_of: [x + of_m * m[0], of_m * m[1], of_m * m[2]],
        x_of_kept: [x * corrections[1] + before, x * corrections[2]],
        kept_of: m,
        ..Weights::default()
    }
}

/// Levels that differ by less, relative, are the same but for rounding.
const SAME: f64 = 1e-9;

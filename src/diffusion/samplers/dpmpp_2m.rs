//! DPM-Solver++ and DPM-Solver in several steps, orders 1 to 3, with or without noise (Lu et al. 2022, arXiv 2211.01095
//! and 2206.00927).

use crate::diffusion::chain::{Plan, Stage, Stages};
use crate::diffusion::point::Point;
use crate::diffusion::sigmas::Ladder;
use crate::diffusion::{AlgorithmType, FinalSigmas, SolverType};
use crate::error::{Error, Result};
use crate::kernels::sampler_step::Weights;

/// Chains of fewer steps end with lower orders.
const SHORT: usize = 15;

pub(in crate::diffusion) fn stages(plan: &Plan) -> Result<Stages> {
    let mut points = match plan.config.process() {
        Some(_) => plan.points()?,
        None => discrete_points(plan)?,
    };
    let steps = points.len();
    points.push(match (plan.config.final_sigmas_type, plan.config.process()) {
        (FinalSigmas::SigmaMin, None) => {
            let levels = plan.sigmas(plan.config.rescale_betas_zero_snr);
            Point::discrete(plan, levels.first(), 0.0)
        }
        _ => Point::PICTURE,
    });
    let stages = (0..steps).map(|step| Stage::at(&points[step], step, weights(plan, &points, step))).collect();
    let stages = Stages::new(stages);
    let history = (plan.config.solver_order - 1).min(2);
    Ok(Stages { history, initial_deviation: plan.prior_deviation(&points[0]), ..stages })
}

fn discrete_points(plan: &Plan) -> Result<Vec<Point>> {
    let levels = plan.sigmas(plan.config.rescale_betas_zero_snr);
    let Ladder { sigmas, timesteps } = match plan.ladder(&levels, levels.last(), levels.first(), true) {
        Some(ladder) => Ladder { timesteps: ladder.timesteps.iter().map(|&t| plan.whole(t)).collect(), ..ladder },
        None => {
            let least = plan.config.lambda_min_clipped;
            let visited = levels.count_from_lambda(least);
            if visited == 0 {
                return Err(Error::input(format!("lambda_min_clipped is {least}, which leaves no timestep")));
            }
            let timesteps = plan.solver_timesteps(visited)?;
            Ladder { sigmas: timesteps.iter().map(|&t| levels.at(t)).collect(), timesteps }
        }
    };
    plan.begun(sigmas.iter().zip(timesteps).map(|(&sigma, told)| Point::discrete(plan, sigma, told)).collect())
}

/// Levels that differ by less, relative, are the same but for rounding.
const SAME: f64 = 1e-9;

/// The order of a step.
fn order(plan: &Plan, step: usize, steps: usize) -> usize {
    let config = plan.config;
    let lower = config.lower_order_final && steps < SHORT;
    let first_at_last = config.euler_at_final || lower || config.final_sigmas_type == FinalSigmas::Zero;
    let most = match steps - step {
        1 if first_at_last => 1,
        2 if lower => 2,
        _ => 3,
    };
    config.solver_order.min(step + 1).min(most)
}

/// The new x as weights of x, of the prediction m and of its first and second differences, and the noise.
struct Update {
    x: f64,
    differences: [f64; 3],
    noise: f64,
}

/// From one level to the next, by the exponential integrator of the prediction.
fn update(plan: &Plan, order: usize, from: &Point, to: &Point) -> Update {
    use AlgorithmType::{DpmSolver, DpmSolverPlusPlus, SdeDpmSolver, SdeDpmSolverPlusPlus};
    let ([signal, noise], [next_signal, next_noise]) = (from.level(), to.level());
    let (sigma, next) = (from.sigma(), to.sigma());
    // h is the step in lambda = log(signal / noise) = -log sigma; shrunk is e^-h, exactly 0 at no noise.
    let (h, shrunk) = ((sigma / next).ln(), next / sigma);
    let heun = order == 3 || plan.config.solver_type == SolverType::Heun;
    match plan.config.algorithm_type {
        DpmSolverPlusPlus => {
            let whole = next_signal * (1.0 - shrunk);
            let first = if heun { next_signal * ((shrunk - 1.0) / h + 1.0) } else { 0.5 * whole };
            let second = -next_signal * ((shrunk - 1.0 + h) / (h * h) - 0.5);
            Update { x: next_noise / noise, differences: [whole, first, second], noise: 0.0 }
        }
        SdeDpmSolverPlusPlus => {
            let twice = shrunk * shrunk;
            let whole = next_signal * (1.0 - twice);
            let first = if heun { next_signal * (1.0 - (1.0 - twice) / (2.0 * h)) } else { 0.5 * whole };
            let second = next_signal * ((1.0 - twice - 2.0 * h) / (4.0 * h * h) - 0.5);
            let noise_added = next_noise * (1.0 - twice).sqrt();
            Update { x: next_noise / noise * shrunk, differences: [whole, first, second], noise: noise_added }
        }
        DpmSolver | SdeDpmSolver => {
            let grown = sigma / next;
            let with_noise = plan.config.algorithm_type == SdeDpmSolver;
            let times = if with_noise { 2.0 } else { 1.0 };
            let whole = -times * next_noise * (grown - 1.0);
            let first = if heun { -times * next_noise * ((grown - 1.0) / h - 1.0) } else { 0.5 * whole };
            let second = -next_noise * ((grown - 1.0 - h) / (h * h) - 0.5);
            let noise_added = if with_noise { next_noise * (grown * grown - 1.0).sqrt() } else { 0.0 };
            Update { x: next_signal / signal, differences: [whole, first, second], noise: noise_added }
        }
    }
}

fn weights(plan: &Plan, points: &[Point], step: usize) -> Weights {
    let (point, next) = (&points[step], &points[step + 1]);
    if (point.sigma() / next.sigma() - 1.0).abs() < SAME {
        // A ladder that ends at the least level, and then at that level once more.
        return Weights { x_of: [1.0, 0.0, 0.0], ..Weights::default() };
    }
    let order = order(plan, step, points.len() - 1);
    let Update { x, differences, noise } = update(plan, order, point, next);
    // Weights of the predictions of this step, the last and the last but one, from those of their differences.
    let h = |from: usize| (points[from].sigma() / points[from + 1].sigma()).ln();
    let mut of_m = [differences[0], 0.0, 0.0];
    let mut add = |weight: f64, combination: [f64; 3]| {
        of_m.iter_mut().zip(combination).for_each(|(of_m, part)| *of_m += weight * part);
    };
    if order > 1 {
        let r0 = h(step - 1) / h(step);
        let slope = [1.0 / r0, -1.0 / r0, 0.0];
        if order == 2 {
            add(differences[1], slope);
        } else {
            let r1 = h(step - 2) / h(step);
            let slope_before = [0.0, 1.0 / r1, -1.0 / r1];
            let bend: [f64; 3] = std::array::from_fn(|i| (slope[i] - slope_before[i]) / (r0 + r1));
            add(differences[1], std::array::from_fn(|i| slope[i] + r0 * bend[i]));
            add(differences[2], bend);
        }
    }
    // The prediction that is integrated, of x, of the clipped x_0 and of the output.
    let Point { signal, noise: deviation, x0_of, epsilon_of, .. } = *point;
    let m = match plan.config.algorithm_type {
        AlgorithmType::DpmSolverPlusPlus | AlgorithmType::SdeDpmSolverPlusPlus => [0.0, 1.0, 0.0],
        _ if plan.config.thresholding => [1.0 / deviation, -signal / deviation, 0.0],
        _ => [epsilon_of[0], 0.0, epsilon_of[1]],
    };
    let x_of = [x + of_m[0] * m[0], of_m[0] * m[1], of_m[0] * m[2]];
    Weights { x0_of, x_of, x_of_kept: [of_m[1], of_m[2]], kept_of: m, noise, ..Weights::default() }
}

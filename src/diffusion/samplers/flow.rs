//! The probability-flow ODE of a process in continuous time (Song et al. 2021, eq. 13; Karras et al. 2022, eq. 1), a step
//! from one time to the next being exact for a prediction that stays: x_0 and eps of the first time, put together as the
//! next has them. In sigma this is Euler's method.

use crate::diffusion::chain::{Plan, Stage, Stages};
use crate::diffusion::process::{NetworkLevel, Process};
use crate::error::Result;
use crate::kernels::sampler_step::Weights;

pub(in crate::diffusion) fn stages(plan: &Plan, process: Process) -> Result<Stages> {
    let last = plan.steps - 1;
    let time = |step: usize| {
        let part = if last == 0 { 0.0 } else { step as f64 / last as f64 };
        match plan.config.noise_levels() {
            0 => 1.0 + part * (process.first() - 1.0),
            // What a network says at a level that it was not trained on is anything: the nearest that it was.
            levels => {
                let last = f64::from(levels - 1);
                ((1.0 - part) * last).round() / last
            }
        }
    };
    let levels: Vec<NetworkLevel> = (0..plan.steps).map(|step| process.network_level(time(step))).collect();
    let stage = |(step, &level): (usize, &NetworkLevel)| {
        // A picture is not scaled for the network any more.
        let picture = NetworkLevel { signal: 1.0, noise: 0.0, data: 1.0, input_scale: 1.0, told: 0.0 };
        let next = levels.get(step + 1).copied().unwrap_or(picture);
        let ratio = next.noise / level.noise;
        // next.signal x_0 / data + next.noise eps, where eps is (y - signal x_0 / data) / noise, with x_0 as it was clipped.
        let of_x0 = next.signal / next.data - ratio * level.signal / level.data;
        let x0_of = process.x0_and_epsilon(plan.config.prediction_type, level)[0];
        let weights = Weights { x0_of, x_of: [ratio, of_x0, 0.0], ..Weights::default() };
        Stage { step, timestep: level.told, weights }
    };
    let initial_deviation = process.prior_deviation() * levels[0].input_scale;
    let stages = levels.iter().enumerate().map(stage).collect();
    Ok(Stages { initial_deviation, ..Stages::new(stages) })
}

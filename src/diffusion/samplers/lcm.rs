//! Multistep consistency sampling (Song et al. 2023, algorithm 1) in the timesteps of latent consistency models (Luo et al.
//! 2023): every run of the network says a picture, to which noise is added for the next.

use crate::diffusion::chain::{Plan, Stage, Stages};
use crate::error::{Error, Result};
use crate::kernels::sampler_step::Weights;

/// diffusers' sigma_data.
const SIGMA_DATA: f64 = 0.5;

/// c_skip and c_out, with which f(x, t) = c_skip x + c_out x_0(x, t) is x itself at timestep 0 (Luo et al. 2023, section 4,
/// with timesteps as diffusers scales them).
pub fn boundary(timestep: f64, scaling: f64) -> [f64; 2] {
    let scaled = timestep * scaling;
    let square = scaled.powi(2) + SIGMA_DATA.powi(2);
    [SIGMA_DATA.powi(2) / square, scaled / square.sqrt()]
}

/// The timesteps: of the `original_inference_steps` that the network was distilled at, as many as are asked for at even
/// distances, from the last one down.
fn timesteps(plan: &Plan) -> Result<Vec<usize>> {
    if let Some(list) = &plan.list {
        return Ok(list.clone());
    }
    let (all, steps) = (plan.config.num_train_timesteps, plan.steps);
    let learnt = plan.config.original_inference_steps;
    if plan.options.timesteps.is_some() {
        return Err(Error::input(
            "lcm takes timesteps that the network was distilled at; expected none, or list:T,T,..",
        ));
    }
    if !(steps..=all).contains(&learnt) {
        return Err(Error::input(format!(
            "lcm: {steps} steps of original_inference_steps {learnt} of {all} timesteps, expected at most as many as those"
        )));
    }
    let stride = all / learnt;
    let index = |step: usize| (step as f64 * (learnt as f64 / steps as f64)).floor() as usize;
    Ok((0..steps).map(|step| (learnt - index(step)) * stride - 1).collect())
}

pub(in crate::diffusion) fn stages(plan: &Plan) -> Result<Stages> {
    let timesteps = plan.begun(timesteps(plan)?)?;
    let schedule = &plan.schedule;
    let stage = |(step, &t): (usize, &usize)| {
        let level = [schedule.alphas_cumprod[t].sqrt(), schedule.one_minus_alphas_cumprod[t].sqrt()];
        let [signal_after, noise_after] = match timesteps.get(step + 1) {
            Some(&next) => [schedule.alphas_cumprod[next].sqrt(), schedule.one_minus_alphas_cumprod[next].sqrt()],
            None => [1.0, 0.0],
        };
        let [skip, out] = boundary(t as f64, plan.config.timestep_scaling);
        let weights = Weights {
            x0_of: plan.predictions(level[0], level[1])[0],
            x_of: [signal_after * skip, signal_after * out, 0.0],
            noise: noise_after,
            ..Weights::default()
        };
        Stage { asks: true, step, draw: step, timestep: t as f64, level, weights }
    };
    Ok(Stages::new(timesteps.iter().enumerate().map(stage).collect()))
}

#[cfg(test)]
mod tests {
    use crate::diffusion::{Chain, ChainOptions, SchedulerConfig, Timesteps};
    use crate::error::Result;
    use serde_json::{Value, json};

    fn timesteps(keys: Value, options: ChainOptions) -> Result<Vec<f64>> {
        let mut all = json!({ "_class_name": "LCMScheduler" });
        all.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
        let chain = Chain::new(&SchedulerConfig::from_json(&all, "test")?, options)?;
        Ok(chain.stages().iter().map(|stage| stage.timestep).collect())
    }

    #[test]
    fn timesteps_are_of_those_that_were_distilled() {
        let steps = |steps| ChainOptions { steps, ..ChainOptions::default() };
        assert_eq!(timesteps(json!({}), steps(None)).unwrap(), [999.0, 759.0, 499.0, 259.0]);
        assert_eq!(timesteps(json!({ "num_inference_steps": 2 }), steps(None)).unwrap(), [999.0, 499.0]);
        assert_eq!(timesteps(json!({ "num_inference_steps": 2 }), steps(Some(1))).unwrap(), [999.0]);
        assert_eq!(timesteps(json!({ "original_inference_steps": 3 }), steps(None)).unwrap(), [998.0, 665.0, 332.0]);
        let list = ChainOptions { timesteps: Some(Timesteps::List(vec![700, 3])), ..ChainOptions::default() };
        assert_eq!(timesteps(json!({}), list).unwrap(), [700.0, 3.0]);
    }

    #[test]
    fn what_it_has_no_timesteps_for_is_refused() {
        let karras = ChainOptions { timesteps: Some(Timesteps::Karras), ..ChainOptions::default() };
        let many = ChainOptions { steps: Some(51), ..ChainOptions::default() };
        for (keys, options, words) in [
            (json!({}), karras, &["lcm", "list:"][..]),
            (json!({}), many, &["51", "original_inference_steps 50"]),
            (json!({ "original_inference_steps": 0 }), ChainOptions::default(), &["original_inference_steps", "0"]),
            (json!({ "num_train_timesteps": 40 }), ChainOptions::default(), &["original_inference_steps", "40"]),
            (json!({ "timestep_scaling": 0.0 }), ChainOptions::default(), &["timestep_scaling", "0"]),
            (json!({ "num_inference_steps": 0 }), ChainOptions::default(), &["num_inference_steps", "0"]),
        ] {
            let message = timesteps(keys, options).unwrap_err().to_string();
            assert!(words.iter().all(|word| message.contains(word)) && !message.contains('\n'), "{message}");
        }
    }
}

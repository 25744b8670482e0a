//! Classifier-free guidance (Ho & Salimans 2022): the network's prediction with a class, and beyond it, away from what it
//! predicts without one.

use super::chain::Stage;
use super::{NoiseLevels, SchedulerConfig};
use crate::error::{Error, Result};
use crate::nn::UNetConfig;

/// How far beyond, and where. It acts on the network's output, whatever that is a prediction of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Guidance {
    /// s in `uncond + s (cond - uncond)`, the w of the paper's equation 6 and 1: at 0 the prediction without a class alone,
    /// at 1 the one with it.
    pub scale: f64,
    /// The part, 0 to 1, of the way back to the standard deviation that a picture's conditional output has (Lin et al. 2023,
    /// phi of eq. 16).
    pub rescale: f64,
    /// The levels of noise / signal that are guided, above the first and up to the second; at others the conditional
    /// prediction is taken (Kynkaanniemi et al. 2024, section 3). All are if there is none.
    pub interval: Option<[f64; 2]>,
    /// What the gradient of a classifier's log p(y | x_t) is multiplied by (Dhariwal & Nichol 2021); 0 takes none.
    pub classifier_scale: f64,
}

impl Default for Guidance {
    fn default() -> Self {
        Self { scale: 1.0, rescale: 0.0, interval: None, classifier_scale: 0.0 }
    }
}

/// The runs of the network that a stage takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passes {
    /// None: the stage only adds noise.
    None,
    /// With the pictures' classes.
    Conditional,
    /// Without a class.
    Unconditional,
    /// Both, as one batch.
    Both,
}

impl Stage {
    /// What its guidance takes.
    pub fn passes(&self) -> Passes {
        match self.weights.guidance {
            _ if !self.asks => Passes::None,
            0.0 => Passes::Unconditional,
            1.0 => Passes::Conditional,
            _ => Passes::Both,
        }
    }
}

impl Guidance {
    /// Writes the weights of a chain's stages.
    pub(super) fn apply(&self, config: &SchedulerConfig, stages: &mut [Stage]) -> Result<()> {
        let wrong = |what: String, expected: &str| Err(Error::input(format!("{what}, expected {expected}")));
        let Self { scale, rescale, interval, .. } = *self;
        if !(0.0..=f64::from(f32::MAX)).contains(&scale) {
            return wrong(format!("guidance is {scale}"), "a number from 0 on");
        }
        if !(0.0..=1.0).contains(&rescale) {
            return wrong(format!("guidance rescale is {rescale}"), "0 to 1");
        }
        if let Some([low, high]) = interval.filter(|[low, high]| !(*low >= 0.0 && low < high)) {
            return wrong(
                format!("guidance interval is {low},{high}"),
                "two levels of noise / signal, the lower first",
            );
        }
        let levels = interval.map(|interval| (NoiseLevels::new(config), interval));
        for stage in stages {
            let inside = levels.as_ref().is_none_or(|(levels, [low, high])| {
                let sigma = levels.sigma(stage.timestep);
                *low < sigma && sigma <= *high
            });
            stage.weights.guidance = if inside { scale } else { 1.0 };
        }
        Ok(())
    }

    /// Where x_0 is clipped, guided stages go on with the output that says the clipped x_0 of the same x, as the code of the
    /// papers does. diffusers' DDIM keeps the output as it is; beyond 1 that is often far from any picture's, and what it
    /// adds at each step turns pictures grey. `all` stages do so, or the guided ones.
    pub(super) fn agree_with_clipping(stages: &mut [Stage], all: bool) {
        let agrees = |stage: &&mut Stage| all || stage.passes() == Passes::Both || stage.weights.of_gradient[0] != 0.0;
        for stage in stages.iter_mut().filter(agrees) {
            let weights = &mut stage.weights;
            let [of_x, of_output] = weights.x0_of;
            if of_output == 0.0 {
                continue;
            }
            for [x, x0, output] in [&mut weights.x_of, &mut weights.kept_of] {
                *x -= *output * of_x / of_output;
                *x0 += *output / of_output;
                *output = 0.0;
            }
        }
    }

    /// Whether a network can be guided like this.
    ///
    /// # Errors
    /// [`Input`](Error::Input) with what to train, if it knows no prediction without a class.
    pub fn check_network(&self, config: &UNetConfig) -> Result<()> {
        if self.scale == 1.0 || config.unconditional_class.is_some() {
            return Ok(());
        }
        let scale = self.scale;
        Err(Error::input(match config.classes() {
            None => format!(
                "guidance is {scale}, but the network has no classes; expected one trained with --classes --class-dropout 0.1"
            ),
            Some(_) => format!(
                "guidance is {scale}, but none of the network's classes stands for no class (unconditional_class); expected \
                 one trained with --class-dropout 0.1, or --unconditional-class to name it"
            ),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diffusion::{Chain, ChainOptions};
    use serde_json::json;

    /// DDIM's new x with and without, where nothing is clipped and where x_0 is.
    #[test]
    fn guided_stages_keep_x_0_and_the_noise_of_one_x() {
        let keys = json!({ "_class_name": "DDIMScheduler", "timestep_spacing": "trailing" });
        let config = SchedulerConfig::from_json(&keys, "test").unwrap();
        let chain = |scale: f64, diffusers_exact: bool| {
            let guidance = Guidance { scale, ..Guidance::default() };
            let options = ChainOptions { steps: Some(7), guidance, diffusers_exact, ..ChainOptions::default() };
            Chain::new(&config, options).unwrap()
        };
        let (guided, plain) = (chain(3.0, false), chain(1.0, false));
        let [exact, plain_exact] = [3.0, 1.0].map(|scale| chain(scale, true));
        let use_clipped_model_output = true;
        let options = ChainOptions { steps: Some(7), use_clipped_model_output, ..ChainOptions::default() };
        let asked = Chain::new(&config, options).unwrap();
        let schedule = crate::diffusion::NoiseSchedule::new(&config);
        for (number, stage) in guided.stages().iter().enumerate() {
            let t = stage.timestep as usize;
            let (signal, noise) = (schedule.alphas_cumprod[t].sqrt(), schedule.one_minus_alphas_cumprod[t].sqrt());
            let of = |[of_x, of_x0, of_output]: [f64; 3], [x, x0, output]: [f64; 3]| {
                of_x * x + of_x0 * x0 + of_output * output
            };
            let (x, epsilon) = (0.7, -0.4);
            let x0 = (x - noise * epsilon) / signal;
            let unclipped = plain.stages()[number].weights.x_of;
            let expected = of(unclipped, [x, x0, epsilon]);
            assert!((of(stage.weights.x_of, [x, x0, epsilon]) - expected).abs() < 1e-9 * x0.abs().max(1.0));
            // As if the network had said what the clipped one follows from.
            let clipped = 0.3;
            let expected = of(unclipped, [x, clipped, (x - signal * clipped) / noise]);
            assert!((of(stage.weights.x_of, [x, clipped, epsilon]) - expected).abs() < 1e-9);
            assert_eq!(asked.stages()[number].weights.x_of, stage.weights.x_of);
            assert_eq!(exact.stages()[number].weights.x_of, plain_exact.stages()[number].weights.x_of);
        }
    }
}

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
    /// prediction is taken (Kynkaanniemi et al. 2024, eq. 5). All are if there is none.
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

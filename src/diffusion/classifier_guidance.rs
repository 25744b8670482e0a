//! Guidance by a gradient in x (Dhariwal & Nichol 2021, section 4): of a classifier's log p(y | x_t), or of how like a
//! picture its features are, which is how guidance by CLIP's features works.

use super::{NoiseLevels, SchedulerConfig, Stage};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::nn::{Classifier, Network, Recompute, Toward};
use crate::plan::{Recorder, Storage, Value};

/// What pictures are drawn towards.
#[derive(Clone, Debug, PartialEq)]
pub enum Aim {
    /// A class of each.
    Classes(Vec<u32>),
    /// The features of one picture, for all of them.
    Features(Vec<f32>),
}

/// A classifier that guides.
#[derive(Clone, Copy, Debug)]
pub struct Guide<'a> {
    /// The network, of the noise that the model knows.
    pub classifier: &'a Classifier,
    /// The flat buffer of its weights.
    pub weights: &'a Storage,
    /// Whether by classes; else by features.
    pub by_classes: bool,
}

/// What the recording of a guide reads.
pub(super) struct Pull {
    aim: Storage,
    ones: Storage,
    classes: usize,
    batch: usize,
}

impl Pull {
    pub(super) fn new(guide: &Guide, batch: usize) -> Self {
        let classifier = guide.classifier;
        let aim = match guide.by_classes {
            true => Storage::u32("classes to draw", batch),
            false => Storage::f32("features to draw", batch * classifier.feature_channels()),
        };
        Self { aim, ones: Storage::f32("ones", batch), classes: classifier.classes(), batch }
    }

    /// The gradient in x `[pictures, height, width, channels]`, of which nothing else asks one.
    pub(super) fn record(&self, r: &mut Recorder, guide: &Guide, [x, t]: [Value; 2]) -> Result<Value> {
        let weights = r.input(&self.ones, &[self.batch]);
        let toward = match guide.by_classes {
            true => Toward::Classes(r.input(&self.aim, &[self.batch])),
            false => Toward::Features(r.input(&self.aim, &[self.batch, self.aim.len() / self.batch])),
        };
        let mut net = Network {
            r,
            parameters: guide.classifier.parameters(),
            weights: guide.weights,
            gradients: None,
            halves: None,
            recompute: Recompute::None,
        };
        guide.classifier.record_gradient(&mut net, [x, t], toward, weights)
    }

    /// Uploads what pictures from `first` on are drawn towards.
    pub(super) fn upload(&self, device: &mut dyn Device, aim: &Aim, first: usize, wanted: usize) -> Result<()> {
        device.upload(&self.ones, 0, &vec![1.0; self.batch])?;
        match aim {
            Aim::Classes(classes) => device.upload_integers(&self.aim, 0, &classes[first..first + wanted]),
            Aim::Features(features) => device.upload(&self.aim, 0, &features.repeat(self.batch)),
        }
    }

    /// Whether so many pictures can be drawn towards this.
    pub(super) fn check(&self, aim: Option<&Aim>, count: usize) -> Result<()> {
        let wrong = |what: String| Err(Error::input(format!("guidance by a classifier: {what}")));
        match aim {
            Some(Aim::Classes(classes)) if classes.len() != count => {
                wrong(format!("{} classes for {count} pictures", classes.len()))
            }
            Some(Aim::Classes(classes)) => match classes.iter().find(|&&class| class as usize >= self.classes) {
                Some(class) => wrong(format!("class {class}, expected 0 to {}", self.classes - 1)),
                None => Ok(()),
            },
            Some(Aim::Features(features)) if features.len() * self.batch != self.aim.len() => {
                wrong(format!("{} features, expected {}", features.len(), self.aim.len() / self.batch))
            }
            Some(Aim::Features(_)) => Ok(()),
            None => wrong("nothing was said to draw".into()),
        }
    }
}

/// Writes what the gradient counts for into the weights of a chain's stages. Ancestral steps move their mean by scale Sigma
/// times it (algorithm 1); all others take eps - scale sqrt(1 - alphas_cumprod) gradient for the network's eps (algorithm 2),
/// whatever the network says of it. Where there is no signal, no class can be told.
pub(super) fn apply(scale: f64, config: &SchedulerConfig, ancestral: bool, stages: &mut [Stage]) -> Result<()> {
    if !(0.0..=f64::from(f32::MAX)).contains(&scale) {
        return Err(Error::input(format!("classifier scale is {scale}, expected a number from 0 on")));
    }
    let levels = NoiseLevels::new(config);
    for stage in stages.iter_mut().filter(|_| scale > 0.0) {
        stage.weights.of_gradient = if ancestral {
            [0.0, scale]
        } else {
            // x = signal x_0 + noise eps and x_0 = a x + b output: eps - s noise g makes x_0 + s noise^2 / signal g.
            let level = levels.at(stage.level[1] / stage.level[0]);
            let of_output = levels.x0_and_epsilon(level)[0][1];
            let shift = scale * level.noise.powi(2) * level.data / (level.signal * of_output);
            [if shift.is_finite() { shift } else { 0.0 }, 0.0]
        };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diffusion::{Chain, ChainOptions, Guidance, NoiseSchedule};
    use serde_json::{Value as Json, json};

    fn chain(keys: Json) -> Chain {
        let config = SchedulerConfig::from_json(&keys, "test").unwrap();
        let guidance = Guidance { classifier_scale: 3.0, ..Guidance::default() };
        Chain::new(&config, ChainOptions { steps: Some(10), guidance, ..ChainOptions::default() }).unwrap()
    }

    #[test]
    fn eps_is_shifted_by_the_noise_whatever_the_network_predicts() {
        let schedule = NoiseSchedule::new(&SchedulerConfig::default());
        for prediction in ["epsilon", "sample", "v_prediction"] {
            let chain = chain(json!({ "_class_name": "DDIMScheduler", "prediction_type": prediction }));
            for stage in chain.stages() {
                let t = stage.timestep as usize;
                let [signal, noise] = [schedule.alphas_cumprod[t], schedule.one_minus_alphas_cumprod[t]].map(f64::sqrt);
                let [shift, of_mean] = stage.weights.of_gradient;
                assert_eq!(of_mean, 0.0);
                // What the shifted output makes of x_0, and of eps = (x - signal x_0) / noise.
                let of_epsilon = -signal * stage.weights.x0_of[1] * shift / noise;
                assert!((of_epsilon + 3.0 * noise).abs() < 1e-9, "{prediction} at {t}: {of_epsilon}");
            }
        }
    }

    /// The shifted eps itself, where x_0 is clipped, would lead away from all pictures: of 100 digits drawn at scale 3 by DDIM,
    /// 22 were of the asked class with it, and 96 are so.
    #[test]
    fn clipped_stages_go_on_with_what_is_left() {
        for (clips, expected) in [(true, true), (false, false)] {
            let chain = chain(json!({ "_class_name": "DDIMScheduler", "clip_sample": clips }));
            let agrees = chain.stages()[..9].iter().all(|stage| stage.weights.x_of[2] == 0.0);
            assert_eq!(agrees, expected);
        }
    }

    #[test]
    fn ancestral_steps_move_their_mean() {
        assert!(chain(json!({})).stages().iter().all(|stage| stage.weights.of_gradient == [0.0, 3.0]));
        let pure = json!({
            "_class_name": "DDIMScheduler", "rescale_betas_zero_snr": true, "prediction_type": "v_prediction",
            "timestep_spacing": "trailing",
        });
        let pure = chain(pure);
        assert_eq!((pure.stages()[0].timestep, pure.stages()[0].weights.of_gradient), (999.0, [0.0; 2]));
        let guidance = Guidance { classifier_scale: -1.0, ..Guidance::default() };
        let options = ChainOptions { guidance, ..ChainOptions::default() };
        let error = Chain::new(&SchedulerConfig::default(), options).unwrap_err().to_string();
        assert_eq!(error, "classifier scale is -1, expected a number from 0 on");
    }
}

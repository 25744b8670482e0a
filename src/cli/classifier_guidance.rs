//! The flags of `sample` that have a classifier guide it.

use super::device::DeviceFlag;
use crate::checkpoint::{ClassifierFolder, ModelFolder};
use crate::data::{Dataset, Fit};
use crate::device::Device;
use crate::diffusion::{Aim, NoiseShares};
use crate::error::{Error, Result};
use crate::fingerprint::Fingerprint;
use crate::metrics::Judge;
use std::path::PathBuf;

/// Guidance by a classifier's gradient.
#[derive(clap::Args)]
#[command(next_help_heading = "Guidance by a classifier")]
pub(super) struct ClassifierFlags {
    /// Guides by the gradient of a classifier's log p(class | x_t), also a model without classes: a folder that
    /// `train-classifier --for` this model wrote
    #[arg(long, value_name = "DIR")]
    classifier: Option<PathBuf>,
    /// What the gradient is multiplied by; 1 if not given
    #[arg(long, value_name = "SCALE", requires = "classifier", allow_negative_numbers = true)]
    classifier_scale: Option<f64>,
    /// Draws towards this picture by the similarity of the classifier's features, instead of classes
    #[arg(long, value_name = "IMAGE", requires = "classifier", conflicts_with = "class")]
    like: Option<PathBuf>,
}

impl ClassifierFlags {
    /// What the gradient counts.
    pub(super) fn scale(&self) -> f64 {
        self.classifier.as_ref().map_or(0.0, |_| self.classifier_scale.unwrap_or(1.0))
    }

    /// The classifier, if it can guide this model to pictures of `[height, width]`.
    pub(super) fn read(&self, model: &ModelFolder, [height, width]: [usize; 2]) -> Result<Option<ClassifierFolder>> {
        let Some(path) = &self.classifier else { return Ok(None) };
        let folder = ClassifierFolder::read(path)?;
        let wrong = |why: String| Err(Error::input(format!("--classifier {}: {why}", path.display())));
        let Some(noise) = &folder.scheduler else {
            return wrong("it has learnt clean pictures alone, expected one trained without --noiseless".into());
        };
        if !NoiseShares::new(noise).is_same(&NoiseShares::new(&model.scheduler)) {
            return wrong("it knows another noise than the model; expected one trained with --for the model".into());
        }
        match folder.classifier.check(height, width, model.unet.config().in_channels) {
            Err(error) => wrong(error.to_string()),
            Ok(()) => Ok(Some(folder)),
        }
    }

    /// The fingerprint of what pictures are drawn towards, which is the same on all devices.
    pub(super) fn fingerprint(&self, aim: &Aim) -> Result<String> {
        let fingerprint = match (aim, &self.like) {
            (_, Some(path)) => Fingerprint::default().file(path)?,
            (Aim::Classes(classes), None) => Fingerprint::default().integers(classes),
            (Aim::Features(features), None) => Fingerprint::default().floats(features),
        };
        Ok(fingerprint.text())
    }

    /// What so many pictures are drawn towards: the picture's features, or classes, all in turn if none are given.
    pub(super) fn aim(
        &self,
        folder: &ClassifierFolder,
        classes: &[u32],
        count: usize,
        device: &mut dyn Device,
        flag: &DeviceFlag,
    ) -> Result<Aim> {
        let Some(path) = &self.like else {
            let all = folder.class_names.len();
            let classes = match classes {
                [] => (0..count).map(|picture| (picture % all) as u32).collect(),
                [class] => vec![*class; count],
                classes => classes.to_vec(),
            };
            // Before the first batch is drawn, which might not hold it.
            if let Some(class) = classes.iter().find(|&&class| class as usize >= all) {
                return Err(Error::input(format!("--class: class {class}, expected 0 to {}", all - 1)));
            }
            if classes.len() != count {
                return Err(Error::input(format!("--class: {} classes for {count} pictures", classes.len())));
            }
            return Ok(Aim::Classes(classes));
        };
        let [height, width] = folder.classifier.size();
        let shape = [height, width, folder.classifier.config().in_channels];
        let picture = Dataset::open_picture(path, shape, Fit::Crop)?;
        let mut judge = Judge::new(folder, 1)?;
        flag.tune(device, |device, watch| judge.tune(device, watch))?;
        judge.load(device, &folder.weights)?;
        Ok(Aim::Features(judge.clean(device, &picture, |_| {})?.features))
    }
}

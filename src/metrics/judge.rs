//! What a classifier says of pictures: their classes, and features to compare sets of them by.

use crate::checkpoint::ClassifierFolder;
use crate::data::Dataset;
use crate::device::{Choices, Device, PlanId};
use crate::diffusion::{Given, NoiseShares};
use crate::error::{Error, Result};
use crate::kernels::random::{Purpose, normal, picture_key};
use crate::nn::ClassifierForward;
use crate::plan::Step;

/// Parts of the noise that accuracies are told of.
pub const PARTS: usize = 4;
/// The golden ratio's fraction: its multiples are spread evenly over [0, 1), however many there are.
const GOLDEN: f64 = 0.618_033_988_749_894_9;

/// A classifier that is ready to judge.
pub struct Judge {
    forward: ClassifierForward,
    classes: usize,
    shape: [usize; 3],
    noise: Option<NoiseShares>,
    loaded: Option<PlanId>,
}

/// What was said of a set of pictures.
#[derive(Clone, Debug, Default)]
pub struct Judged {
    /// The likeliest class of each.
    pub classes: Vec<u32>,
    /// Features of each, one after the other.
    pub features: Vec<f32>,
}

impl Judged {
    /// How many are of the class that they should be of.
    pub fn hits(&self, labels: &[u32]) -> usize {
        self.classes.iter().zip(labels).filter(|(found, label)| found == label).count()
    }
}

impl Judge {
    /// Records a classifier for batches.
    ///
    /// # Errors
    /// None of a folder that was read.
    pub fn new(folder: &ClassifierFolder, batch: usize) -> Result<Self> {
        let classifier = &folder.classifier;
        let [height, width] = classifier.size();
        Ok(Self {
            forward: ClassifierForward::new(classifier, batch)?,
            classes: classifier.classes(),
            shape: [height, width, classifier.config().in_channels],
            noise: folder.scheduler.as_ref().map(NoiseShares::new),
            loaded: None,
        })
    }

    /// Measures which variants of its kernels are fastest; see [`Device::tune`].
    ///
    /// # Errors
    /// The device's.
    pub fn tune(&self, device: &mut dyn Device, watch: &mut dyn FnMut(usize, usize)) -> Result<Choices> {
        device.tune(&[&self.forward.plan], watch)
    }

    /// Allocates everything and uploads the weights.
    ///
    /// # Errors
    /// The device's.
    pub fn load(&mut self, device: &mut dyn Device, weights: &[f32]) -> Result<()> {
        self.loaded = Some(device.load(&self.forward.plan)?);
        device.upload(&self.forward.weights, 0, weights)
    }

    /// Numbers in a picture's features.
    pub fn dim(&self) -> usize {
        self.forward.features.len() / self.batch()
    }

    /// Whether it knows noise.
    pub fn knows_noise(&self) -> bool {
        self.noise.is_some()
    }

    fn batch(&self) -> usize {
        self.forward.timesteps.len()
    }

    /// Judges pictures as they are. `watch` is told how many were judged.
    ///
    /// # Errors
    /// [`Input`](Error::Input) if they are of another shape; the device's.
    pub fn clean(&self, device: &mut dyn Device, pictures: &Dataset, watch: impl FnMut(usize)) -> Result<Judged> {
        let given = self.noise.as_ref().map_or(Given { signal: 1.0, noise: 0.0, told: 0.0 }, NoiseShares::clean);
        self.judge(device, pictures, |_| given, 0, 0, watch)
    }

    /// Judges pictures with noise of one of the [`PARTS`] of all levels, each picture at a level of its own.
    ///
    /// # Errors
    /// [`Input`](Error::Input) if they are of another shape, or the classifier knows no noise; the device's.
    pub fn noisy(
        &self,
        device: &mut dyn Device,
        pictures: &Dataset,
        part: usize,
        seed: u64,
        watch: impl FnMut(usize),
    ) -> Result<Judged> {
        let Some(noise) = &self.noise else {
            return Err(Error::input("the classifier has learnt clean pictures alone, noisy ones were given"));
        };
        let given = |picture: usize| {
            let within = ((picture as f64 + 0.5) * GOLDEN).fract();
            noise.at((part as f64 + within) / PARTS as f64)
        };
        self.judge(device, pictures, given, part as u32, seed, watch)
    }

    fn judge(
        &self,
        device: &mut dyn Device,
        pictures: &Dataset,
        given: impl Fn(usize) -> Given,
        part: u32,
        seed: u64,
        mut watch: impl FnMut(usize),
    ) -> Result<Judged> {
        let loaded = self.loaded.ok_or_else(|| Error::Device("the classifier is not loaded".into()))?;
        if pictures.shape() != self.shape {
            let (name, [h, w, c], [height, width, channels]) = (&pictures.name, pictures.shape(), self.shape);
            return Err(Error::input(format!(
                "{name}: pictures of {h}x{w}x{c}, the classifier is of {height}x{width}x{channels}"
            )));
        }
        let (len, batch) = (pictures.picture_len(), self.batch());
        let (mut x, mut told) = (vec![0.0; batch * len], vec![0.0; batch]);
        let mut judged = Judged::default();
        for first in (0..pictures.len()).step_by(batch) {
            let wanted = batch.min(pictures.len() - first);
            for (within, row) in x.chunks_exact_mut(len).take(wanted).enumerate() {
                let picture = first + within;
                let Given { signal, noise, told: at } = given(picture);
                pictures.picture(picture, false, row);
                let key = picture_key([seed as u32, (seed >> 32) as u32], Purpose::EvaluationNoise, picture as u32);
                for (index, value) in row.iter_mut().enumerate() {
                    *value *= signal as f32;
                    if noise != 0.0 {
                        *value += noise as f32 * normal::<f32>(key, part, index);
                    }
                }
                told[within] = at as f32;
            }
            device.upload(&self.forward.pictures, 0, &x)?;
            device.upload(&self.forward.timesteps, 0, &told)?;
            device.run(loaded, &Step::default())?;
            let scores = device.download(&self.forward.scores)?;
            let features = device.download(&self.forward.features)?;
            for row in scores.chunks_exact(self.classes).take(wanted) {
                if row.iter().any(|score| !score.is_finite()) {
                    return Err(Error::input("the classifier's scores are not finite"));
                }
                let likeliest = row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map_or(0, |(class, _)| class);
                judged.classes.push(likeliest as u32);
            }
            judged.features.extend_from_slice(&features[..wanted * self.dim()]);
            watch(first + wanted);
        }
        Ok(judged)
    }
}

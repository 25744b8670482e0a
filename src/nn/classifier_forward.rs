//! A classifier alone, recorded: noisy pictures and timesteps in, features and scores out.

use super::{Classifier, Network, Recompute};
use crate::error::Result;
use crate::plan::{Plan, Recorder, Storage};

/// A recording of a classifier's forward pass, and the storages that it reads and writes.
pub struct ClassifierForward {
    /// The recording.
    pub plan: Plan,
    /// The flat buffer of the weights.
    pub weights: Storage,
    /// `[pictures, height, width, in_channels]`.
    pub pictures: Storage,
    /// `[pictures]`.
    pub timesteps: Storage,
    /// `[pictures, channels]`.
    pub features: Storage,
    /// `[pictures, classes]`.
    pub scores: Storage,
}

impl ClassifierForward {
    /// Records a classifier for `batch` pictures of its size.
    ///
    /// # Errors
    /// None of a classifier that was made.
    pub fn new(classifier: &Classifier, batch: usize) -> Result<Self> {
        let [height, width] = classifier.size();
        let shape = [batch, height, width, classifier.config().in_channels];
        let weights = Storage::f32("weights", classifier.parameters().len());
        let pictures = Storage::f32("pictures", shape.iter().product());
        let timesteps = Storage::f32("timesteps", batch);
        let mut r = Recorder::new();
        let (x, t) = (r.input(&pictures, &shape), r.input(&timesteps, &[batch]));
        let mut net = Network {
            r: &mut r,
            parameters: classifier.parameters(),
            weights: &weights,
            gradients: None,
            halves: None,
            recompute: Recompute::None,
        };
        let classified = classifier.record(&mut net, x, t)?;
        let features = r.export("features", classified.features);
        let scores = r.export("scores", classified.scores);
        Ok(Self { plan: r.finish(), weights, pictures, timesteps, features, scores })
    }
}

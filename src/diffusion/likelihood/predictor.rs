//! What the likelihood is asked of: a network on a device, or, in tests, what is known to be best.

use crate::error::{Error, Result};

/// Predicts from noisy pictures.
pub trait Predictor {
    /// Pictures at a time, at most.
    fn batch(&self) -> usize;

    /// The output for noisy pictures, one after the other, of what each is told as timestep and, where it has classes, of
    /// their labels. In the pictures' order of elements; or with twice the channels, of which the second half says the
    /// variances.
    ///
    /// # Errors
    /// The device's.
    fn predict(&mut self, x: &[f32], told: &[f32], labels: Option<&[u32]>) -> Result<Vec<f32>>;
}

/// Predicts, and says the output's gradient.
pub trait PullBack: Predictor {
    /// The output, and the gradient in x of its sum weighed by `upstream`, which is given for the prediction alone, in the
    /// pictures' order of elements.
    ///
    /// # Errors
    /// The device's.
    fn pull_back(&mut self, x: &[f32], told: &[f32], labels: Option<&[u32]>, upstream: &[f32])
    -> Result<[Vec<f32>; 2]>;
}

/// Pictures of 256 levels, as data sets hold them.
#[derive(Clone, Debug)]
pub struct LevelPictures {
    channels: usize,
    elements: usize,
    bytes: Vec<u8>,
    labels: Option<Vec<u32>>,
    /// What keys each picture's random numbers: its number in the data set.
    numbers: Vec<u32>,
}

impl LevelPictures {
    /// Pictures of `[height, width, channels]`, one after the other, their labels, and the number of each.
    ///
    /// # Errors
    /// [`Input`](Error::Input) if the parts do not fit together.
    pub fn new(
        [height, width, channels]: [usize; 3],
        bytes: Vec<u8>,
        labels: Option<Vec<u32>>,
        numbers: Vec<u32>,
    ) -> Result<Self> {
        let elements = height * width * channels;
        let fits = elements > 0 && !numbers.is_empty() && bytes.len() == numbers.len() * elements;
        if !fits || labels.as_ref().is_some_and(|labels| labels.len() != numbers.len()) {
            let (bytes, count) = (bytes.len(), numbers.len());
            return Err(Error::input(format!(
                "{bytes} bytes for {count} pictures of {height} x {width} x {channels}, expected as many as that"
            )));
        }
        Ok(Self { channels, elements, bytes, labels, numbers })
    }

    /// How many there are.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.numbers.len()
    }

    /// Elements of each.
    pub fn elements(&self) -> usize {
        self.elements
    }

    pub(super) fn channels(&self) -> usize {
        self.channels
    }

    pub(super) fn number(&self, picture: usize) -> u32 {
        self.numbers[picture]
    }

    /// The levels of a picture, in [-1, 1].
    pub(super) fn levels(&self, picture: usize) -> impl Iterator<Item = f64> + '_ {
        let bytes = &self.bytes[picture * self.elements..][..self.elements];
        bytes.iter().map(|&byte| f64::from(byte) / 127.5 - 1.0)
    }

    /// The labels of these pictures.
    pub(super) fn labels_of(&self, pictures: impl Iterator<Item = usize>) -> Option<Vec<u32>> {
        self.labels.as_ref().map(|labels| pictures.map(|picture| labels[picture]).collect())
    }
}

/// Every element's prediction, and what is said of its variance (the prediction again, where nothing is), of an output of
/// as many channels or twice as many.
pub(super) fn prediction_and_variance(output: &[f32], elements: usize, channels: usize) -> Result<Vec<[f64; 2]>> {
    let outputs = output.len() * channels / elements;
    if outputs * elements != output.len() * channels || (outputs != channels && outputs != 2 * channels) {
        let found = output.len();
        return Err(Error::input(format!(
            "{found} numbers predicted for {elements}, expected as many or twice as many"
        )));
    }
    let number = |at: usize| f64::from(output[at]);
    let place = |i: usize| i / channels * outputs + i % channels;
    Ok((0..elements).map(|i| [number(place(i)), number(place(i) + outputs - channels)]).collect())
}

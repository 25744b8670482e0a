//! What every step of a run has told, as it is saved with the run's state and written to `log.csv`.

use super::noise_scale::{Estimate, NoiseScale};
use super::trainer::StepRecord;
use super::{TrainingConfig, TrainingState};
use std::fmt::Write;

/// The first line of `log.csv`.
const HEADER: &str = "step,loss,gradient_norm,learning_rate,noise_scale";

/// Beside the losses, a number a step of each; NaN where a step did not tell, as those of runs from before there was this.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// The norm of the whole gradient before clipping.
    pub gradient_norms: Vec<f32>,
    /// The root mean square of the micro-batches' norms; NaN without gradient accumulation.
    pub micro_batch_norms: Vec<f32>,
    /// The learning rate.
    pub learning_rates: Vec<f32>,
}

impl History {
    /// The names of the lists in the state's file.
    pub(super) const NAMES: [&str; 3] = ["gradient_norms", "micro_batch_norms", "learning_rates"];

    /// The lists, in the order of the names.
    pub(super) fn lists(&self) -> [&Vec<f32>; 3] {
        [&self.gradient_norms, &self.micro_batch_norms, &self.learning_rates]
    }

    /// From lists in the order of the names, of which those that a file has not got are NaN for every step.
    pub(super) fn from_lists(lists: [Option<Vec<f32>>; 3], steps: usize) -> Self {
        let [gradient_norms, micro_batch_norms, learning_rates] =
            lists.map(|list| list.unwrap_or_else(|| vec![f32::NAN; steps]));
        Self { gradient_norms, micro_batch_norms, learning_rates }
    }

    /// Takes a step in.
    pub fn push(&mut self, step: &StepRecord) {
        self.gradient_norms.push(step.gradient_norm);
        self.micro_batch_norms.push(step.micro_batch_norm.unwrap_or(f32::NAN));
        self.learning_rates.push(step.learning_rate);
    }

    /// The smoothed noise scale after each step, in pictures.
    pub fn noise_scales<'a>(&'a self, training: &'a TrainingConfig) -> impl Iterator<Item = Option<f64>> + 'a {
        let mut smooth = NoiseScale::default();
        self.micro_batch_norms.iter().zip(&self.gradient_norms).map(move |(&small, &large)| {
            if let Some(estimate) = step_estimate(training, small, large) {
                smooth.smooth(estimate);
            }
            smooth.estimate().and_then(Estimate::noise_scale)
        })
    }

    /// The noise scale's averages after all steps, to go on with.
    pub(super) fn noise_scale(&self, training: &TrainingConfig) -> NoiseScale {
        let mut smooth = NoiseScale::default();
        let norms = self.micro_batch_norms.iter().zip(&self.gradient_norms);
        let estimates = norms.filter_map(|(&small, &large)| step_estimate(training, small, large));
        estimates.for_each(|estimate| smooth.smooth(estimate));
        smooth
    }
}

/// What a step's norms say of the gradient and its noise; nothing without several micro-batches or with those that are not
/// independent, or in a skipped step.
pub(super) fn step_estimate(training: &TrainingConfig, small: f32, large: f32) -> Option<Estimate> {
    let [small, large] = [small, large].map(|norm| f64::from(norm).powi(2));
    if !training.draws_independently() || !small.is_finite() || !large.is_finite() {
        return None;
    }
    Estimate::of_step(small, large, training.train_batch_size, training.gradient_accumulation_steps).ok()
}

/// The text of `log.csv`: a line a step. What a step did not tell is left empty.
pub(super) fn log_csv(state: &TrainingState) -> String {
    let cell = |value: f32| if value.is_nan() { String::new() } else { value.to_string() };
    let mut text = String::from(HEADER) + "\n";
    let history = &state.history;
    let columns = state.losses.iter().zip(&history.gradient_norms).zip(&history.learning_rates);
    let scales = history.noise_scales(&state.config.training);
    for (step, (((&loss, &norm), &rate), scale)) in (1..).zip(columns.zip(scales)) {
        let scale = scale.map_or_else(String::new, |scale| format!("{scale:.6e}"));
        // Writing to a string never fails.
        let _ = writeln!(text, "{step},{loss},{},{},{scale}", cell(norm), cell(rate));
    }
    text
}

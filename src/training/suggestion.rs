//! The batch that a run's gradient asks for, measured without writing anything.

use super::history::step_estimate;
use super::noise_scale::{Estimate, NoiseScale, suggested_batch};
use super::{Run, TimestepSampler, TrainingConfig};
use crate::device::Device;
use crate::error::{Error, Result};

/// Micro-batches that a batch is cut into, where it divides, to compare their gradients.
const CUTS: usize = 8;

/// What was measured, and the batch that follows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Suggestion {
    /// |G|^2 and tr(Sigma).
    pub estimate: Estimate,
    /// Their ratio, in pictures; `None` without any gradient.
    pub noise_scale: Option<f64>,
    /// The nearest power of two.
    pub batch: usize,
    /// The same as micro-batches and their number, the largest that the device has room for; `None` if it has for none.
    pub fitting: Option<(usize, usize)>,
}

impl TrainingConfig {
    /// Whether a step's micro-batches are draws of their own, as the noise scale compares them. Stratified ones are not:
    /// each has timesteps of a part of the schedule, and the parts' differences are no noise.
    pub fn draws_independently(&self) -> bool {
        self.timestep_sampler != Some(TimestepSampler::Stratified)
    }

    /// Cuts a step of one batch into micro-batches of the same pictures, so that there is something to compare.
    ///
    /// # Errors
    /// [`Input`](Error::Input) for steps of one picture, and for timesteps that are not drawn independently.
    pub fn cut_for_noise_scale(&mut self) -> Result<()> {
        self.check_independence()?;
        if self.gradient_accumulation_steps > 1 {
            return Ok(());
        }
        let batch = self.train_batch_size;
        if batch < 2 {
            return Err(Error::input(format!(
                "--suggest-batch compares micro-batches, found steps of {batch} picture; expected --batch 2 or more, or \
                 --accumulate"
            )));
        }
        let cuts = (2..=CUTS).rev().find(|cuts| batch.is_multiple_of(*cuts)).unwrap_or(batch);
        (self.train_batch_size, self.gradient_accumulation_steps) = (batch / cuts, cuts);
        Ok(())
    }

    fn check_independence(&self) -> Result<()> {
        if self.draws_independently() {
            return Ok(());
        }
        Err(Error::input(
            "--suggest-batch compares micro-batches that are drawn independently, found timestep_sampler \"stratified\"; \
             expected another, as --timestep-sampler uniform",
        ))
    }
}

impl Run {
    /// Takes steps in memory and measures the noise scale of their gradients. Where `hold` says so the weights stay as
    /// they are and the steps are averaged; otherwise the run is trained, and the last steps count most. Leaves nothing on
    /// the device.
    ///
    /// # Errors
    /// The device's; [`Input`](Error::Input) without several independent micro-batches in a step, or if no step has told
    /// anything.
    pub fn suggest_batch(
        &mut self,
        device: &mut dyn Device,
        steps: usize,
        hold: bool,
        mut watch: impl FnMut(usize, Option<f64>),
    ) -> Result<Suggestion> {
        // Says what is wrong with one micro-batch.
        let training = self.config().training.clone();
        training.check_independence()?;
        Estimate::of_step(1.0, 1.0, training.train_batch_size, training.gradient_accumulation_steps)?;
        self.load_to_measure(device, hold)?;
        let mut noise = NoiseScale::default();
        let mut batch = self.next_batch();
        for done in 1..=steps {
            let record = self.advance(device, &mut batch)?;
            let small = record.micro_batch_norm.unwrap_or(f32::NAN);
            if let Some(estimate) = step_estimate(&training, small, record.gradient_norm) {
                if hold { noise.add(estimate) } else { noise.smooth(estimate) }
            }
            watch(done, noise.estimate().and_then(Estimate::noise_scale));
        }
        self.unload(device);
        let nothing = || Error::input(format!("--suggest-batch: none of {steps} steps had a finite gradient"));
        let estimate = noise.estimate().ok_or_else(nothing)?;
        let noise_scale = estimate.noise_scale();
        let batch = suggested_batch(noise_scale.unwrap_or(1.0));
        let mut micro_batches =
            std::iter::successors(Some(batch), |batch| Some(batch / 2)).take_while(|&batch| batch > 0);
        let fitting = micro_batches.find(|&micro_batch| {
            self.would_fit(device, |training| {
                (training.train_batch_size, training.gradient_accumulation_steps) = (micro_batch, batch / micro_batch);
            })
        });
        Ok(Suggestion { estimate, noise_scale, batch, fitting: fitting.map(|size| (size, batch / size)) })
    }
}

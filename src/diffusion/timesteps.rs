//! Which timesteps a chain takes (Lin et al. 2023, table 2), the first to be taken first.

use super::TimestepSpacing;
use super::chain::Plan;
use crate::error::{Error, Result};

/// So much less than a whole number is one: 0.7 x 10 steps are 7.
const ROUNDING: f64 = 1e-9;

impl Plan<'_> {
    /// Timesteps for ancestral sampling and DDIM: whole numbers that the schedule has.
    pub(super) fn whole_timesteps(&self) -> Result<Vec<usize>> {
        if let Some(list) = &self.list {
            return self.begun(list.clone());
        }
        let all = self.config.num_train_timesteps;
        let list = match self.config.timestep_spacing {
            TimestepSpacing::Linspace => self.evenly((all - 1) as f64, self.steps).map(f64::round_ties_even).collect(),
            TimestepSpacing::Leading => self.leading(all / self.steps),
            TimestepSpacing::Trailing => self.trailing(all)?,
        };
        match list.first() {
            Some(&first) if first >= all as f64 => {
                let (offset, steps) = (self.config.steps_offset, self.steps);
                Err(Error::input(format!(
                    "steps_offset {offset} puts the first of {steps} steps at timestep {first}, expected at most {}; fewer steps help",
                    all - 1
                )))
            }
            _ => self.begun(list.into_iter().map(|t| t as usize).collect()),
        }
    }

    /// What a chain that begins with pictures takes of all steps, the noisiest first: the last ones, as many as its strength
    /// says.
    pub(super) fn begun<T>(&self, mut steps: Vec<T>) -> Result<Vec<T>> {
        let Some(strength) = self.options.strength else { return Ok(steps) };
        let all = steps.len();
        let taken = (strength * all as f64 + ROUNDING) as usize;
        if taken == 0 {
            let least = 1.0 / all as f64;
            return Err(Error::input(format!(
                "strength {strength} of {all} steps leaves none, expected at least {least:.3}, or more steps"
            )));
        }
        Ok(steps.split_off(all - taken.min(all)))
    }

    /// Timesteps for Euler's and Heun's methods, in singles as diffusers has them: they can lie between whole numbers.
    pub(super) fn real_timesteps(&self) -> Result<Vec<f64>> {
        if let Some(list) = self.listed() {
            return Ok(list);
        }
        let all = self.config.num_train_timesteps;
        Ok(match self.config.timestep_spacing {
            TimestepSpacing::Linspace => {
                self.evenly((all - 1) as f64, self.steps).map(|t| f64::from(t as f32)).collect()
            }
            TimestepSpacing::Leading => self.leading(all / self.steps),
            TimestepSpacing::Trailing => self.trailing(all)?,
        })
    }

    /// Timesteps for DPM-Solver, below `last`: but for trailing ones, those of one more step, without the final one.
    pub(super) fn solver_timesteps(&self, last: usize) -> Result<Vec<f64>> {
        if let Some(list) = self.listed() {
            return Ok(list);
        }
        let below = |list: Vec<f64>| list[..self.steps].to_vec();
        Ok(match self.config.timestep_spacing {
            TimestepSpacing::Linspace => {
                let end = last as f64 - 1.0;
                below(self.evenly(end, self.steps + 1).map(f64::round_ties_even).collect())
            }
            TimestepSpacing::Leading => {
                let stride = (last / (self.steps + 1)) as f64;
                let offset = self.config.steps_offset as f64;
                (1..=self.steps).rev().map(|i| i as f64 * stride + offset).collect()
            }
            TimestepSpacing::Trailing => self.trailing(last)?,
        })
    }

    fn listed(&self) -> Option<Vec<f64>> {
        self.list.as_ref().map(|list| list.iter().map(|&t| t as f64).collect())
    }

    /// `count` numbers from `end` to 0.
    fn evenly(&self, end: f64, count: usize) -> impl Iterator<Item = f64> + use<> {
        let stride = if count > 1 { end / (count - 1) as f64 } else { 0.0 };
        // As NumPy has it: the end itself, exactly.
        (0..count).rev().map(move |i| if count > 1 && i == count - 1 { end } else { i as f64 * stride })
    }

    fn leading(&self, stride: usize) -> Vec<f64> {
        (0..self.steps).rev().map(|i| (i * stride + self.config.steps_offset) as f64).collect()
    }

    /// Every (T / steps)-th timestep down from `last` - 1.
    fn trailing(&self, last: usize) -> Result<Vec<f64>> {
        let stride = self.config.num_train_timesteps as f64 / self.steps as f64;
        // diffusers makes one too many where the division rounds up; that one has timestep -1.
        let wanted = (last as f64 / stride).ceil() as usize;
        // As NumPy has it, whose first difference is rounded: it decides ties.
        let difference = (last as f64 - stride) - last as f64;
        let all = (0..wanted).map(|i| (last as f64 + i as f64 * difference).round_ties_even() - 1.0);
        let list: Vec<f64> = all.clone().filter(|&t| t >= 0.0).take(self.steps).collect();
        if self.options.diffusers_exact && list.len() != wanted {
            let steps = self.steps;
            return Err(self.no_diffusers(format!("{steps} trailing steps become {wanted}, the last at timestep -1")));
        }
        Ok(list)
    }
}

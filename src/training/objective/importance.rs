//! Importance sampling of timesteps (Nichol & Dhariwal 2021, section 3.3): each as often as the root of the mean of its
//! last ten squared losses is large, so that the loss's gradient is less noisy.

use crate::error::{Error, Result};

/// Losses of a timestep that are remembered.
const KEPT: usize = 10;
/// Numbers of a timestep in the history: its losses, the oldest first, and how many there are.
const ROW: usize = KEPT + 1;
/// Share of the draws that is uniform, so that no timestep is forgotten and no correction is huge.
const UNIFORM: f64 = 0.001;

/// The last losses of every timestep.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Importance {
    history: Vec<f32>,
}

impl Importance {
    /// Of a schedule of this many timesteps, nothing being known yet.
    pub fn new(timesteps: usize) -> Self {
        Self { history: vec![0.0; ROW * timesteps] }
    }

    /// All that it knows: what a run is continued with.
    pub fn history(&self) -> &[f32] {
        &self.history
    }

    /// Goes on with what another one knew.
    ///
    /// # Errors
    /// [`Input`](Error::Input) if it is not of this schedule, or no such thing.
    pub fn restore(&mut self, history: Vec<f32>) -> Result<()> {
        let counted = |row: &[f32]| (0..=KEPT).any(|count| row[KEPT] == count as f32);
        let sensible = history.iter().all(|value| value.is_finite()) && history.chunks_exact(ROW).all(counted);
        if history.len() != self.history.len() || !sensible {
            let (found, expected) = (history.len(), self.history.len());
            return Err(Error::input(format!(
                "timestep_losses: {found} numbers, expected {expected}, {KEPT} finite losses of each timestep and their number"
            )));
        }
        self.history = history;
        Ok(())
    }

    /// Learns from a step's pictures: timestep and loss of each.
    pub fn observe(&mut self, record: &[f32]) {
        let timesteps = self.history.len() / ROW;
        for pair in record.chunks_exact(2) {
            let row = &mut self.history[(pair[0] as usize).min(timesteps - 1) * ROW..][..ROW];
            let count = row[KEPT] as usize;
            if count == KEPT {
                row[..KEPT].rotate_left(1);
                row[KEPT - 1] = pair[1];
            } else {
                row[count] = pair[1];
                row[KEPT] += 1.0;
            }
        }
    }

    /// How often each timestep is to be drawn: all alike until each has ten losses.
    pub fn weights(&self) -> Vec<f64> {
        let timesteps = self.history.len() / ROW;
        let rows = || self.history.chunks_exact(ROW);
        if rows().any(|row| row[KEPT] < KEPT as f32) {
            return vec![1.0; timesteps];
        }
        let root = |row: &[f32]| {
            let squares: f64 = row[..KEPT].iter().map(|&loss| f64::from(loss).powi(2)).sum();
            (squares / KEPT as f64).sqrt()
        };
        let roots: Vec<f64> = rows().map(root).collect();
        let total: f64 = roots.iter().sum();
        if total <= 0.0 || !total.is_finite() {
            return vec![1.0; timesteps];
        }
        roots.into_iter().map(|root| (1.0 - UNIFORM) * root / total + UNIFORM / timesteps as f64).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::levels::shares;

    #[test]
    fn all_alike_until_every_timestep_has_ten_losses() {
        let mut importance = Importance::new(3);
        for round in 0..KEPT {
            assert_eq!(importance.weights(), [1.0; 3], "after {round} losses");
            importance.observe(&[0.0, 1.0, 1.0, -3.0, 2.0, if round % 2 == 0 { 0.0 } else { 2.0 }]);
        }
        // Roots of mean squares: 1, 3, sqrt(2).
        let total = 4.0 + 2.0_f64.sqrt();
        for (found, root) in importance.weights().iter().zip([1.0, 3.0, 2.0_f64.sqrt()]) {
            let expected = 0.999 * root / total + 0.001 / 3.0;
            assert!((found - expected).abs() < 1e-12, "{found} {expected}");
        }
        // The oldest is forgotten first.
        for _ in 0..KEPT {
            importance.observe(&[1.0, 5.0]);
        }
        let weights = importance.weights();
        assert!((weights[1] / weights[0] - 5.0).abs() < 0.02, "{weights:?}");
    }

    /// Shares times corrections are 1 / T at every timestep, also where the losses were 0: in the mean the corrected loss is
    /// that of timesteps drawn uniformly.
    #[test]
    fn corrected_losses_are_unbiased() {
        let losses = [0.0_f32, 3.0, 0.02, 40.0, 1.0];
        let mut importance = Importance::new(losses.len());
        for _ in 0..KEPT {
            losses.iter().enumerate().for_each(|(t, &loss)| importance.observe(&[t as f32, loss]));
        }
        let weights = importance.weights();
        assert!((weights.iter().sum::<f64>() - 1.0).abs() < 1e-12 && weights[3] > 0.9, "{weights:?}");
        let (last_bits, corrections) = shares(&weights);
        let ends: Vec<f64> = last_bits.iter().map(|&last| f64::from(last) + 1.0).collect();
        let starts = std::iter::once(0.0).chain(ends.iter().copied());
        for (t, (start, end)) in starts.zip(&ends).enumerate() {
            let (drawn, correction) = ((end - start) / 4_294_967_296.0, f64::from(corrections[t]));
            assert!((drawn / weights[t] - 1.0).abs() < 1e-5, "{t}: {drawn} {weights:?}");
            assert!((drawn * correction * losses.len() as f64 - 1.0).abs() < 1e-6, "{t}: {drawn} {correction}");
        }
    }

    #[test]
    fn what_is_restored_goes_on_alike_and_what_is_none_is_refused() {
        let mut first = Importance::new(4);
        (0..60).for_each(|i| first.observe(&[(i * 7 % 4) as f32, (i % 11) as f32]));
        let mut second = Importance::new(4);
        second.restore(first.history().to_vec()).unwrap();
        assert_eq!(second, first);
        first.observe(&[2.0, 9.0]);
        second.observe(&[2.0, 9.0]);
        assert_eq!(second.weights(), first.weights());
        for bad in [vec![], vec![0.0; 43], vec![f32::NAN; 44], vec![0.5; 44]] {
            assert!(second.restore(bad).unwrap_err().to_string().contains("timestep_losses"));
        }
    }
}

//! How often each timestep is drawn, where they are not all alike.

use crate::diffusion::NoiseSchedule;
use crate::error::{Error, Result};

/// Shares of a schedule's timesteps so that ln(noise / signal) is normal: the density at each timestep, times the
/// distance between the middles to its neighbours.
///
/// # Errors
/// [`Input`](Error::Input) if no timestep is anywhere near.
pub(super) fn log_normal(schedule: &NoiseSchedule, mean: f64, deviation: f64) -> Result<Vec<f64>> {
    let log_sigma: Vec<f64> = (schedule.one_minus_alphas_cumprod.iter().zip(&schedule.alphas_cumprod))
        .map(|(noise, signal)| 0.5 * (noise / signal).ln())
        .collect();
    let last = log_sigma.len() - 1;
    let weights: Vec<f64> = (log_sigma.iter().enumerate())
        .map(|(t, &here)| {
            // Pure noise is infinitely far, and is not drawn.
            let (before, after) = (log_sigma[t.saturating_sub(1)], log_sigma[(t + 1).min(last)]);
            let width = match (before.is_finite(), after.is_finite()) {
                _ if last == 0 => 1.0,
                (_, true) => after - before,
                (true, false) => here - before,
                _ => 0.0,
            };
            let density = (-0.5 * ((here - mean) / deviation).powi(2)).exp();
            if density > 0.0 { density * width } else { 0.0 }
        })
        .collect();
    if weights.iter().sum::<f64>() > 0.0 {
        return Ok(weights);
    }
    let (first, last) = (log_sigma[0], log_sigma[last]);
    Err(Error::input(format!(
        "training: log_normal_mean is {mean} and log_normal_std {deviation}, which draws none of the schedule's \
         timesteps; their logarithms of noise / signal go from {first:.2} to {last:.2}"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diffusion::SchedulerConfig;
    use serde_json::json;

    #[test]
    fn the_logarithm_of_the_noise_is_normal() {
        let schedule = NoiseSchedule::new(&SchedulerConfig::default());
        let weights = log_normal(&schedule, -0.3, 0.7).unwrap();
        let total: f64 = weights.iter().sum();
        let log_sigma = |t: usize| 0.5 * (schedule.one_minus_alphas_cumprod[t] / schedule.alphas_cumprod[t]).ln();
        let moment = |power: i32| weights.iter().enumerate().map(|(t, w)| w / total * log_sigma(t).powi(power)).sum();
        let (mean, square): (f64, f64) = (moment(1), moment(2));
        assert!((mean + 0.3).abs() < 0.01 && ((square - mean * mean).sqrt() - 0.7).abs() < 0.01, "{mean} {square}");
        assert!(log_normal(&schedule, 1000.0, 0.1).unwrap_err().to_string().contains("log_normal_mean"));
    }

    #[test]
    fn pure_noise_is_not_drawn() {
        let config = SchedulerConfig::from_json(&json!({ "rescale_betas_zero_snr": true }), "test").unwrap();
        let weights = log_normal(&NoiseSchedule::new(&config), -1.2, 1.2).unwrap();
        assert!(weights.iter().all(|weight| weight.is_finite() && *weight >= 0.0));
        assert!(weights[999] == 0.0 && weights[998] >= 0.0 && weights[300] > 0.0);
    }
}

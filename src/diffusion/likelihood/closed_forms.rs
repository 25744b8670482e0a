//! What is known of Gaussians in closed form, in nats and double precision. The divergence of two and the discretised
//! likelihood are with [the kernel](crate::kernels::variational_bound) that computes them on a device.

use crate::diffusion::NoiseSchedule;
use crate::kernels::variational_bound::gaussian_kl;
use std::f64::consts::{E, PI};

/// The differential entropy of a Gaussian.
pub fn gaussian_entropy(log_variance: f64) -> f64 {
    0.5 * ((2.0 * PI * E).ln() + log_variance)
}

/// Mean and variance of q(x_{t-1} | x_t, x_0) (Ho et al. 2020, eq. 6 and 7).
pub fn posterior(schedule: &NoiseSchedule, t: usize, x_t: f64, x_0: f64) -> [f64; 2] {
    let (signal_before, noise_before) =
        if t == 0 { (1.0, 0.0) } else { (schedule.alphas_cumprod[t - 1], schedule.one_minus_alphas_cumprod[t - 1]) };
    let (beta, noise) = (schedule.betas[t], schedule.one_minus_alphas_cumprod[t]);
    let of_x_0 = beta * signal_before.sqrt() / noise;
    let of_x_t = noise_before * (1.0 - beta).sqrt() / noise;
    [of_x_0 * x_0 + of_x_t * x_t, beta * noise_before / noise]
}

/// L_T of an element: KL(q(x_T | x_0) || N(0, 1)) (Ho et al. 2020, eq. 5).
pub fn prior_divergence(schedule: &NoiseSchedule, x_0: f64) -> f64 {
    let last = schedule.timesteps() - 1;
    let (signal, noise) = (schedule.alphas_cumprod[last], schedule.one_minus_alphas_cumprod[last]);
    // Where hardly any signal is left, the logarithm of the noise's share is that of 1 less it.
    let log_noise = if signal < 0.5 { (-signal).ln_1p() } else { noise.ln() };
    gaussian_kl(signal.sqrt() * x_0, log_noise, 0.0).value
}

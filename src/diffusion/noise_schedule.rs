//! The tables of a noise schedule (Ho et al. 2020, eq. 4), in double precision: everything that trains or samples with a
//! schedule derives its single-precision numbers from these.

use super::{BetaSchedule, SchedulerConfig};
use crate::kernels::schedule_tables::{ClosedForm, ScheduleTables, Table, tables_of_betas};

/// What a schedule's betas are clipped at where alphas_cumprod is given in closed form (Nichol & Dhariwal 2021).
const MOST_BETA: f64 = 0.999;

/// A noise schedule, one number a timestep.
#[derive(Clone, Debug, PartialEq)]
pub struct NoiseSchedule {
    /// Variance of the noise that timestep t adds.
    pub betas: Vec<f64>,
    /// Product of 1 - beta up to t: the signal's share of x_t's variance.
    pub alphas_cumprod: Vec<f64>,
    /// 1 - alphas_cumprod, to full relative precision: the noise's share.
    pub one_minus_alphas_cumprod: Vec<f64>,
}

impl NoiseSchedule {
    /// The schedule that a configuration describes.
    pub fn new(config: &SchedulerConfig) -> Self {
        let mut betas = match &config.trained_betas {
            Some(betas) => betas.clone(),
            None => betas(config),
        };
        if config.rescale_betas_zero_snr {
            rescale_to_zero_terminal_snr(&mut betas);
        }
        Self::from_betas(betas)
    }

    fn from_betas(betas: Vec<f64>) -> Self {
        let tables = tables_of_betas(&betas);
        let row = |table: Table| tables[table as usize * betas.len()..][..betas.len()].to_vec();
        let (alphas_cumprod, one_minus_alphas_cumprod) = (row(Table::AlphasCumprod), row(Table::OneMinusAlphasCumprod));
        Self { betas, alphas_cumprod, one_minus_alphas_cumprod }
    }

    /// The kernel that computes this configuration's tables on the device, if there is one.
    pub fn on_device(config: &SchedulerConfig) -> Option<ScheduleTables> {
        let schedule = match config.beta_schedule {
            BetaSchedule::Linear => ClosedForm::Linear,
            BetaSchedule::ScaledLinear => ClosedForm::ScaledLinear,
            BetaSchedule::SquaredCosine => ClosedForm::SquaredCosine,
            _ => return None,
        };
        let plain = config.trained_betas.is_none() && !config.rescale_betas_zero_snr;
        plain.then(|| closed_form(config, schedule))
    }

    /// Number of timesteps.
    pub fn timesteps(&self) -> usize {
        self.betas.len()
    }

    /// All tables, `[6, timesteps]`, for a schedule that [`schedule_tables`](crate::kernels::schedule_tables) does not
    /// compute on the device.
    pub fn tables(&self) -> Vec<f32> {
        tables_of_betas(&self.betas).into_iter().map(|value| value as f32).collect()
    }
}

fn closed_form(config: &SchedulerConfig, schedule: ClosedForm) -> ScheduleTables {
    let SchedulerConfig { num_train_timesteps: timesteps, beta_start, beta_end, .. } = *config;
    ScheduleTables { schedule, timesteps, beta_start, beta_end }
}

/// The betas that grow as `beta_schedule` says.
pub(super) fn betas(config: &SchedulerConfig) -> Vec<f64> {
    let steps = config.num_train_timesteps;
    let (start, end) = (f64::from(config.beta_start), f64::from(config.beta_end));
    let beta = |t: usize| match config.beta_schedule {
        BetaSchedule::Linear => closed_form(config, ClosedForm::Linear).beta_and_alpha::<f64>(t)[0],
        BetaSchedule::ScaledLinear => closed_form(config, ClosedForm::ScaledLinear).beta_and_alpha::<f64>(t)[0],
        BetaSchedule::SquaredCosine => closed_form(config, ClosedForm::SquaredCosine).beta_and_alpha::<f64>(t)[0],
        BetaSchedule::Sigmoid => {
            let part = t as f64 / (steps - 1).max(1) as f64;
            start + (end - start) / (1.0 + (6.0 - 12.0 * part).exp())
        }
        BetaSchedule::Laplace => from_alphas_cumprod(laplace, t, steps),
        BetaSchedule::Exponential => from_alphas_cumprod(|u| (-12.0 * u).exp(), t, steps),
    };
    (0..steps).map(beta).collect()
}

/// The beta that takes alphas_cumprod, given as a function of t / T, from t to t + 1.
fn from_alphas_cumprod(alphas_cumprod: impl Fn(f64) -> f64, t: usize, steps: usize) -> f64 {
    let at = |t: usize| alphas_cumprod(t as f64 / steps as f64);
    (1.0 - at(t + 1) / at(t)).min(MOST_BETA)
}

/// Signal-to-noise ratios distributed as Laplace's density, as diffusers has it.
fn laplace(u: f64) -> f64 {
    let side = 1.0_f64.copysign(0.5 - u);
    let log_snr = -0.5 * side * (1.0 - 2.0 * (0.5 - u).abs() + 1e-6).ln();
    let snr = log_snr.exp();
    (snr / (1.0 + snr)).sqrt()
}

/// Makes the last timestep pure noise (Lin et al. 2023, algorithm 1): sqrt(alphas_cumprod) is moved and stretched so that
/// its first value stays and its last becomes 0.
fn rescale_to_zero_terminal_snr(betas: &mut [f64]) {
    let roots: Vec<f64> = NoiseSchedule::from_betas(betas.to_vec()).alphas_cumprod.into_iter().map(f64::sqrt).collect();
    let (first, last) = (roots[0], roots[roots.len() - 1]);
    // A single timestep is its own last: pure noise.
    let scaled = |root: f64| if first > last { (root - last) * (first / (first - last)) } else { 0.0 };
    let mut before = 1.0;
    for (beta, root) in betas.iter_mut().zip(roots) {
        let now = scaled(root).powi(2);
        *beta = 1.0 - now / before;
        before = now;
    }
    // Its root is 0 to the bit, so this is what the division gave, whatever came before.
    if let Some(last) = betas.last_mut() {
        *last = 1.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn schedule(keys: Value) -> NoiseSchedule {
        NoiseSchedule::new(&SchedulerConfig::from_json(&keys, "test").unwrap())
    }

    #[test]
    fn closed_forms_are_what_the_products_come_to() {
        let exponential = schedule(json!({ "beta_schedule": "exp", "num_train_timesteps": 100 }));
        for (t, signal) in exponential.alphas_cumprod.iter().enumerate() {
            let expected = (-12.0 * (t + 1) as f64 / 100.0).exp();
            assert!((signal / expected - 1.0).abs() < 1e-12, "t = {t}: {signal}, {expected}");
        }
        // Laplace's begins at sqrt(s / (1 + s)) where s = 1000, and is halved in variance in the middle.
        let laplace = schedule(json!({ "beta_schedule": "laplace" }));
        let first = (1000.0_f64 / 1001.0).sqrt();
        let middle = laplace.alphas_cumprod[499] * first;
        assert!((middle - 0.5_f64.sqrt()).abs() < 1e-5, "{middle}");
        let sigmoid = schedule(json!({ "beta_schedule": "sigmoid", "num_train_timesteps": 3 }));
        let middle = 0.5 * f64::from(1e-4_f32) + 0.5 * f64::from(0.02_f32);
        assert!((sigmoid.betas[1] - middle).abs() < 1e-15);
    }

    #[test]
    fn no_signal_is_left_at_zero_terminal_snr() {
        for keys in [
            json!({ "rescale_betas_zero_snr": true }),
            json!({ "rescale_betas_zero_snr": true, "beta_schedule": "squaredcos_cap_v2" }),
            json!({ "rescale_betas_zero_snr": true, "num_train_timesteps": 3, "trained_betas": [0.1, 0.2, 0.5] }),
            json!({ "rescale_betas_zero_snr": true, "num_train_timesteps": 1 }),
        ] {
            let rescaled = schedule(keys.clone());
            let mut before = keys;
            before["rescale_betas_zero_snr"] = false.into();
            let before = schedule(before);
            let last = rescaled.timesteps() - 1;
            assert_eq!((rescaled.alphas_cumprod[last], rescaled.one_minus_alphas_cumprod[last]), (0.0, 1.0));
            if last > 0 {
                assert!((rescaled.alphas_cumprod[0] - before.alphas_cumprod[0]).abs() < 1e-15);
                // The roots are moved and stretched: differences keep their proportions.
                let part = |schedule: &NoiseSchedule, t: usize| {
                    let root = |t: usize| schedule.alphas_cumprod[t].sqrt();
                    (root(0) - root(t)) / (root(0) - root(last))
                };
                let middle = last / 2;
                assert!((part(&rescaled, middle) - part(&before, middle)).abs() < 1e-12);
            }
            assert!(rescaled.tables().iter().all(|value| value.is_finite()));
        }
    }
}

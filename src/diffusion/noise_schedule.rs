//! The tables of a noise schedule (Ho et al. 2020, eq. 4), in double precision: everything that trains or samples with a
//! schedule derives its single-precision numbers from these.

use super::SchedulerConfig;
use crate::device::Device;
use crate::error::Result;
use crate::kernels::schedule_tables::{ScheduleTables, Table, schedule_tables, tables_of_betas, tables_of_given_betas};
use crate::plan::{Recorder, Storage, Value};

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

    /// Number of timesteps.
    pub fn timesteps(&self) -> usize {
        self.betas.len()
    }

    /// All tables, `[6, timesteps]`, as [`schedule_tables`](crate::kernels::schedule_tables) makes them on a device.
    pub fn tables(&self) -> Vec<f32> {
        tables_of_betas(&self.betas).into_iter().map(|value| value as f32).collect()
    }

    /// Signal-to-noise ratios, alphas_cumprod / (1 - alphas_cumprod).
    pub fn signal_to_noise(&self) -> Vec<f64> {
        let both = self.alphas_cumprod.iter().zip(&self.one_minus_alphas_cumprod);
        both.map(|(signal, noise)| signal / noise).collect()
    }

    /// beta~_t, the variance of x_{t-1} of a known x_0 and x_t (Ho et al. 2020, eq. 7).
    pub fn posterior_variances(&self) -> Vec<f64> {
        let tables = tables_of_betas(&self.betas);
        tables[Table::PosteriorVariance as usize * self.timesteps()..][..self.timesteps()].to_vec()
    }
}

/// What makes a noise schedule's tables on a device.
pub struct DeviceTables {
    closed_form: ScheduleTables,
    /// Betas that are not given in closed form, and 1 - beta.
    given: Option<(Storage, Vec<f32>)>,
}

impl DeviceTables {
    /// The tables of the schedule that a configuration describes.
    pub fn new(config: &SchedulerConfig) -> Self {
        let is_given = config.trained_betas.is_some() || config.rescale_betas_zero_snr;
        // Rescaling takes differences that cancel: only in double precision are its betas what they should be.
        let given = is_given.then(|| {
            let betas = NoiseSchedule::new(config).betas;
            let alphas = betas.iter().map(|beta| 1.0 - beta);
            let values = betas.iter().copied().chain(alphas).map(|value| value as f32).collect();
            (Storage::f32("betas", 2 * betas.len()), values)
        });
        Self { closed_form: closed_form(config), given }
    }

    /// Records them: `[6, timesteps]`, in the order of [`Table`].
    ///
    /// # Errors
    /// None that a valid configuration leads to.
    pub fn record(&self, r: &mut Recorder) -> Result<Value> {
        match &self.given {
            None => Ok(schedule_tables(r, self.closed_form)),
            Some((storage, _)) => {
                let given = r.input(storage, &[2, storage.len() / 2]);
                tables_of_given_betas(r, given)
            }
        }
    }

    /// Uploads what the plan reads, once it is loaded.
    ///
    /// # Errors
    /// The device's.
    pub fn upload(&self, device: &mut dyn Device) -> Result<()> {
        match &self.given {
            Some((storage, values)) => device.upload(storage, 0, values),
            None => Ok(()),
        }
    }
}

/// What the configuration's `beta_schedule` comes to, whatever other betas it has.
pub(super) fn closed_form(config: &SchedulerConfig) -> ScheduleTables {
    let SchedulerConfig { beta_schedule: schedule, num_train_timesteps: timesteps, beta_start, beta_end, .. } = *config;
    ScheduleTables { schedule, timesteps, beta_start, beta_end }
}

/// The betas that grow as `beta_schedule` says.
pub(super) fn betas(config: &SchedulerConfig) -> Vec<f64> {
    let form = closed_form(config);
    (0..form.timesteps).map(|t| form.beta_and_alpha::<f64>(t)[0]).collect()
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
        // The signal goes evenly.
        let jsd = schedule(json!({ "beta_schedule": "jsd", "num_train_timesteps": 50 }));
        for (t, signal) in jsd.alphas_cumprod.iter().enumerate() {
            let expected = (49 - t) as f64 / 50.0;
            assert!((signal - expected).abs() < 1e-14, "t = {t}: {signal}, {expected}");
        }
        assert_eq!((jsd.betas[49], jsd.alphas_cumprod[49]), (1.0, 0.0));
        let constant = schedule(json!({ "beta_schedule": "const" }));
        assert!(constant.betas.iter().all(|&beta| beta == f64::from(0.02_f32)));
        let [quadratic, scaled] = ["quad", "scaled_linear"].map(|name| schedule(json!({ "beta_schedule": name })));
        assert_eq!(quadratic, scaled);
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
            assert!(rescaled.posterior_variances().iter().all(|value| value.is_finite()));
        }
    }
}

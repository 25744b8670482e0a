//! The tables of a noise schedule, computed on the device: betas, alphas_cumprod and what follows from them.

use super::{Case, Fill};
use crate::plan::{Binding, Bindings, Kernel, Real, Recorder, Shader, Twin, Value, shader};

/// The betas that are computed on the device; other schedules' tables are computed on the host by [`tables_of_betas`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClosedForm {
    /// Evenly from start to end (Ho et al. 2020).
    Linear = 0,
    /// The square roots evenly (Rombach et al. 2022).
    ScaledLinear = 1,
    /// From alphas_cumprod = cos^2 (Nichol & Dhariwal 2021, eq. 17), clipped at 0.999.
    SquaredCosine = 2,
}

/// Rows of the tables, each with one number a timestep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// Variance of the noise that step t adds.
    Betas = 0,
    /// Product of 1 - beta up to t.
    AlphasCumprod = 1,
    /// 1 - alphas_cumprod, to full relative precision.
    OneMinusAlphasCumprod = 2,
    /// beta~_t (Ho et al. 2020, eq. 7).
    PosteriorVariance = 3,
    /// Factor of x_0 in the posterior mean (eq. 7).
    PosteriorMeanCoefX0 = 4,
    /// Factor of x_t in the posterior mean (eq. 7).
    PosteriorMeanCoefXt = 5,
}

/// Number of [`Table`]s.
pub const TABLES: usize = 6;

/// A schedule of `timesteps` steps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScheduleTables {
    /// How the betas grow.
    pub schedule: ClosedForm,
    /// T.
    pub timesteps: usize,
    /// First beta; not used by the cosine.
    pub beta_start: f32,
    /// Last beta; not used by the cosine.
    pub beta_end: f32,
}

/// Nichol & Dhariwal's offset s.
const COSINE_OFFSET: f64 = 0.008;
/// What their betas are clipped at, and 1 less that.
const COSINE_MAX_BETA: f64 = 0.999;
const COSINE_MIN_ALPHA: f64 = 0.001;

impl ScheduleTables {
    /// beta_t and 1 - beta_t, neither by a difference that cancels.
    pub fn beta_and_alpha<T: Real>(&self, t: usize) -> [T; 2] {
        let one = T::one();
        let (steps, number) = (T::from_usize(self.timesteps), T::from_usize);
        let line = |start: T, end: T| start + (end - start) * number(t) / number((self.timesteps - 1).max(1));
        let (start, end) = (T::from_f32(self.beta_start), T::from_f32(self.beta_end));
        let beta = match self.schedule {
            ClosedForm::Linear => line(start, end),
            ClosedForm::ScaledLinear => line(start.sqrt(), end.sqrt()).powi(2),
            ClosedForm::SquaredCosine => {
                // With a = (t/T + s)/(1 + s) pi/2 and b the same of t + 1: alpha = cos^2 b / cos^2 a and
                // beta = (cos^2 a - cos^2 b) / cos^2 a = sin(b - a) sin(a + b) / cos^2 a. Cosines are written as
                // sines of the complements, so that small ones keep their precision.
                let scale = T::from_f64(std::f64::consts::FRAC_PI_2 / (1.0 + COSINE_OFFSET));
                let complement = |t: usize| (scale * number(self.timesteps - t) / steps).sin();
                let (cos_a, cos_b) = (complement(t), complement(t + 1));
                let sum = if 2 * t < self.timesteps {
                    scale * (number(2 * t + 1) / steps + T::from_f64(2.0 * COSINE_OFFSET))
                } else {
                    scale * number(2 * (self.timesteps - t) - 1) / steps
                };
                let beta = (scale / steps).sin() * sum.sin() / (cos_a * cos_a);
                if beta > T::from_f64(COSINE_MAX_BETA) {
                    return [T::from_f64(COSINE_MAX_BETA), T::from_f64(COSINE_MIN_ALPHA)];
                }
                return [beta, (cos_b / cos_a).powi(2)];
            }
        };
        [beta, one - beta]
    }
}

impl ScheduleTables {
    /// The cosine's alphas_cumprod and 1 - alphas_cumprod in closed form, while no beta was clipped: a product of
    /// thousands of rounded factors drifts. With a of 0 and b of t + 1 as above, 1 - cos^2 b / cos^2 a =
    /// sin(b - a) sin(b + a) / cos^2 a.
    fn cosine_products<T: Real>(&self, t: usize) -> [T; 2] {
        let (steps, number) = (T::from_usize(self.timesteps), T::from_usize);
        let scale = T::from_f64(std::f64::consts::FRAC_PI_2 / (1.0 + COSINE_OFFSET));
        let complement = |t: usize| (scale * number(self.timesteps - t) / steps).sin();
        let (cos_a, cos_b) = (complement(0), complement(t + 1));
        let passed = number(t + 1) / steps;
        let sum = scale * (passed + T::from_f64(2.0 * COSINE_OFFSET));
        [(cos_b / cos_a).powi(2), (scale * passed).sin() * sum.sin() / (cos_a * cos_a)]
    }
}

/// Writes all tables, from beta_t and 1 - beta_t and, where they are known without a product, alphas_cumprod and
/// 1 - alphas_cumprod.
fn fill<T: Real>(
    tables: &mut [T],
    beta_and_alpha: impl Fn(usize) -> [T; 2],
    closed_products: impl Fn(usize) -> Option<[T; 2]>,
) {
    let timesteps = tables.len() / TABLES;
    let (mut cumprod, mut one_minus) = (T::one(), T::zero());
    for t in 0..timesteps {
        let [beta, alpha] = beta_and_alpha(t);
        let (cumprod_before, one_minus_before) = (cumprod, one_minus);
        // 1 - abar_t = 1 - (1 - beta)(1 - u) = beta + (1 - beta) u: no cancellation for small t.
        let products = [cumprod_before * alpha, beta + alpha * one_minus_before];
        [cumprod, one_minus] = closed_products(t).unwrap_or(products);
        let mut set = |table: Table, value| tables[table as usize * timesteps + t] = value;
        set(Table::Betas, beta);
        set(Table::AlphasCumprod, cumprod);
        set(Table::OneMinusAlphasCumprod, one_minus);
        set(Table::PosteriorVariance, beta * one_minus_before / one_minus);
        set(Table::PosteriorMeanCoefX0, beta * cumprod_before.sqrt() / one_minus);
        set(Table::PosteriorMeanCoefXt, one_minus_before * alpha.sqrt() / one_minus);
    }
}

/// The tables of any betas, `[6, timesteps]`, in double precision.
pub fn tables_of_betas(betas: &[f64]) -> Vec<f64> {
    let mut tables = vec![0.0; TABLES * betas.len()];
    fill(&mut tables, |t| [betas[t], 1.0 - betas[t]], |_| None);
    tables
}

impl<T: Real> Twin<T> for ScheduleTables {
    fn twin(&self, io: &mut Bindings<T>) {
        let closed_products = |t: usize| {
            // The last beta of the cosine, and no other, is clipped; at t = 0, 1 - alphas_cumprod is beta to the bit.
            let closed = self.schedule == ClosedForm::SquaredCosine && 0 < t && t + 1 < self.timesteps;
            closed.then(|| self.cosine_products(t))
        };
        fill(io.write(0), |t| self.beta_and_alpha(t), closed_products);
    }
}

impl Kernel for ScheduleTables {
    fn shader(&self) -> Shader {
        shader!("schedule_tables", "sincos")
    }
    fn parameters(&self) -> Vec<u32> {
        vec![self.schedule as u32, self.timesteps as u32, self.beta_start.to_bits(), self.beta_end.to_bits()]
    }
    fn bindings(&self) -> Vec<Binding> {
        vec![Binding::write(TABLES * self.timesteps)]
    }
    fn groups(&self) -> usize {
        1
    }
}

/// The tables, `[6, timesteps]`, in the order of [`Table`].
pub fn schedule_tables(r: &mut Recorder, schedule: ScheduleTables) -> Value {
    let tables = r.f32(&[TABLES, schedule.timesteps]);
    r.call(schedule, &[tables]);
    tables
}

/// The three schedules at T = 1000, few steps, one step.
pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for schedule in [ClosedForm::Linear, ClosedForm::ScaledLinear, ClosedForm::SquaredCosine] {
        for timesteps in [1, 10, 1000, 4000] {
            let tables = ScheduleTables { schedule, timesteps, beta_start: 1e-4, beta_end: 0.02 };
            // Compared table by table in the tests, relative at every t; here as one tensor.
            cases.push(
                Case::new(format!("schedule_tables/{schedule:?} {timesteps}"))
                    .constant(&[TABLES, timesteps], Fill::Floats(vec![f32::NAN]))
                    .records(move |r, v| {
                        r.call(tables, &[v[0]]);
                        Ok(vec![v[0]])
                    }),
            );
        }
    }
    cases
}

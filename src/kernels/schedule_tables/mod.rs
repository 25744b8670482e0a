//! The tables of a noise schedule, computed on the device: betas, alphas_cumprod and what follows from them.

mod beta_schedule;

use super::{Case, Fill};
use crate::error::{Error, Result};
use crate::plan::{Binding, Bindings, Kernel, Real, Recorder, Shader, Twin, Value, shader};
pub use beta_schedule::BetaSchedule;
use clap::ValueEnum;

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

/// A schedule of `timesteps` steps in closed form.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScheduleTables {
    /// How the betas grow.
    pub schedule: BetaSchedule,
    /// T.
    pub timesteps: usize,
    /// First beta, of the schedules that go from one to another.
    pub beta_start: f32,
    /// Last beta of these, and the constant one.
    pub beta_end: f32,
}

impl ScheduleTables {
    /// beta_t and 1 - beta_t, neither by a difference that cancels.
    pub fn beta_and_alpha<T: Real>(&self, t: usize) -> [T; 2] {
        let ends = [T::from_f32(self.beta_start), T::from_f32(self.beta_end)];
        self.schedule.beta_and_alpha(t, self.timesteps, ends)
    }
}

/// From this beta on, 1 - beta is as precise as beta and a product does not drift: there are only so many such factors.
const LARGE_BETA: f64 = 0.5;

/// A sum and what rounding has kept out of it (Kahan 1965): thousands of small terms do not drift.
#[derive(Clone, Copy)]
struct Sum<T>([T; 2]);

impl<T: Real> Sum<T> {
    fn add(&mut self, term: T) {
        let [sum, rest] = self.0;
        let term = term + rest;
        let new = sum + term;
        self.0 = [new, term - (new - sum)];
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
    let exactly = |value: T| Sum([value, T::zero()]);
    let (mut signal, mut noise) = (exactly(T::one()), exactly(T::zero()));
    for t in 0..timesteps {
        let [beta, alpha] = beta_and_alpha(t);
        let ([signal_before, _], [noise_before, _]) = (signal.0, noise.0);
        if let Some([closed_signal, closed_noise]) = closed_products(t) {
            (signal, noise) = (exactly(closed_signal), exactly(closed_noise));
        } else if beta < T::from_f64(LARGE_BETA) {
            // What the signal loses, the noise gains: no cancellation at either end.
            signal.add(-beta * signal_before);
            noise.add(beta * signal_before);
        } else {
            (signal, noise) = (exactly(signal_before * alpha), exactly(beta + alpha * noise_before));
        }
        let noise_now = noise.0[0];
        let mut set = |table: Table, value| tables[table as usize * timesteps + t] = value;
        set(Table::Betas, beta);
        set(Table::AlphasCumprod, signal.0[0]);
        set(Table::OneMinusAlphasCumprod, noise_now);
        set(Table::PosteriorVariance, beta * noise_before / noise_now);
        set(Table::PosteriorMeanCoefX0, beta * signal_before.sqrt() / noise_now);
        set(Table::PosteriorMeanCoefXt, noise_before * alpha.sqrt() / noise_now);
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
        let &Self { schedule, timesteps, .. } = self;
        let closed_products = |t: usize| {
            // The last beta, and no other, may be clipped; at t = 0, 1 - alphas_cumprod is beta to the bit.
            let closed = schedule.has_closed_products() && 0 < t && t + 1 < timesteps;
            closed.then(|| schedule.share_lost(0, t + 1, timesteps)).map(|[lost, left]| [left, lost])
        };
        fill(io.write(0), |t| self.beta_and_alpha(t), closed_products);
    }
}

impl Kernel for ScheduleTables {
    fn shader(&self) -> Shader {
        shader!("schedule_tables", "sincos", "exponential", "schedule_tables")
    }
    fn parameters(&self) -> Vec<u32> {
        vec![self.timesteps as u32, self.schedule as u32, self.beta_start.to_bits(), self.beta_end.to_bits()]
    }
    fn bindings(&self) -> Vec<Binding> {
        vec![Binding::write(TABLES * self.timesteps)]
    }
    fn groups(&self) -> usize {
        1
    }
}

/// The tables of betas that are given with 1 - beta, `[2, timesteps]`.
#[derive(Clone, Copy, Debug)]
struct GivenTables {
    timesteps: usize,
}

impl<T: Real> Twin<T> for GivenTables {
    fn twin(&self, io: &mut Bindings<T>) {
        let given = io.read(1);
        fill(io.write(0), |t| [given[t], given[self.timesteps + t]], |_| None);
    }
}

impl Kernel for GivenTables {
    fn shader(&self) -> Shader {
        shader!("schedule_tables_given", "schedule_tables")
    }
    fn parameters(&self) -> Vec<u32> {
        vec![self.timesteps as u32]
    }
    fn bindings(&self) -> Vec<Binding> {
        vec![Binding::write(TABLES * self.timesteps), Binding::read(2 * self.timesteps)]
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

/// The same of given betas: `given` holds beta of every timestep and then 1 - beta, `[2, timesteps]`, which for betas near
/// 1 are not each other's difference in single precision.
///
/// # Errors
/// [`Shape`](Error::Shape) if that is not `given`'s shape.
pub fn tables_of_given_betas(r: &mut Recorder, given: Value) -> Result<Value> {
    let &[2, timesteps] = r.shape(given) else {
        let message = format!("betas are {:?}, expected [2, timesteps]", r.shape(given));
        return Err(Error::Shape { op: "schedule_tables", message });
    };
    let tables = r.f32(&[TABLES, timesteps]);
    r.call(GivenTables { timesteps }, &[tables, given]);
    Ok(tables)
}

/// All schedules at T = 1000, few steps, one step; compared table by table in the tests, relative at every t, here as one
/// tensor.
pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for &schedule in BetaSchedule::value_variants() {
        for timesteps in [1, 10, 1000, 4000] {
            let tables = ScheduleTables { schedule, timesteps, beta_start: 1e-4, beta_end: 0.02 };
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
    for timesteps in [1, 33, 1000] {
        // Large betas and small ones, and a last one that leaves nothing.
        let betas = (1..=timesteps).map(|t| if t == timesteps { 1.0 } else { 0.6 / (t % 97 + 1) as f32 });
        let both = betas.clone().chain(betas.map(|beta| 1.0 - beta)).collect();
        cases.push(
            Case::new(format!("schedule_tables/given {timesteps}"))
                .constant(&[2, timesteps], Fill::Floats(both))
                .records(|r, v| Ok(vec![tables_of_given_betas(r, v[0])?])),
        );
    }
    cases
}

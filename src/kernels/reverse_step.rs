//! One step of the reverse process (Ho et al. 2020, algorithm 2), fused: predict x_0, clip it, take the posterior mean
//! and add noise that is drawn where it is used. One read of x and of the network's output, one write.

use super::random::{Purpose, normal, picture_key};
use super::schedule_tables::{BetaSchedule, ScheduleTables, TABLES, Table, schedule_tables};
use super::{Case, Fill};
use crate::error::{Error, Result};
use crate::plan::{Binding, Bindings, Kernel, Real, Recorder, Shader, Step, Twin, Value, shader};

/// What the network's output is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prediction {
    /// The noise (Ho et al. 2020).
    Epsilon = 0,
    /// x_0 itself.
    Sample = 1,
    /// sqrt(abar) eps - sqrt(1 - abar) x_0 (Salimans & Ho 2022).
    VPrediction = 2,
}

/// The variance of a reverse step (Ho et al. 2020, section 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variance {
    /// beta~_t, which is right if x_0 is one point.
    FixedSmall = 0,
    /// beta_t, which is right if x_0 is standard normal.
    FixedLarge = 1,
}

/// How the reverse process is run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ReverseProcess {
    /// What the network's output is.
    pub prediction: Prediction,
    /// The variance of a step.
    pub variance: Variance,
    /// Clips the predicted x_0 to [-range, range].
    pub clip_range: Option<f32>,
}

/// One step from the step block's `timestep` to its `previous_timestep`, which need not be neighbours: x is updated in
/// place.
#[derive(Clone, Copy, Debug)]
struct ReverseStep {
    pictures: usize,
    /// Elements of a picture.
    elements: usize,
    timesteps: usize,
    process: ReverseProcess,
    /// Whether the noise is a binding instead of drawn.
    noise_given: bool,
}

/// The step's numbers, which do not depend on the element.
struct Coefficients<T> {
    sqrt_alphas_cumprod: T,
    sqrt_one_minus: T,
    of_x0: T,
    of_xt: T,
    deviation: T,
}

impl ReverseStep {
    fn coefficients<T: Real>(&self, tables: &[T], step: &Step) -> Coefficients<T> {
        let at = |table: Table, t: usize| tables[table as usize * self.timesteps + t];
        let t = step.timestep as usize;
        let (cumprod, one_minus) = (at(Table::AlphasCumprod, t), at(Table::OneMinusAlphasCumprod, t));
        let (cumprod_before, one_minus_before) = match usize::try_from(step.previous_timestep) {
            Ok(previous) => (at(Table::AlphasCumprod, previous), at(Table::OneMinusAlphasCumprod, previous)),
            Err(_) => (T::one(), T::zero()),
        };
        // The beta of this step. Of the two forms of the difference, the one between the smaller numbers.
        let half = T::from_f64(0.5);
        let beta = if step.previous_timestep + 1 == step.timestep as i32 {
            at(Table::Betas, t)
        } else if one_minus < half {
            (one_minus - one_minus_before) / cumprod_before
        } else {
            (cumprod_before - cumprod) / cumprod_before
        };
        let variance = match self.process.variance {
            Variance::FixedSmall => beta * one_minus_before / one_minus,
            Variance::FixedLarge => beta,
        };
        Coefficients {
            sqrt_alphas_cumprod: cumprod.sqrt(),
            sqrt_one_minus: one_minus.sqrt(),
            of_x0: beta * cumprod_before.sqrt() / one_minus,
            of_xt: one_minus_before * (cumprod / cumprod_before).sqrt() / one_minus,
            deviation: if step.add_noise != 0 { variance.sqrt() } else { T::zero() },
        }
    }
}

impl<T: Real> Twin<T> for ReverseStep {
    fn twin(&self, io: &mut Bindings<T>) {
        let (tables, output, given, x) = (io.read(0), io.read(1), io.read(2), io.write(3));
        let step = io.step();
        let c = self.coefficients(tables, step);
        for i in 0..x.len() {
            let (picture, element) = (i / self.elements, i % self.elements);
            let mut x0 = match self.process.prediction {
                Prediction::Epsilon => (x[i] - c.sqrt_one_minus * output[i]) / c.sqrt_alphas_cumprod,
                Prediction::Sample => output[i],
                Prediction::VPrediction => c.sqrt_alphas_cumprod * x[i] - c.sqrt_one_minus * output[i],
            };
            if let Some(range) = self.process.clip_range {
                // Comparisons leave NaN as it is; max and min would hide it.
                let range = T::from_f32(range);
                x0 = if x0 > range { range } else if x0 < -range { -range } else { x0 };
            }
            let mean = c.of_x0 * x0 + c.of_xt * x[i];
            let noise = if self.noise_given {
                given[i]
            } else {
                let number = step.first_picture.wrapping_add(picture as u32);
                normal(picture_key(step.seed, Purpose::ReverseNoise, number), step.timestep, element)
            };
            x[i] = mean + c.deviation * noise;
        }
    }
}

impl Kernel for ReverseStep {
    fn shader(&self) -> Shader {
        shader!("reverse_step", "grid", "step", "threefry", "sincos", "normal")
    }
    fn parameters(&self) -> Vec<u32> {
        let ReverseProcess { prediction, variance, clip_range } = self.process;
        let sizes = [self.pictures, self.elements, self.timesteps].map(|size| size as u32);
        let choices = [prediction as u32, variance as u32, clip_range.unwrap_or(f32::MAX).to_bits()];
        [&sizes[..], &choices, &[self.noise_given.into()]].concat()
    }
    fn bindings(&self) -> Vec<Binding> {
        let pixels = Binding::read(self.pictures * self.elements);
        vec![Binding::read(TABLES * self.timesteps), pixels, pixels, Binding::update(pixels.len)]
    }
    fn groups(&self) -> usize {
        (self.pictures * self.elements.div_ceil(2)).div_ceil(256)
    }
}

/// Moves x `[pictures, ..]` in place from the step block's `timestep` to its `previous_timestep`, by the network's
/// `output`, shaped as x. The noise is drawn by the step's seed and each picture's number, or `noise` is used.
///
/// # Errors
/// [`Shape`](Error::Shape) if the sizes do not fit together.
pub fn reverse_step(
    r: &mut Recorder,
    tables: Value,
    output: Value,
    noise: Option<Value>,
    x: Value,
    process: ReverseProcess,
) -> Result<()> {
    let wrong = || {
        let message = format!("tables {:?}, output {:?}, x {:?} do not fit", r.shape(tables), r.shape(output), r.shape(x));
        Error::Shape { op: "reverse_step", message }
    };
    let (&[TABLES, timesteps], &[pictures, ..]) = (r.shape(tables), r.shape(x)) else { return Err(wrong()) };
    if r.shape(output) != r.shape(x) || noise.is_some_and(|noise| r.shape(noise) != r.shape(x)) {
        return Err(wrong());
    }
    let elements = r.len(x) / pictures.max(1);
    let kernel = ReverseStep { pictures, elements, timesteps, process, noise_given: noise.is_some() };
    r.call(kernel, &[tables, output, noise.unwrap_or(output), x]);
    Ok(())
}

/// Every prediction and variance, neighbouring and distant timesteps, both ends, odd sizes, given and drawn noise.
pub(super) fn cases() -> Vec<Case> {
    let cosine =
        ScheduleTables { schedule: BetaSchedule::SquaredCosine, timesteps: 1000, beta_start: 0.0, beta_end: 0.0 };
    let mut cases = Vec::new();
    for (prediction, variance, clip_range, steps, noise_given) in [
        (Prediction::Epsilon, Variance::FixedSmall, Some(1.0), [999, 998], false),
        (Prediction::Epsilon, Variance::FixedLarge, Some(1.0), [500, 480], false),
        (Prediction::Epsilon, Variance::FixedLarge, None, [20, 0], true),
        (Prediction::Sample, Variance::FixedSmall, None, [700, 600], true),
        (Prediction::VPrediction, Variance::FixedSmall, Some(1.5), [1, 0], true),
        (Prediction::Epsilon, Variance::FixedSmall, Some(1.0), [0, -1], false),
    ] {
        let process = ReverseProcess { prediction, variance, clip_range };
        for shape in [[3, 3, 5, 3], [2, 24, 25, 1]] {
            let add_noise = u32::from(steps[0] > 0);
            let (timestep, previous_timestep) = (steps[0] as u32, steps[1]);
            let step = Step { timestep, previous_timestep, add_noise, first_picture: 9, ..Step::seeded(3) };
            let source = if noise_given { "given" } else { "drawn" };
            let name = format!("reverse_step/{prediction:?} {variance:?} {steps:?} {source} {}", shape[0]);
            cases.push(
                Case::new(name)
                    .constant(&shape, Fill::Normal(1.0))
                    .constant(&shape, Fill::Normal(1.0))
                    .constant(&shape, Fill::Normal(1.0))
                    .step(step)
                    .records(move |r, v| {
                        let tables = schedule_tables(r, cosine);
                        reverse_step(r, tables, v[0], noise_given.then_some(v[1]), v[2], process)?;
                        Ok(vec![v[2]])
                    }),
            );
        }
    }
    cases
}

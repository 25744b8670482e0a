//! The level of noise of every picture of a training batch: its timestep, drawn here, and all that follows from it.

use super::prediction::PredictionType;
use super::random::{Purpose, picture_key, threefry2x32};
use super::schedule_tables::{TABLES, Table};
use super::weighting::Weighting;
use super::{Case, Fill};
use crate::error::{Error, Result};
use crate::plan::{Binding, Bindings, Element, Kernel, Real, Recorder, Shader, Step, Twin, Value, shader};

/// Numbers in a picture's row.
pub const COLUMNS: usize = 8;

/// What a picture's row says. x_t = signal x_0 + noise eps; the network is to predict of_x0 x_0 + of_epsilon eps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    /// Factor of x_0 in x_t.
    Signal = 0,
    /// Factor of eps in x_t.
    Noise = 1,
    /// Factor of x_0 in what is predicted.
    OfX0 = 2,
    /// Factor of eps in what is predicted.
    OfEpsilon = 3,
    /// Factor of the picture's loss.
    Weight = 4,
    /// What the network is told.
    Told = 5,
    /// The timestep, a whole number.
    Index = 6,
    /// 1 / (T p_t): what makes the loss's mean that over timesteps drawn uniformly, where they are not.
    Correction = 7,
}

/// How timesteps are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestepDraw {
    /// Each alike, by the remainder of a picture's bits.
    Uniform,
    /// By given shares.
    Shares,
    /// By given shares, with the step's pictures at equal distances: how many there are, in all micro-batches.
    StratifiedShares(usize),
}

impl TimestepDraw {
    /// The distance of neighbouring pictures' bits.
    pub(super) fn stride(self) -> u32 {
        match self {
            Self::StratifiedShares(whole) => stride(whole),
            _ => 0,
        }
    }
}

/// The distance of the bits of so many pictures, which divide the circle of 2^32; 0 for one, which draws for itself.
pub(super) fn stride(pictures: usize) -> u32 {
    if pictures > 1 { ((1_u64 << 32) / pictures as u64) as u32 } else { 0 }
}

/// The bits that say the timestep of the picture at a place of the step's whole batch; `shaders/shared/timestep_draw.wgsl`.
pub(super) fn timestep_bits(step: &Step, place: u32, stride: u32) -> u32 {
    if stride == 0 {
        return threefry2x32(picture_key(step.seed, Purpose::TrainingTimestep, place), [step.step, 0])[0];
    }
    let first = threefry2x32(picture_key(step.seed, Purpose::TrainingTimestep, 0), [step.step, 1])[0];
    first.wrapping_add(place.wrapping_mul(stride))
}

/// Shares of timesteps as [`levels`] reads them: the last of the 2^32 values of a picture's bits that draws each, so that
/// all devices draw the same. Every timestep gets some. Beside them 1 / (T p_t), of the shares as they came out.
///
/// The shares need not sum to 1, but must be finite, not negative, and not all zero.
pub fn shares(weights: &[f64]) -> (Vec<u32>, Vec<f32>) {
    const ALL: f64 = 4_294_967_296.0;
    let timesteps = weights.len();
    // One value of the bits for each, the others by weight.
    let total: f64 = weights.iter().sum();
    let free = ALL - timesteps as f64;
    let mut sum = 0.0;
    let mut before = 0_u64;
    let mut last_bits = Vec::with_capacity(timesteps);
    let mut corrections = Vec::with_capacity(timesteps);
    for (t, weight) in weights.iter().enumerate() {
        sum += weight;
        let end = match t + 1 == timesteps {
            true => 1 << 32,
            false => ((sum / total * free) as u64).min(free as u64) + t as u64 + 1,
        };
        last_bits.push((end - 1) as u32);
        corrections.push((ALL / ((end - before) as f64 * timesteps as f64)) as f32);
        before = end;
    }
    (last_bits, corrections)
}

/// What all pictures have in common.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DiscreteLevels {
    /// How timesteps are drawn.
    pub draw: TimestepDraw,
    /// What the network predicts.
    pub prediction: PredictionType,
    /// How errors count.
    pub weighting: Weighting,
    /// Whether the reverse process's variance is beta_t instead of beta~_t: for [`Weighting::Kl`].
    pub large_variance: bool,
}

#[derive(Clone, Copy, Debug)]
struct Levels {
    pictures: usize,
    timesteps: usize,
    levels: DiscreteLevels,
}

impl DiscreteLevels {
    /// The weight of the squared error at a timestep, with the tables `[6, timesteps]`.
    pub fn weight<T: Real>(&self, tables: &[T], t: usize) -> T {
        let timesteps = tables.len() / TABLES;
        let at = |table: Table, t: usize| tables[table as usize * timesteps + t];
        // The first one's variance is the second's, as beta~ is 0 there.
        let variance = match t {
            0 if timesteps > 1 => at(Table::PosteriorVariance, 1),
            0 => at(Table::Betas, 0),
            _ if self.large_variance => at(Table::Betas, t),
            _ => at(Table::PosteriorVariance, t),
        };
        let kl_of_x0 = T::from_f64(0.5) * at(Table::PosteriorMeanCoefX0, t).powi(2) / variance;
        let (signal, noise) = (at(Table::AlphasCumprod, t), at(Table::OneMinusAlphasCumprod, t));
        self.weighting.of(self.prediction, signal, noise, kl_of_x0)
    }
}

impl<T: Real> Twin<T> for Levels {
    fn twin(&self, io: &mut Bindings<T>) {
        let (tables, last_bits, corrections, step) = (io.read(0), io.read_integers(1), io.read(2), io.step());
        let (levels, told) = (io.write(3), io.write(4));
        let Self { timesteps, levels: discrete, .. } = *self;
        for (picture, row) in levels.chunks_exact_mut(COLUMNS).enumerate() {
            let place = step.first_picture.wrapping_add(picture as u32);
            let bits = timestep_bits(step, place, discrete.draw.stride());
            let (t, correction) = match discrete.draw {
                TimestepDraw::Uniform => (bits as usize % timesteps, T::one()),
                _ => {
                    let t = last_bits.partition_point(|&last| last < bits);
                    (t, corrections[t])
                }
            };
            let at = |table: Table| tables[table as usize * timesteps + t];
            let (signal, noise) = (at(Table::AlphasCumprod).sqrt(), at(Table::OneMinusAlphasCumprod).sqrt());
            let [of_x0, of_epsilon] = discrete.prediction.of_x0_and_epsilon(signal, noise);
            let (weight, t) = (discrete.weight(tables, t), T::from_usize(t));
            row.copy_from_slice(&[signal, noise, of_x0, of_epsilon, weight, t, t, correction]);
            told[picture] = t;
        }
    }
}

impl Kernel for Levels {
    fn shader(&self) -> Shader {
        shader!("levels", "grid", "step", "threefry", "timestep_draw", "prediction", "weighting")
    }
    fn parameters(&self) -> Vec<u32> {
        let DiscreteLevels { draw, prediction, weighting, large_variance } = self.levels;
        let by_shares = u32::from(draw != TimestepDraw::Uniform);
        let drawn = [self.pictures as u32, self.timesteps as u32, by_shares, draw.stride()];
        [&drawn[..], &[prediction as u32, large_variance.into()], &weighting.parameters()].concat()
    }
    fn bindings(&self) -> Vec<Binding> {
        let tables = Binding::read(TABLES * self.timesteps);
        let (last_bits, corrections) = match self.levels.draw {
            TimestepDraw::Uniform => (Binding::read(1).integers(), tables),
            _ => (Binding::read(self.timesteps).integers(), Binding::read(self.timesteps)),
        };
        let rows = Binding::write(COLUMNS * self.pictures);
        vec![tables, last_bits, corrections, rows, Binding::write(self.pictures)]
    }
    fn groups(&self) -> usize {
        self.pictures.div_ceil(256)
    }
}

/// The rows of a batch `[pictures, 8]`, in the order of [`Column`], and what the network is told, `[pictures]`.
#[derive(Clone, Copy, Debug)]
pub struct Drawn {
    /// [`Column`]s.
    pub levels: Value,
    /// [`Column::Told`] alone.
    pub told: Value,
}

/// Draws the timestep of every picture, by the step's seed and number and the picture's place in the whole batch, and
/// looks up all that follows from it in the tables `[6, timesteps]`. [`shares`] gives `shares`, both `[timesteps]`, for the
/// draws that take them.
///
/// # Errors
/// [`Shape`](Error::Shape) if the sizes do not fit together.
pub fn levels(
    r: &mut Recorder,
    tables: Value,
    shares: Option<[Value; 2]>,
    pictures: usize,
    levels: DiscreteLevels,
) -> Result<Drawn> {
    let [TABLES, timesteps] = r.dims("levels", tables)? else {
        let message = format!("tables {:?}, expected [{TABLES}, timesteps]", r.shape(tables));
        return Err(Error::Shape { op: "levels", message });
    };
    let wanted = levels.draw != TimestepDraw::Uniform;
    let fits = shares.is_none_or(|both| both.iter().all(|&one| r.len(one) == timesteps));
    if shares.is_some() != wanted || !fits || timesteps == 0 {
        let message = format!("{:?} of {timesteps} timesteps does not fit the shares", levels.draw);
        return Err(Error::Shape { op: "levels", message });
    }
    let [last_bits, corrections] = match shares {
        Some(shares) => shares,
        None => [r.value(Element::U32, &[1]), tables],
    };
    let drawn = Drawn { levels: r.f32(&[pictures, COLUMNS]), told: r.f32(&[pictures]) };
    let kernel = Levels { pictures, timesteps, levels };
    r.call(kernel, &[tables, last_bits, corrections, drawn.levels, drawn.told]);
    Ok(drawn)
}

/// Every prediction, weighting and way of drawing, one timestep, more than one workgroup. A column's size beside the
/// others' would hide its error in one tensor: the tests compare each for itself.
pub(super) fn cases() -> Vec<Case> {
    use PredictionType::{Epsilon, Sample, Score, VPrediction};
    use TimestepDraw::{Shares, StratifiedShares, Uniform};
    let mut cases = Vec::new();
    for (pictures, timesteps, draw, prediction, weighting, large_variance) in [
        (1, 1, Uniform, Epsilon, Weighting::Kl, false),
        (300, 1000, Uniform, Epsilon, Weighting::None, false),
        (7, 4, Uniform, Sample, Weighting::Snr, false),
        (33, 10, Shares, VPrediction, Weighting::MinSnr { gamma: 1.5 }, false),
        (300, 3, Shares, Score, Weighting::P2 { gamma: 0.7, k: 1.3 }, false),
        (64, 5, StratifiedShares(96), Epsilon, Weighting::Kl, false),
        (5, 6, StratifiedShares(7), VPrediction, Weighting::Kl, true),
        (40, 2, StratifiedShares(1), Sample, Weighting::Kl, true),
        (9, 7, Shares, Score, Weighting::Kl, false),
        (65, 3, Uniform, Epsilon, Weighting::MinSnr { gamma: 0.8 }, false),
    ] {
        let kernel = DiscreteLevels { draw, prediction, weighting, large_variance };
        let uneven: Vec<f64> = (0..timesteps).map(|t| (t % 3 * (t % 3)) as f64 + 0.1).collect();
        let (last_bits, corrections) = shares(&uneven);
        let step = Step { step: 3, first_picture: 20, ..Step::seeded(42) };
        cases.push(
            Case::new(format!("levels/{pictures} of {timesteps} {draw:?} {prediction:?} {weighting:?}"))
                .constant(&[TABLES, timesteps], Fill::Uniform(0.1, 1.0))
                .constant(&[timesteps], Fill::Integers(last_bits))
                .constant(&[timesteps], Fill::Floats(corrections))
                .step(step)
                .records(move |r, v| {
                    let shares = (draw != Uniform).then_some([v[1], v[2]]);
                    let drawn = levels(r, v[0], shares, pictures, kernel)?;
                    Ok(vec![drawn.levels, drawn.told])
                }),
        );
    }
    cases
}

#[cfg(test)]
mod tests {
    use super::shares;

    #[test]
    fn shares_are_as_given_and_none_is_nothing() {
        let weights = [0.0, 3.0, 1.0, 0.0, 4.0];
        let (last_bits, corrections) = shares(&weights);
        let mut before = -1;
        for ((weight, last), correction) in weights.iter().zip(&last_bits).zip(&corrections) {
            let share = (i64::from(*last) - before) as f64 / 4_294_967_296.0;
            before = i64::from(*last);
            assert!((share - weight / 8.0).abs() < 2e-9 && share > 0.0, "{share}, {weight}");
            assert!((f64::from(*correction) * 5.0 * share - 1.0).abs() < 1e-7);
        }
        assert_eq!(last_bits[4], u32::MAX);
        assert_eq!(shares(&[0.3]), (vec![u32::MAX], vec![1.0]));
    }
}

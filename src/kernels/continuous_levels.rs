//! The level of noise of every picture of a training batch in continuous time: drawn here, and all that follows from it.

use super::levels::{COLUMNS, Drawn, stride, timestep_bits};
use super::prediction::PredictionType;
use super::random::{Purpose, normal, picture_key, uniform};
use super::weighting::Weighting;
use super::Case;
use crate::plan::{Binding, Bindings, Kernel, Real, Recorder, Shader, Step, Twin, shader};

/// Which process, with what the kernel needs of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ContinuousProcess {
    /// The variance is preserved: beta goes evenly from the first to the second number (Song et al. 2021, eq. 32).
    Vp([f32; 2]),
    /// The variance is below that (Song et al. 2021, eq. 29).
    SubVp([f32; 2]),
    /// sigma goes geometrically from the first number to the second (Song et al. 2021, eq. 30).
    Ve([f32; 2]),
    /// sigma goes from the first number to the second along Karras et al. 2022, eq. 5.
    Edm {
        /// The least sigma and the largest.
        sigmas: [f32; 2],
        /// Standard deviation of pictures.
        data: f32,
        /// Eq. 5's.
        rho: f32,
    },
}

/// How times are drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum TimeDraw {
    /// Each picture's for itself, uniformly from the first time to 1.
    Uniform,
    /// The same, the pictures of a step being at equal distances: how many there are, in all micro-batches.
    Stratified(usize),
    /// The logarithm of sigma is normal, of this mean and standard deviation (Karras et al. 2022, table 1); for
    /// [`Ve`](ContinuousProcess::Ve) and [`Edm`](ContinuousProcess::Edm).
    LogNormal([f32; 2]),
}

/// The most times that there may be, for each to be drawn as often: they share 2^32 draws.
pub const MOST_TIMES: u32 = 10_000;

/// What all pictures have in common.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ContinuousLevels {
    /// The process.
    pub process: ContinuousProcess,
    /// The first time.
    pub first: f32,
    /// How many times there are, the first being 0 and all at equal distances; 0 for all times from the first one on. With
    /// [`Ve`](ContinuousProcess::Ve), these are the geometric levels of noise of Song & Ermon 2019. From 2 to
    /// [`MOST_TIMES`], and not with [`TimeDraw::LogNormal`].
    pub times: u32,
    /// How times are drawn.
    pub draw: TimeDraw,
    /// What the network predicts; for [`Edm`](ContinuousProcess::Edm), of pictures that are divided by their deviation.
    pub prediction: PredictionType,
    /// Whether it predicts that with its sign turned.
    pub is_turned: bool,
    /// How errors count; not [`Weighting::Kl`], which is for steps.
    pub weighting: Weighting,
}

#[derive(Clone, Copy, Debug)]
struct Levels {
    pictures: usize,
    levels: ContinuousLevels,
}

impl ContinuousLevels {
    /// Number of the process, its first number and the way from there to its second, as shaders are told them.
    fn numbers(&self) -> (u32, [f64; 2]) {
        let between = |ends: [f32; 2], of: &dyn Fn(f64) -> f64| {
            let [low, high] = ends.map(|end| of(end.into()));
            [low, high - low]
        };
        match self.process {
            ContinuousProcess::Vp(betas) => (0, between(betas, &|beta| beta)),
            ContinuousProcess::SubVp(betas) => (1, between(betas, &|beta| beta)),
            ContinuousProcess::Ve(sigmas) => (2, between(sigmas, &f64::ln)),
            ContinuousProcess::Edm { sigmas, rho, .. } => {
                (3, between(sigmas, &|sigma| sigma.powf(1.0 / f64::from(rho))))
            }
        }
    }

    fn stride(&self) -> u32 {
        match self.draw {
            TimeDraw::Stratified(whole) => stride(whole),
            _ => 0,
        }
    }

    /// How many of the 2^32 draws fall to each of the times, the last one having a few less; 0 for all times.
    fn draws_of_a_time(&self) -> u32 {
        u32::MAX.checked_div(self.times).map_or(0, |draws| draws + 1)
    }

    /// A picture's row.
    fn row<T: Real>(&self, step: &Step, place: u32) -> [T; COLUMNS] {
        let (one, number) = (T::one(), T::from_f64);
        let (_, [a, b]) = self.numbers();
        let [a, b] = [a, b].map(|value| T::from_f32(value as f32));
        let first = T::from_f32(self.first);
        let bits = timestep_bits(step, place, self.stride());
        let index = bits.checked_div(self.draws_of_a_time()).unwrap_or(0);
        let t = match self.times {
            0 => first + (one - first) * uniform(bits),
            times => T::from_usize(index as usize) / T::from_usize(times as usize - 1),
        };
        let log_sigma = |spaced: T| match self.draw {
            TimeDraw::LogNormal([mean, deviation]) => {
                let key = picture_key(step.seed, Purpose::TrainingTimestep, place);
                T::from_f32(mean) + T::from_f32(deviation) * normal::<T>(key, step.step, 0)
            }
            _ => spaced,
        };
        let ([signal, noise], data, told) = match self.process {
            ContinuousProcess::Vp(_) | ContinuousProcess::SubVp(_) => {
                let minus_log = t * (a + number(0.5) * t * b);
                let lost = -(-minus_log).exp_m1();
                let noise = if matches!(self.process, ContinuousProcess::Vp(_)) { lost.sqrt() } else { lost };
                ([(number(-0.5) * minus_log).exp(), noise], one, number(999.0) * t)
            }
            ContinuousProcess::Ve(_) => {
                let sigma = log_sigma(a + t * b).exp();
                ([one, sigma], one, sigma)
            }
            ContinuousProcess::Edm { data, rho, .. } => {
                let log_sigma = log_sigma(T::from_f32(rho) * (a + t * b).ln());
                let (sigma, data) = (log_sigma.exp(), T::from_f32(data));
                let scale = one / (sigma * sigma + data * data).sqrt();
                ([scale * data, scale * sigma], data, number(0.25) * log_sigma)
            }
        };
        let [of_x0, of_epsilon] = self.prediction.of_x0_and_epsilon(signal, noise);
        let sign = if self.is_turned { -one } else { one };
        let weight = self.weighting.of(self.prediction, signal * signal, noise * noise, T::zero());
        [signal / data, noise, sign * of_x0 / data, sign * of_epsilon, weight, told, T::from_usize(index as usize), one]
    }
}

impl<T: Real> Twin<T> for Levels {
    fn twin(&self, io: &mut Bindings<T>) {
        let (step, levels, told) = (io.step(), io.write(0), io.write(1));
        for (picture, row) in levels.chunks_exact_mut(COLUMNS).enumerate() {
            row.copy_from_slice(&self.levels.row::<T>(step, step.first_picture.wrapping_add(picture as u32)));
            told[picture] = row[5];
        }
    }
}

impl Kernel for Levels {
    fn shader(&self) -> Shader {
        shader!(
            "levels_continuous",
            "grid",
            "step",
            "threefry",
            "sincos",
            "normal",
            "timestep_draw",
            "prediction",
            "weighting",
            "exponential"
        )
    }
    fn parameters(&self) -> Vec<u32> {
        let levels = &self.levels;
        let (process, [a, b]) = levels.numbers();
        let (data, rho) = match levels.process {
            ContinuousProcess::Edm { data, rho, .. } => (data, rho),
            _ => (1.0, 1.0),
        };
        let (is_log_normal, [mean, deviation]) = match levels.draw {
            TimeDraw::LogNormal(numbers) => (1, numbers),
            _ => (0, [0.0, 1.0]),
        };
        let numbers = [a as f32, b as f32, levels.first, data, rho, mean, deviation].map(f32::to_bits);
        let prediction = [levels.prediction as u32, levels.is_turned.into()];
        [
            &[self.pictures as u32, process, levels.stride(), is_log_normal][..],
            &numbers,
            &prediction,
            &levels.weighting.parameters(),
            &[levels.times, levels.draws_of_a_time()],
        ]
        .concat()
    }
    fn bindings(&self) -> Vec<Binding> {
        vec![Binding::write(COLUMNS * self.pictures), Binding::write(self.pictures)]
    }
    fn groups(&self) -> usize {
        self.pictures.div_ceil(256)
    }
}

/// The rows of a batch in continuous time, by the step's seed and number and each picture's place in the whole batch.
pub fn continuous_levels(r: &mut Recorder, pictures: usize, levels: ContinuousLevels) -> Drawn {
    let drawn = Drawn { levels: r.f32(&[pictures, COLUMNS]), told: r.f32(&[pictures]) };
    r.call(Levels { pictures, levels }, &[drawn.levels, drawn.told]);
    drawn
}

/// Every process, prediction and way of drawing, one picture and more than one workgroup.
pub(super) fn cases() -> Vec<Case> {
    use PredictionType::{Epsilon, Sample, Score, VPrediction};
    use TimeDraw::{LogNormal, Stratified, Uniform};
    let vp = ContinuousProcess::Vp([0.1, 20.0]);
    let sub_vp = ContinuousProcess::SubVp([0.1, 20.0]);
    let ve = ContinuousProcess::Ve([0.01, 50.0]);
    let edm = ContinuousProcess::Edm { sigmas: [0.002, 80.0], data: 0.5, rho: 7.0 };
    let mut cases = Vec::new();
    for (pictures, process, times, draw, prediction, is_turned, weighting) in [
        (1, vp, 0, Uniform, Epsilon, false, Weighting::None),
        (300, vp, 0, Stratified(400), VPrediction, false, Weighting::MinSnr { gamma: 5.0 }),
        (33, sub_vp, 0, Uniform, Sample, false, Weighting::None),
        (7, sub_vp, 0, Stratified(1), Epsilon, false, Weighting::P2 { gamma: 1.0, k: 1.0 }),
        (300, ve, 0, Uniform, Score, false, Weighting::Snr),
        (5, ve, 0, LogNormal([-1.2, 1.2]), Epsilon, false, Weighting::None),
        (300, ve, 10, Uniform, Score, false, Weighting::Snr),
        (1, ve, 2, Uniform, Epsilon, false, Weighting::None),
        (77, ve, MOST_TIMES, Stratified(99), Score, false, Weighting::Snr),
        (300, edm, 0, LogNormal([-1.2, 1.2]), VPrediction, true, Weighting::None),
        (64, edm, 0, Stratified(64), VPrediction, false, Weighting::Snr),
    ] {
        let levels = ContinuousLevels { process, first: 1e-3, times, draw, prediction, is_turned, weighting };
        let step = Step { step: 5, first_picture: 11, ..Step::seeded(7) };
        cases.push(
            Case::new(format!("continuous_levels/{pictures} {process:?} {times} {draw:?} {prediction:?} {weighting:?}"))
                .step(step)
                .records(move |r, _| {
                    let drawn = continuous_levels(r, pictures, levels);
                    Ok(vec![drawn.levels, drawn.told])
                }),
        );
    }
    cases
}

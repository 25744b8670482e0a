//! The likelihood by the probability-flow ODE (Song et al. 2021, section 4.3 and appendix D.2): x follows the flow from the
//! picture to noise, the logarithm of its density changes by the flow's divergence, and that is estimated from the
//! network's gradient in a random direction (Skilling 1989, Hutchinson 1990).

use super::super::dormand_prince::{Path, Progress};
use super::predictor::prediction_and_variance;
use super::{Flow, HALF_LEVEL, LevelPictures, PullBack, Tolerance, mean_and_error};
use crate::error::{Error, Result};
use crate::kernels::random::{Purpose, picture_key, threefry2x32, uniform};
use rayon::prelude::*;
use std::f64::consts::{LN_2, PI};

/// How the ODE is solved.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OdeOptions {
    /// Of a step's error; 1e-5 of both kinds in the published codes.
    pub tolerance: Tolerance,
    /// Makes the directions, and what is added to the levels.
    pub seed: u64,
}

impl Default for OdeOptions {
    fn default() -> Self {
        Self { tolerance: Tolerance { absolute: 1e-5, relative: 1e-5 }, seed: 0 }
    }
}

/// The likelihood, in bits per dimension. Levels are spread evenly over their bins, 2 / 255 wide with the level in the
/// middle, so that in expectation this is no less than the negative log-likelihood of the levels under the density that
/// the flow makes of noise (Theis et al. 2016).
#[derive(Clone, Debug, PartialEq)]
pub struct OdeLikelihood {
    /// The mean over the pictures.
    pub bits_per_dim: f64,
    /// Its standard error, over pictures, directions and what was added to the levels; none of a single picture.
    pub standard_error: Option<f64>,
    /// Runs of the network, in the mean of the pictures.
    pub function_evaluations: f64,
    /// Every picture's.
    pub of_pictures: Vec<f64>,
}

/// A picture on its way: its path, whose last number is the logarithm of the density gained, and its direction.
struct Walker {
    picture: usize,
    path: Path,
    direction: Vec<f32>,
}

impl Walker {
    fn new(flow: &Flow, pictures: &LevelPictures, picture: usize, options: &OdeOptions) -> Self {
        let seed = [options.seed as u32, (options.seed >> 32) as u32];
        let words = |purpose: Purpose| {
            let key = picture_key(seed, purpose, pictures.number(picture));
            move |element: usize| threefry2x32(key, [0, element as u32])[0]
        };
        let range = flow.range();
        let signal = flow.at(range[0]).signal;
        let place = words(Purpose::Dequantization);
        let spread = |(element, level): (usize, f64)| {
            signal * (level + HALF_LEVEL * (2.0 * uniform::<f64>(place(element)) - 1.0))
        };
        let mut state: Vec<f64> = pictures.levels(picture).enumerate().map(spread).collect();
        state.push(0.0);
        let side = words(Purpose::Direction);
        let direction = (0..pictures.elements()).map(|i| if side(i) & 1 == 1 { 1.0 } else { -1.0 }).collect();
        Self { picture, path: Path::new(range, state, options.tolerance), direction }
    }

    /// The flow's slopes in the logarithm of sigma, of x and of the gain, from the network's output and its gradient.
    fn slope(&self, flow: &Flow, output: &[[f64; 2]], gradient: &[f32]) -> Vec<f64> {
        let (log_sigma, state) = self.path.asks();
        let level = flow.at(log_sigma);
        let [of_x, of_output] = level.slope_of(log_sigma);
        let slope = |(x, [output, _]): (&f64, &[f64; 2])| of_x * x + of_output * output;
        let mut slopes: Vec<f64> = state.iter().zip(output).map(slope).collect();
        let along: f64 = self.direction.iter().zip(gradient).map(|(v, g)| f64::from(*v) * f64::from(*g)).sum();
        let dimensions = self.direction.len() as f64;
        let divergence = dimensions * of_x + of_output * level.input_scale * along;
        slopes.push(divergence);
        slopes
    }

    /// Bits per dimension, at the end of the path.
    fn bits(&self, flow: &Flow) -> f64 {
        let Some((gained, x)) = self.path.state().split_last() else { return f64::NAN };
        let (dimensions, variance) = (x.len() as f64, flow.prior_variance());
        let squares: f64 = x.iter().map(|x| x * x).sum();
        let prior = -0.5 * (dimensions * (2.0 * PI * variance).ln() + squares / variance);
        // From x to the picture's scale, and from a density to a bin's probability.
        let volume = dimensions * (flow.at(flow.range()[0]).signal.ln() + (2.0 * HALF_LEVEL).ln());
        -(prior + gained + volume) / (dimensions * LN_2)
    }
}

/// The likelihood of the pictures by the flow. Every picture takes steps of its own, so that its likelihood does not depend
/// on those beside it. `watch` is told how many of the pictures are done, and the runs of the network so far.
///
/// # Errors
/// [`Input`](Error::Input) where the predictor's output does not fit, or is not followed to within the tolerance; the
/// predictor's.
pub fn ode_likelihood(
    flow: &Flow,
    predictor: &mut dyn PullBack,
    pictures: &LevelPictures,
    options: &OdeOptions,
    watch: &mut dyn FnMut(usize, usize),
) -> Result<OdeLikelihood> {
    let Tolerance { absolute, relative } = options.tolerance;
    if !(absolute > 0.0 && relative > 0.0 && absolute.max(relative) < 1.0) {
        return Err(Error::input(format!(
            "tolerances of {absolute} and {relative} of the ODE, expected more than 0 and less than 1"
        )));
    }
    let (elements, channels) = (pictures.elements(), pictures.channels());
    let mut waiting = 0..pictures.len();
    let mut walkers: Vec<Walker> = Vec::new();
    let mut found = vec![0.0; pictures.len()];
    let (mut done, mut evaluations) = (0, 0);
    loop {
        let free = predictor.batch().max(1).saturating_sub(walkers.len());
        walkers.extend(waiting.by_ref().take(free).map(|picture| Walker::new(flow, pictures, picture, options)));
        if walkers.is_empty() {
            break;
        }
        let mut x = Vec::with_capacity(walkers.len() * elements);
        let mut told = Vec::with_capacity(walkers.len());
        for walker in &walkers {
            let (log_sigma, state) = walker.path.asks();
            let level = flow.at(log_sigma);
            told.push(level.told as f32);
            x.extend(state[..elements].iter().map(|x| (level.input_scale * x) as f32));
        }
        let labels = pictures.labels_of(walkers.iter().map(|walker| walker.picture));
        let directions: Vec<f32> = walkers.iter().flat_map(|walker| walker.direction.iter().copied()).collect();
        let [output, gradient] = predictor.pull_back(&x, &told, labels.as_deref(), &directions)?;
        evaluations += walkers.len();
        let output = prediction_and_variance(&output, x.len(), channels)?;
        let progress: Vec<Progress> = (walkers.par_iter_mut())
            .zip(output.par_chunks(elements).zip(gradient.par_chunks(elements)))
            .map(|(walker, (output, gradient))| {
                let slope = walker.slope(flow, output, gradient);
                walker.path.take(slope)
            })
            .collect();
        if let Some(stuck) = progress.iter().position(|&progress| progress == Progress::Stuck) {
            let timestep = told[stuck];
            return Err(Error::input(format!(
                "the ODE's steps become too small near timestep {timestep}: the network's output is not finite, or too \
                 rough for tolerances of {absolute} and {relative}"
            )));
        }
        let mut progress = progress.into_iter();
        walkers.retain(|walker| {
            let is_done = progress.next() == Some(Progress::Done);
            if is_done {
                found[walker.picture] = walker.bits(flow);
                done += 1;
            }
            !is_done
        });
        watch(done, evaluations);
    }
    let (bits_per_dim, standard_error) = mean_and_error(&found);
    let function_evaluations = evaluations as f64 / pictures.len() as f64;
    Ok(OdeLikelihood { bits_per_dim, standard_error, function_evaluations, of_pictures: found })
}

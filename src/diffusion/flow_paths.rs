//! Pictures along the probability-flow ODE with steps as long as the tolerance lets them be (Song et al. 2021, section 4.3):
//! from noise to pictures, and back.

use super::dormand_prince::{Path, Progress, Tolerance};
use super::flow::Flow;
use super::likelihood::Predictor;
use crate::error::{Error, Result};
use rayon::prelude::*;

/// Where the flow is followed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From standard normal noise, the prior's. At the least level of noise, x is what the network predicts of the picture.
    ToPictures,
    /// From pictures, taken for x of the least level of noise, to the prior's noise, standard normal if it were the prior's.
    ToNoise,
}

/// What was found.
#[derive(Clone, Debug, PartialEq)]
pub struct FlowPaths {
    /// All pictures, or their noise.
    pub pictures: Vec<f32>,
    /// Runs of the network, in the mean of the pictures.
    pub function_evaluations: f64,
}

/// The longest step, in the logarithm of sigma: far above the pictures' deviation next to nothing happens.
const MOST_STEP: f64 = 1.5;

/// A picture on its way. Time is the logarithm of sigma, or, to pictures, that with its sign turned.
struct Walker {
    picture: usize,
    path: Path,
    /// At the end of the way to pictures, where one run more predicts it.
    arrived: bool,
}

impl Walker {
    fn log_sigma(&self, flow: &Flow, direction: Direction) -> f64 {
        match direction {
            Direction::ToPictures if self.arrived => flow.range()[0],
            Direction::ToPictures => -self.path.asks().0,
            Direction::ToNoise => self.path.asks().0,
        }
    }

    fn x(&self) -> &[f64] {
        if self.arrived { self.path.state() } else { self.path.asks().1 }
    }

    /// Takes the network's output; what the picture has become, once it is at the end.
    fn take(&mut self, flow: &Flow, direction: Direction, output: &[f32]) -> Result<Option<Vec<f32>>> {
        let log_sigma = self.log_sigma(flow, direction);
        let level = flow.at(log_sigma);
        let both = self.x().iter().zip(output).map(|(&x, &output)| (x, f64::from(output)));
        if self.arrived {
            let [of_input, of_output] = level.epsilon;
            let sigma = log_sigma.exp();
            let picture = |(x, output): (f64, f64)| {
                let epsilon = of_input * level.input_scale * x + of_output * output;
                (x / level.signal - sigma * epsilon) as f32
            };
            return Ok(Some(both.map(picture).collect()));
        }
        let sign = if direction == Direction::ToPictures { -1.0 } else { 1.0 };
        let [of_x, of_output] = level.slope_of(log_sigma).map(|weight| sign * weight);
        let slope = both.map(|(x, output)| of_x * x + of_output * output).collect();
        match (self.path.take(slope), direction) {
            (Progress::Asking, _) => Ok(None),
            (Progress::Done, Direction::ToPictures) => {
                self.arrived = true;
                Ok(None)
            }
            (Progress::Done, Direction::ToNoise) => {
                let deviation = flow.prior_variance().sqrt();
                Ok(Some(self.path.state().iter().map(|x| (x / deviation) as f32).collect()))
            }
            (Progress::Stuck, _) => {
                let told = level.told;
                Err(Error::input(format!(
                    "the flow's steps become too small near timestep {told}: the network's output is not finite, or too \
                     rough for the tolerance"
                )))
            }
        }
    }
}

/// Follows the flow from `states`, NHWC pictures of `elements` each, with `labels` where the network has classes. Every picture
/// takes steps of its own, so that it does not depend on those beside it. `watch` is told how many of them are done, and the
/// runs of the network so far.
///
/// # Errors
/// [`Input`](Error::Input) where the tolerance is none, the predictor's output does not fit, or is not followed to within the
/// tolerance; the predictor's.
pub fn follow_flow(
    flow: &Flow,
    predictor: &mut dyn Predictor,
    states: &[f32],
    [elements, channels]: [usize; 2],
    labels: Option<&[u32]>,
    (direction, tolerance): (Direction, Tolerance),
    watch: &mut dyn FnMut(usize, usize),
) -> Result<FlowPaths> {
    let Tolerance { absolute, relative } = tolerance;
    if !(absolute > 0.0 && relative > 0.0 && absolute.max(relative) < 1.0) {
        return Err(Error::input(format!(
            "tolerances of {absolute} and {relative} of the flow, expected more than 0 and less than 1"
        )));
    }
    let [low, high] = flow.range();
    let (range, begin) = match direction {
        Direction::ToPictures => ([-high, -low], flow.prior_variance().sqrt()),
        Direction::ToNoise => ([low, high], flow.at(low).signal),
    };
    let count = states.len() / elements.max(1);
    let start = |picture: usize| {
        let state = states[picture * elements..][..elements].iter().map(|&x| begin * f64::from(x)).collect();
        Walker { picture, path: Path::new(range, state, tolerance).with_steps_up_to(MOST_STEP), arrived: false }
    };
    let mut waiting = 0..count;
    let mut walkers: Vec<Walker> = Vec::new();
    let mut pictures = vec![0.0; states.len()];
    let (mut done, mut evaluations) = (0, 0);
    loop {
        let free = predictor.batch().max(1).saturating_sub(walkers.len());
        walkers.extend(waiting.by_ref().take(free).map(start));
        if walkers.is_empty() {
            break;
        }
        let mut x = Vec::with_capacity(walkers.len() * elements);
        let mut told = Vec::with_capacity(walkers.len());
        for walker in &walkers {
            let level = flow.at(walker.log_sigma(flow, direction));
            told.push(level.told as f32);
            x.extend(walker.x().iter().map(|x| (level.input_scale * x) as f32));
        }
        let labels: Option<Vec<u32>> =
            labels.map(|labels| walkers.iter().map(|walker| labels[walker.picture]).collect());
        let output = predictor.predict(&x, &told, labels.as_deref())?;
        evaluations += walkers.len();
        let output = predictions(&output, x.len(), channels)?;
        let found: Vec<Option<Vec<f32>>> = (walkers.par_iter_mut())
            .zip(output.par_chunks(elements))
            .map(|(walker, output)| walker.take(flow, direction, output))
            .collect::<Result<_>>()?;
        let mut found = found.into_iter();
        walkers.retain(|walker| match found.next().flatten() {
            Some(picture) => {
                pictures[walker.picture * elements..][..elements].copy_from_slice(&picture);
                done += 1;
                false
            }
            None => true,
        });
        watch(done, evaluations);
    }
    Ok(FlowPaths { pictures, function_evaluations: evaluations as f64 / count.max(1) as f64 })
}

/// The predictions of an output, which may say variances in as many channels behind them.
fn predictions(output: &[f32], elements: usize, channels: usize) -> Result<Vec<f32>> {
    if output.len() == elements {
        return Ok(output.to_vec());
    }
    if output.len() != 2 * elements {
        let found = output.len();
        return Err(Error::input(format!(
            "{found} numbers predicted for {elements}, expected as many or twice as many"
        )));
    }
    Ok(output.chunks_exact(2 * channels).flat_map(|pixel| &pixel[..channels]).copied().collect())
}

//! The levels of noise that a chain visits, for networks that were trained on timesteps and in continuous time alike.

use super::chain::Plan;
use super::noise_levels::NoiseLevels;
use super::process::{NetworkLevel, Process};
use super::sigmas::{Ladder, karras, signal_and_noise};
use super::timestep_choice::Timesteps;
use super::{FinalSigmas, InterpolationType};
use crate::error::{Error, Result};

/// A level of noise: x, in the scale that the network takes, is signal x_0 + noise eps.
#[derive(Clone, Copy, Debug)]
pub(super) struct Point {
    pub(super) signal: f64,
    pub(super) noise: f64,
    /// x in the network's scale over x in the process's own.
    pub(super) scale: f64,
    /// What the network is told.
    pub(super) told: f64,
    /// x_0, as weights of x and of what the network says.
    pub(super) x0_of: [f64; 2],
    /// eps, likewise.
    pub(super) epsilon_of: [f64; 2],
}

impl Point {
    /// Without noise; x is not scaled for a network any more.
    pub(super) const PICTURE: Self =
        Self { signal: 1.0, noise: 0.0, scale: 1.0, told: 0.0, x0_of: [1.0, 0.0], epsilon_of: [0.0; 2] };

    /// That of a network in continuous time.
    fn continuous(plan: &Plan, process: Process, level: NetworkLevel) -> Self {
        let [x0_of, epsilon_of] = process.x0_and_epsilon(plan.config.prediction_type, level);
        let NetworkLevel { signal, noise, data, input_scale: scale, told } = level;
        Self { signal: signal / data, noise, scale, told, x0_of, epsilon_of }
    }

    /// That of a network that was trained on timesteps.
    pub(super) fn discrete(plan: &Plan, sigma: f64, told: f64) -> Self {
        let [signal, noise] = signal_and_noise(sigma);
        let [x0_of, epsilon_of] = plan.predictions(signal, noise);
        Self { signal, noise, scale: 1.0, told, x0_of, epsilon_of }
    }

    /// Noise over signal: x / signal is x_0 + sigma eps.
    pub(super) fn sigma(&self) -> f64 {
        self.noise / self.signal
    }

    /// Signal and noise.
    pub(super) fn level(&self) -> [f64; 2] {
        [self.signal, self.noise]
    }
}

impl Plan<'_> {
    /// The point of a sigma, wherever it lies between or beyond those that were trained on.
    pub(super) fn point_at(&self, sigma: f64) -> Point {
        let level = NoiseLevels::new(self.config).at(sigma);
        match self.config.process() {
            Some(process) => Point::continuous(self, process, process.network_level(process.time(sigma))),
            None => Point::discrete(self, sigma, level.told),
        }
    }

    /// The points of the chain's steps, the noisiest first: those of the timesteps, of the process's times, or of a ladder
    /// of noise levels.
    pub(super) fn points(&self) -> Result<Vec<Point>> {
        self.begun(match self.config.process() {
            Some(process) => self.continuous_points(process),
            None => self.discrete_points(),
        }?)
    }

    /// What a chain of these ends with.
    pub(super) fn end(&self) -> Point {
        let config = self.config;
        let ladder = config.use_karras_sigmas || config.use_exponential_sigmas;
        // diffusers makes one of these sigmas more than there are steps, and does not come to the final one.
        let log_linear = config.interpolation_type == InterpolationType::LogLinear && !ladder;
        let least = log_linear || config.final_sigmas_type == FinalSigmas::SigmaMin;
        match config.process() {
            None if least => {
                let sigma = self.sigmas(config.rescale_betas_zero_snr).first();
                Point { noise: sigma, ..Point::PICTURE }
            }
            _ => Point::PICTURE,
        }
    }

    fn continuous_points(&self, process: Process) -> Result<Vec<Point>> {
        let last = self.steps - 1;
        let part = |step: usize| if last == 0 { 0.0 } else { step as f64 / last as f64 };
        let at = |time: f64| Point::continuous(self, process, process.network_level(time));
        match (&self.options.timesteps, self.config.noise_levels()) {
            (None | Some(Timesteps::Linspace), 0) => {
                Ok((0..self.steps).map(|step| at(1.0 + part(step) * (process.first() - 1.0))).collect())
            }
            // What a network says at a level that it was not trained on is anything: the nearest that it was.
            (None | Some(Timesteps::Linspace), levels) => {
                let last = f64::from(levels - 1);
                Ok((0..self.steps).map(|step| at(((1.0 - part(step)) * last).round() / last)).collect())
            }
            (Some(Timesteps::Karras), 0) => {
                let [least, most] = [process.first(), 1.0].map(|time| process.sigma(time));
                let time = |sigma: f64| process.time(sigma).clamp(process.first(), 1.0);
                Ok(karras(most, least, self.steps).into_iter().map(|sigma| at(time(sigma))).collect())
            }
            (Some(_), _) => Err(Error::input(format!(
                "the network was trained for {}, which has no timesteps to choose; expected linspace or, where all noise \
                 levels are known, karras",
                self.config.class.name()
            ))),
        }
    }

    fn discrete_points(&self) -> Result<Vec<Point>> {
        let levels = self.sigmas(self.config.rescale_betas_zero_snr);
        let timesteps = self.real_timesteps()?;
        let sigmas: Vec<f64> = match self.config.interpolation_type {
            InterpolationType::Linear => timesteps.iter().map(|&t| levels.at(t)).collect(),
            InterpolationType::LogLinear => {
                let (most, least) = (levels.last().ln(), levels.first().ln());
                (0..=self.steps).map(|i| (most + i as f64 / self.steps as f64 * (least - most)).exp()).collect()
            }
        };
        let (first, last) = (sigmas[0], sigmas[sigmas.len() - 1]);
        let Ladder { sigmas, timesteps } =
            self.ladder(&levels, first, last, false).unwrap_or(Ladder { sigmas, timesteps });
        Ok(sigmas.iter().zip(timesteps).map(|(&sigma, told)| Point::discrete(self, sigma, told)).collect())
    }

    /// Standard deviation of x at the beginning, in the network's scale, where all noise is that of the process: standard
    /// normal for timesteps.
    pub(super) fn prior_deviation(&self, first: &Point) -> f64 {
        self.config.process().map_or(1.0, |process| process.prior_deviation() * first.scale)
    }
}

//! Noise levels as the solvers of ordinary differential equations count them: sigma = sqrt((1 - abar) / abar), of x / sqrt(abar)
//! (Karras et al. 2022).

use super::chain::Plan;
use super::{BetaSchedule, NoiseSchedule};

/// alphas_cumprod of a last timestep that is pure noise, so that its sigma is not infinite; as in diffusers, the smallest
/// number that half precision has.
const LEAST_SIGNAL: f64 = 1.0 / 16_777_216.0;
/// Karras et al. 2022, eq. 5.
const RHO: f64 = 7.0;
/// A level whose timestep is this close to a whole one has that one: rounding alone keeps it off.
const WHOLE: f64 = 1e-6;

/// The noise level of every timestep.
pub(super) struct Sigmas(Vec<f64>);

impl Sigmas {
    pub(super) fn of(schedule: &NoiseSchedule, zero_terminal_snr: bool) -> Self {
        let both = schedule.alphas_cumprod.iter().zip(&schedule.one_minus_alphas_cumprod);
        let mut sigmas: Vec<f64> = both.map(|(signal, noise)| (noise / signal).sqrt()).collect();
        if zero_terminal_snr && let Some(last) = sigmas.last_mut() {
            *last = ((1.0 - LEAST_SIGNAL) / LEAST_SIGNAL).sqrt();
        }
        Self(sigmas)
    }

    pub(super) fn first(&self) -> f64 {
        self.0[0]
    }

    pub(super) fn last(&self) -> f64 {
        self.0[self.0.len() - 1]
    }

    /// How many timesteps have a log signal-to-noise ratio of at least this.
    pub(super) fn count_from_lambda(&self, least: f64) -> usize {
        self.0.iter().filter(|sigma| -sigma.ln() >= least).count()
    }

    /// The level at a timestep that may lie between two.
    pub(super) fn at(&self, timestep: f64) -> f64 {
        let below = (timestep.max(0.0) as usize).min(self.0.len() - 1);
        let above = (below + 1).min(self.0.len() - 1);
        let part = (timestep - below as f64).clamp(0.0, 1.0);
        self.0[below] + part * (self.0[above] - self.0[below])
    }

    /// The timestep of a level, on a line between the logarithms of the two around it.
    pub(super) fn timestep(&self, sigma: f64) -> f64 {
        let Some(last) = self.0.len().checked_sub(2) else { return 0.0 };
        let below = self.0.partition_point(|&level| level <= sigma).saturating_sub(1).min(last);
        let [low, high] = [self.0[below].ln(), self.0[below + 1].ln()];
        below as f64 + ((low - sigma.ln()) / (low - high)).clamp(0.0, 1.0)
    }
}

fn line(from: f64, to: f64, part: f64) -> f64 {
    from + part * (to - from)
}

/// `steps` levels from `most` down to `least`. The ends are what they are to the bit: their timesteps are whole.
fn between(most: f64, least: f64, steps: usize, inside: &dyn Fn(f64) -> f64) -> Vec<f64> {
    let end = steps - 1;
    let level = |i: usize| match i {
        0 => most,
        i if i == end => least,
        i => inside(i as f64 / end as f64),
    };
    (0..steps).map(level).collect()
}

/// The levels of Karras et al. 2022, eq. 5, the largest first.
pub(super) fn karras(most: f64, least: f64, steps: usize) -> Vec<f64> {
    let [high, low] = [most, least].map(|sigma| sigma.powf(1.0 / RHO));
    between(most, least, steps, &|part| line(high, low, part).powf(RHO))
}

/// A chain's noise levels, the largest first, and what the network is told at each.
pub(super) struct Ladder {
    pub(super) sigmas: Vec<f64>,
    pub(super) timesteps: Vec<f64>,
}

impl Plan<'_> {
    /// The levels of the schedule's timesteps.
    pub(super) fn sigmas(&self, zero_terminal_snr: bool) -> Sigmas {
        Sigmas::of(&self.schedule, zero_terminal_snr)
    }

    /// The ladder with the levels that `use_karras_sigmas` and its like ask for, between `first` and `last` or what the
    /// configuration says; `None` if nothing is asked for.
    pub(super) fn ladder(&self, levels: &Sigmas, first: f64, last: f64, with_lu: bool) -> Option<Ladder> {
        let config = self.config;
        let (most, least) = (config.sigma_max.unwrap_or(first), config.sigma_min.unwrap_or(last));
        let evenly_in_logarithms =
            |most: f64, least: f64| between(most, least, self.steps, &|part| line(most.ln(), least.ln(), part).exp());
        let sigmas = if config.use_karras_sigmas {
            karras(most, least, self.steps)
        } else if config.use_lu_lambdas && with_lu {
            evenly_in_logarithms(first, last)
        } else if config.use_exponential_sigmas {
            evenly_in_logarithms(most, least)
        } else {
            return None;
        };
        let timesteps = sigmas.iter().map(|&sigma| levels.timestep(sigma)).collect();
        Some(Ladder { sigmas, timesteps })
    }

    /// What DPM-Solver makes of timesteps between whole ones. diffusers finds these in single precision, so that what is
    /// whole to us can be a little less to it: then it takes the timestep before.
    pub(super) fn whole(&self, timestep: f64) -> f64 {
        let rounded = self.config.use_karras_sigmas || self.config.use_lu_lambdas;
        let nearest = timestep.round_ties_even();
        let rounded = rounded && self.config.beta_schedule != BetaSchedule::SquaredCosine;
        if rounded || (timestep - nearest).abs() < WHOLE { nearest } else { timestep.trunc() }
    }
}

/// Signal and noise of x in the scale that the network takes, at a level: 1 / sqrt(1 + sigma^2) and sigma times that.
pub(super) fn signal_and_noise(sigma: f64) -> [f64; 2] {
    let signal = 1.0 / sigma.hypot(1.0);
    [signal, sigma * signal]
}

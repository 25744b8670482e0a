//! Parts of a chain taken again and again, with the noise of their beginning put back between two times (RePaint, Lugmayr et
//! al. 2022, section 4.2): what is drawn and what is known of a picture come to agree.

use super::Stage;
use crate::error::{Error, Result};
use crate::kernels::sampler_step::Weights;

/// More are a mistake.
const MOST_TIMES: usize = 1000;
/// Parts of a chain, where their length is not given.
const PARTS: usize = 25;
/// Stages of a chain; more are a mistake.
const MOST_STAGES: usize = 10_000_000;

/// How often parts are taken, and how long they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resampling {
    /// How often every part is taken, 1 for a plain chain.
    pub times: usize,
    /// Steps in a part, the paper's jump length; if not given, a twenty-fifth of all, as the paper's 10 of 250.
    pub jump: Option<usize>,
}

impl Default for Resampling {
    fn default() -> Self {
        Self { times: 1, jump: None }
    }
}

impl Resampling {
    /// Refuses what cannot be taken.
    pub(super) fn check(&self) -> Result<()> {
        let Self { times, jump } = *self;
        if !(1..=MOST_TIMES).contains(&times) {
            return Err(Error::input(format!("every part is to be taken {times} times, expected 1 to {MOST_TIMES}")));
        }
        if jump == Some(0) {
            return Err(Error::input("parts of 0 steps are to be taken again, expected at least 1"));
        }
        Ok(())
    }

    /// The stages of the parts, each as often as it is taken, with noise of its own each time; the chain ends at this signal
    /// and noise.
    pub(super) fn apply(&self, stages: Vec<Stage>, last: [f64; 2]) -> Result<Vec<Stage>> {
        if self.times == 1 {
            return Ok(stages);
        }
        if stages.len().saturating_mul(self.times) > MOST_STAGES {
            let (times, stages) = (self.times, stages.len());
            return Err(Error::input(format!(
                "{stages} runs of the network {times} times are more than {MOST_STAGES}; expected fewer steps, or fewer times"
            )));
        }
        let steps = stages.last().map_or(0, |stage| stage.step + 1);
        let jump = self.jump.unwrap_or(steps / PARTS).max(1);
        let mut all: Vec<Stage> = Vec::new();
        let parts: Vec<&[Stage]> = stages.chunk_by(|a, b| a.step / jump == b.step / jump).collect();
        for (number, part) in parts.iter().enumerate() {
            let end = parts.get(number + 1).map_or(last, |next| next[0].level);
            for time in 0..self.times {
                if time > 0 {
                    all.push(back(&part[0], end, all.last().map_or(0, |stage| stage.draw + 1)));
                }
                // Stages of one draw stay of one draw.
                let before = all.iter().map(|stage| stage.draw + 1).max().unwrap_or(0);
                let least = part.iter().map(|stage| stage.draw).min().unwrap_or(0);
                all.extend(part.iter().map(|stage| Stage { draw: before + stage.draw - least, ..*stage }));
            }
        }
        Ok(all)
    }
}

/// From a part's end to its beginning: the forward process between two levels (equation 1 of the paper, of several steps).
fn back(first: &Stage, end: [f64; 2], draw: usize) -> Stage {
    let [signal, noise] = first.level;
    let kept = signal / end[0];
    let added = (noise * noise - (kept * end[1]).powi(2)).max(0.0).sqrt();
    let weights = Weights { x_of: [kept, 0.0, 0.0], noise: added, ..Weights::default() };
    Stage { asks: false, draw, level: end, weights, ..*first }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diffusion::{Chain, ChainOptions, SamplerName, SchedulerConfig};

    fn stages(sampler: SamplerName, resampling: Resampling) -> Vec<Stage> {
        let options = ChainOptions { sampler: Some(sampler), steps: Some(10), resampling, ..ChainOptions::default() };
        Chain::new(&SchedulerConfig::default(), options).unwrap().stages().to_vec()
    }

    #[test]
    fn parts_are_taken_as_often_as_asked() {
        for sampler in
            [SamplerName::Ddpm, SamplerName::Heun, SamplerName::PredictorCorrector, SamplerName::StochasticHeun]
        {
            let plain = stages(sampler, Resampling::default());
            let again = stages(sampler, Resampling { times: 3, jump: Some(4) });
            let runs = again.iter().filter(|stage| stage.asks).count();
            // Parts of 4, 4 and 2 steps, two ways back in each.
            assert_eq!((runs, again.len() - runs), (3 * plain.len(), 6), "{sampler:?}");
            let [mut at, mut least] = [plain[0].level; 2];
            for (stage, next) in again.iter().zip(again.iter().skip(1).map(Some).chain([None])) {
                let end = next.map_or([1.0, 0.0], |next| next.level);
                if !stage.asks {
                    // What was x_0 and eps before is of the level's signal and noise afterwards.
                    let Weights { x_of: [kept, ..], noise, .. } = stage.weights;
                    assert!((kept * stage.level[0] - end[0]).abs() < 1e-12, "{sampler:?}");
                    assert!(((kept * stage.level[1]).hypot(noise) - end[1]).abs() < 1e-12, "{sampler:?}");
                    assert!(noise > 0.0);
                }
                (at, least) = (end, if end[0] > least[0] { end } else { least });
            }
            assert_eq!([at, least], [[1.0, 0.0]; 2]);
        }
    }

    #[test]
    fn noise_is_drawn_anew() {
        let plain = stages(SamplerName::StochasticHeun, Resampling::default());
        let again = stages(SamplerName::StochasticHeun, Resampling { times: 2, jump: Some(5) });
        let shares = |stages: &[Stage]| -> Vec<bool> { stages.windows(2).map(|w| w[0].draw == w[1].draw).collect() };
        let part = plain.iter().filter(|stage| stage.step < 5).count();
        assert_eq!(shares(&again[..part]), shares(&plain[..part]));
        assert_eq!(shares(&again[part + 1..2 * part + 1]), shares(&plain[..part]));
        assert!(again[..part].iter().all(|first| again[part..].iter().all(|later| later.draw > first.draw)));
    }

    #[test]
    fn what_cannot_be_taken_again_is_refused() {
        let refused = |sampler, steps, times, jump| {
            let resampling = Resampling { times, jump: Some(jump) };
            let options = ChainOptions { sampler: Some(sampler), steps, resampling, ..ChainOptions::default() };
            Chain::new(&SchedulerConfig::default(), options).unwrap_err().to_string()
        };
        assert!(refused(SamplerName::Ddim, None, 0, 10).contains("0 times, expected 1 to 1000"));
        assert!(refused(SamplerName::Ddim, None, 2, 0).contains("parts of 0 steps"));
        assert!(refused(SamplerName::DpmSolver, Some(10), 2, 5).contains("dpmpp-2m goes on from the steps before"));
        assert!(refused(SamplerName::Langevin, Some(1000), 1000, 5).contains("100001 runs"));
    }
}

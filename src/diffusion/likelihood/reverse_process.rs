//! The reverse process of a scheduler's configuration as its bound sees it: every transition of ancestral sampling on all
//! timesteps, with its real variances and its clipping.

use super::predictor::prediction_and_variance;
use super::{Decoder, prior_divergence};
use crate::diffusion::{NoiseSchedule, PredictionType, SchedulerClass, SchedulerConfig, VarianceType};
use crate::error::{Error, Result};
use crate::kernels::dynamic_threshold::DynamicThreshold;
use crate::kernels::schedule_tables::{Table, tables_of_betas};
use crate::kernels::variational_bound::{Transition, Variance, VariationalBound};

impl From<VarianceType> for Variance {
    fn from(variance: VarianceType) -> Self {
        match variance {
            VarianceType::FixedSmall | VarianceType::FixedSmallLog => Self::Small,
            VarianceType::FixedLarge | VarianceType::FixedLargeLog => Self::Large,
            VarianceType::Learned => Self::Learned,
            VarianceType::LearnedRange => Self::LearnedRange,
        }
    }
}

/// Ancestral sampling on all timesteps.
#[derive(Clone, Debug)]
pub struct ReverseProcess {
    schedule: NoiseSchedule,
    transitions: Vec<Transition>,
    threshold: Option<DynamicThreshold>,
    learned_variances: bool,
    /// A network that says variances is not asked for them: ancestral sampling would refuse it, other classes do not look.
    may_leave_variances: bool,
}

impl ReverseProcess {
    /// The process that a configuration describes, whatever its class: that of
    /// [`DDPMScheduler`](crate::diffusion::SchedulerClass::Ddpm) with these keys.
    ///
    /// # Errors
    /// [`Input`](Error::Input) where a timestep says nothing of x_0, or there are none.
    pub fn new(config: &SchedulerConfig, decoder: Decoder) -> Result<Self> {
        if config.process().is_some() {
            let class = config.class.name();
            return Err(Error::input(format!(
                "{class} is of continuous time, the bound is of schedules with timesteps; the ODE's likelihood is of both"
            )));
        }
        let schedule = NoiseSchedule::new(config);
        let prediction = config.prediction_type;
        let nothing = schedule.alphas_cumprod.iter().position(|&signal| signal == 0.0);
        if let (Some(t), PredictionType::Epsilon | PredictionType::Score) = (nothing, prediction) {
            let name = serde_json::to_value(prediction).unwrap_or_default();
            return Err(Error::input(format!(
                "timestep {t} is pure noise (zero terminal SNR), of which prediction_type {name} says no x_0: its term of \
                 the bound is infinite; expected \"sample\" or \"v_prediction\""
            )));
        }
        let threshold = config
            .thresholding
            .then_some(DynamicThreshold { ratio: config.dynamic_thresholding_ratio, most: config.sample_max_value });
        let clip = (config.clip_sample && threshold.is_none()).then_some(config.clip_sample_range);
        let variance = Variance::from(config.variance_type.unwrap_or(VarianceType::FixedSmall));
        let bound = VariationalBound { prediction, variance, decoder, clip, stop_mean: false };
        let timesteps = schedule.timesteps();
        let tables = tables_of_betas(&schedule.betas);
        let at = |table: Table, t: usize| tables[table as usize * timesteps + t];
        let transitions = (0..timesteps).map(|t| Transition::new(bound, timesteps, t, at)).collect();
        Ok(Self {
            schedule,
            transitions,
            threshold,
            learned_variances: variance.is_learned(),
            may_leave_variances: config.class != SchedulerClass::Ddpm,
        })
    }

    /// Its noise.
    pub fn schedule(&self) -> &NoiseSchedule {
        &self.schedule
    }

    /// T.
    pub fn timesteps(&self) -> usize {
        self.transitions.len()
    }

    /// Whether a network of these channels says what the process needs: a prediction, and the variances where they are
    /// learned.
    ///
    /// # Errors
    /// [`Input`](Error::Input) with the channels that were found and expected.
    pub fn check_channels(&self, inputs: usize, outputs: usize) -> Result<()> {
        let expected = match (self.learned_variances, outputs == 2 * inputs) {
            (true, false) => "twice as many output channels, for variance_type says that variances are learned",
            (false, true) if !self.may_leave_variances => {
                "a variance_type of \"learned\" or \"learned_range\" with that"
            }
            (false, false) if outputs != inputs => "as many of each, or twice as many output channels",
            _ => return Ok(()),
        };
        Err(Error::input(format!("the network has {inputs} input and {outputs} output channels, expected {expected}")))
    }

    /// Signal and noise of x_t.
    pub(super) fn signal_and_noise(&self, t: usize) -> [f64; 2] {
        [self.schedule.alphas_cumprod[t].sqrt(), self.schedule.one_minus_alphas_cumprod[t].sqrt()]
    }

    /// L_T of a picture, summed over its elements, in nats.
    pub(super) fn prior(&self, x0: impl Iterator<Item = f64>) -> f64 {
        x0.map(|x0| prior_divergence(&self.schedule, x0)).sum()
    }

    /// The term of a picture's timestep, summed over its elements, in nats.
    pub(super) fn term(
        &self,
        t: usize,
        x0: impl Iterator<Item = f64>,
        x_t: &[f32],
        output: &[f32],
        channels: usize,
    ) -> Result<f64> {
        let transition = &self.transitions[t];
        if self.learned_variances && output.len() != 2 * x_t.len() {
            return Err(Error::input("learned variances need twice as many output channels as the pictures have"));
        }
        let said = prediction_and_variance(output, x_t.len(), channels)?;
        let of_x0 = |(&x_t, [prediction, _]): (&f32, &[f64; 2])| transition.x0(f64::from(x_t), *prediction).0;
        let mut predicted: Vec<f64> = x_t.iter().zip(&said).map(of_x0).collect();
        if let Some(threshold) = self.threshold {
            let most = threshold.of(&mut predicted.iter().map(|x0| x0.abs()).collect::<Vec<_>>());
            let held = |x0: f64| {
                if x0 > most {
                    most
                } else if x0 < -most {
                    -most
                } else {
                    x0
                }
            };
            predicted.iter_mut().for_each(|x0| *x0 = held(*x0) / most);
        }
        let term = |((x0, predicted), [_, said]): ((f64, &f64), &[f64; 2])| {
            transition.of_x0(x0, *predicted, transition.log_variance(*said)[0]).value
        };
        Ok(x0.zip(&predicted).zip(&said).map(term).sum())
    }
}

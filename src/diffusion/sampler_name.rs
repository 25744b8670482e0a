//! The samplers by name: those of diffusers' scheduler classes, and those that it has no class for.

use super::{AlgorithmType, SchedulerClass, SchedulerConfig};
use crate::error::{Error, Result};

/// How noise becomes a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum SamplerName {
    /// Ancestral sampling (Ho et al. 2020, algorithm 2)
    Ddpm,
    /// Denoising diffusion implicit models (Song et al. 2021, eq. 12); --eta 0 draws no noise
    Ddim,
    /// DPM-Solver++ of order 1 to 3 in several steps (Lu et al. 2022)
    #[value(name = "dpmpp-2m")]
    DpmSolver,
    /// The same with noise: the reverse SDE (Lu et al. 2022, section 5)
    #[value(name = "dpmpp-2m-sde")]
    DpmSolverSde,
    /// UniPC (Zhao et al. 2023): a predictor, and a corrector that costs no run of the network
    #[value(name = "unipc")]
    UniPc,
    /// Euler's method on the probability-flow ODE (Karras et al. 2022); --s-churn adds noise
    Euler,
    /// Heun's method (Karras et al. 2022, algorithms 1 and 2): the network runs twice in a step; --s-churn adds noise
    Heun,
    /// The reverse SDE by the method of Euler & Maruyama (Song et al. 2021)
    ReverseSde,
    /// The reverse SDE by a stochastic Heun's method (Roberts 2012): the network runs twice in a step
    StochasticHeun,
    /// The reverse SDE with Langevin steps at every level (Song et al. 2021, algorithms 2 and 3)
    PredictorCorrector,
    /// Annealed Langevin dynamics (Song & Ermon 2019, algorithm 1)
    Langevin,
    /// Multistep consistency sampling (Song et al. 2023, algorithm 1), for networks that `distill --method consistency` made
    Lcm,
    /// The probability-flow ODE by Dormand & Prince's method (1980), with steps as long as --tolerance lets them be
    Rk45,
}

impl SamplerName {
    /// The sampler that a class of diffusers names; in continuous time the flow by Euler's method, but for VE, whose networks
    /// take x_t as it is: where they err on much noise, a flow goes astray and Langevin steps come back, so that it draws as
    /// diffusers' own pipeline does.
    pub fn of(class: SchedulerClass) -> Self {
        match class {
            SchedulerClass::Ddpm => Self::Ddpm,
            SchedulerClass::Ddim => Self::Ddim,
            SchedulerClass::DpmSolverMultistep => Self::DpmSolver,
            SchedulerClass::UniPcMultistep => Self::UniPc,
            SchedulerClass::HeunDiscrete => Self::Heun,
            SchedulerClass::Lcm => Self::Lcm,
            SchedulerClass::EulerDiscrete | SchedulerClass::SdeVp | SchedulerClass::EdmEuler => Self::Euler,
            SchedulerClass::SdeVe => Self::PredictorCorrector,
        }
    }

    /// As it is typed.
    pub fn name(self) -> String {
        use clap::ValueEnum;
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().into())
    }

    /// The class of diffusers that draws in this way with a network that was trained on timesteps.
    pub fn class(self) -> Option<SchedulerClass> {
        match self {
            Self::Ddpm => Some(SchedulerClass::Ddpm),
            Self::Ddim => Some(SchedulerClass::Ddim),
            Self::DpmSolver | Self::DpmSolverSde => Some(SchedulerClass::DpmSolverMultistep),
            Self::UniPc => Some(SchedulerClass::UniPcMultistep),
            Self::Euler => Some(SchedulerClass::EulerDiscrete),
            Self::Heun => Some(SchedulerClass::HeunDiscrete),
            Self::Lcm => Some(SchedulerClass::Lcm),
            Self::ReverseSde | Self::StochasticHeun | Self::PredictorCorrector | Self::Langevin | Self::Rk45 => None,
        }
    }

    /// The configuration that it draws with: what diffusers' `from_config` of its class makes of this one. Networks in
    /// continuous time, and samplers that have no class, keep theirs.
    ///
    /// # Errors
    /// [`Input`](Error::Input) naming `source` and the key, if the class cannot run with a value, or the sampler not with
    /// the process.
    pub fn configuration(self, config: &SchedulerConfig, source: &str) -> Result<SchedulerConfig> {
        let continuous = config.class.is_continuous();
        if continuous && matches!(self, Self::Ddpm | Self::Ddim | Self::Lcm) {
            return Err(Error::input(format!(
                "{source}: the network was trained for {}, in continuous time; {} steps between timesteps",
                config.class.name(),
                self.name()
            )));
        }
        let mut own = match self.class() {
            Some(class) if class != config.class && !continuous => config.with_class(class, source)?,
            _ => config.clone(),
        };
        if self == Self::DpmSolverSde {
            own.algorithm_type = AlgorithmType::SdeDpmSolverPlusPlus;
        }
        Ok(own)
    }

    /// Whether it takes all of the model's timesteps if no number of steps is given.
    pub(super) fn takes_many(self) -> bool {
        matches!(self, Self::Ddpm | Self::ReverseSde | Self::PredictorCorrector)
    }
}

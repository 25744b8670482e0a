//! diffusers' names for what a scheduler can be told.

use serde::{Deserialize, Serialize};

/// The variance of an ancestral step (Ho et al. 2020, section 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum VarianceType {
    /// beta~_t, which is right if x_0 is one point.
    #[value(alias = "fixed_small")]
    FixedSmall,
    /// The same, by way of its logarithm.
    #[value(skip)]
    FixedSmallLog,
    /// beta_t, which is right if x_0 is standard normal.
    #[value(alias = "fixed_large")]
    FixedLarge,
    /// The same, by way of its logarithm.
    #[value(skip)]
    FixedLargeLog,
    /// What the network says in a second set of channels.
    Learned,
    /// Between beta~_t and beta_t, where the network says (Nichol & Dhariwal 2021, eq. 15).
    #[value(alias = "learned_range")]
    LearnedRange,
}

/// Which timesteps a chain of fewer steps takes (Lin et al. 2023, table 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimestepSpacing {
    /// Every (T / steps)-th from `steps_offset` on.
    Leading,
    /// Every (T / steps)-th from the last one down.
    Trailing,
    /// Evenly from the first to the last.
    Linspace,
}

/// What DPM-Solver integrates, and whether it adds noise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AlgorithmType {
    /// The prediction of x_0 (Lu et al. 2022, arXiv 2211.01095).
    #[serde(rename = "dpmsolver++", alias = "deis")]
    DpmSolverPlusPlus,
    /// The prediction of the noise (Lu et al. 2022, arXiv 2206.00927).
    #[serde(rename = "dpmsolver")]
    DpmSolver,
    /// The prediction of x_0 in the reverse SDE.
    #[serde(rename = "sde-dpmsolver++")]
    SdeDpmSolverPlusPlus,
    /// The prediction of the noise in the reverse SDE.
    #[serde(rename = "sde-dpmsolver")]
    SdeDpmSolver,
}

/// How DPM-Solver's second order weighs the slope, or UniPC its steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SolverType {
    /// As the midpoint rule.
    #[serde(alias = "logrho")]
    Midpoint,
    /// As Heun's method.
    Heun,
    /// UniPC's B(h) = h; to DPM-Solver, the midpoint rule.
    Bh1,
    /// UniPC's B(h) = e^h - 1, which is what it takes for all but the first; to DPM-Solver, the midpoint rule.
    Bh2,
}

/// The noise level that a chain ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinalSigmas {
    /// None.
    Zero,
    /// That of the first timestep.
    SigmaMin,
}

/// How the noise level between two timesteps is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InterpolationType {
    /// On a line between the levels at both.
    Linear,
    /// The logarithms of all of the chain's levels are spaced evenly.
    LogLinear,
}

/// What the network is told of the noise level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimestepType {
    /// A timestep.
    Discrete,
    /// With v prediction, a logarithm of the level: this program does not have it.
    Continuous,
}

/// How a chain of EDM's goes through its noise levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SigmaSchedule {
    /// Karras et al. 2022, eq. 5.
    Karras,
    /// Evenly in logarithms: not supported.
    Exponential,
}

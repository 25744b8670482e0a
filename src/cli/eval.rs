//! `aquatint eval`: what can be measured of a model. Its old name is `evaluate`.

use super::device::DeviceFlag;
use super::evaluate::PrecisionFlags;
use super::likelihood::LikelihoodFlags;
use crate::data::Fit;
use crate::error::{Error, Result};
use crate::training::Tables;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Measures a model: the likelihood of pictures in bits per dimension, or precision and recall of what it draws
#[derive(clap::Args)]
#[command(
    allow_negative_numbers = true,
    after_help = "Examples:\n  aquatint eval demo/model --data digits:odd --bpd --json bound.json --plot terms.png\n  \
    aquatint eval demo/model --data digits:odd --bpd --ode --pictures 100 --timesteps 50\n  \
    aquatint eval demo/model --real digits:odd --train digits:even -n 898 --steps 100\n\n\
    --bpd: the variational bound of ancestral sampling on all timesteps, with its real variances and clipping (Ho et al. \
    2020, eq. 5): no less than the negative log-likelihood of the pictures. --json has prior, terms (L_1 to L_{T-1}), \
    decoder (L_0), total and standard_error.\n\n\
    --ode: an estimate of the likelihood of the density that the probability-flow ODE makes of noise (Song et al. 2021, \
    section 4.3), the levels spread evenly over their bins.\n\n\
    --real: precision is the share of drawn pictures that look real, recall the share of real pictures that the model covers \
    (Kynkaanniemi et al. 2019, k = 3). A model that copies draws pictures much closer to the training set than held-out \
    real ones are."
)]
pub(super) struct Eval {
    /// A model folder, a run's or one in diffusers' layout; for --real, also a safetensors file with a tensor `sample` that
    /// `sample --tensors` wrote
    model: PathBuf,
    #[command(flatten)]
    likelihood: LikelihoodFlags,
    #[command(flatten)]
    precision: PrecisionFlags,
    #[command(flatten, next_help_heading = "Both")]
    shared: Shared,
    #[command(flatten, next_help_heading = "Device")]
    device: DeviceFlag,
}

/// What both kinds of measurements take.
#[derive(clap::Args)]
pub(super) struct Shared {
    /// How pictures of another size are brought to the model's; if not given, as its run did, and pad without one
    #[arg(long, value_enum)]
    fit: Option<Fit>,
    /// Seed of the noise
    #[arg(long, default_value_t = 0, value_name = "SEED")]
    pub(super) seed: u64,
    /// Pictures at a time
    #[arg(long, default_value_t = 64, value_name = "N")]
    pub(super) batch: usize,
}

impl Shared {
    /// How pictures are brought to a model's size: a run's `config.toml` says what it was trained on.
    pub(super) fn fit(&self, model: &Path) -> Fit {
        let of_run = || {
            let text = std::fs::read_to_string(model.join("config.toml")).ok()?;
            Some(Tables::parse(&text, "config.toml").ok()?.training.fit)
        };
        self.fit.or_else(of_run).unwrap_or(Fit::Pad)
    }
}

impl Eval {
    pub(super) fn run(&self) -> Result<ExitCode> {
        let Self { model, likelihood, precision, shared, device } = self;
        if shared.batch == 0 {
            return Err(Error::input("--batch is 0, expected at least 1"));
        }
        match (likelihood.asked(), &precision.real) {
            (true, None) => likelihood.run(model, shared, device),
            (false, Some(real)) => precision.run(model, real, shared, device),
            _ => Err(Error::input("expected --bpd or --ode with --data, or --real")),
        }
    }
}

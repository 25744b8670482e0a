//! How likely a model finds pictures, in bits per dimension: the variational bound of its reverse process (Ho et al. 2020,
//! eq. 5), and the likelihood by the probability-flow ODE (Song et al. 2021, section 4.3).

mod bound;
mod closed_forms;
mod network;
mod ode;
mod predictor;
mod reverse_process;

pub use super::dormand_prince::Tolerance;
pub use super::flow::Flow;
pub use crate::kernels::variational_bound::{Decoder, HALF_LEVEL, gaussian_kl};
pub use bound::{Bound, BoundOptions, bound};
pub use closed_forms::{gaussian_entropy, posterior, prior_divergence};
pub use network::DeviceNetwork;
pub use ode::{OdeLikelihood, OdeOptions, ode_likelihood};
pub use predictor::{LevelPictures, Predictor, PullBack};
pub use reverse_process::ReverseProcess;

/// The mean of what pictures gave, and its standard error, which a single picture does not say.
fn mean_and_error(values: &[f64]) -> (f64, Option<f64>) {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let spread = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
    (mean, (values.len() > 1).then(|| (spread / (count - 1.0) / count).sqrt()))
}

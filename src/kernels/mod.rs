//! Every operation, one file a family: the kernel (sizes, bindings, host twin), the function that records it with
//! its backward rule, and the cases that it is tested with.

mod block_product;
mod case;
mod geometry;
pub mod prediction;
mod product;
mod tiles;
mod vector;
pub mod weighting;

use crate::parallel;
pub use case::{Case, Fill, Input};
pub use geometry::Geometry;

/// Declares the families and gathers their cases: the one line that a new file adds outside itself is here.
macro_rules! registry {
    ($($family:ident,)*) => {
        $(pub mod $family;)*

        /// Every case of every operation: what `aquatint check` and the tests run.
        pub fn cases() -> Vec<Case> {
            let mut cases = Vec::new();
            $(cases.extend($family::cases());)*
            cases
        }
    };
}

registry! {
    accumulate,
    activation,
    adam,
    attention,
    average_pool,
    ceilings,
    channels,
    class_dropout,
    class_embedding,
    continuous_levels,
    convolution,
    cosine_similarity,
    cross_entropy,
    distillation,
    dropout,
    dynamic_threshold,
    ema,
    fir,
    forward_process,
    fourier_embedding,
    gradient_norm,
    group_norm,
    guidance_rescale,
    integers,
    known_part,
    levels,
    linear,
    loss_record,
    loss_scale,
    matmul,
    modulate,
    picture_loss,
    pooling_tokens,
    predicted_x0,
    random,
    repeat,
    residual,
    sampler_step,
    scale,
    schedule_tables,
    silu,
    sliced_score,
    softmax,
    step_report,
    sum_rows,
    timestep_embedding,
    total,
    upsample,
    variational_bound,
    weighted_mean,
}

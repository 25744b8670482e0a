//! One file a sampler: from a noise schedule to the stages of a chain.

pub(super) mod ddim;
pub(super) mod ddpm;
pub(super) mod dpmpp_2m;
pub(super) mod euler;
pub(super) mod flow;
pub(super) mod heun;

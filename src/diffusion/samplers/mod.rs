//! One file a sampler: from a noise schedule to the stages of a chain.

pub(super) mod ddim;
pub(super) mod ddim_inversion;
pub(super) mod ddpm;
pub(super) mod dpmpp_2m;
pub(super) mod euler;
pub(super) mod heun;
pub(super) mod langevin;
pub(super) mod lcm;
pub(super) mod predictor_corrector;
pub(super) mod reverse_sde;
pub(super) mod unipc;

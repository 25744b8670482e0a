//! The GPU that the tests run on: what `AQUATINT_TEST_DEVICE` names (`make test` brings software Vulkan), else any
//! adapter. Without one, tests that need it are skipped, unless `AQUATINT_REQUIRE_GPU` is set.

#![allow(dead_code)]

use aquatint::device::gpu::{Gpu, Options, adapters};
use aquatint::device::{Device, Host, find};

pub fn gpu(options: Options) -> Option<Gpu> {
    let adapters = adapters();
    let wanted = std::env::var("AQUATINT_TEST_DEVICE").ok();
    let index = match wanted.as_deref().map(|device| device.trim_start_matches("gpu")) {
        Some(which) => find(&adapters, which.trim_start_matches(':')).or(which.is_empty().then_some(0)),
        None => Some(0),
    };
    match index.filter(|&index| index < adapters.len()) {
        Some(index) => Some(Gpu::open(&adapters[index], options).expect("the test adapter opens")),
        None if wanted.is_some() || std::env::var_os("AQUATINT_REQUIRE_GPU").is_some() => {
            panic!("no adapter answers to AQUATINT_TEST_DEVICE={wanted:?}")
        }
        None => {
            eprintln!("skipped: no GPU adapter (make test brings a software one)");
            None
        }
    }
}

/// [`gpu`], if it has half precision; one without it is refused where `AQUATINT_REQUIRE_GPU` is set.
pub fn gpu_with_half_precision(options: Options) -> Option<Gpu> {
    let gpu = gpu(options)?;
    if gpu.has_half_precision() {
        return Some(gpu);
    }
    let device = gpu.description();
    assert!(std::env::var_os("AQUATINT_REQUIRE_GPU").is_none(), "{device}: no 16-bit floats in shaders");
    eprintln!("skipped: {device} has no 16-bit floats in shaders");
    None
}

/// Runs a check on the host and, where there is one, on the GPU.
pub fn on_each(check: impl Fn(&mut dyn Device)) {
    check(&mut Host::<f32>::new());
    if let Some(mut gpu) = gpu(Options::default()) {
        check(&mut gpu);
    }
}

//! The GPU that the tests run on: what `AQUATINT_TEST_DEVICE` names (`make test` brings software Vulkan), else any
//! adapter. Without one, tests that need it are skipped, unless `AQUATINT_REQUIRE_GPU` is set.

use aquatint::device::find;
use aquatint::device::gpu::{Gpu, Options, adapters};

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

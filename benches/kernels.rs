//! The rows of `aquatint bench` under criterion, which keeps its own history and statistics:
//! `cargo bench --bench kernels -- block/`. `AQUATINT_BENCH_DEVICE` names the device, as `--device` does; without it, the
//! host. A run here is a whole submission, so small kernels on a GPU cost what a submission costs.

use aquatint::bench::{Bench, Loaded, Options, list};
use aquatint::device::Device;
use criterion::{BenchmarkGroup, Criterion, measurement::WallTime};
use std::time::Duration;

fn bench(group: &mut BenchmarkGroup<WallTime>, bench: &Bench, device: &mut dyn Device) {
    // Criterion calls this only for rows that its filter takes, and then many times.
    let mut loaded = None;
    group.bench_function(bench.name.as_str(), |bencher| {
        let row = &*loaded.get_or_insert_with(|| {
            let work = bench.work().unwrap();
            device.tune(&[&work.plan], &mut |_, _| {}).unwrap();
            Loaded::new(&work, device).unwrap()
        });
        bencher.iter_custom(|runs| {
            let seconds: f64 = (0..runs).map(|_| row.time(device).unwrap()).sum();
            Duration::from_secs_f64(seconds)
        });
    });
    if let Some(loaded) = loaded {
        loaded.unload(device);
    }
}

fn main() {
    let name = std::env::var("AQUATINT_BENCH_DEVICE").unwrap_or_else(|_| "cpu".into());
    let mut device = aquatint::device::choose(&name).unwrap_or_else(|error| panic!("{error}"));
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("aquatint");
    group.sample_size(10).warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_secs(1));
    for row in list(&Options::default()).unwrap() {
        bench(&mut group, &row, &mut *device);
    }
    group.finish();
    criterion.final_summary();
}

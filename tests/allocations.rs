//! The host takes its training steps in memory that it already has.

use aquatint::device::{Device, Host};
use aquatint::diffusion::SchedulerConfig;
use aquatint::plan::{Step, Storage};
use aquatint::training::{RunConfig, Trainer, TrainingConfig, default_unet};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: the system's allocator, counted.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// A thread's scratch memory grows when it first takes up its largest task, and the pool's queue is renewed now and
/// then: so not every step is the same.
#[test]
fn a_training_step_allocates_nothing_of_its_own() {
    let config = RunConfig {
        unet: default_unet(16, 16, 1, None),
        scheduler: SchedulerConfig::default(),
        training: TrainingConfig { train_batch_size: 4, ..TrainingConfig::default() },
    };
    let trainer = Trainer::new(&config, [16, 16]).unwrap();
    let mut host = Host::<f32>::new();
    let plan = host.load(trainer.plan()).unwrap();
    let storages: Vec<Storage> = trainer.plan().storages().cloned().collect();
    for storage in storages.iter().filter(|storage| matches!(storage.name(), "parameters" | "one")) {
        let initial = trainer.parameters().initialize(1);
        host.upload(storage, 0, if storage.name() == "one" { &[1.0] } else { &initial }).unwrap();
    }
    let step = Step { learning_rate: 1e-4, bias_correction1: 0.1, bias_correction2: 1e-3, ..Step::seeded(1) };
    let counts: Vec<usize> = (0..24)
        .map(|_| {
            let before = ALLOCATIONS.load(Ordering::Relaxed);
            host.run(plan, &step).unwrap();
            ALLOCATIONS.load(Ordering::Relaxed) - before
        })
        .collect();
    let mut sorted = counts.clone();
    sorted.sort_unstable();
    assert_eq!(
        sorted[counts.len() / 2],
        0,
        "{} calls, allocations in each step: {counts:?}",
        trainer.plan().calls.len()
    );
    eprintln!("{} calls, allocations in each step: {counts:?}", trainer.plan().calls.len());
}

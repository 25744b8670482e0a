//! What a device can do at most: multiply-adds in registers and a copy, measured.

use super::measure::{Runs, measure};
use super::{Bench, Work, any_step};
use crate::device::Device;
use crate::error::Result;
use crate::kernels::ceilings::{copy, multiply_adds};
use crate::plan::{Recorder, Storage, Value};

/// The two limits of every kernel.
#[derive(Clone, Copy, Debug)]
pub struct Ceilings {
    /// Floating-point operations in a second, two for a multiply-add.
    pub flop_rate: f64,
    /// Bytes in a second, read and written.
    pub byte_rate: f64,
}

/// Threads of the multiply-adds: several for each lane of the largest GPUs.
const THREADS: usize = 1 << 20;
/// Bytes that are copied: more than the caches hold, and no more than every device lets a shader bind.
const COPIED: usize = 128 << 20;
/// A run of the multiply-adds should take this long: short, so that one of many meets a quiet machine.
const SECONDS: f64 = 5e-3;

/// A row of one operation on `len` numbers.
fn of(len: usize, record: impl Fn(&mut Recorder, Value) -> Value + 'static) -> Bench {
    Bench::new("ceiling", false, move || {
        let mut r = Recorder::new();
        let storage = Storage::f32("x", len);
        let x = r.input(&storage, &[len]);
        let out = record(&mut r, x);
        r.export("out", out);
        let prepare = move |device: &mut dyn Device| device.upload(&storage, 0, &vec![1.5; storage.len()]);
        Ok(Work { plan: r.finish(), step: any_step(), prepare: Box::new(prepare) })
    })
}

impl Ceilings {
    /// Measures both: the best of five runs, or of as many as fit in this many seconds.
    ///
    /// # Errors
    /// The device's.
    pub fn measure(device: &mut dyn Device, seconds: f64) -> Result<Self> {
        let runs = Runs { seconds, least: 5, most: 100 };
        let multiply = |iterations| of(THREADS, move |r, x| multiply_adds(r, x, iterations, 0.9));
        // A short run tells how long a good one is.
        let turns = 8;
        let short = measure(&multiply(turns), Runs { seconds: 0.0, least: 1, most: 1 }, device)?.seconds[0];
        let iterations = ((SECONDS / short * turns as f64) as usize).clamp(turns, 4096);
        let long = measure(&multiply(iterations), runs, device)?;
        let copied = measure(&of(COPIED / 4, copy), runs, device)?;
        Ok(Self {
            flop_rate: long.flops as f64 / long.seconds[0],
            byte_rate: copied.traffic as f64 / copied.seconds[0],
        })
    }

    /// How near to the nearer of its limits something comes.
    pub fn share(&self, flop_rate: f64, byte_rate: f64) -> f64 {
        (flop_rate / self.flop_rate).max(byte_rate / self.byte_rate)
    }
}

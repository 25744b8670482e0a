//! What runs plans: a GPU through wgpu, or the host's cores.

mod choices;
pub mod gpu;
mod host;
mod resident;
mod selection;

pub use choices::Choices;
pub use host::{Host, HostNumber};
pub use selection::{Chosen, choose, describe, find};

use crate::error::Result;
use crate::plan::{Call, Plan, Step, Storage, Variant};
use std::time::Duration;

/// A plan that a device has loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PlanId(pub(crate) usize);

/// Runs plans, and keeps the data of the storages that they share.
pub trait Device {
    /// One line for people: kind, name, driver.
    fn description(&self) -> String;

    /// Bytes that can still be allocated, where the device can tell.
    fn available_memory(&self) -> Option<u64>;

    /// Makes a storage, filled with zeros; does nothing if it is there.
    ///
    /// # Errors
    /// [`OutOfMemory`](crate::Error::OutOfMemory) if there is no room for it.
    fn allocate(&mut self, storage: &Storage) -> Result<()>;

    /// Whether a plan that is not loaded would fit, with `more` bytes beside it.
    fn has_room(&mut self, plan: &Plan, more: u64) -> bool;

    /// Measures which variant of a kernel is fastest, for every call of the plans that has several and for which nothing
    /// was chosen yet, and returns what was measured. After some 40 s no further variant is begun, and the calls that are
    /// left follow what was measured. `watch` is called with (calls done, calls in all). A device with one way to compute
    /// everything does nothing.
    ///
    /// # Errors
    /// The device's.
    fn tune(&mut self, plans: &[&Plan], watch: &mut dyn FnMut(usize, usize)) -> Result<Choices> {
        let _ = (plans, watch);
        Ok(Choices::default())
    }

    /// What was chosen so far.
    fn choices(&self) -> Choices {
        Choices::default()
    }

    /// Takes over choices, for the plans that are loaded from now on.
    fn adopt(&mut self, choices: &Choices) {
        let _ = choices;
    }

    /// Whether plans may hold values of half precision: 16-bit floats in its shaders.
    fn has_half_precision(&self) -> bool {
        false
    }

    /// Whether it computes a kernel's variants, rather than the host function that stands for all of them.
    fn has_variants(&self) -> bool {
        false
    }

    /// Whether it has what a variant needs. The first of a kernel's variants needs nothing.
    fn runs(&self, variant: &Variant) -> bool {
        let _ = variant;
        true
    }

    /// The ways in which it can compute a call, in the kernel's order; at least one.
    fn variants_of(&self, call: &Call) -> Vec<Variant> {
        let mut variants = call.variants();
        variants.retain(|variant| self.runs(variant));
        variants
    }

    /// The numbers to force a plan's kernels to, one after the other, to run each variant that the device runs.
    fn variant_numbers(&self, plan: &Plan) -> Vec<usize> {
        let most = || plan.calls.iter().map(|call| self.variants_of(call).len()).max().unwrap_or(1);
        (0..if self.has_variants() { most() } else { 1 }).collect()
    }

    /// What a plan's kernels run when the device is forced to a variant of this number, where they have several.
    fn variant_names(&self, plan: &Plan, number: usize) -> Vec<&'static str> {
        let mut names = Vec::new();
        for variants in plan.calls.iter().map(|call| self.variants_of(call)) {
            let name = variants[number.min(variants.len() - 1)].name;
            if variants.len() > 1 && !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// Computes every kernel of the plans that are loaded from now on with its variant of this number, of those that the
    /// device runs (its last, if it has fewer), whatever was chosen; `None` goes back to the choices. For tests and benchmarks.
    fn force_variant(&mut self, number: Option<usize>) {
        let _ = number;
    }

    /// Allocates everything that the plan needs and prepares its calls.
    ///
    /// # Errors
    /// [`OutOfMemory`](crate::Error::OutOfMemory) if there is no room.
    fn load(&mut self, plan: &Plan) -> Result<PlanId>;

    /// Frees a plan's own memory. The storages stay.
    fn unload(&mut self, plan: PlanId);

    /// Frees a storage's memory. It must not be used by a loaded plan.
    fn release(&mut self, storage: &Storage);

    /// Runs every call of a plan. May return before the device is done.
    ///
    /// # Errors
    /// [`DeviceLost`](crate::Error::DeviceLost); [`Device`](crate::Error::Device) if the plan was unloaded or the driver
    /// refuses a call.
    fn run(&mut self, plan: PlanId, step: &Step) -> Result<()>;

    /// Returns when everything that was run is done.
    ///
    /// # Errors
    /// [`DeviceLost`](crate::Error::DeviceLost); [`Device`](crate::Error::Device) if the driver refused a call.
    fn wait(&mut self) -> Result<()>;

    /// Runs a plan call by call and returns the time that each of its calls took, in their order.
    ///
    /// # Errors
    /// [`DeviceLost`](crate::Error::DeviceLost); [`Device`](crate::Error::Device) if the plan was unloaded or the driver
    /// refuses a call.
    fn profile(&mut self, plan: PlanId, step: &Step) -> Result<Vec<Duration>>;

    /// Forgets what [`Device::peak_memory`] has seen so far.
    fn reset_peak_memory(&mut self);

    /// The most memory in use at a time since [`Device::reset_peak_memory`], in bytes, where it can be measured: the
    /// process's on the host, the device's on a GPU.
    fn peak_memory(&self) -> Option<u64>;

    /// Writes floats into a storage at `offset`.
    ///
    /// # Errors
    /// [`OutOfMemory`](crate::Error::OutOfMemory) if there is no room for the storage;
    /// [`DeviceLost`](crate::Error::DeviceLost); [`Device`](crate::Error::Device) if it does not hold floats, or not as many as that.
    fn upload(&mut self, storage: &Storage, offset: usize, data: &[f32]) -> Result<()>;

    /// Writes integers into a storage at `offset`.
    ///
    /// # Errors
    /// [`OutOfMemory`](crate::Error::OutOfMemory) if there is no room for the storage;
    /// [`DeviceLost`](crate::Error::DeviceLost); [`Device`](crate::Error::Device) if it does not hold integers, or not as many as that.
    fn upload_integers(&mut self, storage: &Storage, offset: usize, data: &[u32]) -> Result<()>;

    /// Reads a whole storage of floats, after everything that was run before.
    ///
    /// # Errors
    /// [`OutOfMemory`](crate::Error::OutOfMemory) if there is no room for the storage;
    /// [`DeviceLost`](crate::Error::DeviceLost); [`Device`](crate::Error::Device) if it does not hold floats.
    fn download(&mut self, storage: &Storage) -> Result<Vec<f32>>;

    /// Reads a whole storage of integers, after everything that was run before.
    ///
    /// # Errors
    /// [`OutOfMemory`](crate::Error::OutOfMemory) if there is no room for the storage;
    /// [`DeviceLost`](crate::Error::DeviceLost); [`Device`](crate::Error::Device) if it does not hold integers.
    fn download_integers(&mut self, storage: &Storage) -> Result<Vec<u32>>;
}

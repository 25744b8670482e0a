//! What runs plans: a GPU through wgpu, or the host's cores.

mod choice;
pub mod gpu;
mod host;
mod resident;

pub use choice::{Chosen, choose, describe, find};
pub use host::{Host, HostNumber};

use crate::error::Result;
use crate::plan::{Plan, Step, Storage};
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
    fn run(&mut self, plan: PlanId, step: &Step) -> Result<()>;

    /// Returns when everything that was run is done.
    fn wait(&mut self) -> Result<()>;

    /// Runs a plan call by call and returns the time that each of its calls took, in their order.
    fn profile(&mut self, plan: PlanId, step: &Step) -> Result<Vec<Duration>>;

    /// Forgets what [`Device::peak_memory`] has seen so far.
    fn reset_peak_memory(&mut self);

    /// The most memory in use at a time since [`Device::reset_peak_memory`], in bytes, where it can be measured: the
    /// process's on the host, the device's on a GPU.
    fn peak_memory(&self) -> Option<u64>;

    /// Writes floats into a storage at `offset`.
    fn upload(&mut self, storage: &Storage, offset: usize, data: &[f32]) -> Result<()>;

    /// Writes integers into a storage at `offset`.
    fn upload_integers(&mut self, storage: &Storage, offset: usize, data: &[u32]) -> Result<()>;

    /// Reads a whole storage of floats, after everything that was run before.
    fn download(&mut self, storage: &Storage) -> Result<Vec<f32>>;

    /// Reads a whole storage of integers, after everything that was run before.
    fn download_integers(&mut self, storage: &Storage) -> Result<Vec<u32>>;
}

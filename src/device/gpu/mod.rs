//! GPUs through wgpu: Vulkan, Metal or DX12. Nothing outside this folder names wgpu.

mod adapters;
mod buffers;
mod commands;
mod halves;
mod pipelines;
mod profile;
mod tuning;

pub use adapters::{Adapter, adapters};

use super::{Choices, Device, PlanId};
use crate::error::{Error, Result};
use crate::plan::{Call, Element, Needs, Plan, Step, Storage, Variant};
use buffers::Buffers;
use commands::Loaded;
use pipelines::Pipelines;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How a GPU is opened; the default is what ships.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Compiles the shaders with bounds checks.
    pub checked: bool,
    /// Surrounds every buffer with NaN and fills it with NaN before anything is written.
    pub guarded: bool,
    /// Splits dispatches over two dimensions from this many workgroups on, instead of at the device's limit.
    pub group_limit: Option<u32>,
}

/// Submissions that may be queued before the host waits for the oldest.
const IN_FLIGHT: usize = 3;

/// A GPU that runs plans.
pub struct Gpu {
    device: wgpu::Device,
    queue: wgpu::Queue,
    description: String,
    on_host_memory: bool,
    /// Rows and columns of the cooperative matrices that it multiplies.
    matrices: Vec<u32>,
    buffers: Buffers,
    pipelines: Pipelines,
    plans: Vec<Option<Loaded>>,
    choices: Choices,
    /// The variant that every kernel is computed with, instead of what was chosen; see [`Device::force_variant`].
    forced: Option<usize>,
    in_flight: VecDeque<wgpu::SubmissionIndex>,
    /// Whether a plan that was unloaded had written outside its slots; for [`Options::guarded`].
    overrun: bool,
    failure: Arc<Mutex<Option<Error>>>,
}

impl Gpu {
    /// Opens an adapter.
    ///
    /// # Errors
    /// [`Device`](Error::Device) if the driver refuses.
    pub fn open(adapter: &Adapter, options: Options) -> Result<Self> {
        let (device, queue) = adapter.request_device()?;
        let cooperates = device.features().contains(wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX);
        let failure = Arc::new(Mutex::new(None));
        let keep = |failure: &Arc<Mutex<Option<Error>>>, error: Error| {
            if let Ok(mut failure) = failure.lock() {
                failure.get_or_insert(error);
            }
        };
        let uncaptured = Arc::clone(&failure);
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| keep(&uncaptured, named(&error))));
        let lost = Arc::clone(&failure);
        device.set_device_lost_callback(move |reason, message| {
            if reason != wgpu::DeviceLostReason::Destroyed {
                keep(&lost, Error::DeviceLost(one_line(&message)));
            }
        });
        Ok(Self {
            description: adapter.description(),
            on_host_memory: adapter.is_software(),
            matrices: if cooperates { adapter.matrices() } else { Vec::new() },
            buffers: Buffers::new(&device, options.guarded),
            pipelines: Pipelines::new(&device, options),
            device,
            queue,
            plans: Vec::new(),
            choices: Choices::default(),
            forced: None,
            in_flight: VecDeque::new(),
            overrun: false,
            failure,
        })
    }

    /// Whether no shader has written outside its buffers; for [`Options::guarded`]. The slots of a plan are looked at when
    /// it is unloaded.
    ///
    /// # Errors
    /// A device error while the guards are read.
    pub fn guards_are_intact(&self) -> Result<bool> {
        Ok(!self.overrun && self.buffers.guards_are_intact(&self.device, &self.queue)?)
    }

    /// Reports what the driver has told in the meantime.
    fn check(&self) -> Result<()> {
        let failure = self.failure.lock().ok().and_then(|mut failure| failure.take());
        failure.map_or(Ok(()), Err)
    }

    fn wait_for(&mut self, in_flight: usize) -> Result<()> {
        while self.in_flight.len() > in_flight {
            let submission_index = self.in_flight.pop_front();
            let poll = wgpu::PollType::Wait { submission_index, timeout: None };
            self.device.poll(poll).map_err(|error| Error::DeviceLost(one_line(&error.to_string())))?;
        }
        self.check()
    }
}

/// Whether the device has what a variant needs; the first of a kernel's variants needs nothing.
fn can_run(device: &wgpu::Device, matrices: &[u32], variant: &Variant) -> bool {
    match variant.needs {
        Needs::Nothing => true,
        Needs::Subgroups => device.features().contains(wgpu::Features::SUBGROUP),
        Needs::CooperativeMatrices(side) => matrices.contains(&side),
    }
}

/// Runs `make` and turns what the driver refuses in it into an error.
fn guarded<T>(device: &wgpu::Device, make: impl FnOnce() -> Result<T>) -> Result<T> {
    let memory = device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
    let validation = device.push_error_scope(wgpu::ErrorFilter::Validation);
    let internal = device.push_error_scope(wgpu::ErrorFilter::Internal);
    let made = make();
    let errors = [internal, validation, memory].map(|scope| pollster::block_on(scope.pop()));
    match errors.into_iter().rev().flatten().next() {
        Some(error) => Err(named(&error)),
        None => made,
    }
}

fn named(error: &wgpu::Error) -> Error {
    match error {
        wgpu::Error::OutOfMemory { .. } => Error::OutOfMemory("the GPU has no room left".into()),
        wgpu::Error::Validation { description, .. } | wgpu::Error::Internal { description, .. } => {
            Error::Device(one_line(description))
        }
    }
}

/// A message of several lines on one.
fn one_line(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}

impl Device for Gpu {
    fn description(&self) -> String {
        self.description.clone()
    }

    fn available_memory(&self) -> Option<u64> {
        // A GPU's driver does not tell; a software driver uses the host's memory.
        if self.on_host_memory { super::Host::<f32>::new().available_memory() } else { None }
    }

    fn allocate(&mut self, storage: &Storage) -> Result<()> {
        if self.buffers.contains(storage) {
            return Ok(());
        }
        let buffer =
            guarded(&self.device, || self.buffers.create(&self.device, &self.queue, storage.name(), storage.bytes()))?;
        self.buffers.insert(storage, buffer);
        Ok(())
    }

    fn has_room(&mut self, plan: &Plan, more: u64) -> bool {
        // The driver does not tell: it is tried.
        if self.available_memory().is_some_and(|available| plan.memory().total() + more > available) {
            return false;
        }
        let missing: Vec<Storage> = plan.storages().filter(|s| !self.buffers.contains(s)).cloned().collect();
        let spare = Storage::f32("spare", (more / 4) as usize);
        let loaded = self.load(plan).and_then(|id| {
            let room = more == 0
                || 4 * spare.len() as u64 > self.device.limits().max_buffer_size
                || self.allocate(&spare).is_ok();
            self.unload(id);
            if room { Ok(()) } else { Err(Error::OutOfMemory("no room for more".into())) }
        });
        missing.iter().chain([&spare]).for_each(|storage| self.release(storage));
        loaded.is_ok()
    }

    fn load(&mut self, plan: &Plan) -> Result<PlanId> {
        if plan.calls.iter().any(|call| call.halves != 0) && !self.has_half_precision() {
            return Err(Error::Device(format!("{}: no 16-bit floats in shaders", self.description)));
        }
        let memory = plan.memory();
        let limits = self.device.limits();
        // The shaders count elements in 32 bits, with room for the workgroups past the last one.
        let largest = limits.max_buffer_size.min(limits.max_storage_buffer_binding_size).min(4 << 31);
        let bytes = |call: &Call| call.regions.iter().zip(call.elements()).map(|(r, e)| e.bytes() * r.len).max();
        let binding = plan.calls.iter().filter_map(bytes).max().map(|bytes| bytes as u64);
        let most = plan.calls.iter().flat_map(|call| &call.regions).map(|region| region.len).max();
        if most.unwrap_or(0) > 1 << 31 || memory.largest > limits.max_buffer_size || binding.unwrap_or(0) > largest {
            return Err(Error::OutOfMemory(format!(
                "the largest buffer of the plan has {} MB, this GPU allows {} MB",
                memory.largest >> 20,
                largest >> 20
            )));
        }
        if let Some(available) = self.available_memory().filter(|&available| memory.total() > available) {
            let (needed, available) = (memory.total() >> 20, available >> 20);
            return Err(Error::OutOfMemory(format!("the plan needs {needed} MB, {available} MB are available")));
        }
        let missing: Vec<Storage> = plan.storages().filter(|s| !self.buffers.contains(s)).cloned().collect();
        let loaded = (missing.iter().try_for_each(|storage| self.allocate(storage))).and_then(|()| {
            let Self { device, queue, buffers, pipelines, choices, forced, matrices, .. } = self;
            let compile = |call: &Call| {
                let mut variants = call.variants();
                variants.retain(|variant| can_run(device, matrices, variant));
                let mut variant = match forced {
                    Some(number) => variants[(*number).min(variants.len() - 1)].clone(),
                    None => choices.variant_of(call),
                };
                if !can_run(device, matrices, &variant) {
                    variant = variants.swap_remove(0);
                }
                let pipeline = pipelines.get(device, call, &variant)?;
                Ok((variant, pipeline))
            };
            let compiled = guarded(device, || plan.calls.iter().map(compile).collect::<Result<Vec<_>>>())?;
            guarded(device, || Loaded::new(device, queue, plan, buffers, pipelines, compiled))
        });
        match loaded {
            Ok(loaded) => self.plans.push(Some(loaded)),
            Err(error) => {
                missing.iter().for_each(|storage| self.release(storage));
                return Err(error);
            }
        }
        Ok(PlanId(self.plans.len() - 1))
    }

    fn tune(&mut self, plans: &[&Plan], watch: &mut dyn FnMut(usize, usize)) -> Result<Choices> {
        tuning::tune(self, plans, watch)
    }

    fn choices(&self) -> Choices {
        self.choices.clone()
    }

    fn adopt(&mut self, choices: &Choices) {
        self.choices.adopt(choices);
    }

    fn has_variants(&self) -> bool {
        true
    }

    fn runs(&self, variant: &Variant) -> bool {
        can_run(&self.device, &self.matrices, variant)
    }

    fn has_half_precision(&self) -> bool {
        self.device.features().contains(wgpu::Features::SHADER_F16)
    }

    fn force_variant(&mut self, number: Option<usize>) {
        self.forced = number;
    }

    fn unload(&mut self, plan: PlanId) {
        let loaded = self.plans[plan.0].take();
        // A guarded device looks at a plan's own buffers before they go.
        for slot in loaded.iter().flat_map(Loaded::slots) {
            self.overrun |= !self.buffers.guard_is_intact(&self.device, &self.queue, slot).unwrap_or(false);
        }
    }

    fn release(&mut self, storage: &Storage) {
        self.buffers.remove(storage);
    }

    fn run(&mut self, plan: PlanId, step: &Step) -> Result<()> {
        let loaded = self.plans[plan.0].as_mut().ok_or_else(|| Error::Device("the plan was unloaded".into()))?;
        let submissions = loaded.run(&self.device, &self.queue, step)?;
        self.in_flight.extend(submissions);
        self.wait_for(IN_FLIGHT)
    }

    fn wait(&mut self) -> Result<()> {
        self.wait_for(0)
    }

    fn profile(&mut self, plan: PlanId, step: &Step) -> Result<Vec<Duration>> {
        self.wait_for(0)?;
        let loaded = self.plans[plan.0].as_ref().ok_or_else(|| Error::Device("the plan was unloaded".into()))?;
        let times = loaded.profile(&self.device, &self.queue, step)?;
        self.check()?;
        Ok(times)
    }

    fn reset_peak_memory(&mut self) {}

    fn peak_memory(&self) -> Option<u64> {
        // Memory is taken when plans are loaded: what is held now is the most since then.
        self.device.generate_allocator_report().map(|report| report.total_allocated_bytes)
    }

    fn upload(&mut self, storage: &Storage, offset: usize, data: &[f32]) -> Result<()> {
        self.allocate(storage)?;
        storage.check_range(Element::F32, offset, data.len())?;
        let range = [offset, data.len()];
        match storage.element() {
            Element::F16 => self.buffers.write(&self.queue, storage, range, &halves::from_floats(data))?,
            _ => self.buffers.write(&self.queue, storage, range, bytemuck::cast_slice(data))?,
        }
        self.check()
    }

    fn upload_integers(&mut self, storage: &Storage, offset: usize, data: &[u32]) -> Result<()> {
        self.allocate(storage)?;
        storage.check_range(Element::U32, offset, data.len())?;
        self.buffers.write(&self.queue, storage, [offset, data.len()], data)?;
        self.check()
    }

    fn download(&mut self, storage: &Storage) -> Result<Vec<f32>> {
        self.allocate(storage)?;
        self.wait_for(0)?;
        let words = self.buffers.read(&self.device, &self.queue, storage, Element::F32)?;
        self.check()?;
        Ok(match storage.element() {
            Element::F16 => halves::to_floats(&words, storage.len()),
            _ => bytemuck::cast_vec(words),
        })
    }

    fn download_integers(&mut self, storage: &Storage) -> Result<Vec<u32>> {
        self.allocate(storage)?;
        self.wait_for(0)?;
        let words = self.buffers.read(&self.device, &self.queue, storage, Element::U32)?;
        self.check()?;
        Ok(words)
    }
}

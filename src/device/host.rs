//! The CPU as a device: it calls the kernels' host functions in order, each of them parallel inside.

use super::{Device, PlanId};
use crate::error::{Error, Result};
use crate::plan::{
    Aligned, Binding, Bindings, Call, Element, HostBuffer, Kernel, Place, Plan, Real, Step, Storage, Twin,
};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// The numbers that the host computes with: `f32` to work, `f64` to check gradients.
pub trait HostNumber: Real {
    /// Runs a kernel's host function; `reference` forces the twin.
    fn compute(kernel: &dyn Kernel, io: &mut Bindings<Self>, reference: bool);
}

impl HostNumber for f32 {
    fn compute(kernel: &dyn Kernel, io: &mut Bindings<Self>, reference: bool) {
        if reference { Twin::<f32>::twin(kernel, io) } else { kernel.host(io) }
    }
}

impl HostNumber for f64 {
    fn compute(kernel: &dyn Kernel, io: &mut Bindings<Self>, _reference: bool) {
        Twin::<f64>::twin(kernel, io);
    }
}

/// A plan with its slots. The storages' places in `buffers` are empty while the plan does not run.
struct Loaded<T> {
    /// With their kernels' bindings.
    calls: Vec<(Call, Vec<Binding>)>,
    buffers: Vec<HostBuffer<T>>,
    storages: Vec<(usize, Storage)>,
}

/// The host device. Computes in `f32` for work; in `f64` it is the reference that gradients are checked with.
pub struct Host<T = f32> {
    storages: HashMap<u64, HostBuffer<T>>,
    plans: Vec<Option<Loaded<T>>>,
    reference: bool,
    /// When each call was done, while a plan is profiled.
    clock: Option<Vec<Instant>>,
}

impl<T: HostNumber> Default for Host<T> {
    fn default() -> Self {
        Self { storages: HashMap::new(), plans: Vec::new(), reference: false, clock: None }
    }
}

impl<T: HostNumber> Host<T> {
    /// A host device that runs the kernels' fast host functions.
    pub fn new() -> Self {
        Self::default()
    }

    /// A host device that runs nothing but the twins.
    pub fn reference() -> Self {
        Self { reference: true, ..Self::default() }
    }

    /// The floats of a storage, as they are.
    pub fn floats(&self, storage: &Storage) -> &[T] {
        match self.storages.get(&storage.id()) {
            Some(HostBuffer::Float(data)) => data,
            _ => &[],
        }
    }

    /// The floats of a storage, to be written.
    ///
    /// # Errors
    /// [`OutOfMemory`](Error::OutOfMemory) if there is no room for it, [`Device`](Error::Device) if it holds no floats.
    pub fn floats_mut(&mut self, storage: &Storage) -> Result<&mut [T]> {
        self.allocate(storage)?;
        match self.storages.get_mut(&storage.id()) {
            Some(HostBuffer::Float(data)) => Ok(data),
            _ => Err(wrong_element(storage)),
        }
    }

    fn room_for(&self, bytes: u64, what: &str) -> Result<()> {
        match self.available_memory() {
            Some(available) if bytes > available => Err(Error::OutOfMemory(format!(
                "{what} needs {} MB, {} MB are available on this machine",
                bytes >> 20,
                available >> 20
            ))),
            _ => Ok(()),
        }
    }
}

fn refused(what: &str) -> Error {
    Error::OutOfMemory(format!("the system refuses the memory for {what}"))
}

fn wrong_element(storage: &Storage) -> Error {
    Error::Device(format!("{} holds {:?}, not what was asked for", storage.name(), storage.element()))
}

impl<T: HostNumber> Device for Host<T> {
    fn description(&self) -> String {
        format!("cpu: {} threads, {}", rayon::current_num_threads(), super::selection::processor_name())
    }

    fn available_memory(&self) -> Option<u64> {
        let mut system = sysinfo::System::new().ok()?;
        system.refresh_memory();
        // What a container's limit leaves; its page cache does not count, it is given back when memory is needed.
        let limit = system.cgroup_limits().map_or(u64::MAX, |limits| limits.total_memory.saturating_sub(limits.rss));
        match system.available_memory().min(limit) {
            0 => None,
            bytes => Some(bytes),
        }
    }

    fn allocate(&mut self, storage: &Storage) -> Result<()> {
        if !self.storages.contains_key(&storage.id()) {
            if storage.bytes() > 1 << 20 {
                self.room_for(storage.bytes(), storage.name())?;
            }
            let buffer = HostBuffer::zeros(storage.element(), storage.len()).ok_or_else(|| refused(storage.name()))?;
            self.storages.insert(storage.id(), buffer);
        }
        Ok(())
    }

    fn has_room(&mut self, plan: &Plan, more: u64) -> bool {
        self.room_for(plan.memory().total() + more, "the plan").is_ok()
    }

    fn load(&mut self, plan: &Plan) -> Result<PlanId> {
        let fresh = plan.storages().filter(|storage| !self.storages.contains_key(&storage.id()));
        let needed = plan.memory().activations + fresh.map(Storage::bytes).sum::<u64>();
        self.room_for(needed, "the plan")?;
        for storage in plan.storages() {
            self.allocate(storage)?;
        }
        let mut storages = Vec::new();
        let buffers = (plan.buffers.iter().enumerate())
            .map(|(index, place)| match place {
                Place::Slot { element, len } => HostBuffer::zeros(*element, *len).ok_or_else(|| refused("the plan")),
                Place::Storage(storage) => {
                    storages.push((index, storage.clone()));
                    Ok(HostBuffer::Float(Aligned::default()))
                }
            })
            .collect::<Result<_>>()?;
        let calls = plan.calls.iter().map(|call| (call.clone(), call.kernel.bindings())).collect();
        self.plans.push(Some(Loaded { calls, buffers, storages }));
        Ok(PlanId(self.plans.len() - 1))
    }

    fn unload(&mut self, plan: PlanId) {
        self.plans[plan.0] = None;
    }

    fn release(&mut self, storage: &Storage) {
        self.storages.remove(&storage.id());
    }

    fn run(&mut self, plan: PlanId, step: &Step) -> Result<()> {
        let loaded = self.plans[plan.0].as_mut().ok_or_else(|| Error::Device("the plan was unloaded".into()))?;
        let swap = |storages: &mut HashMap<u64, HostBuffer<T>>, buffers: &mut [HostBuffer<T>]| {
            for (index, storage) in &loaded.storages {
                if let Some(data) = storages.get_mut(&storage.id()) {
                    std::mem::swap(data, &mut buffers[*index]);
                }
            }
        };
        swap(&mut self.storages, &mut loaded.buffers);
        let (calls, buffers, reference) = (&loaded.calls, &mut loaded.buffers, self.reference);
        let clock = &mut self.clock;
        // As one of the pool's threads, which need not be woken for every call.
        rayon::scope(|_| {
            for (call, bindings) in calls {
                let kernel = &*call.kernel;
                crate::plan::with_bindings(buffers, bindings, &call.regions, step, |io| {
                    T::compute(kernel, io, reference);
                });
                if let Some(clock) = clock {
                    clock.push(Instant::now());
                }
            }
        });
        swap(&mut self.storages, &mut loaded.buffers);
        Ok(())
    }

    fn wait(&mut self) -> Result<()> {
        Ok(())
    }

    fn profile(&mut self, plan: PlanId, step: &Step) -> Result<Vec<Duration>> {
        self.clock = Some(vec![Instant::now()]);
        let outcome = self.run(plan, step);
        let clock = self.clock.take().unwrap_or_default();
        outcome.map(|()| clock.windows(2).map(|pair| pair[1] - pair[0]).collect())
    }

    fn reset_peak_memory(&mut self) {
        super::resident::reset_peak();
    }

    fn peak_memory(&self) -> Option<u64> {
        super::resident::peak()
    }

    fn upload(&mut self, storage: &Storage, offset: usize, data: &[f32]) -> Result<()> {
        storage.check_range(Element::F32, offset, data.len())?;
        let floats = self.floats_mut(storage)?;
        for (float, &value) in floats[offset..offset + data.len()].iter_mut().zip(data) {
            *float = T::from_f32(value);
        }
        Ok(())
    }

    fn upload_integers(&mut self, storage: &Storage, offset: usize, data: &[u32]) -> Result<()> {
        storage.check_range(Element::U32, offset, data.len())?;
        self.allocate(storage)?;
        match self.storages.get_mut(&storage.id()) {
            Some(HostBuffer::Integer(integers)) => integers[offset..offset + data.len()].copy_from_slice(data),
            _ => return Err(wrong_element(storage)),
        }
        Ok(())
    }

    fn download(&mut self, storage: &Storage) -> Result<Vec<f32>> {
        self.allocate(storage)?;
        Ok(self.floats(storage).iter().map(|&value| value.as_f32()).collect())
    }

    fn download_integers(&mut self, storage: &Storage) -> Result<Vec<u32>> {
        self.allocate(storage)?;
        match self.storages.get(&storage.id()) {
            Some(HostBuffer::Integer(integers)) => Ok(integers.to_vec()),
            _ => Err(wrong_element(storage)),
        }
    }
}

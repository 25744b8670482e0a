//! The finished list of calls.

use super::kernel::{Access, Kernel, Variant};
use super::storage::{Element, Storage};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

/// Part of one of a plan's buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// Index into [`Plan::buffers`].
    pub buffer: usize,
    /// First element.
    pub offset: usize,
    /// Elements.
    pub len: usize,
}

/// One dispatch.
#[derive(Clone, Debug)]
pub struct Call {
    /// The operation with its sizes.
    pub kernel: Arc<dyn Kernel>,
    /// What each of the kernel's bindings is bound to.
    pub regions: Vec<Region>,
    /// Bit k is set where binding k holds halves.
    pub halves: u32,
}

impl Call {
    /// What each binding holds.
    pub fn elements(&self) -> impl Iterator<Item = Element> {
        let of_kernel = self.kernel.bindings().into_iter().map(|binding| binding.element);
        of_kernel.enumerate().map(|(k, element)| if self.halves >> k & 1 == 1 { Element::F16 } else { element })
    }

    /// The ways in which a GPU can compute it: those of the kernel's variants that take halves where it has them.
    pub fn variants(&self) -> Vec<Variant> {
        let mut variants = self.kernel.variants();
        variants.retain(|variant| variant.takes_halves(self.halves));
        variants
    }

    /// The regions that it writes.
    pub fn written(&self) -> impl Iterator<Item = &Region> {
        let bindings = self.kernel.bindings();
        self.regions
            .iter()
            .zip(bindings)
            .filter(|(_, binding)| binding.access != Access::Read)
            .map(|(region, _)| region)
    }

    /// What a choice between the kernel's variants is kept for: the kernel, its sizes, and the texts of its shaders, so
    /// that an edited one is measured again.
    pub fn key(&self) -> String {
        let halves = if self.halves == 0 { String::new() } else { format!(" halves {:b}", self.halves) };
        let mut texts = DefaultHasher::new();
        self.variants().iter().for_each(|variant| (variant.name, variant.shader.sources).hash(&mut texts));
        format!("{} {:08x} {:?}{halves}", self.kernel.shader().name, texts.finish() as u32, self.kernel)
    }
}

/// A buffer that a plan uses.
#[derive(Clone, Debug)]
pub enum Place {
    /// Memory of the plan's own, shared by values that do not live at the same time.
    Slot {
        /// What it holds.
        element: Element,
        /// Elements.
        len: usize,
    },
    /// A buffer that outlives the plan.
    Storage(Storage),
}

impl Place {
    /// What it holds.
    pub fn element(&self) -> Element {
        match self {
            Self::Slot { element, .. } => *element,
            Self::Storage(storage) => storage.element(),
        }
    }

    /// Bytes on a device that computes in `f32`.
    pub fn bytes(&self) -> u64 {
        (self.element().bytes() * self.len()) as u64
    }

    /// Elements.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        match self {
            Self::Slot { len, .. } => *len,
            Self::Storage(storage) => storage.len(),
        }
    }
}

/// A recording with its memory planned: what a device loads once and runs every step.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// In the order in which they run.
    pub calls: Vec<Call>,
    /// What the calls' regions point into.
    pub buffers: Vec<Place>,
    /// The most bytes of slots that hold something needed at one time: no sharing of slots needs less.
    pub most_alive: u64,
}

/// How many bytes a plan needs on a device that computes in `f32`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// The slots that activations and their gradients share.
    pub activations: u64,
    /// Every storage that the plan uses, by name.
    pub storages: Vec<(String, u64)>,
    /// The largest single buffer.
    pub largest: u64,
}

impl Memory {
    /// Everything together.
    pub fn total(&self) -> u64 {
        self.activations + self.storages.iter().map(|(_, bytes)| bytes).sum::<u64>()
    }
}

impl Plan {
    /// A plan of one call, with storages of its own, in the order of its bindings: for measuring it. What the call
    /// binds twice is one storage.
    pub fn of_call(call: &Call) -> (Self, Vec<Storage>) {
        let mut storages: Vec<Storage> = Vec::new();
        let mut seen: Vec<Region> = Vec::new();
        let mut regions = Vec::new();
        for (region, element) in call.regions.iter().zip(call.elements()) {
            let buffer = seen.iter().position(|other| other == region).unwrap_or_else(|| {
                storages.push(Storage::new(format!("tensor {}", seen.len()), element, region.len));
                seen.push(*region);
                seen.len() - 1
            });
            regions.push(Region { buffer, offset: 0, len: region.len });
        }
        let buffers = storages.iter().cloned().map(Place::Storage).collect();
        (Self { calls: vec![Call { regions, ..call.clone() }], buffers, most_alive: 0 }, storages)
    }

    /// The same calls `times` times in a row, in the same buffers: for measuring what is short.
    pub fn repeated(&self, times: usize) -> Self {
        let calls = self.calls.iter().cycle().take(times * self.calls.len()).cloned().collect();
        Self { calls, ..self.clone() }
    }

    /// What it needs.
    pub fn memory(&self) -> Memory {
        let mut memory = Memory::default();
        for place in &self.buffers {
            let bytes = place.bytes();
            memory.largest = memory.largest.max(bytes);
            match place {
                Place::Slot { .. } => memory.activations += bytes,
                Place::Storage(storage) => memory.storages.push((storage.name().to_string(), bytes)),
            }
        }
        memory
    }

    /// The buffers that outlive the plan.
    pub fn storages(&self) -> impl Iterator<Item = &Storage> {
        self.buffers.iter().filter_map(|place| match place {
            Place::Storage(storage) => Some(storage),
            Place::Slot { .. } => None,
        })
    }

    /// Floating-point operations of one run.
    pub fn flops(&self) -> u64 {
        self.calls.iter().map(|call| call.kernel.flops()).sum()
    }
}

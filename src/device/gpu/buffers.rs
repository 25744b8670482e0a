//! Buffers on the GPU, and the way to and from the host.

use crate::error::{Error, Result};
use crate::plan::{Element, Storage};
use std::collections::HashMap;
use wgpu::{BufferDescriptor, BufferUsages};

/// Bytes before and after a guarded buffer: the alignment that every device accepts for a binding.
const GUARD: u64 = 256;
/// A NaN in single precision and two in half, which guards are filled with.
const POISON: u32 = 0x7FFF_7FFF;
/// Bytes that are read back at a time.
const STAGING: u64 = 64 << 20;

/// The storages' buffers.
pub(super) struct Buffers {
    storages: HashMap<u64, wgpu::Buffer>,
    guarded: bool,
    alignment: u64,
}

impl Buffers {
    pub(super) fn new(device: &wgpu::Device, guarded: bool) -> Self {
        let alignment = u64::from(device.limits().min_storage_buffer_offset_alignment);
        Self { storages: HashMap::new(), guarded, alignment }
    }

    fn guard(&self) -> u64 {
        if self.guarded { GUARD } else { 0 }
    }

    /// A buffer of so many bytes, or as few more as make whole words.
    pub(super) fn create(
        &self,
        device: &wgpu::Device,
        queue: &wgpu::Queue,
        label: &str,
        bytes: u64,
    ) -> Result<wgpu::Buffer> {
        let size = bytes.next_multiple_of(4).max(4) + 2 * self.guard();
        let limit = device.limits().max_buffer_size;
        if size > limit {
            let (size, limit) = (size >> 20, limit >> 20);
            return Err(Error::OutOfMemory(format!("{label} has {size} MB, this GPU allows buffers of {limit} MB")));
        }
        let usage = BufferUsages::STORAGE | BufferUsages::COPY_SRC | BufferUsages::COPY_DST;
        let buffer =
            device.create_buffer(&BufferDescriptor { label: Some(label), size, usage, mapped_at_creation: false });
        if self.guarded {
            queue.write_buffer(&buffer, 0, bytemuck::cast_slice(&vec![POISON; (size / 4) as usize]));
        }
        Ok(buffer)
    }

    pub(super) fn contains(&self, storage: &Storage) -> bool {
        self.storages.contains_key(&storage.id())
    }

    pub(super) fn insert(&mut self, storage: &Storage, buffer: wgpu::Buffer) {
        self.storages.insert(storage.id(), buffer);
    }

    pub(super) fn remove(&mut self, storage: &Storage) {
        self.storages.remove(&storage.id());
    }

    pub(super) fn get(&self, storage: &Storage) -> Result<&wgpu::Buffer> {
        let missing = || Error::Device(format!("{} was not allocated", storage.name()));
        self.storages.get(&storage.id()).ok_or_else(missing)
    }

    /// `len` elements from `offset` of a buffer as a binding, with what fills up the last word.
    pub(super) fn binding<'a>(
        &self,
        buffer: &'a wgpu::Buffer,
        element: Element,
        offset: usize,
        len: usize,
    ) -> Result<wgpu::BindingResource<'a>> {
        let offset = self.guard() + (element.bytes() * offset) as u64;
        if !offset.is_multiple_of(self.alignment) {
            return Err(Error::Device(format!("offset {offset} is not a multiple of {}", self.alignment)));
        }
        let size = std::num::NonZeroU64::new((element.bytes() * len).next_multiple_of(4) as u64);
        Ok(wgpu::BindingResource::Buffer(wgpu::BufferBinding { buffer, offset, size }))
    }

    /// Writes `len` elements, given as words, from `offset` of a storage on.
    pub(super) fn write(
        &self,
        queue: &wgpu::Queue,
        storage: &Storage,
        [offset, len]: [usize; 2],
        words: &[u32],
    ) -> Result<()> {
        let first = storage.element().bytes() * offset;
        if !first.is_multiple_of(4) {
            return Err(Error::Device(format!("{}: data at {offset} does not begin with a word", storage.name())));
        }
        // The last word's other half would be lost.
        if len != storage.len() - offset && !(storage.element().bytes() * len).is_multiple_of(4) {
            let name = storage.name();
            return Err(Error::Device(format!("{name}: {len} halves at {offset} end within a word, before the end")));
        }
        let buffer = self.get(storage)?;
        queue.write_buffer(buffer, self.guard() + first as u64, bytemuck::cast_slice(words));
        Ok(())
    }

    pub(super) fn read(
        &self,
        device: &wgpu::Device,
        queue: &wgpu::Queue,
        storage: &Storage,
        element: Element,
    ) -> Result<Vec<u32>> {
        storage.check_range(element, 0, storage.len())?;
        read_words(device, queue, self.get(storage)?, self.guard(), storage.bytes().div_ceil(4) as usize)
    }

    pub(super) fn guards_are_intact(&self, device: &wgpu::Device, queue: &wgpu::Queue) -> Result<bool> {
        for buffer in self.storages.values() {
            if !self.guard_is_intact(device, queue, buffer)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether what surrounds a buffer is as it was; always so without guards.
    pub(super) fn guard_is_intact(
        &self,
        device: &wgpu::Device,
        queue: &wgpu::Queue,
        buffer: &wgpu::Buffer,
    ) -> Result<bool> {
        if !self.guarded {
            return Ok(true);
        }
        let words = (GUARD / 4) as usize;
        let front = read_words(device, queue, buffer, 0, words)?;
        let back = read_words(device, queue, buffer, buffer.size() - GUARD, words)?;
        Ok(front.iter().chain(&back).all(|&word| word == POISON))
    }
}

/// Reads `len` words from byte `first` on, in pieces that any device can map.
pub(super) fn read_words(
    device: &wgpu::Device,
    queue: &wgpu::Queue,
    buffer: &wgpu::Buffer,
    first: u64,
    len: usize,
) -> Result<Vec<u32>> {
    let total = 4 * len as u64;
    let mut words: Vec<u32> = Vec::with_capacity(len);
    if total == 0 {
        return Ok(words);
    }
    let staging = device.create_buffer(&BufferDescriptor {
        label: Some("read back"),
        size: total.min(STAGING),
        usage: BufferUsages::MAP_READ | BufferUsages::COPY_DST,
        mapped_at_creation: false,
    });
    let lost = |error: &dyn std::fmt::Display| Error::DeviceLost(super::one_line(&error.to_string()));
    for offset in (0..total).step_by(STAGING as usize) {
        let size = STAGING.min(total - offset);
        let mut encoder = device.create_command_encoder(&Default::default());
        encoder.copy_buffer_to_buffer(buffer, first + offset, &staging, 0, size);
        queue.submit([encoder.finish()]);
        let (sender, receiver) = std::sync::mpsc::channel();
        staging.map_async(wgpu::MapMode::Read, 0..size, move |result| {
            let _ = sender.send(result);
        });
        device.poll(wgpu::PollType::wait_indefinitely()).map_err(|error| lost(&error))?;
        receiver.try_recv().map_err(|error| lost(&error))?.map_err(|error| lost(&error))?;
        let view = staging.get_mapped_range(0..size).map_err(|error| lost(&error))?;
        words.extend(view.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])));
        drop(view);
        staging.unmap();
    }
    Ok(words)
}

//! What a host twin is given: slices of the buffers that the call binds.

use super::kernel::MOST_BINDINGS;
use super::real::Real;
use super::recording::Region;
use super::step::Step;
use super::storage::Element;
use super::{Access, Binding};
use std::ops::{Deref, DerefMut};

/// Bytes of a line of the cache, and of the widest vector.
const LINE: usize = 64;

/// Elements that begin on a line of the cache: no vector of theirs straddles two.
#[derive(Debug, Default)]
pub struct Aligned<T> {
    data: Vec<T>,
    first: usize,
}

impl<T: Clone> Aligned<T> {
    /// `len` times the same; `None` if the system has no memory for it.
    fn filled(value: T, len: usize) -> Option<Self> {
        let mut data: Vec<T> = Vec::new();
        data.try_reserve_exact(len + LINE / size_of::<T>()).ok()?;
        let first = data.as_ptr().align_offset(LINE);
        data.resize(first + len, value);
        Some(Self { data, first })
    }
}

impl<T> Deref for Aligned<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.data[self.first..]
    }
}

impl<T> DerefMut for Aligned<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.data[self.first..]
    }
}

/// A buffer in host memory.
#[derive(Debug)]
pub enum HostBuffer<T> {
    /// Floats.
    Float(Aligned<T>),
    /// Integers.
    Integer(Aligned<u32>),
}

impl<T: Real> HostBuffer<T> {
    /// A buffer of zeros, every page of it touched, so that it is there; `None` if the system has no memory for it.
    pub fn zeros(element: Element, len: usize) -> Option<Self> {
        Some(match element {
            Element::F32 | Element::F16 => Self::Float(Aligned::filled(T::zero(), len)?),
            Element::U32 => Self::Integer(Aligned::filled(0, len)?),
        })
    }
}

enum Slice<'a, T> {
    Read(&'a [T]),
    Write(&'a mut [T]),
    ReadIntegers(&'a [u32]),
    WriteIntegers(&'a mut [u32]),
    Taken,
}

/// The slices that one call binds, by binding number (the shader's number less one).
pub struct Bindings<'a, T> {
    slices: [Slice<'a, T>; MOST_BINDINGS],
    step: &'a Step,
}

impl<'a, T: Real> Bindings<'a, T> {
    /// What changes from run to run.
    pub fn step(&self) -> &'a Step {
        self.step
    }

    /// Floats that the kernel reads.
    pub fn read(&self, binding: usize) -> &'a [T] {
        match self.slices[binding] {
            Slice::Read(slice) => slice,
            _ => panic!("binding {binding} is not a float input"),
        }
    }

    /// Integers that the kernel reads.
    pub fn read_integers(&self, binding: usize) -> &'a [u32] {
        match self.slices[binding] {
            Slice::ReadIntegers(slice) => slice,
            _ => panic!("binding {binding} is not an integer input"),
        }
    }

    /// Floats that the kernel writes; each can be taken once.
    pub fn write(&mut self, binding: usize) -> &'a mut [T] {
        match std::mem::replace(&mut self.slices[binding], Slice::Taken) {
            Slice::Write(slice) => slice,
            _ => panic!("binding {binding} is not a float output, or was taken before"),
        }
    }

    /// Integers that the kernel writes; each can be taken once.
    pub fn write_integers(&mut self, binding: usize) -> &'a mut [u32] {
        match std::mem::replace(&mut self.slices[binding], Slice::Taken) {
            Slice::WriteIntegers(slice) => slice,
            _ => panic!("binding {binding} is not an integer output, or was taken before"),
        }
    }
}

/// Calls `run` with the slices that `regions` name in `buffers`. The recorder has made sure that a buffer which is
/// written is bound once, so that it can be lifted out while the others are read.
pub(crate) fn with_bindings<T: Real>(
    buffers: &mut [HostBuffer<T>],
    kinds: &[Binding],
    regions: &[Region],
    step: &Step,
    run: impl FnOnce(&mut Bindings<T>),
) {
    let empty = || HostBuffer::Integer(Aligned::default());
    let mut written: [HostBuffer<T>; MOST_BINDINGS] = std::array::from_fn(|_| empty());
    for ((region, kind), own) in regions.iter().zip(kinds).zip(&mut written) {
        if kind.access != Access::Read {
            *own = std::mem::replace(&mut buffers[region.buffer], empty());
        }
    }
    let mut slices = [const { Slice::Taken }; MOST_BINDINGS];
    for (((region, kind), own), slice) in regions.iter().zip(kinds).zip(&mut written).zip(&mut slices) {
        let range = region.offset..region.offset + region.len;
        *slice = match kind.access {
            Access::Read => match &buffers[region.buffer] {
                HostBuffer::Float(data) => Slice::Read(&data[range]),
                HostBuffer::Integer(data) => Slice::ReadIntegers(&data[range]),
            },
            _ => match own {
                HostBuffer::Float(data) => Slice::Write(&mut data[range]),
                HostBuffer::Integer(data) => Slice::WriteIntegers(&mut data[range]),
            },
        };
    }
    run(&mut Bindings { slices, step });
    for ((region, kind), own) in regions.iter().zip(kinds).zip(written) {
        if kind.access != Access::Read {
            buffers[region.buffer] = own;
        }
    }
}

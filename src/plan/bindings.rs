//! What a host twin is given: slices of the buffers that the call binds.

use super::real::Real;
use super::recording::Region;
use super::step::Step;
use super::storage::Element;
use super::{Access, Binding};

/// A buffer in host memory.
#[derive(Clone, Debug)]
pub enum HostBuffer<T> {
    /// Floats.
    Float(Vec<T>),
    /// Integers.
    Integer(Vec<u32>),
}

impl<T: Real> HostBuffer<T> {
    /// A buffer of zeros, every page of it touched, so that it is there; `None` if the system has no memory for it.
    pub fn zeros(element: Element, len: usize) -> Option<Self> {
        fn filled<N: Clone>(zero: N, len: usize) -> Option<Vec<N>> {
            let mut data = Vec::new();
            data.try_reserve_exact(len).ok()?;
            data.resize(len, zero);
            Some(data)
        }
        Some(match element {
            Element::F32 | Element::F16 => Self::Float(filled(T::zero(), len)?),
            Element::U32 => Self::Integer(filled(0, len)?),
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
    slices: Vec<Slice<'a, T>>,
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
    let empty = || HostBuffer::Integer(Vec::new());
    let mut written: Vec<HostBuffer<T>> = regions
        .iter()
        .zip(kinds)
        .map(|(region, kind)| match kind.access {
            Access::Read => empty(),
            _ => std::mem::replace(&mut buffers[region.buffer], empty()),
        })
        .collect();
    let slices = (regions.iter().zip(kinds).zip(&mut written))
        .map(|((region, kind), own)| {
            let range = region.offset..region.offset + region.len;
            match kind.access {
                Access::Read => match &buffers[region.buffer] {
                    HostBuffer::Float(data) => Slice::Read(&data[range]),
                    HostBuffer::Integer(data) => Slice::ReadIntegers(&data[range]),
                },
                _ => match own {
                    HostBuffer::Float(data) => Slice::Write(&mut data[range]),
                    HostBuffer::Integer(data) => Slice::WriteIntegers(&mut data[range]),
                },
            }
        })
        .collect();
    run(&mut Bindings { slices, step });
    for ((region, kind), own) in regions.iter().zip(kinds).zip(written) {
        if kind.access != Access::Read {
            buffers[region.buffer] = own;
        }
    }
}

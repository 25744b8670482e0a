//! Buffers that outlive a plan.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What a buffer holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Element {
    /// 32-bit floats (64-bit ones on the `f64` host that checks gradients).
    #[default]
    F32,
    /// 16-bit floats on a GPU, in mixed precision; on the host, floats like any others.
    F16,
    /// 32-bit unsigned integers: labels, timesteps, random bits.
    U32,
}

impl Element {
    /// Bytes of one on a device that computes in `f32`.
    pub const fn bytes(self) -> usize {
        match self {
            Self::F32 | Self::U32 => 4,
            Self::F16 => 2,
        }
    }

    /// Whether it is a number with a fraction, of any precision.
    pub const fn is_float(self) -> bool {
        !matches!(self, Self::U32)
    }
}

/// A named buffer that outlives a plan and is shared between plans: the parameters, their moments, the batch,
/// a result that is read back. It has no data of its own; each [device](crate::device::Device) keeps its own.
#[derive(Clone, Debug)]
pub struct Storage(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    id: u64,
    name: String,
    element: Element,
    len: usize,
}

impl Storage {
    /// A buffer of `len` floats.
    pub fn f32(name: impl Into<String>, len: usize) -> Self {
        Self::new(name, Element::F32, len)
    }

    /// A buffer of `len` floats of half precision.
    pub fn f16(name: impl Into<String>, len: usize) -> Self {
        Self::new(name, Element::F16, len)
    }

    /// A buffer of `len` unsigned integers.
    pub fn u32(name: impl Into<String>, len: usize) -> Self {
        Self::new(name, Element::U32, len)
    }

    pub(crate) fn new(name: impl Into<String>, element: Element, len: usize) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(Arc::new(Inner { id: NEXT.fetch_add(1, Ordering::Relaxed), name: name.into(), element, len }))
    }

    /// Unique within the process.
    pub fn id(&self) -> u64 {
        self.0.id
    }

    /// What it is called in messages and memory tables.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// What it holds.
    pub fn element(&self) -> Element {
        self.0.element
    }

    /// Elements, not bytes.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.0.len
    }

    /// Whether `len` elements of a kind fit in at `offset`; floats of any precision are one kind.
    ///
    /// # Errors
    /// [`Device`](crate::Error::Device) with what was found and what was expected.
    pub fn check_range(&self, element: Element, offset: usize, len: usize) -> crate::Result<()> {
        let same_kind = self.element().is_float() == element.is_float();
        if same_kind && offset.checked_add(len).is_some_and(|end| end <= self.len()) {
            return Ok(());
        }
        let (name, own, has) = (self.name(), self.len(), self.element());
        Err(crate::Error::Device(format!("{len} {element:?} at {offset}, but {name} holds {own} {has:?}")))
    }

    /// Bytes on a device that computes in `f32`.
    pub fn bytes(&self) -> u64 {
        (self.0.element.bytes() * self.0.len) as u64
    }
}

//! The types of elements that checkpoints hold, and how they become floats.

use half::{bf16, f16};
use std::borrow::Cow;

/// What a tensor's elements are in a file, little-endian. Integers are labels, timesteps and counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ElementType {
    F64,
    F32,
    F16,
    BF16,
    I64,
    I32,
    I16,
    I8,
    U8,
    Bool,
}

/// Names in safetensors files and of PyTorch's storages.
const NAMES: [(ElementType, &str, &str); 10] = [
    (ElementType::F32, "F32", "FloatStorage"),
    (ElementType::F16, "F16", "HalfStorage"),
    (ElementType::BF16, "BF16", "BFloat16Storage"),
    (ElementType::F64, "F64", "DoubleStorage"),
    (ElementType::I64, "I64", "LongStorage"),
    (ElementType::I32, "I32", "IntStorage"),
    (ElementType::I16, "I16", "ShortStorage"),
    (ElementType::I8, "I8", "CharStorage"),
    (ElementType::U8, "U8", "ByteStorage"),
    (ElementType::Bool, "BOOL", "BoolStorage"),
];

impl ElementType {
    /// By its name in safetensors files.
    pub(super) fn of_safetensors(name: &str) -> Option<Self> {
        NAMES.iter().find(|(_, found, _)| *found == name).map(|(of, ..)| *of)
    }

    /// By the name of PyTorch's storage of it.
    pub(super) fn of_storage(name: &str) -> Option<Self> {
        NAMES.iter().find(|(_, _, found)| *found == name).map(|(of, ..)| *of)
    }

    /// Its name in safetensors files.
    pub(super) fn name(self) -> &'static str {
        NAMES.iter().find(|(of, ..)| *of == self).map_or("", |(_, name, _)| name)
    }

    /// All names in safetensors files.
    pub(super) fn expected() -> String {
        NAMES.map(|(_, name, _)| name).join(", ")
    }

    /// Bytes of an element.
    pub(super) fn size(self) -> usize {
        match self {
            Self::F64 | Self::I64 => 8,
            Self::F32 | Self::I32 => 4,
            Self::F16 | Self::BF16 | Self::I16 => 2,
            Self::I8 | Self::U8 | Self::Bool => 1,
        }
    }

    /// The elements as floats, in place where they are floats already.
    pub(super) fn floats(self, bytes: &[u8]) -> Cow<'_, [f32]> {
        fn each<const N: usize>(bytes: &[u8], float: impl Fn([u8; N]) -> f32) -> Cow<'_, [f32]> {
            Cow::Owned(bytes.as_chunks().0.iter().map(|bytes| float(*bytes)).collect())
        }
        match self {
            Self::F32 => match bytemuck::try_cast_slice(bytes) {
                Ok(floats) if cfg!(target_endian = "little") => Cow::Borrowed(floats),
                _ => each(bytes, f32::from_le_bytes),
            },
            Self::F64 => each(bytes, |b| f64::from_le_bytes(b) as f32),
            Self::F16 => each(bytes, |b| f16::from_le_bytes(b).to_f32()),
            Self::BF16 => each(bytes, |b| bf16::from_le_bytes(b).to_f32()),
            Self::I64 => each(bytes, |b| i64::from_le_bytes(b) as f32),
            Self::I32 => each(bytes, |b| i32::from_le_bytes(b) as f32),
            Self::I16 => each(bytes, |b| f32::from(i16::from_le_bytes(b))),
            Self::I8 => each(bytes, |b| f32::from(i8::from_le_bytes(b))),
            Self::U8 => each(bytes, |[b]| f32::from(b)),
            Self::Bool => each(bytes, |[b]| f32::from(u8::from(b != 0))),
        }
    }
}

//! Halves in words, two in each, as buffers hold them.

use half::f16;

/// The nearest halves, two in a word, the first in the low bits; the last may be filled up with zero.
pub(super) fn from_floats(data: &[f32]) -> Vec<u32> {
    let bits = |value: &f32| u32::from(f16::from_f32(*value).to_bits());
    data.chunks(2).map(|pair| bits(&pair[0]) | pair.get(1).map_or(0, bits) << 16).collect()
}

/// The first `len` of the halves in `words`.
pub(super) fn to_floats(words: &[u32], len: usize) -> Vec<f32> {
    let halves = words.iter().flat_map(|word| [*word as u16, (word >> 16) as u16]);
    halves.take(len).map(|bits| f16::from_bits(bits).to_f32()).collect()
}

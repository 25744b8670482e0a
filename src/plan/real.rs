//! The number types that host twins are written over.

use num_traits::{Float, NumAssign};
use std::iter::Sum;

/// `f32`, which the devices compute in, or `f64`, which gradients are checked in.
pub trait Real: Float + NumAssign + Sum + std::fmt::Debug + Default + Send + Sync + 'static {
    /// Rounds an `f64` to this type.
    fn from_f64(value: f64) -> Self;
    /// Converts a single, without loss.
    fn from_f32(value: f32) -> Self;
    /// Rounds to a single.
    fn as_f32(self) -> f32;
    /// Converts to a double, without loss.
    fn as_f64(self) -> f64;
    /// A count or an index as a number.
    fn from_usize(value: usize) -> Self {
        Self::from_f64(value as f64)
    }
}

impl Real for f32 {
    fn from_f64(value: f64) -> Self {
        value as f32
    }
    fn from_f32(value: f32) -> Self {
        value
    }
    fn as_f32(self) -> f32 {
        self
    }
    fn as_f64(self) -> f64 {
        f64::from(self)
    }
}

impl Real for f64 {
    fn from_f64(value: f64) -> Self {
        value
    }
    fn from_f32(value: f32) -> Self {
        f64::from(value)
    }
    fn as_f32(self) -> f32 {
        self as f32
    }
    fn as_f64(self) -> f64 {
        self
    }
}

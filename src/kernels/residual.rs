//! Residual addition, which is the tape's own operation: see `plan::sum`.

use super::silu::silu;
use super::{Case, Fill};

pub use crate::plan::add;

/// One element, an odd number, more than one workgroup; a value added to itself, and one that two operations use.
pub(super) fn cases() -> Vec<Case> {
    let normal = || Fill::Normal(1.0);
    let two = |len: usize| {
        Case::new(format!("add/{len}"))
            .input(&[len], normal())
            .input(&[len], normal())
            .records(|r, v| Ok(vec![add(r, v[0], v[1])?]))
    };
    let one = |name: &str| Case::new(name).input(&[7, 11], normal());
    vec![
        two(1),
        two(77),
        two(2500),
        one("add/to itself").records(|r, v| Ok(vec![add(r, v[0], v[0])?])),
        one("add/around an operation").records(|r, v| {
            let y = silu(r, v[0])?;
            Ok(vec![add(r, v[0], y)?])
        }),
    ]
}

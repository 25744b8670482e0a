//! Integers as floats and floats as integers, for lists of labels and timesteps.

use super::{Case, Fill};
use crate::error::{Error, Result};
use crate::plan::{Binding, Bindings, Element, Kernel, Real, Recorder, Shader, Twin, Value, shader};

/// Integers as floats.
#[derive(Clone, Copy, Debug)]
struct ToFloats {
    len: usize,
}

impl<T: Real> Twin<T> for ToFloats {
    fn twin(&self, io: &mut Bindings<T>) {
        let (x, y) = (io.read_integers(0), io.write(1));
        y.iter_mut().zip(x).for_each(|(y, &x)| *y = T::from_usize(x as usize));
    }
}

impl Kernel for ToFloats {
    fn shader(&self) -> Shader {
        shader!("integers_to_floats", "grid")
    }
    fn parameters(&self) -> Vec<u32> {
        vec![self.len as u32]
    }
    fn bindings(&self) -> Vec<Binding> {
        vec![Binding::read(self.len).integers(), Binding::write(self.len)]
    }
    fn groups(&self) -> usize {
        self.len.div_ceil(256)
    }
}

/// Floats rounded down to integers below `bound`, which may index a table of that length.
#[derive(Clone, Copy, Debug)]
struct ToIndices {
    len: usize,
    bound: usize,
}

impl<T: Real> Twin<T> for ToIndices {
    fn twin(&self, io: &mut Bindings<T>) {
        let (x, y) = (io.read(0), io.write_integers(1));
        let last = self.bound as f64 - 1.0;
        y.iter_mut().zip(x).for_each(|(y, x)| *y = x.as_f64().clamp(0.0, last) as u32);
    }
}

impl Kernel for ToIndices {
    fn shader(&self) -> Shader {
        shader!("floats_to_indices", "grid")
    }
    fn parameters(&self) -> Vec<u32> {
        vec![self.len as u32, self.bound as u32]
    }
    fn bindings(&self) -> Vec<Binding> {
        vec![Binding::read(self.len), Binding::write(self.len).integers()]
    }
    fn groups(&self) -> usize {
        self.len.div_ceil(256)
    }
}

/// A list of integers below 2^24 as floats; a list of floats as it is.
///
/// # Errors
/// [`Shape`](Error::Shape) if it is not a list.
pub fn floats(r: &mut Recorder, x: Value) -> Result<Value> {
    let [len] = r.dims("floats", x)?;
    if r.element(x) != Element::U32 {
        return Ok(x);
    }
    let y = r.f32(&[len]);
    r.call(ToFloats { len }, &[x, y]);
    Ok(y)
}

/// A list of floats as integers below `bound`, at most 2^24: what is not whole is rounded down, what is out of range becomes the
/// nearest that is not.
///
/// # Errors
/// [`Shape`](Error::Shape) if it is not a list, or `bound` is out of range.
pub fn indices(r: &mut Recorder, x: Value, bound: usize) -> Result<Value> {
    let [len] = r.dims("indices", x)?;
    if bound == 0 || bound > 1 << 24 {
        return Err(Error::Shape { op: "indices", message: format!("found bound {bound}, expected 1 to 2^24") });
    }
    let y = r.value(Element::U32, &[len]);
    r.call(ToIndices { len, bound }, &[x, y]);
    Ok(y)
}

/// One element, more than one workgroup, what is out of range.
pub(super) fn cases() -> Vec<Case> {
    let to_floats = |len: usize| {
        Case::new(format!("integers/to floats, {len}"))
            .constant(&[len], Fill::Below(1 << 24))
            .tolerance(0.0)
            .records(|r, v| Ok(vec![floats(r, v[0])?]))
    };
    let to_indices = |given: Vec<f32>, bound: usize| {
        Case::new(format!("integers/to indices, {} below {bound}", given.len()))
            .constant(&[given.len()], Fill::Floats(given))
            .records(move |r, v| Ok(vec![indices(r, v[0], bound)?]))
    };
    vec![
        to_floats(1),
        to_floats(700),
        to_indices(vec![-3.0, 0.0, 0.5, 9.0, 9.5, 10.0, 1e30], 10),
        to_indices((0..600).map(|i| i as f32).collect(), 1 << 24),
    ]
}

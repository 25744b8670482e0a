//! A batch several times in a row: what a network is given that is asked of the same pictures with and without a class.

use super::{Case, Fill};
use crate::error::{Error, Result};
use crate::plan::{Binding, Bindings, Kernel, Real, Recorder, Shader, Twin, Value, shader};

/// y = x, x, ...
#[derive(Clone, Copy, Debug)]
struct Repeat {
    len: usize,
    times: usize,
}

impl<T: Real> Twin<T> for Repeat {
    fn twin(&self, io: &mut Bindings<T>) {
        let x = io.read(0);
        io.write(1).chunks_exact_mut(self.len).for_each(|y| y.copy_from_slice(x));
    }
}

impl Kernel for Repeat {
    fn shader(&self) -> Shader {
        shader!("repeat", "grid")
    }
    fn parameters(&self) -> Vec<u32> {
        vec![self.len as u32, self.times as u32]
    }
    fn bindings(&self) -> Vec<Binding> {
        vec![Binding::read(self.len), Binding::write(self.len * self.times)]
    }
    fn groups(&self) -> usize {
        self.len.div_ceil(256)
    }
}

/// x `[pictures, ..]` so many times, `[times pictures, ..]`, the whole batch and then the whole batch again; not
/// differentiable.
///
/// # Errors
/// [`Shape`](Error::Shape) if x has no sizes or needs a gradient.
pub fn repeat(r: &mut Recorder, x: Value, times: usize) -> Result<Value> {
    let mut shape = r.shape(x).to_vec();
    if shape.is_empty() || r.needs_gradient(x) {
        let message = format!("found x {shape:?}, expected a batch whose gradient is not asked for");
        return Err(Error::Shape { op: "repeat", message });
    }
    let len = r.len(x);
    shape[0] *= times;
    let y = r.f32(&shape);
    r.call(Repeat { len, times }, &[x, y]);
    Ok(y)
}

/// One element, once, several times, more than one workgroup.
pub(super) fn cases() -> Vec<Case> {
    [(vec![1, 1], 2), (vec![3, 5, 7, 3], 2), (vec![2, 11, 13], 3), (vec![4, 3], 1)]
        .into_iter()
        .map(|(shape, times)| {
            Case::new(format!("repeat/{shape:?} {times} times"))
                .constant(&shape, Fill::Normal(1.0))
                .tolerance(0.0)
                .records(move |r, v| Ok(vec![repeat(r, v[0], times)?]))
        })
        .collect()
}

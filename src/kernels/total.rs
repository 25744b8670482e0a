//! The last step of a reduction: many partial sums to one number, in a fixed order.

use super::{Case, Fill};
use crate::plan::{Binding, Bindings, Kernel, Real, Recorder, Shader, Twin, Value, shader};

/// Elements whose sum each workgroup of a reduction's first pass makes.
pub(super) const PER_PARTIAL: usize = 4096;

/// out = scale times the sum of the partial sums, or its root.
#[derive(Clone, Copy, Debug)]
struct Total {
    len: usize,
    scale: f32,
    root: bool,
}

impl<T: Real> Twin<T> for Total {
    fn twin(&self, io: &mut Bindings<T>) {
        let (partials, out) = (io.read(0), io.write(1));
        let sum = T::from_f32(self.scale) * partials.iter().copied().sum::<T>();
        out[0] = if self.root { sum.sqrt() } else { sum };
    }
}

impl Kernel for Total {
    fn shader(&self) -> Shader {
        shader!("total", "reduce")
    }
    fn parameters(&self) -> Vec<u32> {
        vec![self.len as u32, self.scale.to_bits(), self.root.into()]
    }
    fn bindings(&self) -> Vec<Binding> {
        vec![Binding::read(self.len), Binding::write(1)]
    }
    fn groups(&self) -> usize {
        1
    }
}

/// Writes `scale` times the sum of `partials`, or its root, to `out` `[1]`.
pub(super) fn total(r: &mut Recorder, partials: Value, scale: f32, root: bool, out: Value) {
    r.call(Total { len: r.len(partials), scale, root }, &[partials, out]);
}

/// Fewer and more elements than threads, with a root and without.
pub(super) fn cases() -> Vec<Case> {
    [(1, false), (255, true), (1000, false)]
        .into_iter()
        .map(|(len, root)| {
            Case::new(format!("total/{len}{}", if root { " root" } else { "" }))
                .constant(&[len], Fill::Uniform(0.0, 2.0))
                .records(move |r, v| {
                    let out = r.f32(&[1]);
                    total(r, v[0], 0.5, root, out);
                    Ok(vec![out])
                })
        })
        .collect()
}

//! The Euclidean norm of the whole gradient, which clipping compares with its limit.

use super::total::{PER_PARTIAL, total};
use super::{Case, Fill, parallel};
use crate::plan::{Binding, Bindings, Kernel, Real, Recorder, Shader, Storage, Twin, Value, Variant, shader};

/// Elements of a flat buffer that one dispatch binds: 64 MiB, within every device's limits.
pub const CHUNK: usize = 1 << 24;

/// The runs of at most [`CHUNK`] elements that a flat buffer is processed in, as (first, length).
pub fn chunks(len: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..len).step_by(CHUNK).map(move |first| (first, CHUNK.min(len - first)))
}

/// Sums of squares over runs of 4096 elements.
#[derive(Clone, Copy, Debug)]
struct SumOfSquares {
    len: usize,
}

impl<T: Real> Twin<T> for SumOfSquares {
    fn twin(&self, io: &mut Bindings<T>) {
        let (x, partials) = (io.read(0), io.write(1));
        for (partial, run) in partials.iter_mut().zip(x.chunks(PER_PARTIAL)) {
            *partial = run.iter().map(|&x| x * x).sum();
        }
    }
}

impl Kernel for SumOfSquares {
    fn shader(&self) -> Shader {
        shader!("sum_of_squares", "ones", "grid", "reduce")
    }
    fn parameters(&self) -> Vec<u32> {
        vec![self.len as u32]
    }
    fn bindings(&self) -> Vec<Binding> {
        vec![Binding::read(self.len), Binding::write(self.groups())]
    }
    fn groups(&self) -> usize {
        self.len.div_ceil(PER_PARTIAL)
    }
    fn variants(&self) -> Vec<Variant> {
        let mut variants = vec![Variant::new("one at a time", self.shader(), self.groups())];
        if self.len.is_multiple_of(4) {
            let fours = shader!("sum_of_squares", "fours", "grid", "reduce");
            variants.push(Variant::new("fours", fours, self.groups()));
        }
        variants
    }
    fn host(&self, io: &mut Bindings<f32>) {
        let (x, partials) = (io.read(0), io.write(1));
        parallel::for_rows(partials, 4, #[inline(always)] |first, partials| {
            for (partial, run) in partials.iter_mut().zip(x[first * 4 * PER_PARTIAL..].chunks(PER_PARTIAL)) {
                // Sixteen sums side by side, so that they become vector instructions.
                let mut sums = [0.0; 16];
                for x in run.chunks(16) {
                    sums.iter_mut().zip(x).for_each(|(sum, x)| *sum += x * x);
                }
                *partial = sums.iter().sum();
            }
        });
    }
}

/// The norm of all of `gradients`, as `[1]`.
pub fn gradient_norm(r: &mut Recorder, gradients: &Storage) -> Value {
    // The partial sums of a chunk begin at a multiple of the alignment, since a whole chunk has 4096 of them.
    let partials = r.f32(&[gradients.len().div_ceil(PER_PARTIAL)]);
    for (first, len) in chunks(gradients.len()) {
        let x = r.bind(gradients, first, &[len]);
        let of_chunk = r.view(partials, first / PER_PARTIAL, &[len.div_ceil(PER_PARTIAL)]);
        r.call(SumOfSquares { len }, &[x, of_chunk]);
    }
    let norm = r.f32(&[1]);
    total(r, partials, 1.0, true, norm);
    norm
}

/// One element, an odd number, more than one partial sum.
pub(super) fn cases() -> Vec<Case> {
    [1, 33, 9001, 8716]
        .into_iter()
        .map(|len| {
            Case::new(format!("gradient_norm/{len}")).constant(&[len], Fill::Normal(1.0)).records(move |r, v| {
                let storage = r.export("gradients", v[0]);
                Ok(vec![gradient_norm(r, &storage)])
            })
        })
        .collect()
}

//! What a device can do at most, measured by kernels that do nothing else: multiply-adds in registers, and a copy.
//! Benchmarks state every other kernel's speed as a share of these two.

use super::{Case, Fill, parallel};
use crate::plan::{Binding, Bindings, Kernel, Real, Recorder, Shader, Twin, Value, shader};

/// Chains of multiply-adds that each thread keeps in registers.
const CHAINS: usize = 32;
/// Multiply-adds of a chain in one turn of the loop.
const PER_TURN: usize = 2;

/// Every element starts 32 chains acc = acc factor + x at x, x + 1, ..., and adds them up at the end. The factor is below
/// one, so that they converge; it is not known when the shader is compiled, so that nothing can be worked out before.
#[derive(Clone, Copy, Debug)]
struct MultiplyAdds {
    len: usize,
    iterations: usize,
    factor: f32,
}

impl<T: Real> Twin<T> for MultiplyAdds {
    fn twin(&self, io: &mut Bindings<T>) {
        let (x, y) = (io.read(0), io.write(1));
        let factor = T::from_f32(self.factor);
        for (&x, y) in x.iter().zip(y) {
            let chain = |number| {
                (0..PER_TURN * self.iterations).fold(x + T::from_usize(number), |acc, _| acc * factor + x)
            };
            *y = (0..CHAINS).map(chain).sum();
        }
    }
}

impl Kernel for MultiplyAdds {
    fn shader(&self) -> Shader {
        shader!("ceiling_fma", "grid")
    }
    fn parameters(&self) -> Vec<u32> {
        vec![self.len as u32, self.iterations as u32, self.factor.to_bits()]
    }
    fn bindings(&self) -> Vec<Binding> {
        vec![Binding::read(self.len), Binding::write(self.len)]
    }
    fn groups(&self) -> usize {
        self.len.div_ceil(256)
    }
    fn flops(&self) -> u64 {
        2 * (self.len * CHAINS * PER_TURN * self.iterations) as u64
    }
    fn host(&self, io: &mut Bindings<f32>) {
        let (x, y) = (io.read(0), io.write(1));
        let Self { iterations, factor, .. } = *self;
        parallel::for_rows(y, 1 << 10, move |row, y| {
            let x = &x[row << 10..][..y.len()];
            pulp::Arch::new().dispatch(Chains { x, y, turns: iterations, factor });
        });
    }
}

/// The host's loop over elements, as many at a time as a register has lanes.
struct Chains<'a> {
    x: &'a [f32],
    y: &'a mut [f32],
    turns: usize,
    factor: f32,
}

impl pulp::WithSimd for Chains<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, simd: S) {
        /// Chains at a time: enough to hide the latency of two units, few enough for sixteen registers.
        const TOGETHER: usize = 8;
        let factor = simd.splat_f32s(self.factor);
        for (x, y) in self.x.chunks(S::F32_LANES).zip(self.y.chunks_mut(S::F32_LANES)) {
            let term = simd.partial_load_f32s(x);
            let mut sum = simd.splat_f32s(0.0);
            for first in (0..CHAINS).step_by(TOGETHER) {
                let mut chains = [term; TOGETHER];
                for (chain, number) in chains.iter_mut().zip(first..) {
                    *chain = simd.add_f32s(term, simd.splat_f32s(number as f32));
                }
                for _ in 0..PER_TURN * self.turns {
                    for chain in &mut chains {
                        *chain = simd.mul_add_e_f32s(*chain, factor, term);
                    }
                }
                for chain in &chains {
                    sum = simd.add_f32s(sum, *chain);
                }
            }
            simd.partial_store_f32s(y, sum);
        }
    }
}

/// Copies floats, a multiple of four of them.
#[derive(Clone, Copy, Debug)]
struct StraightCopy {
    len: usize,
}

impl<T: Real> Twin<T> for StraightCopy {
    fn twin(&self, io: &mut Bindings<T>) {
        io.write(1).copy_from_slice(io.read(0));
    }
}

impl Kernel for StraightCopy {
    fn shader(&self) -> Shader {
        shader!("ceiling_copy", "grid")
    }
    fn parameters(&self) -> Vec<u32> {
        vec![(self.len / 4) as u32]
    }
    fn bindings(&self) -> Vec<Binding> {
        vec![Binding::read(self.len), Binding::write(self.len)]
    }
    fn groups(&self) -> usize {
        self.len.div_ceil(4096)
    }
    fn flops(&self) -> u64 {
        0
    }
    fn host(&self, io: &mut Bindings<f32>) {
        let (x, out) = (io.read(0), io.write(1));
        // Short pieces: the standard library's copy of long ones is slower on some processors (38 and 70 GB/s on a Zen 5).
        parallel::for_elements(out, |first, out| out.copy_from_slice(&x[first..][..out.len()]));
    }
}

/// Records 64 multiply-adds for each of `iterations` and every element of x `[len]`; the result is of no use.
pub fn multiply_adds(r: &mut Recorder, x: Value, iterations: usize, factor: f32) -> Value {
    let len = r.len(x);
    let y = r.f32(&[len]);
    r.call(MultiplyAdds { len, iterations, factor }, &[x, y]);
    y
}

/// Records a copy of x, a multiple of four floats.
pub fn copy(r: &mut Recorder, x: Value) -> Value {
    let len = r.len(x);
    assert!(len.is_multiple_of(4), "{len} floats are copied, expected a multiple of 4");
    let out = r.f32(&[len]);
    r.call(StraightCopy { len }, &[x, out]);
    out
}

/// One element, odd numbers, more than one workgroup, no iterations and many.
pub(super) fn cases() -> Vec<Case> {
    let fma = [(1, 3), (77, 0), (1500, 40)].into_iter().map(|(len, iterations)| {
        Case::new(format!("ceilings/multiply-adds {len}"))
            .constant(&[len], Fill::Uniform(1.0, 2.0))
            .records(move |r, v| Ok(vec![multiply_adds(r, v[0], iterations, 0.9)]))
    });
    let copies = [4, 4100].into_iter().map(|len| {
        Case::new(format!("ceilings/copy {len}"))
            .constant(&[len], Fill::Normal(1.0))
            .tolerance(0.0)
            .records(|r, v| Ok(vec![copy(r, v[0])]))
    });
    fma.chain(copies).collect()
}

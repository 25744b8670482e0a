//! Sharing a host function's work out to the cores, in vector instructions. Work that is worth them is passed as an
//! `#[inline(always)]` closure: only what is inlined into the dispatch is compiled for the wider registers.

use pulp::Arch;
use rayon::prelude::*;
use std::sync::OnceLock;

/// Elements that one task handles: large enough to hide the cost of a task, small enough to share out.
pub(crate) const PIECE: usize = 1 << 14;

/// The vector instructions of this machine's processor, or the narrower ones that `AQUATINT_VECTORS` asks for (`avx2`,
/// `scalar`): so that the tests reach what other machines run.
#[inline(always)]
fn vectors() -> Arch {
    static VECTORS: OnceLock<Arch> = OnceLock::new();
    *VECTORS.get_or_init(|| match std::env::var("AQUATINT_VECTORS").as_deref() {
        Ok("scalar") => Arch::Scalar,
        #[cfg(target_arch = "x86_64")]
        Ok("avx2") => pulp::x86::V3::try_new().map_or(Arch::Scalar, Arch::V3),
        _ => Arch::new(),
    })
}

/// Runs `work` compiled for the vector instructions of this machine's processor.
#[inline(always)]
pub(crate) fn vectorized<R>(work: impl FnOnce() -> R) -> R {
    vectors().dispatch(work)
}

/// Runs `work`, which is written in vectors, with those of this machine's processor.
#[inline(always)]
pub(crate) fn simd<W: pulp::WithSimd>(work: W) -> W::Output {
    vectors().dispatch(work)
}

/// Calls `work` for every number below `count`, on all cores.
pub(crate) fn for_tasks(count: usize, work: impl Fn(usize) + Sync) {
    if count == 1 {
        return work(0);
    }
    (0..count).into_par_iter().for_each(&work);
}

/// Calls `work(first, piece)` on pieces of `out`, on all cores; `first` is the index of the piece's first element.
pub(crate) fn for_elements<T: Send>(out: &mut [T], work: impl Fn(usize, &mut [T]) + Sync) {
    for_rows(
        out,
        PIECE,
        #[inline(always)]
        |index, piece| work(index * PIECE, piece),
    );
}

/// Calls `work(index, row)` on the rows of `len` elements that `out` consists of, on all cores.
pub(crate) fn for_rows<T: Send>(out: &mut [T], len: usize, work: impl Fn(usize, &mut [T]) + Sync) {
    if out.len() <= len {
        return vectorized(
            #[inline(always)]
            || work(0, out),
        );
    }
    out.par_chunks_mut(len).enumerate().for_each(|(index, row)| {
        vectorized(
            #[inline(always)]
            || work(index, row),
        )
    });
}

/// The same over two outputs that are cut at the same places.
pub(crate) fn for_rows2<T: Send, U: Send>(
    (a, a_len): (&mut [T], usize),
    (b, b_len): (&mut [U], usize),
    work: impl Fn(usize, &mut [T], &mut [U]) + Sync,
) {
    (a.par_chunks_mut(a_len).zip(b.par_chunks_mut(b_len)).enumerate()).for_each(|(index, (a, b))| {
        vectorized(
            #[inline(always)]
            || work(index, a, b),
        )
    });
}

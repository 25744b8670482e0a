//! The host's innermost matrix product: a few rows by a panel of columns, whose sums stay in registers.

use super::matmul::Matmul;
use super::parallel;
use bytemuck::{Pod, Zeroable};
use pulp::{Simd, WithSimd};
use std::cell::Cell;

/// Columns in a panel: two of the widest vectors. A matrix of panels keeps each panel's rows one after the other.
pub(super) const PANEL: usize = 32;

/// A matrix behind a pointer: its element of row i and column k is `data[i * row + k * column]`.
#[derive(Clone, Copy)]
pub(super) struct Left {
    pub(super) data: *const f32,
    pub(super) row: usize,
    pub(super) column: usize,
}

/// A matrix of whole panels behind a pointer: row k of panel p is `data[p * panel + k * row..][..PANEL]`.
#[derive(Clone, Copy)]
pub(super) struct Right {
    pub(super) data: *const f32,
    pub(super) panel: usize,
    pub(super) row: usize,
}

/// The product's matrix behind a pointer, row by row.
#[derive(Clone, Copy)]
pub(super) struct Product {
    pub(super) data: *mut f32,
    pub(super) row: usize,
    /// Adds to what is there.
    pub(super) accumulate: bool,
}

#[inline(always)]
pub(super) unsafe fn load<S: Simd>(data: *const f32) -> S::f32s {
    // SAFETY: the caller has a vector's elements there.
    unsafe { data.cast::<S::f32s>().read_unaligned() }
}

#[inline(always)]
pub(super) unsafe fn store<S: Simd>(data: *mut f32, values: S::f32s) {
    // SAFETY: the caller has room for a vector there.
    unsafe { data.cast::<S::f32s>().write_unaligned(values) }
}

/// [`load`], with zeros after the first `count` elements.
#[inline(always)]
pub(super) unsafe fn load_some<S: Simd>(simd: S, data: *const f32, count: usize) -> S::f32s {
    // SAFETY: the caller has that many elements there.
    unsafe {
        if count >= S::F32_LANES {
            load::<S>(data)
        } else {
            simd.partial_load_f32s(std::slice::from_raw_parts(data, count))
        }
    }
}

/// [`store`], of no more than `count` elements.
#[inline(always)]
pub(super) unsafe fn store_some<S: Simd>(simd: S, data: *mut f32, count: usize, values: S::f32s) {
    // SAFETY: the caller has room for that many elements there.
    unsafe {
        if count >= S::F32_LANES {
            store::<S>(data, values);
        } else {
            simd.partial_store_f32s(std::slice::from_raw_parts_mut(data, count), values);
        }
    }
}

/// c (+)= a b, `rows` x `panels` panels, over `depth`.
///
/// # Safety
/// The pointers have these elements behind them, and nothing else uses c's meanwhile.
#[inline(always)]
pub(super) unsafe fn multiply<S: Simd>(simd: S, [rows, panels, depth]: [usize; 3], a: Left, b: Right, c: Product) {
    for panel in 0..panels {
        for column in (0..PANEL).step_by(2 * S::F32_LANES) {
            let mut row = 0;
            while row < rows {
                // SAFETY: the caller's.
                unsafe {
                    let a = Left { data: a.data.add(row * a.row), ..a };
                    let b = Right { data: b.data.add(panel * b.panel + column), ..b };
                    let c = Product { data: c.data.add(row * c.row + panel * PANEL + column), ..c };
                    row += match rows - row {
                        12.. if S::F32_LANES == 16 => tile::<S, 12>(simd, depth, a, b, c),
                        8.. if S::F32_LANES == 16 => tile::<S, 8>(simd, depth, a, b, c),
                        6.. => tile::<S, 6>(simd, depth, a, b, c),
                        4.. => tile::<S, 4>(simd, depth, a, b, c),
                        2.. => tile::<S, 2>(simd, depth, a, b, c),
                        _ => tile::<S, 1>(simd, depth, a, b, c),
                    };
                }
            }
        }
    }
}

/// `ROWS` rows and two vectors of columns.
#[inline(always)]
unsafe fn tile<S: Simd, const ROWS: usize>(simd: S, depth: usize, a: Left, b: Right, c: Product) -> usize {
    let mut sums = [[simd.splat_f32s(0.0); 2]; ROWS];
    // SAFETY: the caller's.
    unsafe {
        if c.accumulate {
            for (row, sums) in sums.iter_mut().enumerate() {
                let c = c.data.add(row * c.row);
                *sums = [load::<S>(c), load::<S>(c.add(S::F32_LANES))];
            }
        }
        for k in 0..depth {
            let b = b.data.add(k * b.row);
            let b = [load::<S>(b), load::<S>(b.add(S::F32_LANES))];
            for (row, sums) in sums.iter_mut().enumerate() {
                let a = simd.splat_f32s(*a.data.add(row * a.row + k * a.column));
                *sums = [simd.mul_add_e_f32s(a, b[0], sums[0]), simd.mul_add_e_f32s(a, b[1], sums[1])];
            }
        }
        for (row, sums) in sums.iter().enumerate() {
            let c = c.data.add(row * c.row);
            store::<S>(c, sums[0]);
            store::<S>(c.add(S::F32_LANES), sums[1]);
        }
    }
    ROWS
}

/// A pointer that tasks may share because they write to different places behind it.
#[derive(Clone, Copy)]
pub(super) struct Shared(pub(super) *mut f32);
// SAFETY: see the type; every task says why its places are its own.
unsafe impl Send for Shared {}
unsafe impl Sync for Shared {}

impl Shared {
    /// The pointer moved by `offset` elements.
    pub(super) unsafe fn at(self, offset: usize) -> Self {
        // SAFETY: the caller's offset is inside the buffer.
        Self(unsafe { self.0.add(offset) })
    }
}

thread_local! {
    /// Memory that each thread keeps from call to call.
    static KEPT: Cell<Vec<Scratch>> = const { Cell::new(Vec::new()) };
}

/// Memory for what lives during one call, on lines of the cache.
#[derive(Default)]
pub(super) struct Scratch(Vec<Line>);

#[derive(Clone, Copy, Default, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([f32; 16]);

impl Scratch {
    /// Lends `work` memory of this thread's. Inside of it, more can be lent: waiting for other threads, one may take
    /// up another task.
    #[inline(always)]
    pub(super) fn with<R>(work: impl FnOnce(&mut Scratch) -> R) -> R {
        let of_thread = |exchange: &mut dyn FnMut(&mut Vec<Scratch>)| {
            KEPT.with(|kept| {
                let mut all = kept.take();
                exchange(&mut all);
                kept.set(all);
            });
        };
        let mut scratch = Scratch::default();
        of_thread(&mut |all| scratch = all.pop().unwrap_or_default());
        let result = work(&mut scratch);
        of_thread(&mut |all| all.push(std::mem::take(&mut scratch)));
        result
    }

    /// `len` floats of whatever was there before.
    pub(super) fn take(&mut self, len: usize) -> &mut [f32] {
        let lines = len.div_ceil(16);
        if self.0.len() < lines {
            self.0.resize(lines, Line::default());
        }
        &mut bytemuck::cast_slice_mut(&mut self.0)[..len]
    }
}

/// Rows of the largest tile, and a multiple of those of the others.
const TILE_ROWS: usize = 12;
/// Rows that a task multiplies at most.
const TASK_ROWS: usize = 48;
/// Depth over which sums stay in registers: a panel of it stays in the second cache.
const TASK_DEPTH: usize = 512;

/// Whether b consists of whole panels as it is, and need not be packed.
fn has_panels(m: &Matmul) -> bool {
    m.b.column == 1 && m.columns.is_multiple_of(PANEL)
}

/// Copies b's panels: from any strides, with zeros after the last column.
fn pack(m: &Matmul, b: &[f32], panel: usize, into: &mut [f32]) {
    let columns = PANEL.min(m.columns - panel * PANEL);
    for (k, row) in into.chunks_exact_mut(PANEL).enumerate() {
        row[columns..].fill(0.0);
        let first = k * m.b.row + panel * PANEL * m.b.column;
        if m.b.column == 1 {
            row[..columns].copy_from_slice(&b[first..first + columns]);
        } else {
            for (column, value) in row[..columns].iter_mut().enumerate() {
                *value = b[first + column * m.b.column];
            }
        }
    }
}

/// Some rows of one of the batch's products.
struct Rows<'a> {
    m: &'a Matmul,
    rows: usize,
    a: Left,
    b: Right,
    bias: Option<&'a [f32]>,
    c: *mut f32,
    /// For the products of a matrix that is not made of whole panels or is to be scaled.
    scratch: &'a mut [f32],
}

impl Rows<'_> {
    /// Whether the sums are made in c itself.
    fn in_place(m: &Matmul) -> bool {
        m.c.column == 1 && m.columns.is_multiple_of(PANEL) && m.scale == 1.0
    }
}

impl WithSimd for Rows<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { m, rows, a, b, bias, c, scratch } = self;
        let panels = m.columns.div_ceil(PANEL);
        let in_place = Self::in_place(m);
        let into = if in_place { (c, m.c.row) } else { (scratch.as_mut_ptr(), panels * PANEL) };
        // SAFETY: the bindings hold `extent` elements of each operand; the rows of c are this task's own.
        unsafe {
            if let (true, Some(bias)) = (in_place, bias) {
                for row in 0..rows {
                    let c = std::slice::from_raw_parts_mut(c.add(row * m.c.row), m.columns);
                    for (c, &bias) in c.iter_mut().zip(bias) {
                        *c = if m.accumulate { *c + bias } else { bias };
                    }
                }
            }
            for first in (0..m.depth.max(1)).step_by(TASK_DEPTH) {
                let depth = TASK_DEPTH.min(m.depth - first);
                let a = Left { data: a.data.add(first * a.column), ..a };
                let b = Right { data: b.data.add(first * b.row), ..b };
                let accumulate = first > 0 || in_place && (m.accumulate || bias.is_some());
                multiply(simd, [rows, panels, depth], a, b, Product { data: into.0, row: into.1, accumulate });
            }
            if in_place {
                return;
            }
            for (row, sums) in scratch.chunks_exact(panels * PANEL).enumerate().take(rows) {
                for (column, &sum) in sums.iter().enumerate().take(m.columns) {
                    let c = c.add(row * m.c.row + column * m.c.column);
                    let sum = m.scale * sum + bias.map_or(0.0, |bias| bias[column]);
                    *c = if m.accumulate { *c + sum } else { sum };
                }
            }
        }
    }
}

/// The host's matrix product. How it is cut depends on the sizes alone.
pub(super) fn matmul(m: &Matmul, a: &[f32], b: &[f32], bias: Option<&[f32]>, c: &mut [f32]) {
    let batches = m.batches[0] * m.batches[1];
    assert!(a.len() >= m.extent(m.a, m.rows, m.depth) && b.len() >= m.extent(m.b, m.depth, m.columns));
    assert!(c.len() >= m.extent(m.c, m.rows, m.columns) && bias.is_none_or(|bias| bias.len() >= m.columns));
    if batches * m.rows * m.columns == 0 {
        return;
    }
    let panels = m.columns.div_ceil(PANEL);
    let panel_len = m.depth * PANEL;
    // A single product is cut finer, so that the cores share it evenly.
    let blocks = m.rows.div_ceil(TASK_ROWS).max(if batches < 8 { 8 } else { 1 });
    let rows = m.rows.div_ceil(blocks).next_multiple_of(TILE_ROWS);
    let blocks = m.rows.div_ceil(rows);
    let c = Shared(c.as_mut_ptr());
    let of_rows = |task: usize, b: Right| {
        let (batch, first) = (task / blocks, task % blocks * rows);
        let rows = rows.min(m.rows - first);
        let a = a[m.first(m.a, batch) + first * m.a.row..].as_ptr();
        // SAFETY: inside c, as asserted.
        let c = unsafe { c.at(m.first(m.c, batch) + first * m.c.row) }.0;
        Scratch::with(|scratch| {
            let scratch = scratch.take(if Rows::in_place(m) { 0 } else { rows * panels * PANEL });
            let a = Left { data: a, row: m.a.row, column: m.a.column };
            parallel::simd(Rows { m, rows, a, b, bias, c, scratch });
        });
    };
    if has_panels(m) {
        return parallel::for_tasks(batches * blocks, |task| {
            let data = b[m.first(m.b, task / blocks)..].as_ptr();
            of_rows(task, Right { data, panel: PANEL, row: m.b.row });
        });
    }
    Scratch::with(|scratch| {
        let all = scratch.take(batches * panels * panel_len);
        parallel::for_rows(all, panel_len, |index, into| {
            pack(m, &b[m.first(m.b, index / panels)..], index % panels, into);
        });
        let all = &*all;
        parallel::for_tasks(batches * blocks, |task| {
            let data = all[task / blocks * panels * panel_len..].as_ptr();
            of_rows(task, Right { data, panel: panel_len, row: PANEL });
        });
    });
}

/// One product, on this thread alone: for tasks that are shared out themselves, and must not take up another of their
/// kind while they wait.
pub(super) fn matmul_here(m: &Matmul, a: &[f32], b: &[f32], c: &mut [f32]) {
    assert!(m.batches == [1, 1] && !m.has_bias, "one product without a bias");
    assert!(a.len() >= m.extent(m.a, m.rows, m.depth) && b.len() >= m.extent(m.b, m.depth, m.columns));
    assert!(c.len() >= m.extent(m.c, m.rows, m.columns));
    if m.rows * m.columns == 0 {
        return;
    }
    let panels = m.columns.div_ceil(PANEL);
    let panel = m.depth * PANEL;
    Scratch::with(|packed| {
        let b = if has_panels(m) {
            Right { data: b.as_ptr(), panel: PANEL, row: m.b.row }
        } else {
            let all = packed.take(panels * panel);
            parallel::vectorized(
                #[inline(always)]
                || all.chunks_exact_mut(panel.max(1)).enumerate().for_each(|(index, into)| pack(m, b, index, into)),
            );
            Right { data: all.as_ptr(), panel, row: PANEL }
        };
        Scratch::with(|scratch| {
            let scratch = scratch.take(if Rows::in_place(m) { 0 } else { TASK_ROWS * panels * PANEL });
            for first in (0..m.rows).step_by(TASK_ROWS) {
                let rows = TASK_ROWS.min(m.rows - first);
                let a = Left { data: a[first * m.a.row..].as_ptr(), row: m.a.row, column: m.a.column };
                let c = c[first * m.c.row..].as_mut_ptr();
                parallel::simd(Rows { m, rows, a, b, bias: None, c, scratch: &mut *scratch });
            }
        });
    });
}

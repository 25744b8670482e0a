//! The host's innermost matrix product: a few rows by a panel of columns, whose sums stay in registers.

use pulp::Simd;

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

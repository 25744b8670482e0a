//! The matrix product of the host's fast functions, on the thread that asks for it.

/// A matrix in a slice, by the elements from one row and one column to the next.
#[derive(Clone, Copy)]
pub(super) struct Matrix<'a> {
    data: &'a [f32],
    row: usize,
    column: usize,
}

impl<'a> Matrix<'a> {
    /// Rows that begin every `stride` elements.
    pub(super) fn rows(data: &'a [f32], stride: usize) -> Self {
        Self::strided(data, stride, 1)
    }

    /// Any strides.
    pub(super) fn strided(data: &'a [f32], row: usize, column: usize) -> Self {
        Self { data, row, column }
    }

    /// The transposed matrix.
    pub(super) fn transposed(self) -> Self {
        Self { row: self.column, column: self.row, ..self }
    }

    /// The transposed matrix, or this one.
    pub(super) fn transposed_if(self, transposed: bool) -> Self {
        if transposed { self.transposed() } else { self }
    }

    fn holds(&self, rows: usize, columns: usize) -> bool {
        self.data.len() >= extent(rows, columns, self.row, self.column)
    }
}

/// Elements from the first to the last of a matrix.
fn extent(rows: usize, columns: usize, row: usize, column: usize) -> usize {
    if rows * columns == 0 { 0 } else { (rows - 1) * row + (columns - 1) * column + 1 }
}

/// c (+)= scale a b, the rows of c beginning every `stride` elements.
pub(super) fn multiply(
    (c, stride): (&mut [f32], usize),
    a: Matrix,
    b: Matrix,
    [rows, columns, depth]: [usize; 3],
    scale: f32,
    accumulate: bool,
) {
    assert!(c.len() >= extent(rows, columns, stride, 1) && stride >= columns);
    // SAFETY: c is as long as asserted.
    unsafe { multiply_at((c.as_mut_ptr(), stride, 1), a, b, [rows, columns, depth], scale, accumulate) }
}

/// The same where c is a place with a stride of rows and one of columns.
///
/// # Safety
/// c's elements are valid, and nobody else uses them meanwhile.
pub(super) unsafe fn multiply_at(
    (c, row, column): (*mut f32, usize, usize),
    a: Matrix,
    b: Matrix,
    [rows, columns, depth]: [usize; 3],
    scale: f32,
    accumulate: bool,
) {
    assert!(a.holds(rows, depth) && b.holds(depth, columns));
    let stride = |stride: usize| stride as isize;
    // SAFETY: the slices hold a and b, as asserted; c is the caller's promise.
    unsafe {
        gemm::gemm(
            rows,
            columns,
            depth,
            c,
            stride(column),
            stride(row),
            accumulate,
            a.data.as_ptr(),
            stride(a.column),
            stride(a.row),
            b.data.as_ptr(),
            stride(b.column),
            stride(b.row),
            1.0,
            scale,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

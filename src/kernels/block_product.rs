//! Products of blocks inside the host's larger functions, on the thread that asks for them.

use super::matmul::{Matmul, Operand};
use super::product;

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
        Self { data, row: stride, column: 1 }
    }

    /// The transposed matrix.
    pub(super) fn transposed(self) -> Self {
        Self { row: self.column, column: self.row, ..self }
    }

    /// The transposed matrix, or this one.
    pub(super) fn transposed_if(self, transposed: bool) -> Self {
        if transposed { self.transposed() } else { self }
    }

    fn operand(&self) -> Operand {
        Operand { outer: 0, inner: 0, row: self.row, column: self.column }
    }
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
    let m = Matmul {
        a: a.operand(),
        b: b.operand(),
        c: Operand { outer: 0, inner: 0, row: stride, column: 1 },
        scale,
        accumulate,
        ..Matmul::dense(rows, columns, depth)
    };
    product::matmul_here(&m, a.data, b.data, c);
}

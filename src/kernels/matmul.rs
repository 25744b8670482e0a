//! Matrix products: plain, batched, of transposed operands.

use super::tiles::{after_tiles, tiles, vector_tiles};
use super::{Case, Fill};
use crate::error::{Error, Result};
use crate::plan::{Binding, Bindings, Kernel, Needs, Real, Recorder, Shader, Target, Twin, Value, Variant, shader};

/// Strides of a batch of matrices, in elements. Swapping `row` and `column` transposes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operand {
    /// From one outer batch to the next.
    pub(crate) outer: usize,
    /// From one inner batch to the next.
    pub(crate) inner: usize,
    /// From one row to the next.
    pub(crate) row: usize,
    /// From one column to the next.
    pub(crate) column: usize,
}

impl Operand {
    /// Matrices of `rows` x `columns`, one after the other, row by row.
    pub fn dense(rows: usize, columns: usize) -> Self {
        Self { outer: rows * columns, inner: 0, row: columns, column: 1 }
    }

    /// The transposed matrices.
    pub fn transposed(self) -> Self {
        Self { row: self.column, column: self.row, ..self }
    }
}

/// `c = scale a b (+ bias) (+ c)`: `rows` x `columns` from `rows` x `depth` and `depth` x `columns`, for
/// `batches[0]` x `batches[1]` matrices.
#[derive(Clone, Copy, Debug)]
pub struct Matmul {
    /// Rows of `a` and `c`.
    pub(crate) rows: usize,
    /// Columns of `b` and `c`.
    pub(crate) columns: usize,
    /// Columns of `a`, rows of `b`.
    pub(crate) depth: usize,
    /// Outer and inner batches: pictures and heads, say.
    pub(crate) batches: [usize; 2],
    /// Strides of `a`.
    pub(crate) a: Operand,
    /// Strides of `b`.
    pub(crate) b: Operand,
    /// Strides of `c`.
    pub(crate) c: Operand,
    /// Factor of the product.
    pub(crate) scale: f32,
    /// Adds a bias of `columns` elements to every row; without one, the third binding is not read.
    pub(crate) has_bias: bool,
    /// Adds to `c`.
    pub(crate) accumulate: bool,
}

impl Matmul {
    /// One product of dense matrices.
    pub fn dense(rows: usize, columns: usize, depth: usize) -> Self {
        Self {
            rows,
            columns,
            depth,
            batches: [1, 1],
            a: Operand::dense(rows, depth),
            b: Operand::dense(depth, columns),
            c: Operand::dense(rows, columns),
            scale: 1.0,
            has_bias: false,
            accumulate: false,
        }
    }

    /// Elements from the first to the last that an operand touches.
    pub(super) fn extent(&self, operand: Operand, rows: usize, columns: usize) -> usize {
        let last = |count: usize, stride: usize| (count - 1) * stride;
        let [outer, inner] = self.batches;
        let empty = rows * columns * outer * inner == 0;
        let batch = || last(outer, operand.outer) + last(inner, operand.inner);
        if empty { 0 } else { batch() + last(rows, operand.row) + last(columns, operand.column) + 1 }
    }

    /// Where a batch's matrix begins.
    pub(super) fn first(&self, operand: Operand, batch: usize) -> usize {
        batch / self.batches[1] * operand.outer + batch % self.batches[1] * operand.inner
    }

    fn tiles(&self, tile: [usize; 2]) -> usize {
        self.batches[0] * self.batches[1] * tiles(self.rows, self.columns, tile)
    }

    /// Whether the vectors of four in `a` and in `b` lie along the inner dimension, if everything lies in such vectors.
    fn vectors(&self) -> Option<[bool; 2]> {
        let fours = |sizes: &[usize]| sizes.iter().all(|size| size.is_multiple_of(4));
        let batches = |operand: Operand| fours(&[operand.outer, operand.inner]);
        // An operand with neighbours one apart in one direction, and lines of fours that begin at fours.
        let lie = |along: usize, across: usize, length: usize| along == 1 && fours(&[across, length]);
        let a_along_depth = lie(self.a.column, self.a.row, self.depth);
        let b_along_depth = lie(self.b.row, self.b.column, self.depth);
        let a_fits = a_along_depth || lie(self.a.row, self.a.column, self.rows);
        let b_fits = b_along_depth || lie(self.b.column, self.b.row, self.columns);
        let c_fits = lie(self.c.column, self.c.row, self.columns);
        let all = a_fits && b_fits && c_fits && [self.a, self.b, self.c].into_iter().all(batches);
        (all && fours(&[self.depth])).then_some([a_along_depth, b_along_depth])
    }

    /// Records it. Without a bias, `bias` is any value that is only read, such as `b`.
    pub fn record(self, r: &mut Recorder, a: Value, b: Value, bias: Option<Value>, c: Value) {
        let kernel = Self { has_bias: bias.is_some(), ..self };
        r.call(kernel, &[a, b, bias.unwrap_or(b), c]);
    }
}

impl<T: Real> Twin<T> for Matmul {
    fn twin(&self, io: &mut Bindings<T>) {
        let (a, b, bias, c) = (io.read(0), io.read(1), io.read(2), io.write(3));
        for batch in 0..self.batches[0] * self.batches[1] {
            let (a, b) = (&a[self.first(self.a, batch)..], &b[self.first(self.b, batch)..]);
            let first = self.first(self.c, batch);
            for row in 0..self.rows {
                for column in 0..self.columns {
                    let term = |k| a[row * self.a.row + k * self.a.column] * b[k * self.b.row + column * self.b.column];
                    let mut sum = T::from_f32(self.scale) * (0..self.depth).map(term).sum::<T>();
                    if self.has_bias {
                        sum += bias[column];
                    }
                    let c = &mut c[first + row * self.c.row + column * self.c.column];
                    *c = if self.accumulate { *c + sum } else { sum };
                }
            }
        }
    }
}

impl Kernel for Matmul {
    fn shader(&self) -> Shader {
        shader!("matmul", "grid", "tile", "matmul", "matmul_floats")
    }
    fn parameters(&self) -> Vec<u32> {
        let operand = |o: Operand| [o.outer as u32, o.inner as u32, o.row as u32, o.column as u32];
        let [outer, inner] = self.batches;
        let sizes = [self.rows, self.columns, self.depth, outer * inner, inner].map(|size| size as u32);
        let rest = [self.scale.to_bits(), self.has_bias.into(), self.accumulate.into()];
        [&operand(self.a)[..], &operand(self.b), &operand(self.c), &sizes, &rest].concat()
    }
    fn bindings(&self) -> Vec<Binding> {
        let b = self.extent(self.b, self.depth, self.columns);
        vec![
            Binding::read(self.extent(self.a, self.rows, self.depth)),
            Binding::read(b),
            Binding::read(if self.has_bias { self.columns } else { b }),
            Binding::write_or_add(self.extent(self.c, self.rows, self.columns), self.accumulate),
        ]
    }
    fn groups(&self) -> usize {
        self.tiles([64, 64])
    }
    fn variants(&self) -> Vec<Variant> {
        let mut variants = vec![Variant::new("tile", self.shader(), self.groups())];
        if let Some([a_along_depth, b_along_depth]) = self.vectors() {
            let shaders = after_tiles!("matmul_vec4", "grid", "matmul");
            let constants = vec![
                ("a_along_depth", f64::from(u8::from(a_along_depth))),
                ("b_along_depth", f64::from(u8::from(b_along_depth))),
            ];
            variants.extend(vector_tiles(shaders, constants, |tile| self.tiles(tile)));
        }
        let lanes = shader!("matmul_lanes", "grid", "lanes", "matmul", "matmul_floats");
        variants.push(Variant::new("lanes", lanes, self.tiles([32, 16])).needing(Needs::Subgroups));
        variants
    }
    fn flops(&self) -> u64 {
        2 * (self.batches[0] * self.batches[1] * self.rows * self.columns * self.depth) as u64
    }
    fn host(&self, io: &mut Bindings<f32>) {
        let (a, b, bias, c) = (io.read(0), io.read(1), io.read(2), io.write(3));
        super::product::matmul(self, a, b, self.has_bias.then_some(bias), c);
    }
}

/// A product of `a` and `b` with either operand transposed: `[rows, depth]` x `[depth, columns]`, or the same with equal
/// leading batch sizes.
///
/// # Errors
/// [`Shape`](Error::Shape) if the sizes do not fit together.
pub fn matmul(r: &mut Recorder, a: Value, b: Value, transpose_a: bool, transpose_b: bool) -> Result<Value> {
    let (a_shape, b_shape) = (r.shape(a).to_vec(), r.shape(b).to_vec());
    let wrong = || Error::Shape { op: "matmul", message: format!("{a_shape:?} and {b_shape:?} do not fit") };
    let ([a_batch @ .., a0, a1], [b_batch @ .., b0, b1]) = (&a_shape[..], &b_shape[..]) else { return Err(wrong()) };
    let (rows, depth) = if transpose_a { (*a1, *a0) } else { (*a0, *a1) };
    let (b_depth, columns) = if transpose_b { (*b1, *b0) } else { (*b0, *b1) };
    if depth != b_depth || a_batch != b_batch {
        return Err(wrong());
    }
    let batches = a_batch.iter().product();
    let transposed = |operand: Operand, transpose| if transpose { operand.transposed() } else { operand };
    let kernel = Matmul {
        batches: [batches, 1],
        a: transposed(Operand::dense(*a0, *a1), transpose_a),
        b: transposed(Operand::dense(*b0, *b1), transpose_b),
        ..Matmul::dense(rows, columns, depth)
    };
    Ok(kernel.product(r, a, b, &[a_batch, &[rows, columns]].concat()))
}

impl Matmul {
    /// Records c = scale a b, of the given shape, with its backward rule.
    pub fn product(self, r: &mut Recorder, a: Value, b: Value, shape: &[usize]) -> Value {
        let c = r.activation(shape);
        self.record(r, a, b, None, c);
        r.differentiable(c, &[a, b], move |r, dc| {
            if let Some(da) = r.gradient_target(a) {
                self.grad_a(r, dc, b, da);
            }
            if let Some(db) = r.gradient_target(b) {
                self.grad_b(r, dc, a, db);
            }
            Ok(())
        });
        c
    }

    /// da = scale dc b^T, laid out as `a` is.
    pub fn grad_a(self, r: &mut Recorder, dc: Value, b: Value, da: Target) {
        let kernel = Self { columns: self.depth, depth: self.columns, a: self.c, b: self.b.transposed(), c: self.a, ..self };
        Self { accumulate: da.accumulate, ..kernel }.record(r, dc, b, None, da.value);
    }

    /// db = scale a^T dc, laid out as `b` is.
    pub fn grad_b(self, r: &mut Recorder, dc: Value, a: Value, db: Target) {
        let kernel = Self { rows: self.depth, depth: self.rows, a: self.a.transposed(), b: self.c, c: self.b, ..self };
        Self { accumulate: db.accumulate, ..kernel }.record(r, a, dc, None, db.value);
    }
}

/// Every transposition, batches, one element, tiles with ragged edges.
pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (batches, rows, columns, depth) in [(1, 1, 1, 1), (1, 9, 13, 17), (3, 5, 70, 4), (1, 130, 65, 33), (2, 72, 68, 20), (1, 132, 136, 36)] {
        for (transpose_a, transpose_b) in [(false, false), (false, true), (true, false), (true, true)] {
            let shape = |rows, columns, transpose| {
                let matrix = if transpose { [columns, rows] } else { [rows, columns] };
                if batches > 1 { [&[batches][..], &matrix].concat() } else { matrix.to_vec() }
            };
            let letter = |transpose| if transpose { 't' } else { 'n' };
            let name = format!(
                "matmul/{}{} {batches}x{rows}x{columns}x{depth}",
                letter(transpose_a),
                letter(transpose_b)
            );
            cases.push(
                Case::new(name)
                    .input(&shape(rows, depth, transpose_a), Fill::Normal(1.0))
                    .input(&shape(depth, columns, transpose_b), Fill::Normal(1.0))
                    .records(move |r, v| Ok(vec![matmul(r, v[0], v[1], transpose_a, transpose_b)?])),
            );
        }
    }
    cases
}

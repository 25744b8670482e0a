//! Sums over rows: the gradient of what was added to every row (a bias, a time embedding), and the second half of
//! every sum that is made in parts.

use super::{Case, Fill, parallel};
use crate::error::{Error, Result};
use crate::plan::{Binding, Bindings, Kernel, Real, Recorder, Shader, Target, Twin, Value, shader};
use std::ops::Range;

/// Rows above which a sum is made in two passes, so that it is shared out over the device and stays accurate.
const MOST_ROWS: usize = 1024;
/// Rows that one part of the first pass sums.
const PART: usize = 256;
/// Columns that one task of the host sums: their sums stay in the nearest cache.
const HOST_COLUMNS: usize = 1024;

/// x `[segments, rows, columns]` -> y [segments, splits, columns]: the rows of each segment are cut into `splits` equal
/// parts (the last may be shorter), and `y[s, p]` (+)= the sum of the rows of part p.
#[derive(Clone, Copy, Debug)]
struct SumRows {
    segments: usize,
    rows: usize,
    splits: usize,
    columns: usize,
    accumulate: bool,
}

impl SumRows {
    fn rows_per_split(&self) -> usize {
        self.rows.div_ceil(self.splits)
    }

    /// Rows of x that make row `part` of y.
    fn rows_of(&self, part: usize) -> Range<usize> {
        let (segment, split) = (part / self.splits, part % self.splits);
        let bound = |split: usize| segment * self.rows + (split * self.rows_per_split()).min(self.rows);
        bound(split)..bound(split + 1)
    }

    /// Threads that share a column: few rows are not worth a sum across threads.
    fn lanes(&self) -> usize {
        if self.rows_per_split() < 32 { 1 } else { 16 }
    }
}

impl<T: Real> Twin<T> for SumRows {
    fn twin(&self, io: &mut Bindings<T>) {
        let (x, y) = (io.read(0), io.write(1));
        for part in 0..self.segments * self.splits {
            for column in 0..self.columns {
                let sum: T = self.rows_of(part).map(|row| x[row * self.columns + column]).sum();
                let y = &mut y[part * self.columns + column];
                *y = if self.accumulate { *y + sum } else { sum };
            }
        }
    }
}

impl Kernel for SumRows {
    fn shader(&self) -> Shader {
        shader!("sum_rows", "grid")
    }
    fn constants(&self) -> Vec<(&'static str, f64)> {
        vec![("lanes", self.lanes() as f64)]
    }
    fn parameters(&self) -> Vec<u32> {
        let sizes = [self.segments, self.rows, self.splits, self.columns, self.rows_per_split()];
        sizes.into_iter().map(|size| size as u32).chain([self.accumulate.into()]).collect()
    }
    fn bindings(&self) -> Vec<Binding> {
        let sums = self.segments * self.splits * self.columns;
        vec![Binding::read(self.segments * self.rows * self.columns), Binding::write_or_add(sums, self.accumulate)]
    }
    fn groups(&self) -> usize {
        self.segments * self.splits * self.columns.div_ceil(256 / self.lanes())
    }
    fn host(&self, io: &mut Bindings<f32>) {
        let (x, y) = (io.read(0), io.write(1));
        parallel::for_rows(y, self.columns, #[inline(always)] |part, y| {
            parallel::for_rows(y, HOST_COLUMNS, #[inline(always)] |piece, y| {
                if !self.accumulate {
                    y.fill(0.0);
                }
                for row in self.rows_of(part) {
                    let x = &x[row * self.columns + piece * HOST_COLUMNS..];
                    for (y, &x) in y.iter_mut().zip(x) {
                        *y += x;
                    }
                }
            });
        });
    }
}

/// For backward rules: target `[segments, columns]` (+)= the sum over the rows of x `[segments, rows, columns]`. How a
/// sum is cut depends on nothing but the sizes, so that it can be repeated. Has no gradient of its own.
///
/// # Errors
/// [`Shape`](Error::Shape) if x or the target has other sizes.
pub fn sum_rows(
    r: &mut Recorder,
    x: Value,
    segments: usize,
    rows: usize,
    columns: usize,
    target: Target,
) -> Result<()> {
    if r.len(x) != segments * rows * columns || r.len(target.value) != segments * columns {
        let message = format!(
            "x {:?} and target {:?} do not fit [{segments}, {rows}, {columns}]",
            r.shape(x),
            r.shape(target.value)
        );
        return Err(Error::Shape { op: "sum_rows", message });
    }
    let whole = SumRows { segments, rows, splits: 1, columns, accumulate: target.accumulate };
    if rows <= MOST_ROWS {
        r.call(whole, &[x, target.value]);
    } else {
        let splits = rows.div_ceil(PART);
        let parts = r.f32(&[segments, splits, columns]);
        r.call(SumRows { splits, accumulate: false, ..whole }, &[x, parts]);
        r.call(SumRows { rows: splits, ..whole }, &[parts, target.value]);
    }
    Ok(())
}

/// One element, few rows, as many as one pass takes, two passes with a shorter last part, many columns; and the same
/// added to what was there.
pub(super) fn cases() -> Vec<Case> {
    let sizes = [(1, 1, 1), (3, 5, 7), (2, 1024, 17), (1, 2500, 33), (2, 1100, 3), (1, 6, 2500)];
    (sizes.into_iter())
        .flat_map(|(segments, rows, columns)| {
            let shape = [segments, rows, columns];
            let assigned = Case::new(format!("sum_rows/{segments}x{rows}x{columns}"))
                .constant(&shape, Fill::Normal(1.0))
                .records(move |r, v| {
                    let value = r.f32(&[segments, columns]);
                    sum_rows(r, v[0], segments, rows, columns, Target { value, accumulate: false })?;
                    Ok(vec![value])
                });
            let added = Case::new(format!("sum_rows/{segments}x{rows}x{columns} added"))
                .constant(&shape, Fill::Normal(1.0))
                .constant(&[segments, columns], Fill::Normal(1.0))
                .records(move |r, v| {
                    sum_rows(r, v[0], segments, rows, columns, Target { value: v[1], accumulate: true })?;
                    Ok(vec![v[1]])
                });
            [assigned, added]
        })
        .collect()
}

//! Softmax over the last dimension.

use super::vector::exp;
use super::{Case, Fill, parallel};
use crate::error::{Error, Result};
use crate::plan::{Binding, Bindings, Kernel, Real, Recorder, Shader, Twin, Value, shader};

/// y = e^(x - max) / sum of e^(x - max), over each row of x `[rows, columns]`.
#[derive(Clone, Copy, Debug)]
struct Forward {
    rows: usize,
    columns: usize,
}

impl<T: Real> Twin<T> for Forward {
    fn twin(&self, io: &mut Bindings<T>) {
        let (x, y) = (io.read(0), io.write(1));
        for (x, y) in x.chunks_exact(self.columns).zip(y.chunks_exact_mut(self.columns)) {
            let largest = x.iter().copied().fold(T::neg_infinity(), T::max);
            let sum: T = x.iter().map(|&x| (x - largest).exp()).sum();
            for (x, y) in x.iter().zip(y) {
                *y = (*x - largest).exp() / sum;
            }
        }
    }
}

impl Kernel for Forward {
    fn shader(&self) -> Shader {
        shader!("softmax_forward", "grid", "reduce")
    }
    fn parameters(&self) -> Vec<u32> {
        vec![self.rows as u32, self.columns as u32]
    }
    fn bindings(&self) -> Vec<Binding> {
        let len = self.rows * self.columns;
        vec![Binding::read(len), Binding::write(len)]
    }
    fn groups(&self) -> usize {
        self.rows
    }
    fn host(&self, io: &mut Bindings<f32>) {
        let (x, y) = (io.read(0), io.write(1));
        parallel::for_rows(y, self.columns, #[inline(always)] |row, y| {
            let x = &x[row * self.columns..][..self.columns];
            let largest = fold(x, f32::NEG_INFINITY, |a, b| if a > b { a } else { b });
            for (y, &x) in y.iter_mut().zip(x) {
                *y = exp(x - largest);
            }
            let scale = 1.0 / fold(y, 0.0, |a, b| a + b);
            for y in y {
                *y *= scale;
            }
        });
    }
}

/// dx = y (dy - sum of dy y), over each row.
#[derive(Clone, Copy, Debug)]
struct Backward {
    rows: usize,
    columns: usize,
}

impl<T: Real> Twin<T> for Backward {
    fn twin(&self, io: &mut Bindings<T>) {
        let (y, dy, dx) = (io.read(0), io.read(1), io.write(2));
        for row in 0..self.rows {
            let elements = row * self.columns..(row + 1) * self.columns;
            let sum: T = elements.clone().map(|i| dy[i] * y[i]).sum();
            for i in elements {
                dx[i] = y[i] * (dy[i] - sum);
            }
        }
    }
}

impl Kernel for Backward {
    fn shader(&self) -> Shader {
        shader!("softmax_backward", "grid", "reduce")
    }
    fn parameters(&self) -> Vec<u32> {
        vec![self.rows as u32, self.columns as u32]
    }
    fn bindings(&self) -> Vec<Binding> {
        let len = self.rows * self.columns;
        vec![Binding::read(len), Binding::read(len), Binding::write(len)]
    }
    fn groups(&self) -> usize {
        self.rows
    }
    fn host(&self, io: &mut Bindings<f32>) {
        let (y, dy, dx) = (io.read(0), io.read(1), io.write(2));
        parallel::for_rows(dx, self.columns, #[inline(always)] |row, dx| {
            let (y, dy) = (&y[row * self.columns..], &dy[row * self.columns..]);
            for ((dx, &dy), &y) in dx.iter_mut().zip(dy).zip(y) {
                *dx = dy * y;
            }
            let sum = fold(dx, 0.0, |a, b| a + b);
            for ((dx, &dy), &y) in dx.iter_mut().zip(dy).zip(y) {
                *dx = y * (dy - sum);
            }
        });
    }
}

/// Combines the values in 16 lanes that depend on one another only at the end, so that they become vectors.
#[inline(always)]
pub(super) fn fold(values: &[f32], start: f32, combine: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [start; 16];
    for chunk in values.chunks(16) {
        for (lane, &value) in lanes.iter_mut().zip(chunk) {
            *lane = combine(*lane, value);
        }
    }
    lanes.into_iter().fold(start, combine)
}

/// Softmax over the last dimension of x `[.., columns]`.
///
/// # Errors
/// [`Shape`](Error::Shape) if x has no columns.
pub fn softmax(r: &mut Recorder, x: Value) -> Result<Value> {
    let shape = r.shape(x).to_vec();
    let Some(&columns) = shape.last().filter(|&&columns| columns > 0) else {
        return Err(Error::Shape { op: "softmax", message: format!("found shape {shape:?}, expected [.., columns]") });
    };
    let rows = r.len(x) / columns;
    let y = r.activation(&shape);
    r.call(Forward { rows, columns }, &[x, y]);
    r.differentiable(y, &[x], move |r, dy| {
        if let Some(dx) = r.new_gradient(x) {
            r.call(Backward { rows, columns }, &[y, dy, dx]);
        }
        Ok(())
    });
    Ok(y)
}

/// One column, fewer than threads, as many, more; and numbers whose exponentials are not finite.
pub(super) fn cases() -> Vec<Case> {
    let case = |name: String, shape: &[usize], deviation: f64| {
        Case::new(name).input(shape, Fill::Normal(deviation)).records(|r, v| Ok(vec![softmax(r, v[0])?]))
    };
    let mut cases: Vec<Case> = [([1, 1], 1.0), ([4, 33], 5.0), ([3, 256], 1.0), ([5, 700], 1.0)]
        .into_iter()
        .map(|(shape, deviation)| case(format!("softmax/{shape:?}"), &shape, deviation))
        .collect();
    cases.push(case("softmax/leading sizes".into(), &[2, 3, 4, 9], 1.0));
    cases.push(
        Case::new("softmax/large")
            .constant(&[3, 4], Fill::Floats(vec![1e4, 9_999.5, -1e4, 0.0, 1e4, 1e4, 9_998.0]))
            .records(|r, v| Ok(vec![softmax(r, v[0])?])),
    );
    cases
}

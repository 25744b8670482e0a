//! The cosine of the angle between two rows of features: what guidance by an embedding makes large.

use super::{Case, Fill};
use crate::error::{Error, Result};
use crate::plan::{Binding, Bindings, Kernel, Real, Recorder, Shader, Twin, Value, shader};

#[derive(Clone, Copy, Debug)]
struct Sizes {
    rows: usize,
    columns: usize,
}

impl Sizes {
    fn parameters(&self) -> Vec<u32> {
        vec![self.rows as u32, self.columns as u32]
    }
    fn len(&self) -> usize {
        self.rows * self.columns
    }
}

/// What nothing is divided by less than: features are not that small.
const LEAST: f32 = 1e-8;

/// |a|^2, |a| |b| and a . b.
fn products<T: Real>(a: &[T], b: &[T]) -> [T; 3] {
    let dot = |a: &[T], b: &[T]| a.iter().zip(b).map(|(&a, &b)| a * b).sum::<T>();
    let least = T::from_f32(LEAST);
    let aa = dot(a, a);
    [aa.max(least), (aa.sqrt() * dot(b, b).sqrt()).max(least), dot(a, b)]
}

/// `y[n] = a[n] . b[n] / (|a[n]| |b[n]|)`.
#[derive(Clone, Copy, Debug)]
struct Forward(Sizes);

impl<T: Real> Twin<T> for Forward {
    fn twin(&self, io: &mut Bindings<T>) {
        let (a, b, y) = (io.read(0), io.read(1), io.write(2));
        let columns = self.0.columns;
        for ((a, b), y) in a.chunks_exact(columns).zip(b.chunks_exact(columns)).zip(y) {
            let [_, norms, ab] = products(a, b);
            *y = ab / norms;
        }
    }
}

impl Kernel for Forward {
    fn shader(&self) -> Shader {
        shader!("cosine_similarity_forward", "grid", "reduce")
    }
    fn parameters(&self) -> Vec<u32> {
        self.0.parameters()
    }
    fn bindings(&self) -> Vec<Binding> {
        let row = Binding::read(self.0.len());
        vec![row, row, Binding::write(self.0.rows)]
    }
    fn groups(&self) -> usize {
        self.0.rows
    }
}

/// `da[n] = upstream[n] (b[n] / (|a[n]| |b[n]|) - y[n] a[n] / |a[n]|^2)`.
#[derive(Clone, Copy, Debug)]
struct Backward(Sizes);

impl<T: Real> Twin<T> for Backward {
    fn twin(&self, io: &mut Bindings<T>) {
        let (a, b, upstream, da) = (io.read(0), io.read(1), io.read(2), io.write(3));
        let columns = self.0.columns;
        let rows = a.chunks_exact(columns).zip(b.chunks_exact(columns)).zip(upstream);
        for (((a, b), &upstream), da) in rows.zip(da.chunks_exact_mut(columns)) {
            let [aa, norms, ab] = products(a, b);
            let back = ab / norms / aa;
            da.iter_mut().zip(a.iter().zip(b)).for_each(|(da, (&a, &b))| *da = upstream * (b / norms - back * a));
        }
    }
}

impl Kernel for Backward {
    fn shader(&self) -> Shader {
        shader!("cosine_similarity_backward", "grid", "reduce")
    }
    fn parameters(&self) -> Vec<u32> {
        self.0.parameters()
    }
    fn bindings(&self) -> Vec<Binding> {
        let row = Binding::read(self.0.len());
        vec![row, row, Binding::read(self.0.rows), Binding::write(self.0.len())]
    }
    fn groups(&self) -> usize {
        self.0.rows
    }
}

/// The similarity `[rows]` of each row of `a` with that of `b`, both `[rows, columns]`; only `a` gets a gradient.
///
/// # Errors
/// [`Shape`](Error::Shape) if they are not of one shape.
pub fn cosine_similarity(r: &mut Recorder, a: Value, b: Value) -> Result<Value> {
    let [rows, columns] = r.dims("cosine_similarity", a)?;
    if r.shape(b) != [rows, columns] {
        let message = format!("{:?} and {:?} differ", r.shape(a), r.shape(b));
        return Err(Error::Shape { op: "cosine_similarity", message });
    }
    let sizes = Sizes { rows, columns };
    let y = r.f32(&[rows]);
    r.call(Forward(sizes), &[a, b, y]);
    r.differentiable(y, &[a], move |r, upstream| {
        if let Some(da) = r.new_gradient(a) {
            r.call(Backward(sizes), &[a, b, upstream, da]);
        }
        Ok(())
    });
    Ok(y)
}

/// Two numbers a row, more than threads, odd sizes.
pub(super) fn cases() -> Vec<Case> {
    [(1, 2), (5, 33), (3, 700)]
        .into_iter()
        .map(|(rows, columns)| {
            Case::new(format!("cosine_similarity/{rows}x{columns}"))
                .input(&[rows, columns], Fill::Normal(1.0))
                .constant(&[rows, columns], Fill::Normal(2.0))
                .records(|r, v| Ok(vec![cosine_similarity(r, v[0], v[1])?]))
        })
        .collect()
}

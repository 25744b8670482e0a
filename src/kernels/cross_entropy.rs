//! The cross-entropy of a classifier, `-log softmax(x)[label]`.

use super::{Case, Fill};
use crate::error::{Error, Result};
use crate::plan::{Binding, Bindings, Element, Kernel, Real, Recorder, Shader, Twin, Value, shader};

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

/// The largest of a row, and the sum of e^(x - that).
fn largest_and_sum<T: Real>(row: &[T]) -> [T; 2] {
    let largest = row.iter().copied().fold(row[0], T::max);
    [largest, row.iter().map(|&x| (x - largest).exp()).sum()]
}

/// `losses[n] = log(sum of e^x[n]) - x[n, label[n]]`.
#[derive(Clone, Copy, Debug)]
struct Forward(Sizes);

impl<T: Real> Twin<T> for Forward {
    fn twin(&self, io: &mut Bindings<T>) {
        let (x, labels, losses) = (io.read(0), io.read_integers(1), io.write(2));
        for ((row, &label), loss) in x.chunks_exact(self.0.columns).zip(labels).zip(losses) {
            let [largest, sum] = largest_and_sum(row);
            *loss = sum.ln() + (largest - row[label as usize]);
        }
    }
}

impl Kernel for Forward {
    fn shader(&self) -> Shader {
        shader!("cross_entropy_forward", "grid", "reduce")
    }
    fn parameters(&self) -> Vec<u32> {
        self.0.parameters()
    }
    fn bindings(&self) -> Vec<Binding> {
        let Sizes { rows, .. } = self.0;
        vec![Binding::read(self.0.len()), Binding::read(rows).integers(), Binding::write(rows)]
    }
    fn groups(&self) -> usize {
        self.0.rows
    }
}

/// `dx[n] = upstream[n] (softmax(x[n]) - 1 at the label)`.
#[derive(Clone, Copy, Debug)]
struct Backward(Sizes);

impl<T: Real> Twin<T> for Backward {
    fn twin(&self, io: &mut Bindings<T>) {
        let (x, labels, upstream, dx) = (io.read(0), io.read_integers(1), io.read(2), io.write(3));
        let columns = self.0.columns;
        for (n, (row, dx)) in x.chunks_exact(columns).zip(dx.chunks_exact_mut(columns)).enumerate() {
            let [largest, sum] = largest_and_sum(row);
            for (class, (x, dx)) in row.iter().zip(dx).enumerate() {
                let hit = if class == labels[n] as usize { T::one() } else { T::zero() };
                *dx = upstream[n] * ((*x - largest).exp() / sum - hit);
            }
        }
    }
}

impl Kernel for Backward {
    fn shader(&self) -> Shader {
        shader!("cross_entropy_backward", "grid", "reduce")
    }
    fn parameters(&self) -> Vec<u32> {
        self.0.parameters()
    }
    fn bindings(&self) -> Vec<Binding> {
        let all = self.0.len();
        let Sizes { rows, .. } = self.0;
        vec![Binding::read(all), Binding::read(rows).integers(), Binding::read(rows), Binding::write(all)]
    }
    fn groups(&self) -> usize {
        self.0.rows
    }
}

/// The cross-entropy of every row of x `[rows, classes]` with its label, an integer of `[rows]`: `[rows]`, in nats. The
/// kernels trust the labels: they must be below `classes`, which is for whoever uploads them to check.
///
/// # Errors
/// [`Shape`](Error::Shape) if there is not a label, an integer, for each row.
pub fn cross_entropy(r: &mut Recorder, x: Value, labels: Value) -> Result<Value> {
    let [rows, columns] = r.dims("cross_entropy", x)?;
    if r.shape(labels) != [rows] || r.element(labels) != Element::U32 {
        let message = format!("labels {:?} of {:?} for {rows} rows", r.shape(labels), r.element(labels));
        return Err(Error::Shape { op: "cross_entropy", message });
    }
    let sizes = Sizes { rows, columns };
    let losses = r.f32(&[rows]);
    r.call(Forward(sizes), &[x, labels, losses]);
    r.differentiable(losses, &[x], move |r, upstream| {
        if let Some(dx) = r.new_gradient(x) {
            r.call(Backward(sizes), &[x, labels, upstream, dx]);
        }
        Ok(())
    });
    Ok(losses)
}

/// One class, ten, more classes than threads, and scores that are far apart.
pub(super) fn cases() -> Vec<Case> {
    [(1, 1, 1.0), (7, 10, 3.0), (3, 1000, 1.0), (5, 4, 40.0)]
        .into_iter()
        .map(|(rows, classes, deviation)| {
            Case::new(format!("cross_entropy/{rows}x{classes} of {deviation}"))
                .input(&[rows, classes], Fill::Normal(deviation))
                .constant(&[rows], Fill::Below(classes as u32))
                .records(|r, v| Ok(vec![cross_entropy(r, v[0], v[1])?]))
        })
        .collect()
}

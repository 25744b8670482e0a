//! Class embedding: one learned vector a class, looked up by label.

use super::residual::add;
use super::{Case, Fill};
use crate::error::{Error, Result};
use crate::plan::{Binding, Bindings, Element, Kernel, Real, Recorder, Shader, Twin, Value, shader};

/// What both passes know.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    classes: usize,
    dim: usize,
    pictures: usize,
}

impl Sizes {
    fn table(&self) -> usize {
        self.classes * self.dim
    }
    fn output(&self) -> usize {
        self.pictures * self.dim
    }
}

/// `y[n] = table[label[n]]`.
#[derive(Clone, Copy, Debug)]
struct Forward(Sizes);

impl<T: Real> Twin<T> for Forward {
    fn twin(&self, io: &mut Bindings<T>) {
        let Self(sizes) = self;
        let (table, labels, y) = (io.read(0), io.read_integers(1), io.write(2));
        for (y, &label) in y.chunks_exact_mut(sizes.dim).zip(labels) {
            y.copy_from_slice(&table[label as usize * sizes.dim..][..sizes.dim]);
        }
    }
}

impl Kernel for Forward {
    fn shader(&self) -> Shader {
        shader!("class_embedding_forward", "grid")
    }
    fn parameters(&self) -> Vec<u32> {
        vec![self.0.dim as u32, self.0.pictures as u32]
    }
    fn bindings(&self) -> Vec<Binding> {
        let Self(sizes) = self;
        vec![Binding::read(sizes.table()), Binding::read(sizes.pictures).integers(), Binding::write(sizes.output())]
    }
    fn groups(&self) -> usize {
        self.0.output().div_ceil(1024)
    }
    fn flops(&self) -> u64 {
        self.0.output() as u64
    }
}

/// `dtable[k]` (+)= the sum of `dy[n]` over the pictures n with label k.
#[derive(Clone, Copy, Debug)]
struct Backward {
    sizes: Sizes,
    accumulate: bool,
}

impl<T: Real> Twin<T> for Backward {
    fn twin(&self, io: &mut Bindings<T>) {
        let dim = self.sizes.dim;
        let (labels, dy, dtable) = (io.read_integers(0), io.read(1), io.write(2));
        if !self.accumulate {
            dtable.fill(T::zero());
        }
        for (dy, &label) in dy.chunks_exact(dim).zip(labels) {
            for (sum, &dy) in dtable[label as usize * dim..].iter_mut().zip(dy) {
                *sum += dy;
            }
        }
    }
}

impl Kernel for Backward {
    fn shader(&self) -> Shader {
        shader!("class_embedding_backward", "grid")
    }
    fn parameters(&self) -> Vec<u32> {
        let Sizes { classes, dim, pictures } = self.sizes;
        vec![classes as u32, dim as u32, pictures as u32, self.accumulate.into()]
    }
    fn bindings(&self) -> Vec<Binding> {
        vec![
            Binding::read(self.sizes.pictures).integers(),
            Binding::read(self.sizes.output()),
            Binding::write_or_add(self.sizes.table(), self.accumulate),
        ]
    }
    fn groups(&self) -> usize {
        self.sizes.table().div_ceil(1024)
    }
    /// Every element of the table looks at every label.
    fn flops(&self) -> u64 {
        self.sizes.table() as u64 * self.sizes.pictures as u64
    }
}

/// Rows `labels` (integers, `[N]`) of table `[classes, dim]`: `[N, dim]`.
///
/// The kernels trust the labels: they must be below `classes`, which is for whoever uploads them to check.
///
/// # Errors
/// [`Shape`](Error::Shape) if the table has other than two sizes, or the labels are not a list of integers.
pub fn class_embedding(r: &mut Recorder, table: Value, labels: Value) -> Result<Value> {
    let [classes, dim] = r.dims("class_embedding", table)?;
    let [pictures] = r.dims("class_embedding", labels)?;
    if r.element(labels) != Element::U32 {
        let message = format!("found labels of {:?}, expected integers", r.element(labels));
        return Err(Error::Shape { op: "class_embedding", message });
    }
    let sizes = Sizes { classes, dim, pictures };
    let y = r.f32(&[pictures, dim]);
    r.call(Forward(sizes), &[table, labels, y]);
    r.differentiable(y, &[table], move |r, dy| {
        if let Some(dtable) = r.gradient_target(table) {
            r.call(Backward { sizes, accumulate: dtable.accumulate }, &[labels, dy, dtable.value]);
        }
        Ok(())
    });
    Ok(y)
}

/// One class, classes that do not occur, labels that occur twice in more than one workgroup, and a table used twice.
pub(super) fn cases() -> Vec<Case> {
    let case = |classes: usize, dim: usize, pictures: usize| {
        Case::new(format!("class_embedding/{classes}x{dim}, {pictures} labels"))
            .input(&[classes, dim], Fill::Normal(1.0))
            .constant(&[pictures], Fill::Below(classes as u32))
            .records(|r, v| Ok(vec![class_embedding(r, v[0], v[1])?]))
    };
    vec![
        case(1, 1, 1),
        case(10, 33, 7),
        case(5, 300, 12),
        Case::new("class_embedding/twice")
            .input(&[4, 6], Fill::Normal(1.0))
            .constant(&[5], Fill::Integers(vec![3, 0, 3, 1, 3]))
            .constant(&[5], Fill::Integers(vec![0, 0, 1, 1, 3]))
            .records(|r, v| {
                let (a, b) = (class_embedding(r, v[0], v[1])?, class_embedding(r, v[0], v[2])?);
                Ok(vec![add(r, a, b)?])
            }),
    ]
}

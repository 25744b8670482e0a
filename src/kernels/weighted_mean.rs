//! The mean of pictures' losses, each weighted by what its level of noise says: what a training step makes small.

use super::levels::{COLUMNS, Column};
use super::{Case, Fill};
use crate::error::{Error, Result};
use crate::plan::{Binding, Bindings, Kernel, Real, Recorder, Shader, Twin, Value, add, shader};

/// What pictures' losses are multiplied by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Factors {
    /// Whether by [`Column::Weight`].
    pub weight: bool,
    /// Whether by [`Column::Correction`].
    pub correction: bool,
    /// And by this, all alike.
    pub scale: f32,
}

impl Factors {
    fn are_of_levels(self) -> bool {
        self.weight || self.correction
    }

    /// The factor of a picture's loss in the mean over so many.
    fn of<T: Real>(self, levels: &[T], picture: usize, pictures: usize) -> T {
        let at = |taken: bool, column: Column| match taken {
            true => levels[picture * COLUMNS + column as usize],
            false => T::one(),
        };
        let scale = T::from_f32(self.scale) / T::from_usize(pictures);
        at(self.weight, Column::Weight) * at(self.correction, Column::Correction) * scale
    }

    /// The binding of levels, or what stands in for them.
    fn levels(self, pictures: usize, other: Binding) -> Binding {
        if self.are_of_levels() { Binding::read(COLUMNS * pictures) } else { other }
    }
}

/// Bindings: losses, other losses (or the same again), levels (or the losses again), the mean.
#[derive(Clone, Copy, Debug)]
struct Mean {
    pictures: usize,
    factors: Factors,
    /// Factor of the other losses, which have no weights; 0 leaves them unread.
    other: f32,
}

impl Mean {
    /// The other losses' factors.
    fn of_other(&self) -> Factors {
        Factors { weight: false, correction: self.factors.correction, scale: self.other }
    }
}

impl<T: Real> Twin<T> for Mean {
    fn twin(&self, io: &mut Bindings<T>) {
        let (losses, others, levels) = (io.read(0), io.read(1), io.read(2));
        let term = |(picture, &loss): (usize, &T)| {
            let term = loss * self.factors.of(levels, picture, self.pictures);
            match self.other == 0.0 {
                true => term,
                false => term + others[picture] * self.of_other().of(levels, picture, self.pictures),
            }
        };
        io.write(3)[0] = losses.iter().enumerate().map(term).sum();
    }
}

impl Kernel for Mean {
    fn shader(&self) -> Shader {
        shader!("weighted_mean_forward", "reduce")
    }
    fn parameters(&self) -> Vec<u32> {
        let Factors { weight, correction, scale } = self.factors;
        vec![self.pictures as u32, weight.into(), correction.into(), scale.to_bits(), self.other.to_bits()]
    }
    fn bindings(&self) -> Vec<Binding> {
        let losses = Binding::read(self.pictures);
        vec![losses, losses, self.factors.levels(self.pictures, losses), Binding::write(1)]
    }
    fn groups(&self) -> usize {
        1
    }
}

/// Bindings: upstream, levels (or upstream again), the losses' gradients.
#[derive(Clone, Copy, Debug)]
struct MeanBackward {
    pictures: usize,
    factors: Factors,
}

impl<T: Real> Twin<T> for MeanBackward {
    fn twin(&self, io: &mut Bindings<T>) {
        let (upstream, levels) = (io.read(0), io.read(1));
        for (picture, gradient) in io.write(2).iter_mut().enumerate() {
            *gradient = upstream[0] * self.factors.of(levels, picture, self.pictures);
        }
    }
}

impl Kernel for MeanBackward {
    fn shader(&self) -> Shader {
        shader!("weighted_mean_backward", "grid")
    }
    fn parameters(&self) -> Vec<u32> {
        let Factors { weight, correction, scale } = self.factors;
        vec![self.pictures as u32, weight.into(), correction.into(), scale.to_bits()]
    }
    fn bindings(&self) -> Vec<Binding> {
        let upstream = Binding::read(1);
        vec![upstream, self.factors.levels(self.pictures, upstream), Binding::write(self.pictures)]
    }
    fn groups(&self) -> usize {
        self.pictures.div_ceil(256)
    }
}

/// The mean of losses `[pictures]`, as `[1]`, each multiplied by factors of its picture's level `[pictures, 8]`; other
/// losses of the same pictures, multiplied by a number and corrected alike, are added.
///
/// # Errors
/// [`Shape`](Error::Shape) if losses and levels do not fit together.
pub fn weighted_mean(
    r: &mut Recorder,
    losses: Value,
    other: Option<(Value, f32)>,
    levels: Value,
    factors: Factors,
) -> Result<Value> {
    let [pictures] = r.dims("weighted_mean", losses)?;
    if r.shape(levels) != [pictures, COLUMNS] || other.is_some_and(|(other, _)| r.shape(other) != [pictures]) {
        let message = format!("losses {:?} and levels {:?} do not fit", r.shape(losses), r.shape(levels));
        return Err(Error::Shape { op: "weighted_mean", message });
    }
    Ok(record_mean(r, losses, other, Some(levels), factors))
}

/// The plain mean of losses, as `[1]`.
pub(super) fn mean(r: &mut Recorder, losses: Value) -> Value {
    record_mean(r, losses, None, None, Factors { weight: false, correction: false, scale: 1.0 })
}

fn record_mean(
    r: &mut Recorder,
    losses: Value,
    other: Option<(Value, f32)>,
    levels: Option<Value>,
    factors: Factors,
) -> Value {
    let levels = levels.filter(|_| factors.are_of_levels());
    let (others, scale) = other.unwrap_or((losses, 0.0));
    let kernel = Mean { pictures: r.len(losses), factors, other: scale };
    let mean = r.f32(&[1]);
    r.call(kernel, &[losses, others, levels.unwrap_or(losses), mean]);
    r.differentiable(mean, &[losses, others], move |r, upstream| {
        let both = [Some((losses, factors)), other.map(|(others, _)| (others, kernel.of_other()))];
        for (losses, factors) in both.into_iter().flatten() {
            if let Some(gradient) = r.new_gradient(losses) {
                let levels = levels.filter(|_| factors.are_of_levels()).unwrap_or(upstream);
                r.call(MeanBackward { pictures: kernel.pictures, factors }, &[upstream, levels, gradient]);
            }
        }
        Ok(())
    });
    mean
}

/// One picture, more than a workgroup of them, every choice of factors.
pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (pictures, weight, correction, scale, other) in [
        (1, true, false, 1.0, 0.0),
        (7, true, true, 0.3, 0.7),
        (700, false, true, 1.0, 0.0),
        (300, false, false, 4.0, 2.0),
        (33, true, false, 1.0, 1.5),
    ] {
        cases.push(
            Case::new(format!("weighted_mean/{pictures} pictures, {weight} {correction} {scale} {other}"))
                .input(&[pictures], Fill::Uniform(0.1, 2.0))
                .input(&[pictures], Fill::Uniform(0.1, 2.0))
                .constant(&[pictures, COLUMNS], Fill::Uniform(0.1, 2.0))
                .records(move |r, v| {
                    // What is not taken has a gradient too, so that every case has two.
                    let both = if other == 0.0 { add(r, v[0], v[1])? } else { v[0] };
                    let other = (other != 0.0).then_some((v[1], other));
                    Ok(vec![weighted_mean(r, both, other, v[2], Factors { weight, correction, scale })?])
                }),
        );
    }
    cases
}

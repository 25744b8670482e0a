//! Label dropout: in training, pictures lose their class with a probability, so that one network learns to predict with a
//! class and without (Ho & Salimans 2022, algorithm 1). Which do is a function of the seed, the step and the picture's place
//! in the whole step, so that micro-batches and runs that are continued agree.

use super::random::{Purpose, picture_key, threefry2x32, uniform};
use super::{Case, Fill};
use crate::error::{Error, Result};
use crate::plan::{Binding, Bindings, Element, Kernel, Real, Recorder, Shader, Step, Twin, Value, shader};

/// Which class pictures have, or lose.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClassDropout {
    /// How probable it is that a picture's class is dropped, 0 to 1.
    pub probability: f32,
    /// What stands for no class.
    pub unconditional: u32,
}

impl ClassDropout {
    /// Whether the picture at this place of a step loses its class.
    pub fn drops(&self, step: &Step, place: u32) -> bool {
        let bits = threefry2x32(picture_key(step.seed, Purpose::ClassDropout, place), [step.step, 0])[0];
        uniform::<f32>(bits) < self.probability
    }
}

/// after = unconditional where it is dropped, else before.
#[derive(Clone, Copy, Debug)]
struct Drop {
    labels: usize,
    pictures: usize,
    dropout: ClassDropout,
}

impl<T: Real> Twin<T> for Drop {
    fn twin(&self, io: &mut Bindings<T>) {
        let (before, step) = (io.read_integers(0), io.step());
        let after = io.write_integers(1);
        for (index, (after, &before)) in after.iter_mut().zip(before).enumerate() {
            let place = step.first_picture.wrapping_add((index % self.pictures) as u32);
            *after = if self.dropout.drops(step, place) { self.dropout.unconditional } else { before };
        }
    }
}

impl Kernel for Drop {
    fn shader(&self) -> Shader {
        shader!("class_dropout", "grid", "step", "threefry")
    }
    fn parameters(&self) -> Vec<u32> {
        let ClassDropout { probability, unconditional } = self.dropout;
        vec![self.labels as u32, self.pictures as u32, probability.to_bits(), unconditional]
    }
    fn bindings(&self) -> Vec<Binding> {
        vec![Binding::read(self.labels).integers(), Binding::write(self.labels).integers()]
    }
    fn groups(&self) -> usize {
        self.labels.div_ceil(256)
    }
}

/// The labels of a batch of so many pictures, which may stand there several times, with some dropped; every copy of a
/// picture loses its class or keeps it.
///
/// # Errors
/// [`Shape`](Error::Shape) if the labels are no list of integers for whole batches, or the probability is out of range.
pub fn class_dropout(r: &mut Recorder, labels: Value, pictures: usize, dropout: ClassDropout) -> Result<Value> {
    let [count] = r.dims("class_dropout", labels)?;
    let whole = pictures > 0 && count.is_multiple_of(pictures) && r.element(labels) == Element::U32;
    if !whole || !(0.0..=1.0).contains(&dropout.probability) {
        let (element, probability) = (r.element(labels), dropout.probability);
        let message = format!("found {count} labels of {element:?} for {pictures} pictures, probability {probability}");
        return Err(Error::Shape { op: "class_dropout", message });
    }
    let after = r.value(Element::U32, &[count]);
    r.call(Drop { labels: count, pictures, dropout }, &[labels, after]);
    Ok(after)
}

/// One label, nothing and everything dropped, more than one workgroup, a batch twice.
pub(super) fn cases() -> Vec<Case> {
    let step = Step { step: 5, first_picture: 1234, ..Step::seeded(0x1234_5678_9ABC_DEF0) };
    [(1, 1, 0.5), (7, 7, 0.0), (7, 7, 1.0), (300, 300, 0.1), (602, 301, 0.4)]
        .into_iter()
        .map(|(labels, pictures, probability)| {
            let dropout = ClassDropout { probability, unconditional: 10 };
            Case::new(format!("class_dropout/{labels} labels of {pictures} at {probability}"))
                .constant(&[labels], Fill::Below(10))
                .step(step)
                .tolerance(0.0)
                .records(move |r, v| Ok(vec![class_dropout(r, v[0], pictures, dropout)?]))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Within 4 standard deviations, at several probabilities; steps and places draw for themselves.
    #[test]
    fn the_share_of_dropped_labels_is_the_probability() {
        for probability in [0.05_f32, 0.1, 0.5, 0.9] {
            let dropout = ClassDropout { probability, unconditional: 10 };
            let dropped = |step: u32, place: u32| dropout.drops(&Step { step, ..Step::seeded(11) }, place);
            const SIDE: u32 = 200;
            let all = (0..SIDE * SIDE).filter(|i| dropped(i / SIDE, i % SIDE)).count() as f64;
            let (count, p) = (f64::from(SIDE * SIDE), f64::from(probability));
            let allowed = 4.0 * (count * p * (1.0 - p)).sqrt();
            assert!((all - count * p).abs() < allowed, "{all} of {count} at {p}");
            // A step and the next, and a place and the next, agree as often as independent draws do.
            for (steps, places) in [(1, 0), (0, 1)] {
                let same = (0..SIDE * SIDE)
                    .filter(|i| dropped(i / SIDE, i % SIDE) == dropped(i / SIDE + steps, i % SIDE + places))
                    .count() as f64;
                let agree = p * p + (1.0 - p) * (1.0 - p);
                let allowed = 6.0 * (count * agree * (1.0 - agree)).sqrt();
                assert!((same - count * agree).abs() < allowed, "{same} of {count} agree at {p}");
            }
        }
    }
}

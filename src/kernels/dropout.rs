//! Dropout (Srivastava et al. 2014): elements are zero with a probability, and the others grow so that the mean stays.
//! The mask is a function of (seed, layer, picture, step, element), so it is drawn again and not kept: in the backward
//! pass, in a block that is recomputed, and in a run that is continued.

use super::random::{Purpose, threefry2x32, uniform};
use super::{Case, Fill, parallel};
use crate::error::{Error, Result};
use crate::plan::{Binding, Bindings, Kernel, Real, Recorder, Shader, Step, Twin, Value, shader};

/// y = x / (1 - probability) where the element is kept, else 0.
#[derive(Clone, Copy, Debug)]
struct Dropout {
    pictures: usize,
    elements: usize,
    layer: u32,
    probability: f32,
}

impl Dropout {
    /// What a picture's key is made for: every layer has a stream of its own.
    fn purpose(&self) -> u32 {
        Purpose::Dropout as u32 | self.layer << 8
    }

    fn scale(&self) -> f32 {
        if self.probability < 1.0 { (1.0 - self.probability).recip() } else { 0.0 }
    }

    /// One picture's part.
    #[inline(always)]
    fn drop<T: Real>(&self, step: &Step, picture: usize, x: &[T], y: &mut [T]) {
        let number = step.first_picture.wrapping_add(picture as u32);
        let key = threefry2x32(step.seed, [self.purpose(), number]);
        let scale = T::from_f32(self.scale());
        for (pair, (y, x)) in y.chunks_mut(2).zip(x.chunks(2)).enumerate() {
            let bits = threefry2x32(key, [step.step, pair as u32]);
            for ((y, &x), bits) in y.iter_mut().zip(x).zip(bits) {
                let kept = uniform::<f32>(bits) >= self.probability;
                *y = if kept { x * scale } else { T::zero() };
            }
        }
    }
}

impl<T: Real> Twin<T> for Dropout {
    fn twin(&self, io: &mut Bindings<T>) {
        let (x, step, y) = (io.read(0), io.step(), io.write(1));
        for (picture, y) in y.chunks_exact_mut(self.elements).enumerate() {
            self.drop(step, picture, &x[picture * self.elements..][..self.elements], y);
        }
    }
}

impl Kernel for Dropout {
    fn shader(&self) -> Shader {
        shader!("dropout", "grid", "step", "threefry")
    }
    fn parameters(&self) -> Vec<u32> {
        let (probability, scale) = (self.probability.to_bits(), self.scale().to_bits());
        vec![self.pictures as u32, self.elements as u32, self.purpose(), probability, scale]
    }
    fn bindings(&self) -> Vec<Binding> {
        let len = self.pictures * self.elements;
        vec![Binding::read(len), Binding::write(len)]
    }
    fn groups(&self) -> usize {
        (self.pictures * self.elements.div_ceil(2)).div_ceil(256)
    }
    fn flops(&self) -> u64 {
        40 * (self.pictures * self.elements) as u64
    }
    fn host(&self, io: &mut Bindings<f32>) {
        let (x, step, y) = (io.read(0), io.step(), io.write(1));
        parallel::for_rows(
            y,
            self.elements,
            #[inline(always)]
            |picture, y| {
                self.drop(step, picture, &x[picture * self.elements..][..self.elements], y);
            },
        );
    }
}

/// x `[pictures, ..]` with elements dropped at this probability, 0 to 1. Layers of other numbers, below 2^24, draw other
/// masks.
///
/// # Errors
/// [`Shape`](Error::Shape) if x has no sizes, or the layer or the probability is out of range.
pub fn dropout(r: &mut Recorder, x: Value, probability: f32, layer: u32) -> Result<Value> {
    let shape = r.shape(x).to_vec();
    if shape.is_empty() || layer >> 24 != 0 || !(0.0..=1.0).contains(&probability) {
        let message = format!("found x {shape:?}, probability {probability}, layer {layer}");
        return Err(Error::Shape { op: "dropout", message });
    }
    let kernel = Dropout { pictures: shape[0], elements: shape[1..].iter().product(), layer, probability };
    let y = r.activation(&shape);
    r.call(kernel, &[x, y]);
    r.differentiable(y, &[x], move |r, dy| {
        if let Some(dx) = r.new_gradient(x) {
            r.call(kernel, &[dy, dx]);
        }
        Ok(())
    });
    Ok(y)
}

/// One element, odd sizes, more than one workgroup; nothing and everything dropped; two layers.
pub(super) fn cases() -> Vec<Case> {
    let step = Step { step: 5, first_picture: 1234, ..Step::seeded(0x1234_5678_9ABC_DEF0) };
    let one = |shape: &[usize], probability: f32| {
        Case::new(format!("dropout/{shape:?} {probability}"))
            .input(shape, Fill::Normal(1.0))
            .step(step)
            .records(move |r, v| Ok(vec![dropout(r, v[0], probability, 7)?]))
    };
    vec![
        one(&[1, 1], 0.5),
        one(&[3, 5, 5, 3], 0.1),
        one(&[2, 6, 8, 40], 0.9),
        one(&[2, 9], 0.0),
        one(&[2, 9], 1.0),
        Case::new("dropout/two layers").input(&[4, 301], Fill::Normal(1.0)).step(step).records(|r, v| {
            let once = dropout(r, v[0], 0.3, 1)?;
            Ok(vec![dropout(r, once, 0.3, 2)?])
        }),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_keep_the_mean_and_differ_between_layers_pictures_and_steps() {
        let mask = |layer: u32, picture: usize, step: u32| {
            let kernel = Dropout { pictures: 1, elements: 10_001, layer, probability: 0.25 };
            let mut y = vec![0.0f64; kernel.elements];
            kernel.drop(&Step { step, ..Step::seeded(3) }, picture, &vec![1.0; kernel.elements], &mut y);
            y
        };
        let first = mask(1, 0, 0);
        let mean = first.iter().sum::<f64>() / first.len() as f64;
        assert!((mean - 1.0).abs() < 0.02, "{mean}");
        assert_eq!(mask(1, 0, 0), first);
        for other in [mask(2, 0, 0), mask(1, 1, 0), mask(1, 0, 1)] {
            let same = other.iter().zip(&first).filter(|(a, b)| a == b).count() as f64 / first.len() as f64;
            assert!((same - 0.625).abs() < 0.03, "{same} of two independent masks agree");
        }
    }
}

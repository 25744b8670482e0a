//! Pictures of which a part is known: after a stage of a sampler, x + P (known_t - x), where known_t is what is known with
//! noise of the level where x stands (Song et al. 2021, appendix I.2; Lugmayr et al. 2022, eq. 8).
//!
//! P is an orthogonal projection to what is known: single pixels for inpainting, means over blocks for super-resolution,
//! what a picture's grey is for colourisation.

use super::random::{Purpose, normal, picture_key};
use super::sampler_step::at_row;
use super::{Case, Fill};
use crate::error::{Error, Result};
use crate::plan::{Binding, Bindings, Kernel, Real, Recorder, Shader, Twin, Value, shader};

/// What is known of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Projection {
    /// Pixels.
    Pixels,
    /// Means over squares of so many pixels a side, each channel's.
    Means(usize),
    /// The luma of red, green and blue.
    Grey,
}

/// The weights of red, green and blue in a pixel's grey (ITU-R BT.709), those by which data sets are made grey.
pub const LUMA: [f32; 3] = [0.2126, 0.7152, 0.0722];

#[derive(Clone, Copy, Debug)]
struct KnownPart {
    /// Pictures, height, width, channels.
    shape: [usize; 4],
    projection: Projection,
    rows: usize,
}

impl KnownPart {
    fn block(&self) -> usize {
        if let Projection::Means(side) = self.projection { side } else { 1 }
    }

    /// Channels that have a number together.
    fn together(&self) -> usize {
        if self.projection == Projection::Grey { self.shape[3] } else { 1 }
    }

    /// Numbers that are known, if all are.
    fn len(&self) -> usize {
        let [n, h, w, c] = self.shape;
        n * (h / self.block()) * (w / self.block()) * (c / self.together())
    }

    fn weight<T: Real>(&self, channel: usize) -> T {
        if self.projection == Projection::Grey { T::from_f32(LUMA[channel]) } else { T::one() }
    }
}

impl<T: Real> Twin<T> for KnownPart {
    fn twin(&self, io: &mut Bindings<T>) {
        let (levels, known, mask, x, step) = (io.read(0), io.read(1), io.read(2), io.write(3), io.step());
        let row = step.sampler_row as usize;
        let (signal, noise) = (levels[2 * row], levels[2 * row + 1]);
        let [_, h, w, c] = self.shape;
        let (block, together) = (self.block(), self.together());
        let squares = (0..together).map(|channel| self.weight::<T>(channel).powi(2)).fold(T::zero(), |a, b| a + b);
        for index in 0..self.len() {
            let (first_channel, number) = (index % (c / together) * together, index / (c / together));
            let (across, down) = (w / block, h / block);
            let picture = number / (across * down);
            let (top, left) = (number / across % down * block, number % across * block);
            let pixels = (0..block * block).map(|pixel| (top + pixel / block) * w + left + pixel % block);
            let channels = first_channel..first_channel + together;
            let key = picture_key(step.seed, Purpose::KnownNoise, step.first_picture.wrapping_add(picture as u32));
            let of = |element: usize| {
                let z: T = normal(key, step.sampler_row, element);
                signal * known[picture * h * w * c + element] + noise * z
            };
            let mut difference = T::zero();
            for pixel in pixels.clone() {
                for channel in channels.clone() {
                    let element = pixel * c + channel;
                    difference += self.weight::<T>(channel) * (of(element) - x[picture * h * w * c + element]);
                }
            }
            difference /= T::from_f64((block * block) as f64) * squares;
            for pixel in pixels {
                let m = mask[picture * h * w + pixel];
                for channel in channels.clone() {
                    let element = pixel * c + channel;
                    let i = picture * h * w * c + element;
                    let projected = match self.projection {
                        // What is known, without rounding.
                        Projection::Pixels => of(element),
                        _ => x[i] + self.weight::<T>(channel) * difference,
                    };
                    x[i] = (T::one() - m) * x[i] + m * projected;
                }
            }
        }
    }
}

impl Kernel for KnownPart {
    fn shader(&self) -> Shader {
        shader!("known_part", "grid", "step", "threefry", "sincos", "normal")
    }
    fn parameters(&self) -> Vec<u32> {
        let sizes = [self.shape[0], self.shape[1], self.shape[2], self.shape[3], self.block()].map(|n| n as u32);
        let grey = u32::from(self.projection == Projection::Grey);
        [&sizes[..], &[grey], &LUMA.map(f32::to_bits)].concat()
    }
    fn bindings(&self) -> Vec<Binding> {
        let [n, h, w, c] = self.shape;
        let len = n * h * w * c;
        vec![Binding::read(2 * self.rows), Binding::read(len), Binding::read(n * h * w), Binding::update(len)]
    }
    fn groups(&self) -> usize {
        self.len().div_ceil(64)
    }
}

/// Puts what is known into x `[pictures, height, width, channels]`, in place. Of `levels` `[rows, 2]` the step block's
/// `sampler_row` says signal and noise; `known` has the sizes of x, and `mask` `[pictures, height, width]` is 1 where the
/// known counts, 0 where x stays as it is. The noise is drawn by the row and each picture's number.
///
/// # Errors
/// [`Shape`](Error::Shape) if the sizes do not fit together, or the projection does not fit the sizes.
pub fn known_part(r: &mut Recorder, projection: Projection, [levels, known, mask, x]: [Value; 4]) -> Result<()> {
    let wrong = || {
        let found = [levels, known, mask, x].map(|value| r.shape(value).to_vec());
        let message = format!("levels, known, mask, x {found:?} do not fit together with {projection:?}");
        Error::Shape { op: "known_part", message }
    };
    let (&[rows, 2], &[n, h, w, c]) = (r.shape(levels), r.shape(x)) else { return Err(wrong()) };
    let fits = match projection {
        Projection::Pixels => true,
        Projection::Means(side) => side > 0 && h.is_multiple_of(side) && w.is_multiple_of(side),
        Projection::Grey => c == LUMA.len(),
    };
    if rows == 0 || !fits || r.shape(known) != r.shape(x) || r.shape(mask) != [n, h, w] {
        return Err(wrong());
    }
    r.call(KnownPart { shape: [n, h, w, c], projection, rows }, &[levels, known, mask, x]);
    Ok(())
}

/// Every projection, masks of 0 and 1 and between, with noise and without, odd sizes, more than one workgroup.
pub(super) fn cases() -> Vec<Case> {
    let levels = Fill::Floats(vec![0.0, 0.0, 0.8, 0.6, 1.0, 0.0]);
    let edge = Fill::Floats(vec![1.0, 0.0, 1.0, 1.0, 0.0]);
    let mut cases = Vec::new();
    for (projection, shape, mask, row) in [
        (Projection::Pixels, [1, 1, 1, 1], Fill::Floats(vec![1.0]), 1),
        (Projection::Pixels, [3, 3, 5, 3], edge.clone(), 1),
        (Projection::Pixels, [2, 11, 13, 1], Fill::Uniform(0.0, 1.0), 1),
        (Projection::Pixels, [2, 5, 3, 2], edge.clone(), 2),
        (Projection::Means(3), [2, 3, 9, 3], Fill::Floats(vec![1.0]), 1),
        (Projection::Means(2), [3, 10, 14, 1], edge.clone(), 1),
        (Projection::Means(4), [1, 4, 4, 2], Fill::Uniform(0.0, 1.0), 2),
        (Projection::Grey, [3, 3, 5, 3], Fill::Floats(vec![1.0]), 1),
        (Projection::Grey, [2, 9, 11, 3], edge, 2),
    ] {
        let case = Case::new(format!("known_part/{projection:?} of {shape:?}, row {row}"))
            .constant(&[3, 2], levels.clone())
            .constant(&shape, Fill::Normal(1.0))
            .constant(&shape[..3], mask)
            .constant(&shape, Fill::Normal(1.0))
            .step(at_row(row))
            .records(move |r, v| {
                known_part(r, projection, [v[0], v[1], v[2], v[3]])?;
                Ok(vec![v[3]])
            });
        cases.push(case);
    }
    cases
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{Device, Host};
    use crate::plan::{Step, Storage};

    /// x of so many pictures of [4, 4, 3], with what is known of it put in, without noise.
    fn put(projection: Projection, known: &[f64], x: &[f64]) -> Vec<f64> {
        let shape = [1, 4, 4, 3];
        let [levels, of_known, mask, state] =
            [("levels", 2), ("known", 48), ("mask", 16), ("x", 48)].map(|(name, len)| Storage::f32(name, len));
        let mut r = Recorder::new();
        let values = [
            r.input(&levels, &[1, 2]),
            r.input(&of_known, &shape),
            r.input(&mask, &shape[..3]),
            r.input(&state, &shape),
        ];
        known_part(&mut r, projection, values).unwrap();
        let mut host = Host::<f64>::reference();
        let plan = host.load(&r.finish()).unwrap();
        host.floats_mut(&levels).unwrap().copy_from_slice(&[1.0, 0.0]);
        host.floats_mut(&of_known).unwrap().copy_from_slice(known);
        host.floats_mut(&mask).unwrap().fill(1.0);
        host.floats_mut(&state).unwrap().copy_from_slice(x);
        host.run(plan, &Step::seeded(1)).unwrap();
        host.floats(&state).to_vec()
    }

    #[test]
    fn what_is_known_holds_and_the_rest_stays() {
        let known: Vec<f64> = (0..48).map(|i| (f64::from(i) * 1.7).sin()).collect();
        let x: Vec<f64> = (0..48).map(|i| (f64::from(i) * 0.9).cos()).collect();
        let luma = |x: &[f64]| -> Vec<f64> {
            x.chunks_exact(3).map(|pixel| pixel.iter().zip(LUMA).map(|(x, w)| x * f64::from(w)).sum()).collect()
        };
        let means = |x: &[f64]| -> Vec<f64> {
            let of = |block: usize, channel: usize| -> f64 {
                let at = |i: usize| ((block / 2 * 2 + i / 2) * 4 + block % 2 * 2 + i % 2) * 3 + channel;
                (0..4).map(|i| x[at(i)] / 4.0).sum()
            };
            (0..4).flat_map(|block| (0..3).map(move |channel| (block, channel))).map(|(b, c)| of(b, c)).collect()
        };
        let all = |x: &[f64]| x.to_vec();
        type Part<'a> = &'a dyn Fn(&[f64]) -> Vec<f64>;
        let parts: [(Projection, Part); 3] =
            [(Projection::Pixels, &all), (Projection::Means(2), &means), (Projection::Grey, &luma)];
        for (projection, part) in parts {
            let after = put(projection, &known, &x);
            let near = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-12);
            assert!(near(&part(&after), &part(&known)), "{projection:?}");
            // The nearest of all pictures of which that is known: once more changes nothing, and the way there is straight.
            assert!(near(&put(projection, &known, &after), &after), "{projection:?}");
            let moved: Vec<f64> = after.iter().zip(&x).map(|(after, x)| after - x).collect();
            let apart: Vec<f64> = known.iter().zip(&after).map(|(known, after)| known - after).collect();
            assert!(moved.iter().zip(&apart).map(|(a, b)| a * b).sum::<f64>().abs() < 1e-12, "{projection:?}");
        }
    }
}

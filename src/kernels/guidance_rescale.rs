//! Guidance makes outputs too large. How much smaller they are made again, for every picture: so that their standard
//! deviation is that of the conditional output, or part of the way there (Lin et al. 2023, eq. 14 to 16).

use super::sampler_step::{COLUMNS, Sizes, Weights, at_row, place, sizes};
use super::{Case, Fill};
use crate::error::{Error, Result};
use crate::plan::{Binding, Bindings, Kernel, Real, Recorder, Shader, Twin, Value, shader};

/// factors `[pictures]` of an output of two passes and the stage's weights.
#[derive(Clone, Copy, Debug)]
struct Rescale {
    sizes: Sizes,
    phi: f32,
}

/// The standard deviation of what `of` says of each of so many elements.
fn deviation<T: Real>(elements: usize, of: impl Fn(usize) -> T) -> T {
    let count = T::from_usize(elements);
    let mean = (0..elements).map(&of).sum::<T>() / count;
    ((0..elements).map(|i| (of(i) - mean).powi(2)).sum::<T>() / count).sqrt()
}

impl<T: Real> Twin<T> for Rescale {
    fn twin(&self, io: &mut Bindings<T>) {
        let (table, output) = (io.read(0), io.read(1));
        let weight = table[io.step().sampler_row as usize * COLUMNS + 13];
        let Sizes { elements, channels, output_channels, .. } = self.sizes;
        let phi = T::from_f32(self.phi);
        for (picture, factor) in io.write(2).iter_mut().enumerate() {
            let first = picture * elements;
            let conditional = deviation(elements, |i| output[place(first + i, channels, output_channels)]);
            let guided = deviation(elements, |i| self.sizes.prediction(output, first + i, weight));
            // What does not vary has no size to keep.
            *factor = if guided == T::zero() { T::one() } else { phi * conditional / guided + (T::one() - phi) };
        }
    }
}

impl Kernel for Rescale {
    fn shader(&self) -> Shader {
        shader!("guidance_rescale", "grid", "step", "reduce")
    }
    fn parameters(&self) -> Vec<u32> {
        let Sizes { pictures, elements, channels, output_channels, .. } = self.sizes;
        [[pictures, elements, channels, output_channels].map(|n| n as u32).as_slice(), &[self.phi.to_bits()]].concat()
    }
    fn bindings(&self) -> Vec<Binding> {
        let Sizes { pictures, rows, .. } = self.sizes;
        vec![Binding::read(rows * COLUMNS), Binding::read(self.sizes.output_len()), Binding::write(pictures)]
    }
    fn groups(&self) -> usize {
        self.sizes.pictures
    }
    fn flops(&self) -> u64 {
        // Two passes over both outputs.
        2 * 6 * self.sizes.len() as u64
    }
}

/// What the guided output of each picture of x `[pictures, height, width, channels]` is to be multiplied by, for the stage
/// of the step block's `sampler_row` of the `table`; `phi` is 0 for nothing and 1 for the conditional output's deviation.
///
/// # Errors
/// [`Shape`](Error::Shape) if the sizes do not fit together, or the output is not of two passes.
pub fn guidance_rescale(r: &mut Recorder, table: Value, output: Value, x: Value, phi: f32) -> Result<Value> {
    let sizes = sizes("guidance_rescale", r, table, output, x)?;
    if !sizes.guided {
        let message = format!("output {:?}, expected twice as many pictures as {:?}", r.shape(output), r.shape(x));
        return Err(Error::Shape { op: "guidance_rescale", message });
    }
    let factors = r.f32(&[sizes.pictures]);
    r.call(Rescale { sizes, phi }, &[table, output, factors]);
    Ok(factors)
}

/// Part of the way and all of it, one element, more than a workgroup has threads, variances beside, nothing that varies, a
/// mean far from 0.
pub(super) fn cases() -> Vec<Case> {
    let rows = [4.0, -1.5].map(|guidance| Weights { guidance, ..Weights::default() });
    let table: Vec<f32> = rows.iter().flat_map(Weights::row).map(|value| value as f32).collect();
    let case = |shape: [usize; 4], outputs: usize, phi: f32, row: u32, output: Fill| {
        let [n, h, w, _] = shape;
        Case::new(format!("guidance_rescale/{phi} {shape:?} of {outputs}, row {row} {output:?}"))
            .constant(&[rows.len(), COLUMNS], Fill::Floats(table.clone()))
            .constant(&[2 * n, h, w, outputs], output)
            .constant(&shape, Fill::Normal(1.0))
            .step(at_row(row))
            .records(move |r, v| Ok(vec![guidance_rescale(r, v[0], v[1], v[2], phi)?]))
    };
    vec![
        case([3, 5, 7, 3], 3, 0.7, 0, Fill::Normal(1.0)),
        case([2, 17, 19, 1], 2, 1.0, 1, Fill::Normal(0.1)),
        case([5, 1, 1, 1], 1, 0.5, 0, Fill::Normal(1.0)),
        case([2, 3, 3, 2], 4, 0.0, 0, Fill::Normal(1.0)),
        case([2, 8, 8, 1], 1, 0.9, 0, Fill::Floats(vec![0.25])),
        case([4, 9, 5, 3], 6, 0.7, 1, Fill::Uniform(3.0, 4.0)),
    ]
}

//! Dynamic thresholding (Saharia et al. 2022, section 2.3): for every picture a quantile of |x_0|, held between 1 and a
//! largest value. What a sampler's stage clips x_0 to, and divides it by.

use super::sampler_step::{COLUMNS, Sizes, Weights, at_row, sizes};
use super::{Case, Fill};
use crate::error::{Error, Result};
use crate::plan::{Binding, Bindings, Kernel, Real, Recorder, Shader, Twin, Value, shader};

/// Which quantile, and what it is held below.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DynamicThreshold {
    /// 0 is the smallest |x_0| of a picture, 1 the largest; between two values, on a line between them.
    pub ratio: f32,
    /// The largest threshold.
    pub most: f32,
}

impl DynamicThreshold {
    /// The place of the quantile among so many sorted numbers, and how far it is from there to the next; in singles, as
    /// PyTorch has it.
    fn rank(&self, count: usize) -> (usize, f32) {
        let rank = self.ratio * (count - 1) as f32;
        let below = (rank.floor() as usize).min(count - 1);
        (below, if below + 1 < count { rank - rank.floor() } else { 0.0 })
    }

    /// The threshold of a picture, of the sizes of all its elements.
    pub fn of<T: Real>(&self, sizes: &mut [T]) -> T {
        let (below, part) = self.rank(sizes.len());
        // A NaN is larger than everything.
        sizes.sort_unstable_by(|a, b| a.partial_cmp(b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan())));
        let above = sizes[(below + 1).min(sizes.len() - 1)];
        let quantile = if part > 0.0 { sizes[below] + T::from_f32(part) * (above - sizes[below]) } else { sizes[below] };
        let held = if quantile < T::one() { T::one() } else { quantile };
        let most = T::from_f32(self.most);
        if held > most { most } else { held }
    }
}

/// thresholds `[pictures]` of x, the network's output and the stage's weights.
#[derive(Clone, Copy, Debug)]
struct Thresholds {
    sizes: Sizes,
    rescaled: bool,
    pulled: bool,
    threshold: DynamicThreshold,
}

impl<T: Real> Twin<T> for Thresholds {
    fn twin(&self, io: &mut Bindings<T>) {
        let (table, output, factors, gradient, x) = (io.read(0), io.read(1), io.read(2), io.read(3), io.read(4));
        let row = &table[io.step().sampler_row as usize * COLUMNS..];
        for (picture, threshold) in io.write(5).iter_mut().enumerate() {
            let all = picture * self.sizes.elements..(picture + 1) * self.sizes.elements;
            let of_output = row[1] * if self.rescaled { factors[picture] } else { T::one() };
            let pull = |i: usize| if self.pulled { row[14] * gradient[i] } else { T::zero() };
            let x0 = |i: usize| {
                row[0] * x[i] + of_output * self.sizes.prediction(output, i, row[13]) + row[1] * pull(i)
            };
            *threshold = self.threshold.of(&mut all.map(|i| x0(i).abs()).collect::<Vec<T>>());
        }
    }
}

impl Kernel for Thresholds {
    fn shader(&self) -> Shader {
        shader!("dynamic_threshold", "grid", "step")
    }
    fn parameters(&self) -> Vec<u32> {
        let (below, part) = self.threshold.rank(self.sizes.elements);
        let rest = [self.rescaled.into(), self.pulled.into(), below as u32, part.to_bits(), self.threshold.most.to_bits()];
        [&self.sizes.parameters()[..], &rest].concat()
    }
    fn bindings(&self) -> Vec<Binding> {
        let Sizes { pictures, rows, .. } = self.sizes;
        let table = Binding::read(rows * COLUMNS);
        let factors = if self.rescaled { Binding::read(pictures) } else { table };
        let (output, x) = (Binding::read(self.sizes.output_len()), Binding::read(self.sizes.len()));
        let gradient = if self.pulled { x } else { table };
        vec![table, output, factors, gradient, x, Binding::write(pictures)]
    }
    fn groups(&self) -> usize {
        self.sizes.pictures
    }
    fn flops(&self) -> u64 {
        // Five passes over all elements.
        5 * 8 * self.sizes.len() as u64
    }
}

/// A threshold for each picture of x `[pictures, height, width, channels]`, for the stage of the step block's
/// `sampler_row` of the `table`. The output is of one pass or of two, with guidance's `factors` if it is rescaled
/// and the `gradient` that shifts it if there is one, as of [`sampler_step`](super::sampler_step::sampler_step).
///
/// # Errors
/// [`Shape`](Error::Shape) if the sizes do not fit together.
pub fn dynamic_threshold(
    r: &mut Recorder,
    table: Value,
    output: Value,
    [factors, gradient]: [Option<Value>; 2],
    x: Value,
    threshold: DynamicThreshold,
) -> Result<Value> {
    let sizes = sizes("dynamic_threshold", r, table, output, x)?;
    if let Some(found) = factors.map(|factors| r.len(factors)).filter(|&len| !sizes.guided || len != sizes.pictures) {
        let message = format!("{found} factors, expected one for each of {} guided pictures", sizes.pictures);
        return Err(Error::Shape { op: "dynamic_threshold", message });
    }
    if gradient.is_some_and(|gradient| r.len(gradient) != sizes.len()) {
        let message = "as much of a gradient as pictures is expected".into();
        return Err(Error::Shape { op: "dynamic_threshold", message });
    }
    let thresholds = r.f32(&[sizes.pictures]);
    let kernel = Thresholds { sizes, rescaled: factors.is_some(), pulled: gradient.is_some(), threshold };
    let [factors, gradient] = [factors, gradient].map(|value| value.unwrap_or(table));
    r.call(kernel, &[table, output, factors, gradient, x, thresholds]);
    Ok(thresholds)
}

/// Both ends and the middle, quantiles between two values and on one, equal values, one element, one pass and two, with a
/// gradient and without, odd sizes.
pub(super) fn cases() -> Vec<Case> {
    let row = Weights { guidance: 3.0, of_gradient: [-0.7, 2.0], ..Weights::default() };
    let rows = [Weights { x0_of: [1.6, -2.2], ..row }, Weights { x0_of: [0.0, 1.5], ..row }];
    let table: Vec<f32> = rows.iter().flat_map(Weights::row).map(|value| value as f32).collect();
    let mut cases = Vec::new();
    for (shape, outputs, ratio, most, row, passes, pulled) in [
        ([3, 5, 7, 3], 3, 0.995, 100.0, 0, 1, false),
        ([3, 5, 7, 3], 6, 0.9, 2.0, 0, 1, false),
        ([2, 16, 17, 1], 1, 0.75, 1e4, 0, 1, false),
        ([2, 4, 4, 1], 1, 1.0, 1e4, 1, 1, false),
        ([2, 3, 3, 1], 1, 0.5, 1e4, 0, 1, false),
        ([4, 1, 1, 1], 2, 0.9, 1e4, 1, 1, false),
        ([1, 9, 9, 4], 4, 0.0, 0.5, 0, 1, false),
        ([3, 7, 5, 3], 6, 0.9, 1e4, 0, 2, false),
        ([2, 17, 16, 1], 1, 0.995, 1e4, 1, 2, false),
        ([2, 5, 7, 3], 6, 0.8, 1e4, 0, 1, true),
        ([3, 6, 5, 3], 6, 0.9, 1e4, 1, 2, true),
    ] {
        let [n, h, w, _] = shape;
        let threshold = DynamicThreshold { ratio, most };
        for (what, output, x) in [
            ("normal", Fill::Normal(1.0), Fill::Normal(1.0)),
            ("equal", Fill::Floats(vec![2.0, -2.0, 0.5]), Fill::Floats(vec![0.0])),
        ] {
            cases.push(
                Case::new(format!("dynamic_threshold/{ratio} below {most} {what} {shape:?}, {passes} passes"))
                    .constant(&[rows.len(), COLUMNS], Fill::Floats(table.clone()))
                    .constant(&[passes * n, h, w, outputs], output)
                    .constant(&shape, x)
                    .constant(&[n], Fill::Uniform(0.4, 1.1))
                    .constant(&shape, Fill::Normal(1.0))
                    .step(at_row(row))
                    .records(move |r, v| {
                        // Of two passes with channels for variances, rescaled too.
                        let factors = (passes == 2 && outputs > 1).then_some(v[3]);
                        let pulls = [factors, pulled.then_some(v[4])];
                        Ok(vec![dynamic_threshold(r, v[0], v[1], pulls, v[2], threshold)?])
                    }),
            );
        }
    }
    cases
}

//! One stage of any sampler, fused: x_0 from the network's output, clipped, then the new x as a weighted sum of x, x_0, the
//! output, what earlier stages kept, and noise that is drawn where it is used. One read of x and of the output, one write.
//! Where the network was asked twice, with a class and without, its output is first put together from both; a gradient that
//! guides shifts it, or the new x.

use super::random::{Purpose, normal, picture_key};
use super::{Case, Fill};
use crate::error::{Error, Result};
use crate::plan::{Binding, Bindings, Kernel, Real, Recorder, Shader, Step, Twin, Value, shader};

/// The weights of a stage, which do not depend on the element: a row of the table that the kernel reads.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Weights {
    /// The predicted x_0 of x and of the network's output; it is clipped then.
    pub x0_of: [f64; 2],
    /// The new x of x, of the clipped x_0 and of the network's output.
    pub x_of: [f64; 3],
    /// The new x of what the last stage but none, and but one, has kept.
    pub x_of_kept: [f64; 2],
    /// What this stage keeps, of x, of the clipped x_0 and of the network's output.
    pub kept_of: [f64; 3],
    /// Standard deviation of the noise; where the network says it, not 0 if there is noise.
    pub noise: f64,
    /// The logarithm of the standard deviation where the network's v says it: a + b v. Where it says the variance itself,
    /// a is the least that it is taken for.
    pub log_deviation: [f64; 2],
    /// How far guidance goes from the unconditional output towards the conditional one, which is at 1; looked at only where
    /// there are both.
    pub guidance: f64,
    /// What the gradient that guides is added by to the network's output (Dhariwal & Nichol 2021, algorithm 2), and, times
    /// the variance of the noise, to the new x where there is noise (algorithm 1).
    pub of_gradient: [f64; 2],
}

/// Numbers in a row of the table.
pub const COLUMNS: usize = 16;

impl Weights {
    /// A row of the table.
    pub fn row(&self) -> [f64; COLUMNS] {
        let Self { x0_of: [a, b], x_of: [c, d, e], x_of_kept: [f, g], kept_of: [h, i, j], noise, .. } = *self;
        let [k, l] = self.log_deviation;
        let [m, n] = self.of_gradient;
        [a, b, c, d, e, f, g, h, i, j, noise, k, l, self.guidance, m, n]
    }

    pub(super) fn read<T: Real>(table: &[T], row: usize) -> [T; COLUMNS] {
        std::array::from_fn(|column| table[row * COLUMNS + column])
    }
}

/// How the predicted x_0 is clipped.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Clipping {
    /// Not at all.
    None,
    /// To [-range, range].
    Range(f32),
    /// To [-s, s], s being a number for each picture, and divided by s (Saharia et al. 2022, section 2.3).
    Threshold,
}

impl Clipping {
    /// Words of a shader's block: whether it is to a threshold, and the bits of the range.
    pub(super) fn parameters(self) -> [u32; 2] {
        match self {
            Self::None => [0, f32::INFINITY.to_bits()],
            Self::Range(range) => [0, range.to_bits()],
            Self::Threshold => [1, f32::INFINITY.to_bits()],
        }
    }
}

/// Where the standard deviation of a stage's noise is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deviation {
    /// The table.
    Fixed = 0,
    /// The variance is the network's second set of channels.
    Learned = 1,
    /// Its logarithm is a line of the network's second set of channels (Nichol & Dhariwal 2021, eq. 15).
    LearnedRange = 2,
}

/// What all stages of a sampler have in common.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SamplerStep {
    /// How the predicted x_0 is clipped.
    pub clipping: Clipping,
    /// Where the standard deviation of the noise is from.
    pub deviation: Deviation,
    /// How many stages keep what for later ones, at most 2.
    pub history: usize,
}

/// What a stage reads and writes; all but the tables and thresholds are `[pictures, height, width, channels]`.
#[derive(Clone, Copy, Debug)]
pub struct Operands {
    /// Rows of [`Weights`]; the step block's `sampler_row` says which.
    pub table: Value,
    /// The network's output: as many channels as x, or twice as many, of which the second half says the variances. Of as
    /// many pictures as x, or, for guidance, of twice as many: first what it says with a class, then without. A stage
    /// without the network has none, and sums as if it were 0.
    pub output: Option<Value>,
    /// `[pictures]`, where guidance is rescaled: [`guidance_rescale`](super::guidance_rescale)'s.
    pub factors: Option<Value>,
    /// What guides, where something does: a gradient in x, such as a classifier's log p(y | x).
    pub gradient: Option<Value>,
    /// `[pictures]`, for [`Clipping::Threshold`].
    pub thresholds: Option<Value>,
    /// The noise, if it is not drawn by the step's seed and `sampler_noise` and each picture's number.
    pub noise: Option<Value>,
    /// What stages have kept, the latest first: `[history, ..]`.
    pub kept: Option<Value>,
    /// Updated in place.
    pub x: Value,
}

#[derive(Clone, Copy, Debug)]
struct Stage {
    sizes: Sizes,
    step: SamplerStep,
    predicted: bool,
    noise_given: bool,
    rescaled: bool,
    pulled: bool,
}

/// Where an element's prediction, and its variance if there is one, are in the network's output.
pub(super) fn place(index: usize, channels: usize, output_channels: usize) -> usize {
    index / channels * output_channels + index % channels
}

/// The sizes of a stage.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub(super) pictures: usize,
    /// Elements of a picture.
    pub(super) elements: usize,
    pub(super) channels: usize,
    pub(super) output_channels: usize,
    /// Whether the output is of two passes.
    pub(super) guided: bool,
    pub(super) rows: usize,
}

impl Sizes {
    pub(super) fn len(&self) -> usize {
        self.pictures * self.elements
    }

    /// Numbers that one pass of the network says.
    pub(super) fn pass_len(&self) -> usize {
        self.len() / self.channels * self.output_channels
    }

    pub(super) fn output_len(&self) -> usize {
        self.pass_len() * if self.guided { 2 } else { 1 }
    }

    pub(super) fn parameters(&self) -> Vec<u32> {
        let Self { pictures, elements, channels, output_channels, guided, .. } = *self;
        [pictures, elements, channels, output_channels, guided.into()].map(|n| n as u32).to_vec()
    }

    /// The network's prediction for an element, guided by a row's weight if it is of two passes (Ho & Salimans 2022,
    /// eq. 6, whose w is the weight less 1).
    pub(super) fn prediction<T: Real>(&self, output: &[T], element: usize, weight: T) -> T {
        let at = place(element, self.channels, self.output_channels);
        let conditional = output[at];
        if !self.guided {
            return conditional;
        }
        let unconditional = output[self.pass_len() + at];
        unconditional + weight * (conditional - unconditional)
    }
}

/// How x_0 is predicted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Prediction {
    pub(super) sizes: Sizes,
    /// Whether there is an output of the network.
    pub(super) asked: bool,
    pub(super) clipping: Clipping,
    pub(super) rescaled: bool,
    pub(super) pulled: bool,
}

/// A number brought into [-range, range]. Comparisons leave NaN as it is; max and min would hide it.
pub(super) fn clipped<T: Real>(value: T, range: T) -> T {
    if value > range {
        range
    } else if value < -range {
        -range
    } else {
        value
    }
}

impl Prediction {
    /// What the network's output comes to for an element, whose x is `before`, and the clipped x_0.
    pub(super) fn of<T: Real>(
        &self,
        w: &[T; COLUMNS],
        i: usize,
        before: T,
        [output, factors, thresholds, gradient]: [&[T]; 4],
    ) -> [T; 2] {
        let picture = i / self.sizes.elements;
        let mut out = if self.asked { self.sizes.prediction(output, i, w[13]) } else { T::zero() };
        if self.rescaled {
            out *= factors[picture];
        }
        if self.pulled {
            out += w[14] * gradient[i];
        }
        let x0 = w[0] * before + w[1] * out;
        let x0 = match self.clipping {
            Clipping::None => x0,
            Clipping::Range(range) => clipped(x0, T::from_f32(range)),
            Clipping::Threshold => clipped(x0, thresholds[picture]) / thresholds[picture],
        };
        [out, x0]
    }
}

impl<T: Real> Twin<T> for Stage {
    fn twin(&self, io: &mut Bindings<T>) {
        let (table, output, factors, thresholds, given) =
            (io.read(0), io.read(1), io.read(2), io.read(3), io.read(4));
        let (gradient, kept, x, step) = (io.read(5), io.write(6), io.write(7), io.step());
        let w = Weights::read(table, step.sampler_row as usize);
        let Self { sizes, step: SamplerStep { clipping, .. }, rescaled, pulled, predicted: asked, .. } = *self;
        let prediction = Prediction { sizes, asked, clipping, rescaled, pulled };
        for i in 0..x.len() {
            let picture = i / sizes.elements;
            let before = x[i];
            let [out, x0] = prediction.of(&w, i, before, [output, factors, thresholds, gradient]);
            // The conditional pass says it.
            let of_variance = place(i, sizes.channels, sizes.output_channels) + sizes.channels;
            let mut after = w[2] * before + w[3] * x0 + w[4] * out;
            // What was kept before a chain began is not looked at, whatever it is.
            for back in 0..self.step.history {
                if w[5 + back] != T::zero() {
                    after += w[5 + back] * kept[back * x.len() + i];
                }
            }
            if self.step.history > 1 {
                kept[x.len() + i] = kept[i];
            }
            if self.step.history > 0 {
                kept[i] = w[7] * before + w[8] * x0 + w[9] * out;
            }
            if w[10] != T::zero() {
                let noise = if self.noise_given {
                    given[i]
                } else {
                    let number = step.first_picture.wrapping_add(picture as u32);
                    let key = picture_key(step.seed, Purpose::ReverseNoise, number);
                    normal(key, step.sampler_noise, i % sizes.elements)
                };
                let deviation = match self.step.deviation {
                    Deviation::Fixed => w[10],
                    Deviation::Learned => {
                        let variance = output[of_variance];
                        // A NaN stays one.
                        if variance < w[11] { w[11].sqrt() } else { variance.sqrt() }
                    }
                    Deviation::LearnedRange => (w[11] + w[12] * output[of_variance]).exp(),
                };
                after += deviation * noise;
                if self.pulled {
                    after += w[15] * deviation * deviation * gradient[i];
                }
            }
            x[i] = after;
        }
    }
}

impl Kernel for Stage {
    fn shader(&self) -> Shader {
        shader!("sampler_step", "grid", "step", "threefry", "sincos", "normal", "clipped")
    }
    fn parameters(&self) -> Vec<u32> {
        let SamplerStep { clipping, deviation, history } = self.step;
        let [thresholding, range] = clipping.parameters();
        let rest = [history as u32, thresholding, range, deviation as u32, self.noise_given.into()];
        let operands = [self.rescaled, self.pulled, self.predicted].map(u32::from);
        [&self.sizes.parameters()[..], &rest, &operands].concat()
    }
    fn bindings(&self) -> Vec<Binding> {
        let Sizes { pictures, rows, .. } = self.sizes;
        let len = self.sizes.len();
        let table = Binding::read(rows * COLUMNS);
        let for_each = |wanted: bool| if wanted { Binding::read(pictures) } else { table };
        let (factors, thresholds) = (for_each(self.rescaled), for_each(self.step.clipping == Clipping::Threshold));
        let for_all = |wanted: bool| if wanted { Binding::read(len) } else { table };
        let (given, gradient) = (for_all(self.noise_given), for_all(self.pulled));
        let kept = Binding::update((self.step.history * len).max(1));
        let output = if self.predicted { Binding::read(self.sizes.output_len()) } else { table };
        vec![table, output, factors, thresholds, given, gradient, kept, Binding::update(len)]
    }
    fn groups(&self) -> usize {
        (self.sizes.pictures * self.sizes.elements.div_ceil(2)).div_ceil(256)
    }
}

/// The sizes of a stage, if they fit together.
pub(super) fn sizes(op: &'static str, r: &Recorder, table: Value, output: Value, x: Value) -> Result<Sizes> {
    let wrong = || {
        let message = format!("table {:?}, output {:?}, x {:?} do not fit", r.shape(table), r.shape(output), r.shape(x));
        Error::Shape { op, message }
    };
    let (&[rows, COLUMNS], &[pictures, height, width, channels], &[n, h, w, output_channels]) =
        (r.shape(table), r.shape(x), r.shape(output))
    else {
        return Err(wrong());
    };
    let guided = n == 2 * pictures;
    let fits = (guided || n == pictures) && [h, w] == [height, width];
    let says = output_channels == channels || output_channels == 2 * channels;
    if rows == 0 || channels == 0 || !fits || !says {
        return Err(wrong());
    }
    Ok(Sizes { pictures, elements: height * width * channels, channels, output_channels, guided, rows })
}

/// Takes the stage of the step block's `sampler_row`.
///
/// # Errors
/// [`Shape`](Error::Shape) if the sizes do not fit together.
pub fn sampler_step(r: &mut Recorder, step: SamplerStep, operands: Operands) -> Result<()> {
    let Operands { table, output, factors, gradient, thresholds, noise, kept, x } = operands;
    let sizes = sizes("sampler_step", r, table, output.unwrap_or(x), x)?;
    let wrong = |message: &str| Err(Error::Shape { op: "sampler_step", message: message.into() });
    if step.deviation != Deviation::Fixed && sizes.output_channels != 2 * sizes.channels {
        return wrong("learned variances need twice as many output channels as the pictures have");
    }
    if noise.into_iter().chain(gradient).any(|value| r.len(value) != r.len(x)) {
        return wrong("as much noise, and as much of a gradient, as pictures is expected");
    }
    if thresholds.map_or(0, |thresholds| r.len(thresholds))
        != if step.clipping == Clipping::Threshold { sizes.pictures } else { 0 }
    {
        return wrong("a threshold for each picture is expected where x_0 is clipped to them");
    }
    if factors.is_some_and(|factors| !sizes.guided || r.len(factors) != sizes.pictures) {
        return wrong("a factor for each picture is expected where guidance is rescaled");
    }
    if step.history > 2 || kept.map_or(0, |kept| r.len(kept)) != step.history * r.len(x) {
        return wrong("room for at most two stages' kept pictures is expected");
    }
    let kept = match kept {
        Some(kept) => kept,
        None => r.f32(&[1]),
    };
    let [predicted, noise_given, rescaled, pulled] = [output, noise, factors, gradient].map(|value| value.is_some());
    let kernel = Stage { sizes, step, predicted, noise_given, rescaled, pulled };
    let [output, factors, thresholds, noise, gradient] =
        [output, factors, thresholds, noise, gradient].map(|value| value.unwrap_or(table));
    r.call(kernel, &[table, output, factors, thresholds, noise, gradient, kept, x]);
    Ok(())
}

/// A step that reads this row of a case's table.
pub(super) fn at_row(row: u32) -> Step {
    Step { sampler_row: row, sampler_noise: 41, first_picture: 9, ..Step::seeded(3) }
}

/// What a case's output is of.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Guided {
    Unasked,
    Pass,
    Both,
    Rescaled,
}

/// Every way of clipping, learned variances, histories of 0 to 2, given and drawn noise and none, no pass of the network,
/// one, and two with and without rescaling, with a gradient and without, odd sizes.
pub(super) fn cases() -> Vec<Case> {
    use Clipping::{None as Free, Range, Threshold};
    use Deviation::{Fixed, Learned, LearnedRange};
    use Guided::{Both, Pass, Rescaled, Unasked};
    // Predictions of the noise, of x_0, of v; all that there is; no noise.
    let [full, row] = [0.3, 0.0].map(|noise| Weights {
        x0_of: [1.6, -1.2],
        x_of: [0.7, 0.4, -0.2],
        x_of_kept: [0.5, -0.3],
        kept_of: [0.9, -0.4, 0.6],
        noise,
        log_deviation: [-1.3, 0.8],
        guidance: 2.5,
        of_gradient: [0.35, -1.7],
    });
    let rows = [
        Weights { x0_of: [0.0, 1.0], ..row },
        full,
        Weights { x0_of: [0.6, -0.8], ..full },
        row,
        // Many of the learned variances are less.
        Weights { log_deviation: [0.9, 0.0], ..full },
    ];
    let table: Vec<f32> = rows.iter().flat_map(Weights::row).map(|value| value as f32).collect();
    let mut cases = Vec::new();
    for (clipping, deviation, history, noise_given, row, guidance, pulled) in [
        (Range(1.0), Fixed, 0, false, 1, Pass, false),
        (Range(0.5), Fixed, 1, true, 2, Pass, false),
        (Free, Fixed, 2, false, 2, Pass, false),
        (Free, Fixed, 2, true, 3, Pass, false),
        (Free, Fixed, 0, false, 0, Pass, false),
        (Threshold, Fixed, 1, false, 1, Pass, false),
        (Threshold, LearnedRange, 0, true, 1, Pass, false),
        (Range(1.5), LearnedRange, 0, false, 2, Pass, false),
        (Free, Learned, 2, true, 1, Pass, false),
        (Range(1.0), Learned, 0, false, 0, Pass, false),
        (Free, Learned, 0, false, 4, Pass, false),
        (Free, Fixed, 1, false, 2, Both, false),
        (Threshold, LearnedRange, 0, false, 1, Both, false),
        (Range(1.0), Learned, 2, true, 4, Rescaled, false),
        (Range(0.5), Fixed, 0, false, 1, Rescaled, false),
        (Range(1.5), Fixed, 1, false, 1, Pass, true),
        (Free, Fixed, 0, false, 3, Pass, true),
        (Free, LearnedRange, 0, false, 2, Pass, true),
        (Range(1.0), Learned, 2, true, 4, Rescaled, true),
        (Threshold, Fixed, 0, true, 2, Both, true),
        (Free, Fixed, 0, false, 1, Unasked, false),
        (Free, Fixed, 1, true, 2, Unasked, false),
    ] {
        let step = SamplerStep { clipping, deviation, history };
        for shape in [[3, 3, 5, 3], [2, 24, 25, 1]] {
            let passes = if matches!(guidance, Pass | Unasked) { 1 } else { 2 };
            let source = if noise_given { "given" } else { "drawn" };
            let name = format!(
                "sampler_step/{clipping:?} {deviation:?} {history} kept, row {row} {source} {guidance:?} {}{}",
                shape[0],
                if pulled { " pulled" } else { "" }
            );
            let [n, h, w, c] = shape;
            let outputs = if deviation == Fixed { c } else { 2 * c };
            // A learned variance is not negative.
            let output = if deviation == Learned { Fill::Uniform(0.1, 2.0) } else { Fill::Normal(1.0) };
            cases.push(
                Case::new(name)
                    .constant(&[rows.len(), COLUMNS], Fill::Floats(table.clone()))
                    .constant(&[passes * n, h, w, outputs], output)
                    .constant(&[n], Fill::Uniform(0.5, 1.5))
                    .constant(&shape, Fill::Normal(1.0))
                    .constant(&[history.max(1) * n, h, w, c], Fill::Normal(1.0))
                    .constant(&shape, Fill::Normal(1.0))
                    .constant(&[n], Fill::Uniform(0.4, 1.1))
                    .constant(&shape, Fill::Normal(1.0))
                    .step(at_row(row))
                    .records(move |r, v| {
                        let kept = (history > 0).then_some(v[4]);
                        let operands = Operands {
                            table: v[0],
                            output: (guidance != Unasked).then_some(v[1]),
                            factors: (guidance == Rescaled).then_some(v[6]),
                            gradient: pulled.then_some(v[7]),
                            thresholds: (clipping == Threshold).then_some(v[2]),
                            noise: noise_given.then_some(v[3]),
                            kept,
                            x: v[5],
                        };
                        sampler_step(r, step, operands)?;
                        Ok([v[5]].into_iter().chain(kept).collect())
                    }),
            );
        }
    }
    cases
}

//! The x_0 that a stage of a sampler goes by, guided and clipped as [`sampler_step`](super::sampler_step) does it: for those
//! who watch.

use super::sampler_step::{COLUMNS, Clipping, Prediction, Weights, at_row, sizes};
use super::{Case, Fill};
use crate::error::{Error, Result};
use crate::plan::{Binding, Bindings, Kernel, Real, Recorder, Shader, Twin, Value, shader};

#[derive(Clone, Copy, Debug)]
struct PredictedX0 {
    prediction: Prediction,
    rows: usize,
}

impl<T: Real> Twin<T> for PredictedX0 {
    fn twin(&self, io: &mut Bindings<T>) {
        let (table, output, factors) = (io.read(0), io.read(1), io.read(2));
        let (thresholds, gradient, x, predicted) = (io.read(3), io.read(4), io.read(5), io.write(6));
        let w = Weights::read(table, io.step().sampler_row as usize);
        for (i, predicted) in predicted.iter_mut().enumerate() {
            *predicted = self.prediction.of(&w, i, x[i], [output, factors, thresholds, gradient])[1];
        }
    }
}

impl Kernel for PredictedX0 {
    fn shader(&self) -> Shader {
        shader!("predicted_x0", "grid", "step", "clipped")
    }
    fn parameters(&self) -> Vec<u32> {
        let Prediction { sizes, clipping, rescaled, pulled, .. } = self.prediction;
        let [thresholding, range] = clipping.parameters();
        [&sizes.parameters()[..], &[thresholding, range, rescaled.into(), pulled.into()]].concat()
    }
    fn bindings(&self) -> Vec<Binding> {
        let Prediction { sizes, clipping, rescaled, pulled, .. } = self.prediction;
        let (table, all) = (Binding::read(self.rows * COLUMNS), Binding::read(sizes.len()));
        let for_each = |wanted: bool| if wanted { Binding::read(sizes.pictures) } else { table };
        let (factors, thresholds) = (for_each(rescaled), for_each(clipping == Clipping::Threshold));
        let gradient = if pulled { all } else { table };
        let output = Binding::read(sizes.output_len());
        vec![table, output, factors, thresholds, gradient, all, Binding::write(sizes.len())]
    }
    fn groups(&self) -> usize {
        self.prediction.sizes.len().div_ceil(256)
    }
}

/// Writes the x_0 that the stage of the step block's `sampler_row` predicts of x, which is as it was before the stage, and of
/// the network's output, to `predicted`; factors, thresholds and the gradient are those of
/// [`Operands`](super::sampler_step::Operands).
///
/// # Errors
/// [`Shape`](Error::Shape) if the sizes do not fit together.
pub fn predicted_x0(
    r: &mut Recorder,
    clipping: Clipping,
    [table, output, x]: [Value; 3],
    [factors, thresholds, gradient]: [Option<Value>; 3],
    predicted: Value,
) -> Result<()> {
    let sizes = sizes("predicted_x0", r, table, output, x)?;
    let wrong = |message: &str| Err(Error::Shape { op: "predicted_x0", message: message.into() });
    if r.len(predicted) != r.len(x) || gradient.is_some_and(|gradient| r.len(gradient) != r.len(x)) {
        return wrong("as much room, and as much of a gradient, as pictures is expected");
    }
    let for_each = |value: Option<Value>| value.map(|value| r.len(value));
    if for_each(thresholds) != (clipping == Clipping::Threshold).then_some(sizes.pictures) {
        return wrong("a threshold for each picture is expected where x_0 is clipped to them");
    }
    if for_each(factors).is_some_and(|len| !sizes.guided || len != sizes.pictures) {
        return wrong("a factor for each picture is expected where guidance is rescaled");
    }
    let prediction = Prediction { sizes, asked: true, clipping, rescaled: factors.is_some(), pulled: gradient.is_some() };
    let [factors, thresholds, gradient] = [factors, thresholds, gradient].map(|value| value.unwrap_or(table));
    let rows = sizes.rows;
    r.call(PredictedX0 { prediction, rows }, &[table, output, factors, thresholds, gradient, x, predicted]);
    Ok(())
}

/// Every way of clipping, one pass and two with and without rescaling, outputs with variances, with a gradient and without,
/// odd sizes.
pub(super) fn cases() -> Vec<Case> {
    use Clipping::{None as Free, Range, Threshold};
    let row = Weights { guidance: 2.5, of_gradient: [0.35, -1.7], ..Weights::default() };
    let rows = [Weights { x0_of: [1.6, -1.2], ..row }, Weights { x0_of: [0.0, 1.0], ..row }];
    let table: Vec<f32> = rows.iter().flat_map(Weights::row).map(|value| value as f32).collect();
    let mut cases = Vec::new();
    for (clipping, shape, outputs, row, passes, rescaled, pulled) in [
        (Range(1.0), [3, 3, 5, 3], 3, 0, 1, false, false),
        (Free, [2, 24, 25, 1], 1, 1, 1, false, true),
        (Threshold, [3, 3, 5, 3], 6, 0, 1, false, true),
        (Range(0.5), [1, 1, 1, 1], 2, 0, 2, false, false),
        (Threshold, [2, 24, 25, 1], 2, 1, 2, true, false),
        (Free, [3, 5, 7, 3], 6, 0, 2, true, true),
    ] {
        let [n, h, w, _] = shape;
        let name = format!(
            "predicted_x0/{clipping:?} {shape:?}, {passes} passes{}{}",
            if rescaled { " rescaled" } else { "" },
            if pulled { " pulled" } else { "" }
        );
        cases.push(
            Case::new(name)
                .constant(&[rows.len(), COLUMNS], Fill::Floats(table.clone()))
                .constant(&[passes * n, h, w, outputs], Fill::Normal(1.0))
                .constant(&shape, Fill::Normal(1.0))
                .constant(&[n], Fill::Uniform(0.4, 1.1))
                .constant(&[n], Fill::Uniform(0.5, 1.5))
                .constant(&shape, Fill::Normal(1.0))
                .step(at_row(row))
                .records(move |r, v| {
                    let thresholds = (clipping == Threshold).then_some(v[4]);
                    let beside = [rescaled.then_some(v[3]), thresholds, pulled.then_some(v[5])];
                    let predicted = r.f32(&shape);
                    predicted_x0(r, clipping, [v[0], v[1], v[2]], beside, predicted)?;
                    Ok(vec![predicted])
                }),
        );
    }
    cases
}

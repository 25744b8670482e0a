//! Fully connected layers, which are also 1x1 convolutions: y = x w + b on the last dimension.

use super::matmul::Matmul;
use super::sum_rows::sum_rows;
use super::{Case, Fill};
use crate::error::{Error, Result};
use crate::plan::{Recorder, Value};

/// y = x w + bias, for x `[.., inputs]`, w `[inputs, outputs]` and bias `[outputs]`: PyTorch's weight, transposed.
///
/// # Errors
/// [`Shape`](Error::Shape) if the sizes do not fit together.
pub fn linear(r: &mut Recorder, x: Value, w: Value, bias: Option<Value>) -> Result<Value> {
    let [inputs, outputs] = r.dims("linear", w)?;
    let shape = r.shape(x).to_vec();
    let bias_fits = bias.is_none_or(|bias| r.shape(bias) == [outputs]);
    if shape.last() != Some(&inputs) || !bias_fits {
        let message = format!("x {shape:?}, w [{inputs}, {outputs}], bias {:?} do not fit", bias.map(|b| r.shape(b)));
        return Err(Error::Shape { op: "linear", message });
    }
    let rows = r.len(x) / inputs;
    let y = r.activation(&[&shape[..shape.len() - 1], &[outputs]].concat());
    let kernel = Matmul::dense(rows, outputs, inputs);
    kernel.record(r, x, w, bias, y);
    let inputs = [Some(x), Some(w), bias];
    r.differentiable(y, &inputs.into_iter().flatten().collect::<Vec<_>>(), move |r, dy| {
        if let Some(dx) = r.gradient_target(x) {
            kernel.grad_a(r, dy, w, dx);
        }
        if let Some(dw) = r.gradient_target(w) {
            kernel.grad_b(r, dy, x, dw);
        }
        if let Some(target) = bias.and_then(|bias| r.gradient_target(bias)) {
            sum_rows(r, dy, 1, rows, outputs, target)?;
        }
        Ok(())
    });
    Ok(y)
}

/// One row, an odd shape with and without bias, leading sizes.
pub(super) fn cases() -> Vec<Case> {
    let shapes: [(&[usize], usize, bool); 4] = [(&[1, 1], 1, true), (&[5, 7], 3, true), (&[6, 9], 70, false), (&[2, 3, 4, 5], 6, true)];
    (shapes.into_iter())
        .map(|(x, outputs, has_bias)| {
            let case = Case::new(format!("linear/{x:?}-{outputs}{}", if has_bias { "" } else { " without bias" }))
                .input(x, Fill::Normal(1.0))
                .input(&[x[x.len() - 1], outputs], Fill::Normal(0.5));
            let case = if has_bias { case.input(&[outputs], Fill::Normal(1.0)) } else { case };
            case.records(|r, v| Ok(vec![linear(r, v[0], v[1], v.get(2).copied())?]))
        })
        .collect()
}

//! What a training step tells, in one small buffer: a row of loss and gradient norm for each micro-batch.

use super::{Case, Fill};
use crate::plan::{Binding, Bindings, Kernel, Real, Recorder, Shader, Step, Storage, Twin, Value, shader};

/// Numbers in a row: the loss and the norm of the gradient.
pub const COLUMNS: usize = 2;

/// Bindings: loss, norm, report `[rows, 2]`. The step block's number of the micro-batch is the row; past the last, nothing
/// is written.
#[derive(Clone, Copy, Debug)]
struct StepReport {
    rows: usize,
}

impl<T: Real> Twin<T> for StepReport {
    fn twin(&self, io: &mut Bindings<T>) {
        let (loss, norm, row, report) = (io.read(0), io.read(1), io.step().micro_batch as usize, io.write(2));
        if row < self.rows {
            report[COLUMNS * row] = loss[0];
            report[COLUMNS * row + 1] = norm[0];
        }
    }
}

impl Kernel for StepReport {
    fn shader(&self) -> Shader {
        shader!("step_report", "step")
    }
    fn parameters(&self) -> Vec<u32> {
        vec![self.rows as u32]
    }
    fn bindings(&self) -> Vec<Binding> {
        vec![Binding::read(1), Binding::read(1), Binding::update(COLUMNS * self.rows)]
    }
    fn groups(&self) -> usize {
        1
    }
}

/// Writes `loss` `[1]` and `norm` `[1]` to the row of `report` that the step block names.
pub fn step_report(r: &mut Recorder, loss: Value, norm: Value, report: &Storage) {
    let rows = report.len() / COLUMNS;
    let report = r.bind(report, 0, &[rows, COLUMNS]);
    r.call(StepReport { rows }, &[loss, norm, report]);
}

/// The only row, one of several, and none.
pub(super) fn cases() -> Vec<Case> {
    [(1, 0), (5, 3), (5, 4), (3, 3)]
        .into_iter()
        .map(|(rows, micro_batch)| {
            Case::new(format!("step_report/row {micro_batch} of {rows}"))
                .constant(&[1], Fill::Normal(1.0))
                .constant(&[1], Fill::Uniform(0.0, 2.0))
                .constant(&[rows, COLUMNS], Fill::Normal(1.0))
                .step(Step { micro_batch, ..Step::default() })
                .records(move |r, v| {
                    r.call(StepReport { rows }, &[v[0], v[1], v[2]]);
                    Ok(vec![v[2]])
                })
        })
        .collect()
}

//! The exponential moving average of the weights, which is what samples are drawn with.

use super::gradient_norm::chunks;
use super::{Case, Fill, parallel};
use crate::plan::{Binding, Bindings, Kernel, Real, Recorder, Shader, Step, Storage, Twin, Value, elementwise};

/// average += rate (parameter - average), where the rate is 1 less the step block's decay, or in a table's row.
#[derive(Clone, Copy, Debug)]
struct Ema {
    len: usize,
    /// Whether the third binding says if this is a step at all; see [`loss_scale`](super::loss_scale).
    scaled: bool,
    /// The row of the table, the fourth binding, and its length.
    rate: Option<(usize, usize)>,
}

/// What a shader is told instead of a row where there is no table.
const NO_ROW: u32 = u32::MAX;

impl<T: Real> Twin<T> for Ema {
    fn twin(&self, io: &mut Bindings<T>) {
        let (parameter, step, average, control) = (io.read(0), io.step(), io.write(1), io.read(2));
        if self.scaled && control[1] == T::zero() {
            return;
        }
        let rate = match self.rate {
            Some((row, _)) => io.read(3)[row],
            None => T::one() - T::from_f32(step.ema_decay),
        };
        for i in 0..self.len {
            average[i] += rate * (parameter[i] - average[i]);
        }
    }
}

impl Kernel for Ema {
    fn shader(&self) -> Shader {
        elementwise!(self.len, "ema", "grid", "step")
    }
    fn parameters(&self) -> Vec<u32> {
        vec![self.len as u32, self.scaled.into(), self.rate.map_or(NO_ROW, |(row, _)| row as u32)]
    }
    fn bindings(&self) -> Vec<Binding> {
        let control = if self.scaled { 2 } else { self.len };
        let rates = self.rate.map_or(self.len, |(_, rows)| rows);
        vec![Binding::read(self.len), Binding::update(self.len), Binding::read(control), Binding::read(rates)]
    }
    fn groups(&self) -> usize {
        self.len.div_ceil(1024)
    }
    fn flops(&self) -> u64 {
        3 * self.len as u64
    }
    fn host(&self, io: &mut Bindings<f32>) {
        let (parameter, step, average, control) = (io.read(0), io.step(), io.write(1), io.read(2));
        if self.scaled && control[1] == 0.0 {
            return;
        }
        let rate = self.rate.map_or(1.0 - step.ema_decay, |(row, _)| io.read(3)[row]);
        parallel::for_elements(average, #[inline(always)] |first, average| {
            for (average, parameter) in average.iter_mut().zip(&parameter[first..]) {
                *average += rate * (parameter - *average);
            }
        });
    }
}

/// Records one step of the average of `parameters` into `average`, of the same length.
pub fn ema_step(r: &mut Recorder, parameters: &Storage, average: &Storage) {
    ema_step_scaled(r, parameters, average, None);
}

/// [`ema_step`] that leaves the average as it is where `control` `[2]`, which [`loss_scale`](super::loss_scale) has made,
/// says that there is no step.
pub fn ema_step_scaled(r: &mut Recorder, parameters: &Storage, average: &Storage, control: Option<Value>) {
    record(r, parameters, average, control, None);
}

/// [`ema_step_scaled`] with the new weights' weight in a row of the table `rates`.
pub fn ema_step_of_rate(
    r: &mut Recorder,
    parameters: &Storage,
    average: &Storage,
    control: Option<Value>,
    rates: &Storage,
    row: usize,
) {
    record(r, parameters, average, control, Some((rates, row)));
}

fn record(
    r: &mut Recorder,
    parameters: &Storage,
    average: &Storage,
    control: Option<Value>,
    rate: Option<(&Storage, usize)>,
) {
    for (first, len) in chunks(parameters.len()) {
        let (parameters, average) = (r.bind(parameters, first, &[len]), r.bind(average, first, &[len]));
        let rates = rate.map_or(parameters, |(rates, _)| r.input(rates, &[rates.len()]));
        let kernel = Ema { len, scaled: control.is_some(), rate: rate.map(|(rates, row)| (row, rates.len())) };
        r.call(kernel, &[parameters, average, control.unwrap_or(parameters), rates]);
    }
}

/// One element, an odd number, more than one workgroup; a step and none in mixed precision; rates of a table.
pub(super) fn cases() -> Vec<Case> {
    let good = Some([3.0, 0.25]);
    let skipped = Some([0.0, 0.0]);
    [
        (1, None, None),
        (77, None, None),
        (2500, None, None),
        (2500, good, None),
        (300, skipped, None),
        (1, None, Some(0)),
        (2501, None, Some(2)),
        (2500, good, Some(1)),
        (300, skipped, Some(2)),
    ]
    .into_iter()
    .map(|(len, control, row)| {
        let control_name = control.map_or("", |_| " scaled");
        let row_name = row.map_or(String::new(), |row| format!(" rate {row}"));
        let case = Case::new(format!("ema/{len}{control_name}{row_name}"))
            .constant(&[len], Fill::Normal(1.0))
            .constant(&[len], Fill::Normal(1.0))
            .constant(&[3], Fill::Floats(vec![0.5, 0.0625, 1e-7]));
        let case = control.into_iter().fold(case, |case, control| case.constant(&[2], Fill::Floats(control.to_vec())));
        case.step(Step { ema_decay: 0.9375, ..Step::default() }).records(move |r, v| {
            let kernel = Ema { len, scaled: control.is_some(), rate: row.map(|row| (row, 3)) };
            let rates = if row.is_some() { v[2] } else { v[0] };
            r.call(kernel, &[v[0], v[1], v.get(3).copied().unwrap_or(v[0]), rates]);
            Ok(vec![v[1]])
        })
    })
    .collect()
}

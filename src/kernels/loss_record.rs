//! What each picture of a step cost, and at which timestep: what importance sampling learns from.

use super::levels::{COLUMNS, Column};
use super::{Case, Fill};
use crate::error::{Error, Result};
use crate::plan::{Binding, Bindings, Kernel, Real, Recorder, Shader, Step, Storage, Twin, Value, shader};

/// Numbers in a picture's row: its timestep and its loss.
pub const ROW: usize = 2;

/// Bindings: losses, other losses (or the same again), levels, and the record `[whole, 2]`, in which a picture's row is
/// that of its place in the whole batch; past the last, nothing is written.
#[derive(Clone, Copy, Debug)]
struct LossRecord {
    pictures: usize,
    whole: usize,
    weighted: bool,
    /// Factor of the other losses; 0 leaves them unread.
    other: f32,
}

impl<T: Real> Twin<T> for LossRecord {
    fn twin(&self, io: &mut Bindings<T>) {
        let (losses, other, levels, first) = (io.read(0), io.read(1), io.read(2), io.step().first_picture as usize);
        let record = io.write(3);
        for (picture, level) in levels.chunks_exact(COLUMNS).enumerate().take(self.whole.saturating_sub(first)) {
            let mut loss = losses[picture];
            if self.weighted {
                loss *= level[Column::Weight as usize];
            }
            if self.other != 0.0 {
                loss += T::from_f32(self.other) * other[picture];
            }
            record[ROW * (first + picture)] = level[Column::Index as usize];
            record[ROW * (first + picture) + 1] = loss;
        }
    }
}

impl Kernel for LossRecord {
    fn shader(&self) -> Shader {
        shader!("loss_record", "grid", "step")
    }
    fn parameters(&self) -> Vec<u32> {
        vec![self.pictures as u32, self.whole as u32, self.weighted.into(), self.other.to_bits()]
    }
    fn bindings(&self) -> Vec<Binding> {
        let losses = Binding::read(self.pictures);
        vec![losses, losses, Binding::read(COLUMNS * self.pictures), Binding::update(ROW * self.whole)]
    }
    fn groups(&self) -> usize {
        self.pictures.div_ceil(256)
    }
}

/// Writes timestep and loss of every picture of the batch to its row of `record` `[whole, 2]`: the losses `[pictures]`,
/// multiplied by their weights in `levels` `[pictures, 8]` if `weighted`, plus a factor times others.
///
/// # Errors
/// [`Shape`](Error::Shape) if losses and levels do not fit together.
pub fn loss_record(
    r: &mut Recorder,
    losses: Value,
    weighted: bool,
    other: Option<(Value, f32)>,
    levels: Value,
    record: &Storage,
) -> Result<()> {
    let [pictures] = r.dims("loss_record", losses)?;
    let (other, factor) = other.unwrap_or((losses, 0.0));
    if r.shape(levels) != [pictures, COLUMNS] || r.len(other) != pictures {
        let message = format!("losses {:?} and levels {:?} do not fit", r.shape(losses), r.shape(levels));
        return Err(Error::Shape { op: "loss_record", message });
    }
    let whole = record.len() / ROW;
    let record = r.bind(record, 0, &[whole, ROW]);
    r.call(LossRecord { pictures, whole, weighted, other: factor }, &[losses, other, levels, record]);
    Ok(())
}

/// The whole batch, a part of it, one that ends past it; weights and other losses.
pub(super) fn cases() -> Vec<Case> {
    [(1, 1, 0, false, 0.0), (300, 900, 300, true, 0.0), (7, 20, 13, false, 0.5), (9, 20, 13, true, 2.5)]
        .into_iter()
        .map(|(pictures, whole, first_picture, weighted, other)| {
            Case::new(format!("loss_record/{pictures} of {whole} from {first_picture} {weighted} {other}"))
                .constant(&[pictures], Fill::Normal(1.0))
                .constant(&[pictures], Fill::Normal(1.0))
                .constant(&[pictures, COLUMNS], Fill::Uniform(0.5, 2.0))
                .constant(&[whole, ROW], Fill::Normal(1.0))
                .step(Step { first_picture, ..Step::default() })
                .records(move |r, v| {
                    r.call(LossRecord { pictures, whole, weighted, other }, &[v[0], v[1], v[2], v[3]]);
                    Ok(vec![v[3]])
                })
        })
        .collect()
}

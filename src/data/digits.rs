//! The 1,797 handwritten digits of 8 x 8 pixels that scikit-learn ships, built into the program (see
//! `assets/README.md` for where they come from).

use flate2::read::GzDecoder;

use super::fit::Grey;
use crate::error::{Error, Result};

/// Rows of 64 values in 0..=16 and a label, gzipped.
static ROWS: &[u8] = include_bytes!("../../assets/digits.csv.gz");
const SIDE: usize = 8;

/// The rows, counted from 0, that `keep` accepts, with 0..=16 spread over 0..=255.
pub(super) fn load(keep: impl Fn(usize) -> bool) -> Result<Grey> {
    let damaged = |what: &dyn std::fmt::Display| Error::input(format!("digits: the built-in copy is damaged: {what}"));
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(GzDecoder::new(ROWS));
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    for (index, row) in reader.records().enumerate() {
        let row = row.map_err(|error| damaged(&error))?;
        if !keep(index) {
            continue;
        }
        for (column, field) in row.iter().enumerate() {
            let value: u16 = field.parse().map_err(|error| damaged(&error))?;
            match column {
                0..64 if value <= 16 => pixels.push((f32::from(value) * 255.0 / 16.0).round() as u8),
                64 if value <= 9 => labels.push(u32::from(value)),
                _ => return Err(damaged(&format!("{value} in column {column} of row {index}"))),
            }
        }
    }
    Ok(Grey { height: SIDE, width: SIDE, pixels, labels: Some(labels) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn are_all_there() {
        let all = load(|_| true).unwrap();
        let labels = all.labels.unwrap();
        assert_eq!((all.pixels.len(), labels.len()), (1797 * 64, 1797));
        assert_eq!(labels[..12], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]);
        // The first row, a zero, starts 0, 0, 5, 13, 9, 1, 0, 0.
        assert_eq!(all.pixels[..8], [0, 0, 80, 207, 143, 16, 0, 0]);
        assert_eq!((all.pixels.iter().min(), all.pixels.iter().max()), (Some(&0), Some(&255)));
        for digit in 0..10 {
            assert!((174..=183).contains(&labels.iter().filter(|&&label| label == digit).count()));
        }
    }
}

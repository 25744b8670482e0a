//! Plots: a picture to draw on, and axes.

use std::ops::Range;
use std::path::Path;
use std::sync::OnceLock;

use image::RgbImage;
use plotters::coord::Shift;
use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::register_font;

use super::save_png;
use crate::error::{Error, Result};

pub(super) const FONT: &str = "aquatint";

/// What is drawn on.
pub(super) type Area<'a> = DrawingArea<BitMapBackend<'a>, Shift>;
pub(super) type Drawn = Result<(), Box<dyn std::error::Error>>;

/// Writes a PNG of what is drawn on white, whole or not at all.
pub(super) fn save_plot(path: &Path, size: (u32, u32), draw: impl FnOnce(&Area) -> Drawn) -> Result<()> {
    let mut pixels = vec![255; (size.0 * size.1 * 3) as usize];
    draw_on(&mut pixels, size, draw).map_err(|why| Error::input(format!("{}: {why}", path.display())))?;
    let picture = RgbImage::from_raw(size.0, size.1, pixels)
        .ok_or_else(|| Error::input(format!("{}: cannot be drawn", path.display())))?;
    save_png(path, &picture.into())
}

/// Draws on the pixels of a picture of this size; why it cannot be.
pub(super) fn draw_on(
    pixels: &mut [u8],
    size: (u32, u32),
    draw: impl FnOnce(&Area) -> Drawn,
) -> std::result::Result<(), String> {
    static REGISTERED: OnceLock<bool> = OnceLock::new();
    let register = || register_font(FONT, FontStyle::Normal, epaint_default_fonts::UBUNTU_LIGHT).is_ok();
    if !REGISTERED.get_or_init(register) {
        return Err("cannot be drawn: the built-in font cannot be read".into());
    }
    let on_area = || -> Drawn {
        let area = BitMapBackend::with_buffer(pixels, size).into_drawing_area();
        draw(&area)?;
        Ok(area.present()?)
    };
    on_area().map_err(|error| format!("cannot be drawn: {error}"))
}

/// An axis that is linear, in its values or in their logarithm: only its labels tell. Plotters' own axes mark nothing
/// but powers of ten on a short logarithmic range, and repeat labels on a short linear one.
pub(super) struct Axis {
    range: Range<f64>,
    line: RangedCoordf64,
    ticks: Vec<f64>,
    is_log: bool,
}

impl Axis {
    /// With about `most` ticks.
    pub(super) fn linear(range: Range<f64>, most: f64) -> Self {
        let ticks = linear_ticks(&range, most);
        Self::with_ticks(range, ticks)
    }

    /// Of logarithms to base 10.
    pub(super) fn logarithmic(range: Range<f64>) -> Self {
        Self { ticks: log_ticks(&range), line: range.clone().into(), range, is_log: true }
    }

    pub(super) fn with_ticks(range: Range<f64>, ticks: Vec<f64>) -> Self {
        Self { line: range.clone().into(), range, ticks, is_log: false }
    }
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        self.line.map(value, limit)
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.ticks.clone()
    }

    fn range(&self) -> Range<f64> {
        self.range.clone()
    }
}

impl ValueFormatter<f64> for Axis {
    fn format_ext(&self, &value: &f64) -> String {
        if self.is_log {
            let value = 10f64.powf(value);
            return label(value, value);
        }
        let step = if let [first, second, ..] = *self.ticks { second - first } else { value.abs() };
        label(value, step)
    }
}

/// A range with a little room at both ends, and some width even where the ends are one.
pub(super) fn padded(low: f64, high: f64) -> Range<f64> {
    let room = ((high - low) * 0.05).max(high.abs() * 0.01);
    let room = if room > 0.0 { room } else { 0.5 };
    low - room..high + room
}

/// Ticks at steps of 1, 2 or 5 times a power of ten, at most one more than `most`.
pub(super) fn linear_ticks(range: &Range<f64>, most: f64) -> Vec<f64> {
    let least = (range.end - range.start) / most;
    let power = 10f64.powf(least.log10().floor());
    let step = [1.0, 2.0, 5.0].map(|digit| digit * power).into_iter().find(|&step| step >= least);
    let step = step.unwrap_or(10.0 * power);
    let first = (range.start / step).ceil();
    // Multiplied and not summed up, so that 0 is 0.
    (0..20).map(|tick| (first + f64::from(tick)) * step).take_while(|&tick| tick <= range.end).collect()
}

/// Ticks at 1, 2 and 5 times the powers of ten, or at the powers alone, or every few, where those are many; as
/// logarithms.
fn log_ticks(range: &Range<f64>) -> Vec<f64> {
    let decades = range.end - range.start;
    let digits: &[f64] = if decades > 4.0 { &[1.0] } else { &[1.0, 2.0, 5.0] };
    let every = (decades / 10.0).ceil().max(1.0) as usize;
    let powers = (range.start.floor() as i32..=range.end.ceil() as i32).step_by(every);
    powers
        .flat_map(|power| digits.iter().map(move |digit| f64::from(power) + digit.log10()))
        .filter(|tick| range.contains(tick))
        .collect()
}

/// `value` with the digits that tell it from the next tick, `step` away; with an exponent where it is far from 1.
fn label(value: f64, step: f64) -> String {
    let digit_of = |value: f64| (value.abs() * (1.0 + 1e-9)).log10().floor();
    // A tick of 0 may come out as -0.
    if value.abs() < step.abs() * 1e-6 || value == 0.0 {
        return "0".into();
    }
    if (1e-4..1e6).contains(&value.abs()) {
        format!("{value:.*}", (-digit_of(step)).clamp(0.0, 12.0) as usize)
    } else {
        format!("{value:.*e}", (digit_of(value) - digit_of(step)).clamp(0.0, 12.0) as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round() {
        assert_eq!(linear_ticks(&(-0.1..1.05), 5.0), [0.0, 0.5, 1.0]);
        assert_eq!(linear_ticks(&(0.1..0.9), 5.0).len(), 4);
        let ticks: Vec<_> = log_ticks(&(-1.5..0.1)).into_iter().map(|tick| 10f64.powf(tick)).collect();
        assert_eq!(ticks.iter().map(|&tick| label(tick, tick)).collect::<Vec<_>>(), ["0.05", "0.1", "0.2", "0.5", "1"]);
        assert_eq!(log_ticks(&(-3.2..3.2)).len(), 7);
        assert!(log_ticks(&(-38.0..38.0)).len() < 12);
    }

    #[test]
    fn labels_tell_ticks_apart() {
        for (value, step, expected) in [
            (0.0, 0.2, "0"),
            (-0.0, 0.2, "0"),
            (0.25, 0.05, "0.25"),
            (0.1, 0.05, "0.10"),
            (-3.5, 0.5, "-3.5"),
            (250.0, 50.0, "250"),
            (20_000.0, 2_000.0, "20000"),
            (0.100_05, 0.000_05, "0.10005"),
            (1e-5, 1e-5, "1e-5"),
            (2.5e38, 5e37, "2.5e38"),
        ] {
            assert_eq!(label(value, step), expected);
        }
    }
}

//! Contact sheets with a line under every picture that says which it is.

use image::{Rgb, RgbImage};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::Pictures;
use super::axis::{Area, Drawn, FONT, draw_on};
use crate::error::{Error, Result};

/// What a picture is called on a sheet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// At the left, its number.
    pub number: String,
    /// At the right, or in a line of its own where there is no room beside the number, what is on it; empty for nothing.
    pub class: String,
}

/// Pixels of a line.
pub(super) const LINE: usize = 15;
/// Lines under a picture.
pub(super) const MOST_LINES: usize = 2;
/// Pixels from a line's top to its letters'.
const ABOVE: i32 = 3;
/// Of the letters, from the highest to the lowest.
const LETTERS: f64 = 13.0;
/// At both ends of a line, and between what stands on it.
const MARGIN: u32 = 3;
const PAPER: Rgb<u8> = Rgb([255; 3]);
const FAINT: RGBColor = RGBColor(64, 64, 64);

impl Pictures<'_> {
    /// A contact sheet as of [`contact_sheet`](Self::contact_sheet), of about as many columns as rows, with the pictures'
    /// labels under them. What is too long for its place ends in dots.
    ///
    /// # Errors
    /// Where there is not a label for each picture, or a side of the sheet would be longer than 32,768 pixels.
    pub fn labelled_sheet(&self, labels: &[Label]) -> Result<RgbImage> {
        if labels.len() != self.count() {
            return Err(Error::input(format!("{} labels for {} pictures", labels.len(), self.count())));
        }
        let cannot = |why: String| Error::input(format!("the sheet {why}"));
        let tile = self.tile_width() as u32;
        let lines = if labels.iter().all(|label| label.class.is_empty()) {
            1
        } else {
            let mut fits = true;
            // A picture to measure on.
            draw_on(&mut [0; 3], (1, 1), |area| {
                for label in labels {
                    let both = width(area, &label.number)? + width(area, &label.class)?;
                    fits &= both + 3 * MARGIN <= tile;
                }
                Ok(())
            })
            .map_err(cannot)?;
            if fits { 1 } else { MOST_LINES }
        };
        let (mut sheet, strips) = self.sheet(0, None, lines * LINE)?;
        for strip in &strips {
            // The first row stays as between tiles.
            for (y, x) in (1..lines * LINE).flat_map(|y| (0..strip.width).map(move |x| (y, x))) {
                sheet.put_pixel((strip.left + x) as u32, (strip.top + y) as u32, PAPER);
            }
        }
        let size = sheet.dimensions();
        let mut pixels = sheet.into_raw();
        let draw = |area: &Area| -> Drawn {
            for (strip, label) in strips.iter().zip(labels) {
                let (top, left, right) =
                    (strip.top as i32 + ABOVE, strip.left as i32, (strip.left + strip.width) as i32);
                let room = (strip.width as u32).saturating_sub(2 * MARGIN);
                let margin = MARGIN as i32;
                let class_top = top + ((lines - 1) * LINE) as i32;
                let (class_at, side) =
                    if lines == 1 { (right - margin, HPos::Right) } else { (left + margin, HPos::Left) };
                write(area, &label.number, (left + margin, top), HPos::Left, FAINT, room)?;
                write(area, &label.class, (class_at, class_top), side, BLACK, room)?;
            }
            Ok(())
        };
        draw_on(&mut pixels, size, draw).map_err(cannot)?;
        RgbImage::from_raw(size.0, size.1, pixels).ok_or_else(|| cannot("cannot be drawn".into()))
    }
}

fn style(colour: &RGBColor, side: HPos) -> TextStyle<'_> {
    TextStyle::from((FONT, LETTERS).into_font()).color(colour).pos(Pos::new(side, VPos::Top))
}

fn width(area: &Area, text: &str) -> Result<u32, Box<dyn std::error::Error>> {
    Ok(if text.is_empty() { 0 } else { area.estimate_text_size(text, &style(&BLACK, HPos::Left))?.0 })
}

/// Writes as much of a text as there is room for.
fn write(area: &Area, text: &str, at: (i32, i32), side: HPos, colour: RGBColor, room: u32) -> Drawn {
    let mut shown = text.to_string();
    let mut kept = text.chars().count();
    while kept > 0 && width(area, &shown)? > room {
        kept -= 1;
        shown = text.chars().take(kept).chain("..".chars()).collect();
    }
    if !shown.is_empty() {
        area.draw_text(&shown, &style(&colour, side), at)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sheet(classes: [&str; 2], side: usize) -> RgbImage {
        let data = vec![-1.0; 2 * side * side];
        let labels: Vec<Label> = (classes.iter().enumerate())
            .map(|(number, class)| Label { number: number.to_string(), class: class.to_string() })
            .collect();
        Pictures::new(&data, 2, [side, side, 1]).unwrap().labelled_sheet(&labels).unwrap()
    }

    /// Pixels that are neither paper nor what lies between tiles, in a part of the sheet without tiles.
    fn ink(sheet: &RgbImage, x: std::ops::Range<u32>, y: std::ops::Range<u32>) -> usize {
        let dark = |(x, y)| ![128, 255].contains(&sheet.get_pixel(x, y)[0]);
        y.flat_map(|y| x.clone().map(move |x| (x, y))).filter(|&at| dark(at)).count()
    }

    #[test]
    fn labels_stand_under_their_pictures() {
        let line = LINE as u32;
        let numbers = sheet(["", ""], 8);
        assert_eq!(numbers.dimensions(), (2 * 64 + 2, 64 + line));
        assert!(ink(&numbers, 0..20, 64..64 + line) > 5, "the number stands at the left");
        assert_eq!(ink(&numbers, 20..64, 64..64 + line), 0);
        // The two numbers are not the same.
        let strip = |sheet: &RgbImage, left: u32| -> Vec<u8> {
            (64..64 + line)
                .flat_map(|y| (left..left + 64).map(move |x| (x, y)))
                .map(|(x, y)| sheet.get_pixel(x, y)[0])
                .collect()
        };
        assert_ne!(strip(&numbers, 0), strip(&numbers, 66));
        let beside = sheet(["cat", "dog"], 8);
        assert_eq!(beside.dimensions(), numbers.dimensions());
        assert!(ink(&beside, 40..64, 64..64 + line) > 5, "the class stands at the right");
    }

    #[test]
    fn long_names_have_a_line_of_their_own_and_stay_in_it() {
        let line = LINE as u32;
        let long = sheet(["cat", "a very long name of a class"], 8);
        assert_eq!(long.dimensions(), (2 * 64 + 2, 64 + 2 * line));
        assert!(ink(&long, 66..130, 64 + line..64 + 2 * line) > 20);
        assert_eq!(ink(&long, 130 - MARGIN + 1..130, 64..64 + 2 * line), 0);
    }

    #[test]
    fn a_label_for_each_picture_is_expected() {
        let pictures = Pictures::new(&[0.0; 2], 2, [1, 1, 1]).unwrap();
        assert_eq!(pictures.labelled_sheet(&[]).unwrap_err().to_string(), "0 labels for 2 pictures");
    }
}

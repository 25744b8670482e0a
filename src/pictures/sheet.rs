//! Many pictures on one sheet.

use image::{Rgb, RgbImage};

use super::labels::{LINE, MOST_LINES};
use super::{Pictures, to_byte};
use crate::error::{Error, Result};

/// Pixels between two tiles.
const GAP: usize = 2;
/// Tells black and white tiles apart; one of the 256 greys, so that a grey animation still fits a GIF palette.
const GAP_COLOUR: Rgb<u8> = Rgb([128; 3]);
/// Tiles are enlarged at least so far that 8 x 8 digits can be made out.
const SMALLEST_TILE: usize = 64;
/// A sheet's longest side. Viewers choke on more.
const LONGEST_SIDE: usize = 32_768;

/// A sheet's pixels, where there is a choice how many pictures it shows: what an ordinary machine has memory for.
const MOST_PIXELS: usize = 1 << 26;

/// How many of `count` pictures of `[height, width]` a labelled sheet shows, the first ones: as many as its sides and the
/// memory have room for, at least one.
pub fn shown_on_sheet(count: usize, [height, width]: [usize; 2]) -> usize {
    let scale = scale_of([height, width]);
    let [tall, wide] = [height * scale + MOST_LINES * LINE + GAP, width * scale + GAP];
    let fits = |count: &usize| {
        let columns = columns_for(*count);
        let (height, width) = (count.div_ceil(columns) * tall, columns * wide);
        height.max(width) - GAP <= LONGEST_SIDE && height * width <= MOST_PIXELS
    };
    (1..=count).rev().find(fits).unwrap_or(1)
}

/// About as many as rows.
fn columns_for(count: usize) -> usize {
    (count as f64).sqrt().ceil() as usize
}

/// The smallest scale that makes a tile at least 64 pixels wide and high, as long as that is not too long.
fn scale_of([height, width]: [usize; 2]) -> usize {
    SMALLEST_TILE.div_ceil(height.min(width)).min(LONGEST_SIDE / height.max(width)).max(1)
}

impl Pictures<'_> {
    /// All the pictures in rows of `columns` (0 for about as many columns as rows), with a thin gap between them, each
    /// pixel drawn as `scale` x `scale` pixels (`None` for the smallest scale that makes a tile at least 64 pixels
    /// wide and high). Transparent pictures lie on white.
    ///
    /// # Errors
    /// Where a side of the sheet would be longer than 32,768 pixels, or `scale` is 0.
    pub fn contact_sheet(&self, columns: usize, scale: Option<usize>) -> Result<RgbImage> {
        self.sheet(columns, scale, 0).map(|(sheet, _)| sheet)
    }

    /// The smallest scale that makes a tile at least 64 pixels wide and high.
    fn sheet_scale(&self) -> usize {
        scale_of([self.height, self.width])
    }

    /// Pixels of a tile from left to right.
    pub(super) fn tile_width(&self) -> usize {
        self.width * self.sheet_scale()
    }

    /// A contact sheet with `below` rows of pixels left free under each picture, and where those begin.
    pub(super) fn sheet(&self, columns: usize, scale: Option<usize>, below: usize) -> Result<(RgbImage, Vec<Strip>)> {
        let columns = match columns {
            0 => columns_for(self.count),
            columns => columns.min(self.count),
        };
        let rows = self.count.div_ceil(columns);
        let scale = scale.unwrap_or_else(|| self.sheet_scale());
        let side = |tiles: usize, length: usize, below: usize| {
            let tile = length.checked_mul(scale)?.checked_add(below)?.checked_add(GAP)?;
            tiles.checked_mul(tile).map(|side| side - GAP).filter(|&side| side <= LONGEST_SIDE)
        };
        let sides = side(columns, self.width, 0).zip(side(rows, self.height, below));
        let (true, Some((width, height))) = (scale > 0, sides) else {
            return Err(Error::input(format!(
                "a sheet of {rows} rows and {columns} columns of pictures of {} x {} pixels at scale {scale}, expected \
                 scale at least 1 and sides of at most {LONGEST_SIDE} pixels",
                self.height, self.width
            )));
        };

        let mut sheet = RgbImage::from_pixel(width as u32, height as u32, GAP_COLOUR);
        let mut strips = Vec::new();
        let (tall, wide) = (self.height * scale, self.width * scale);
        for index in 0..self.count {
            let Some(values) = self.values(index) else { break };
            let (top, left) = (index / columns * (tall + below + GAP), index % columns * (wide + GAP));
            for (at, value) in values.chunks_exact(self.channels).enumerate() {
                let (y, x) = (top + at / self.width * scale, left + at % self.width * scale);
                let colour = on_white(value);
                for (y, x) in (y..y + scale).flat_map(|y| (x..x + scale).map(move |x| (y, x))) {
                    sheet.put_pixel(x as u32, y as u32, colour);
                }
            }
            strips.push(Strip { top: top + tall, left, width: wide });
        }
        Ok((sheet, strips))
    }
}

/// A place under a picture.
pub(super) struct Strip {
    pub(super) top: usize,
    pub(super) left: usize,
    pub(super) width: usize,
}

fn on_white(value: &[f32]) -> Rgb<u8> {
    match *value {
        [red, green, blue] => Rgb([red, green, blue].map(to_byte)),
        [red, green, blue, opacity] => {
            let opacity = f32::from(to_byte(opacity)) / 255.0;
            let over = |value| (f32::from(to_byte(value)) * opacity + 255.0 * (1.0 - opacity)).round() as u8;
            Rgb([red, green, blue].map(over))
        }
        [grey, ..] => Rgb([to_byte(grey); 3]),
        [] => GAP_COLOUR,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_lie_in_rows_with_gaps() {
        let data: Vec<f32> = (0..3).flat_map(|i| [i as f32 / 127.5 - 1.0; 4]).collect();
        let sheet = Pictures::new(&data, 3, [2, 2, 1]).unwrap().contact_sheet(2, Some(1)).unwrap();
        assert_eq!(sheet.dimensions(), (6, 6));
        let rows: Vec<Vec<u8>> = (0..6).map(|y| (0..6).map(|x| sheet.get_pixel(x, y)[0]).collect()).collect();
        assert_eq!(rows[0], [0, 0, 128, 128, 1, 1]);
        assert_eq!((&rows[2], &rows[3]), (&vec![128; 6], &vec![128; 6]));
        assert_eq!(rows[5], [2, 2, 128, 128, 128, 128]);
    }

    #[test]
    fn small_tiles_are_enlarged_and_large_ones_kept() {
        let sheet = |count, side| {
            let data = vec![0.0; count * side * side * 3];
            Pictures::new(&data, count, [side, side, 3]).unwrap().contact_sheet(0, None).unwrap().dimensions()
        };
        assert_eq!(sheet(9, 8), (3 * 66 - 2, 3 * 66 - 2));
        assert_eq!(sheet(5, 28), (3 * 86 - 2, 2 * 86 - 2));
        assert_eq!(sheet(1, 64), (64, 64));
    }

    #[test]
    fn enlarged_pixels_are_squares_of_their_colour() {
        let sheet = Pictures::new(&[-1.0, 1.0, -1.0, 1.0, 1.0, 1.0], 1, [1, 2, 3]).unwrap().contact_sheet(9, Some(3));
        let sheet = sheet.unwrap();
        assert_eq!(sheet.dimensions(), (6, 3));
        assert!(sheet.enumerate_pixels().all(|(x, _, p)| p.0 == if x < 3 { [0, 255, 0] } else { [255; 3] }));
    }

    #[test]
    fn transparency_lies_on_white() {
        assert_eq!(on_white(&[-1.0, 0.0, 1.0, -1.0]), Rgb([255; 3]));
        assert_eq!(on_white(&[-1.0, -1.0, 1.0, 1.0]), Rgb([0, 0, 255]));
    }

    #[test]
    fn a_sheet_shows_as_many_as_there_is_room_for() {
        for ([height, width], shown) in [([28, 28], 1024), ([1024, 1024], 56), ([8, 4096], 1), ([20_000, 20_000], 1)] {
            assert_eq!(shown_on_sheet(1024, [height, width]), shown);
        }
        assert_eq!(shown_on_sheet(3, [28, 28]), 3);
    }

    #[test]
    fn absurd_sheets_are_refused() {
        let pictures = Pictures::new(&[0.0; 4], 4, [1, 1, 1]).unwrap();
        for scale in [0, 20_000, usize::MAX] {
            let error = pictures.contact_sheet(2, Some(scale)).unwrap_err().to_string();
            assert!(error.starts_with("a sheet of 2 rows and 2 columns"), "{error}");
        }
    }
}

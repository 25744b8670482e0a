//! The terms of the variational bound over t, as a PNG.

use std::path::Path;

use plotters::prelude::*;

use super::axis::{Area, Axis, Drawn, FONT, padded, save_plot};
use crate::error::Result;

const SIZE: (u32, u32) = (960, 540);
const TERMS: RGBColor = RGBColor(20, 70, 140);
const DECODER: RGBColor = RGBColor(214, 96, 30);
/// Terms of fewer bits are nothing: they would press everything else together.
const LEAST: f64 = 1e-12;
/// Where there are no more terms than this, each has a dot.
const MOST_DOTS: usize = 40;

/// Draws L_0, `decoder`, and L_1, L_2 and so on, `terms`, over the t of x_t, both axes logarithmic, to `path` as a PNG of
/// 960 x 540 pixels, whole or not at all. What is zero has no place on a logarithmic axis and is left out.
///
/// # Errors
/// Where `path` cannot be written.
pub fn bound_plot(path: &Path, decoder: f64, terms: &[f64], title: &str) -> Result<()> {
    save_plot(path, SIZE, |area| draw(area, decoder, terms, title))
}

fn draw(area: &Area, decoder: f64, terms: &[f64], title: &str) -> Drawn {
    let place = |t: usize, bits: f64| ((t as f64).log10(), bits.log10());
    let is_drawn = |bits: &f64| bits.is_finite() && *bits > LEAST;
    let line: Vec<(f64, f64)> = (terms.iter().enumerate().filter(|(_, bits)| is_drawn(bits)))
        .map(|(index, &bits)| place(index + 2, bits))
        .collect();
    let first: Vec<(f64, f64)> =
        [decoder].into_iter().filter(|bits| is_drawn(bits)).map(|bits| place(1, bits)).collect();
    let all = || line.iter().chain(&first).map(|point| point.1);
    let (lowest, highest) = (all().fold(f64::INFINITY, f64::min), all().fold(f64::NEG_INFINITY, f64::max));
    let bits = if lowest <= highest { padded(lowest, highest) } else { -1.0..0.0 };
    let last = ((terms.len() + 1) as f64).log10().max(0.3);
    let mut chart = ChartBuilder::on(area)
        .margin(16)
        .margin_right(40)
        .caption(title, (FONT, 24))
        .x_label_area_size(48)
        .y_label_area_size(84)
        .build_cartesian_2d(Axis::logarithmic(-0.03 * last..1.01 * last), Axis::logarithmic(bits))?;
    chart
        .configure_mesh()
        .x_desc("t (logarithmic)")
        .y_desc("bits/dim (logarithmic)")
        .label_style((FONT, 16))
        .axis_desc_style((FONT, 18))
        .bold_line_style(RGBColor(225, 225, 225))
        .max_light_lines(0)
        .draw()?;
    if line.len() <= MOST_DOTS {
        chart.draw_series(line.iter().map(|&point| Circle::new(point, 3, TERMS.filled())))?;
    }
    chart.draw_series(LineSeries::new(line, TERMS.stroke_width(2)))?;
    chart.draw_series(first.iter().map(|&point| Circle::new(point, 6, DECODER.filled())))?;
    // In the upper right corner, which falling terms leave free.
    let (x, y) = (SIZE.0 as i32 - 330, 64);
    area.draw(&Circle::new((x, y + 10), 6, DECODER.filled()))?;
    area.draw(&PathElement::new(vec![(x - 14, y + 40), (x + 14, y + 40)], TERMS.stroke_width(3)))?;
    let style = TextStyle::from((FONT, 19)).color(&BLACK);
    area.draw_text("decoder, L_0 (t = 1)", &style, (x + 26, y))?;
    area.draw_text("L_{t-1}", &style, (x + 26, y + 30))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_any_terms() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("terms.png");
        let falling: Vec<f64> = (0..999).map(|t| 0.3 / f64::from(t + 1).powf(1.3)).collect();
        let cases: [(&str, f64, &[f64]); 6] = [
            ("usual", 1.2, &falling),
            ("one timestep", 3.0, &[]),
            ("two timesteps", 3.0, &[0.4]),
            ("nothing", 0.0, &[0.0; 9]),
            ("few", 0.5, &falling[..20]),
            ("wide", f64::INFINITY, &[1e-300, 1e300, f64::NAN]),
        ];
        for (title, decoder, terms) in cases {
            bound_plot(&path, decoder, terms, title).unwrap();
            let picture = image::open(&path).unwrap().into_rgb8();
            assert_eq!(picture.dimensions(), SIZE);
            let drawn = |colour: RGBColor| {
                let colour = [colour.0, colour.1, colour.2];
                picture.enumerate_pixels().any(|(x, y, pixel)| pixel.0 == colour && (x < 600 || y > 150))
            };
            let shown = |bits: &f64| bits.is_finite() && *bits > LEAST;
            assert_eq!(drawn(DECODER), shown(&decoder), "{title}");
            assert_eq!(drawn(TERMS), terms.iter().any(shown), "{title}");
            if let Some(keep) = std::env::var_os("AQUATINT_KEEP_PLOTS") {
                std::fs::copy(&path, Path::new(&keep).join(format!("bound {title}.png"))).unwrap();
            }
        }
        let error = bound_plot(&folder.path().join("none/a.png"), 1.0, &[], "").unwrap_err().to_string();
        assert!(error.contains("none/a.png: cannot be written"), "{error}");
    }
}

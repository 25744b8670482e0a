//! The loss over the steps of a training run, as a PNG.

use std::path::Path;

use plotters::prelude::*;

use super::axis::{Area, Axis, Drawn, FONT, linear_ticks, padded, save_plot};
use crate::error::Result;

const SIZE: (u32, u32) = (960, 540);
/// As many points as there are pixels across; a longer run is drawn by its extremes in as many stretches.
const MOST_POINTS: usize = 800;
/// The running mean looks back over one part in so many of the run,
const MEAN_OF_RUN: usize = 50;
/// but over no more than one part in so many of the steps so far, not to lag behind the steep start.
const MEAN_OF_PAST: usize = 5;
/// Where the highest loss is more than this many times the lowest, the axis is logarithmic.
const LOG_FROM_RATIO: f64 = 20.0;
const LIGHT: RGBColor = RGBColor(174, 199, 232);
const DARK: RGBColor = RGBColor(20, 70, 140);

/// Step and loss.
type Point = (f64, f64);

/// Draws the loss of every step, counted from 1, and its running mean to `path` as a PNG of 960 x 540 pixels, whole or
/// not at all. Losses that are not finite are left out; the axis is logarithmic where the finite ones are positive and
/// spread over more than a factor of 20.
///
/// # Errors
/// Where `path` cannot be written.
pub fn loss_curve(path: &Path, losses: &[f32], title: &str) -> Result<()> {
    let points: Vec<Point> = (1u32..)
        .zip(losses)
        .filter(|(_, loss)| loss.is_finite())
        .map(|(step, &loss)| (f64::from(step), f64::from(loss)))
        .collect();
    save_plot(path, SIZE, |area| draw(area, &points, losses.len(), title))
}

fn draw(area: &Area, points: &[Point], steps: usize, title: &str) -> Drawn {
    let lowest = points.iter().map(|point| point.1).fold(f64::INFINITY, f64::min);
    let highest = points.iter().map(|point| point.1).fold(f64::NEG_INFINITY, f64::max);
    let is_log = lowest > 0.0 && highest / lowest > LOG_FROM_RATIO;
    let scale = |loss: f64| if is_log { loss.log10() } else { loss };
    let range = if points.is_empty() { 0.0..1.0 } else { padded(scale(lowest), scale(highest)) };
    let y_axis = if is_log { Axis::logarithmic(range) } else { Axis::linear(range, 5.0) };
    let range = 0.0..steps.max(1) as f64;
    let x_ticks = linear_ticks(&range, 8.0).into_iter().filter(|step| step.fract() == 0.0).collect();
    let x_axis = Axis::with_ticks(range, x_ticks);

    let mut chart = ChartBuilder::on(area)
        .margin(16)
        .margin_right(40)
        .caption(title, (FONT, 24))
        .x_label_area_size(48)
        .y_label_area_size(84)
        .build_cartesian_2d(x_axis, y_axis)?;
    chart
        .configure_mesh()
        .x_desc("step")
        .y_desc(if is_log { "loss (logarithmic)" } else { "loss" })
        .label_style((FONT, 16))
        .axis_desc_style((FONT, 18))
        .light_line_style(TRANSPARENT)
        .max_light_lines(0)
        .draw()?;

    let scaled = |points: Vec<Point>| points.into_iter().map(move |(step, loss)| (step, scale(loss)));
    chart.draw_series(LineSeries::new(scaled(extremes(points)), &LIGHT))?;
    chart.draw_series(LineSeries::new(scaled(thinned(&running_mean(points))), DARK.stroke_width(2)))?;
    if let [(step, loss)] = *points {
        chart.draw_series([Circle::new((step, scale(loss)), 4, DARK.filled())])?;
    }
    if points.is_empty() {
        let style = TextStyle::from((FONT, 20)).color(&BLACK);
        area.draw_text("no finite losses", &style, (SIZE.0 as i32 / 2 - 60, SIZE.1 as i32 / 2))?;
    }
    Ok(())
}

/// The mean of each point with those just before it.
fn running_mean(points: &[Point]) -> Vec<Point> {
    let mut sums = Vec::with_capacity(points.len() + 1);
    sums.push(0.0);
    for (index, point) in points.iter().enumerate() {
        sums.push(sums[index] + point.1);
    }
    let mean = |index: usize| {
        let window = (points.len() / MEAN_OF_RUN).min((index + 1) / MEAN_OF_PAST).max(1);
        let from = index + 1 - window;
        (sums[index + 1] - sums[from]) / window as f64
    };
    points.iter().enumerate().map(|(index, point)| (point.0, mean(index))).collect()
}

/// The lowest and the highest point of each stretch, in their order: looks like all of them.
fn extremes(points: &[Point]) -> Vec<Point> {
    if points.len() <= 2 * MOST_POINTS {
        return points.to_vec();
    }
    let by_loss = |a: &&Point, b: &&Point| a.1.total_cmp(&b.1);
    let stretches = points.chunks(points.len().div_ceil(MOST_POINTS));
    let ends = stretches.filter_map(|stretch| stretch.iter().min_by(by_loss).zip(stretch.iter().max_by(by_loss)));
    ends.flat_map(|(low, high)| if low.0 <= high.0 { [*low, *high] } else { [*high, *low] }).collect()
}

/// The last point of each stretch: enough of a smooth line.
fn thinned(points: &[Point]) -> Vec<Point> {
    let stretches = points.chunks(points.len().div_ceil(MOST_POINTS).max(1));
    stretches.filter_map(|stretch| stretch.last().copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_any_losses() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("loss.png");
        let falling: Vec<f32> = (0..20_000).map(|i| 1.0 / (1.0 + i as f32 * 0.01) + (i % 7) as f32 * 1e-3).collect();
        let cases: [(&str, &[f32]); 12] = [
            ("none", &[]),
            ("one", &[0.5]),
            ("two", &[0.5, 0.25]),
            ("same", &[0.1; 50]),
            ("zero", &[0.0; 3]),
            ("negative", &[-1.0, 3.0]),
            ("not finite", &[f32::NAN, 1.0, f32::INFINITY, 0.5, f32::NEG_INFINITY]),
            ("only NaN", &[f32::NAN; 4]),
            ("huge", &[f32::MAX, f32::MIN]),
            ("wide", &[f32::MIN_POSITIVE, f32::MAX]),
            ("tiny", &[1e-45, 1e-44, 2e-45]),
            ("long", &falling),
        ];
        for (title, losses) in cases {
            loss_curve(&path, losses, title).unwrap();
            let picture = image::open(&path).unwrap().into_rgb8();
            assert_eq!(picture.dimensions(), SIZE);
            let drawn = picture.pixels().filter(|pixel| pixel.0 == [DARK.0, DARK.1, DARK.2]).count();
            assert_eq!(drawn > 0, losses.iter().any(|loss| loss.is_finite()), "{title}");
            if let Some(keep) = std::env::var_os("AQUATINT_KEEP_PLOTS") {
                std::fs::copy(&path, Path::new(&keep).join(format!("{title}.png"))).unwrap();
            }
        }
        let error = loss_curve(&folder.path().join("none/a.png"), &[1.0], "").unwrap_err().to_string();
        assert!(error.contains("none/a.png: cannot be written"), "{error}");
    }

    #[test]
    fn the_mean_trails_and_extremes_stay() {
        let points: Vec<Point> = (1..=100).map(|i| (f64::from(i), f64::from(i))).collect();
        let mean = running_mean(&points);
        assert_eq!((mean[0], mean[1], mean[99]), ((1.0, 1.0), (2.0, 2.0), (100.0, 99.5)));
        let mut many: Vec<Point> = (1..=10_000).map(|i| (f64::from(i), 0.5)).collect();
        many[5_000].1 = 9.0;
        let few = extremes(&many);
        assert!(few.len() <= 2 * MOST_POINTS && few.contains(&(5_001.0, 9.0)));
        assert!(thinned(&many).len() <= MOST_POINTS && thinned(&[]).is_empty());
    }
}

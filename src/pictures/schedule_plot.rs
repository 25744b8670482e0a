//! Noise schedules side by side, as a PNG.

use std::path::Path;

use plotters::prelude::*;

use super::axis::{Area, Axis, Drawn, FONT, padded, save_plot};
use crate::error::Result;

/// Width of a panel, and height of the picture without its legend.
const PANEL: (u32, u32) = (560, 480);
/// Height of a row of the legend, and length of a line in it.
const ROW: u32 = 30;
const SAMPLE: i32 = 34;
const MARGIN: i32 = 24;
/// As many points of a line are drawn as a panel has pixels across.
const MOST_POINTS: usize = 500;
/// Below this a signal-to-noise ratio or a variance is nothing: it would press everything else together.
const LEAST: f64 = 1e-12;
/// Told apart without seeing colours too: they differ in lightness.
const COLOURS: [RGBColor; 8] = [
    RGBColor(20, 70, 140),
    RGBColor(214, 96, 30),
    RGBColor(40, 140, 80),
    RGBColor(150, 50, 140),
    RGBColor(120, 180, 230),
    RGBColor(220, 170, 30),
    RGBColor(110, 110, 110),
    RGBColor(190, 40, 60),
];

/// What is drawn of a noise schedule: a name, and at evenly spaced times from the first to the last what the panels show.
#[derive(Clone, Debug)]
pub struct PlottedSchedule {
    /// In the legend.
    pub name: String,
    /// The signal's share of the variance.
    pub alphas_cumprod: Vec<f64>,
    /// Signal-to-noise ratio.
    pub signal_to_noise: Vec<f64>,
    /// Variance of a step back from x_t and x_0; empty where there are no steps.
    pub posterior_variance: Vec<f64>,
}

type Values = fn(&PlottedSchedule) -> &[f64];

/// Draws alphas_cumprod, the signal-to-noise ratio and the posterior variance of all schedules over time, the first time
/// on the left, to `path`, whole or not at all. What is zero has no place on a logarithmic axis and is left out.
///
/// # Errors
/// Where `path` cannot be written.
pub fn schedule_plot(path: &Path, schedules: &[PlottedSchedule]) -> Result<()> {
    let panels: [(&str, bool, Values); 3] = [
        ("alphas_cumprod", false, |schedule| &schedule.alphas_cumprod),
        ("signal-to-noise ratio", true, |schedule| &schedule.signal_to_noise),
        ("posterior variance", true, |schedule| &schedule.posterior_variance),
    ];
    let legend = Legend::new(schedules, panels.len() as i32 * PANEL.0 as i32);
    let size = (panels.len() as u32 * PANEL.0, PANEL.1 + legend.height());
    save_plot(path, size, |area| {
        let (top, rest) = area.split_vertically(legend.height());
        legend.draw(&top, schedules)?;
        for ((title, is_log, values), panel) in panels.into_iter().zip(rest.split_evenly((1, panels.len()))) {
            draw_panel(&panel, title, is_log, schedules, values)?;
        }
        Ok(())
    })
}

fn draw_panel(area: &Area, title: &str, is_log: bool, schedules: &[PlottedSchedule], values: Values) -> Drawn {
    let lines: Vec<Vec<(f64, f64)>> =
        schedules.iter().map(|schedule| line(values(schedule), schedule.alphas_cumprod.len(), is_log)).collect();
    let all = || lines.iter().flatten().map(|point| point.1);
    let (lowest, highest) = (all().fold(f64::INFINITY, f64::min), all().fold(f64::NEG_INFINITY, f64::max));
    let y_axis = match (is_log, lowest <= highest) {
        (true, true) => Axis::logarithmic(padded(lowest, highest)),
        (true, false) => Axis::logarithmic(-1.0..0.0),
        (false, _) => Axis::linear(0.0..1.02, 6.0),
    };
    let mut chart = ChartBuilder::on(area)
        .margin(8)
        .margin_right(24)
        .caption(title, (FONT, 22))
        .x_label_area_size(46)
        .y_label_area_size(64)
        .build_cartesian_2d(Axis::linear(0.0..1.0, 5.0), y_axis)?;
    chart
        .configure_mesh()
        .x_desc("t / T")
        .label_style((FONT, 16))
        .axis_desc_style((FONT, 18))
        .bold_line_style(RGBColor(225, 225, 225))
        .max_light_lines(0)
        .draw()?;
    for (number, line) in lines.into_iter().enumerate() {
        let colour = colour(number);
        match line[..] {
            [point] => drop(chart.draw_series([Circle::new(point, 3, colour.filled())])?),
            _ => drop(chart.draw_series(LineSeries::new(line, colour.stroke_width(2)))?),
        }
    }
    Ok(())
}

fn colour(number: usize) -> RGBColor {
    COLOURS[number % COLOURS.len()]
}

/// The points of a line, of `steps` times from 0 to 1 in all.
fn line(values: &[f64], steps: usize, is_log: bool) -> Vec<(f64, f64)> {
    let last = steps.saturating_sub(1).max(1);
    let every = steps.div_ceil(MOST_POINTS).max(1);
    let scale = |value: f64| if is_log { value.log10() } else { value };
    let is_drawn = |index: usize, value: f64| {
        (index.is_multiple_of(every) || index == last) && value.is_finite() && (!is_log || value > LEAST)
    };
    let points = values.iter().enumerate().filter(|&(index, &value)| is_drawn(index, value));
    points.map(|(index, &value)| (index as f64 / last as f64, scale(value))).collect()
}

/// Where every name stands, in as many rows as are needed.
struct Legend(Vec<(i32, i32)>);

impl Legend {
    fn new(schedules: &[PlottedSchedule], width: i32) -> Self {
        let (mut x, mut y) = (MARGIN, MARGIN / 2);
        let place = |schedule: &PlottedSchedule| {
            // About as wide as the letters are.
            let wide = SAMPLE + 12 + 10 * schedule.name.chars().count() as i32;
            if x > MARGIN && x + wide > width - MARGIN {
                (x, y) = (MARGIN, y + ROW as i32);
            }
            let at = (x, y);
            x += wide + MARGIN;
            at
        };
        Self(schedules.iter().map(place).collect())
    }

    fn height(&self) -> u32 {
        self.0.last().map_or(0, |&(_, y)| y as u32) + ROW
    }

    fn draw(&self, area: &Area, schedules: &[PlottedSchedule]) -> Drawn {
        for (number, (&(x, y), schedule)) in self.0.iter().zip(schedules).enumerate() {
            let middle = y + 10;
            area.draw(&PathElement::new(vec![(x, middle), (x + SAMPLE, middle)], colour(number).stroke_width(3)))?;
            let style = TextStyle::from((FONT, 19)).color(&BLACK);
            area.draw_text(&schedule.name, &style, (x + SAMPLE + 10, y))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plotted(name: &str, signals: &[f64]) -> PlottedSchedule {
        PlottedSchedule {
            name: name.into(),
            alphas_cumprod: signals.to_vec(),
            signal_to_noise: signals.iter().map(|signal| signal / (1.0 - signal)).collect(),
            posterior_variance: signals.iter().map(|signal| (1.0 - signal) * 0.01).collect(),
        }
    }

    #[test]
    fn draws_any_schedules() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        let even: Vec<f64> = (0..5000).map(|t| 1.0 - (t + 1) as f64 / 5000.0).collect();
        let one = plotted("one timestep", &[0.5]);
        let nothing = plotted("nothing", &[0.0, 0.0]);
        let many: Vec<_> = (0..40).map(|number| plotted(&format!("schedule number {number}"), &even)).collect();
        for (schedules, is_wide) in [
            (vec![], false),
            (vec![one.clone()], false),
            (vec![nothing.clone()], false),
            (vec![one, nothing, plotted("to nothing", &even)], false),
            (many, true),
        ] {
            schedule_plot(&path, &schedules).unwrap();
            let picture = image::open(&path).unwrap().into_rgb8();
            assert_eq!(picture.width(), 3 * PANEL.0);
            assert_eq!(picture.height() > PANEL.1 + 2 * ROW, is_wide);
            let first = COLOURS[0];
            let drawn = picture.pixels().any(|pixel| pixel.0 == [first.0, first.1, first.2]);
            assert_eq!(drawn, !schedules.is_empty());
        }
        let error = schedule_plot(&folder.path().join("none/a.png"), &[]).unwrap_err().to_string();
        assert!(error.contains("none/a.png: cannot be written"), "{error}");
    }

    #[test]
    fn long_lines_are_thinned_and_keep_their_ends() {
        let values: Vec<f64> = (0..4000).map(f64::from).collect();
        let points = line(&values, 4000, false);
        assert!(points.len() <= MOST_POINTS + 1);
        assert_eq!((points[0], points[points.len() - 1]), ((0.0, 0.0), (1.0, 3999.0)));
        assert_eq!(line(&[0.0, 100.0], 2, true), [(1.0, 2.0)]);
    }
}

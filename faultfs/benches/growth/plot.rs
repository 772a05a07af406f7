//! The plot of what was measured.

use std::error::Error;
use std::ops::Range;

use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;

use super::{Measured, Reach, mebibytes};

const SIZE: (u32, u32) = (1080, 1140);

/// Told apart on white and on black.
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 124, 190),
    RGBColor(213, 94, 0),
    RGBColor(0, 148, 105),
    RGBColor(190, 100, 150),
    RGBColor(150, 120, 0),
    RGBColor(120, 120, 235),
];
/// Lines and letters, where no style says otherwise.
const GREY: RGBColor = RGBColor(128, 128, 128);

/// Light, or dark where the reader's screen is: the library writes colours into each element, and a style
/// overrules them.
const STYLE: &str = "<style>svg{background:#fff}text{fill:#1f2328}\
    @media(prefers-color-scheme:dark){svg{background:#0d1117}text{fill:#e6edf3}}</style>";

/// A part of the plot.
struct Panel {
    title: &'static str,
    x: &'static str,
    y: &'static str,
    /// Whether a step on the axes is a factor.
    factors: (bool, bool),
    lines: Vec<(String, Vec<(f64, f64)>)>,
}

/// All of it, as a picture.
pub(crate) fn svg(all: &[Measured]) -> String {
    let panels = panels(all);
    let mut svg = String::new();
    {
        let areas = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        let areas = areas.split_evenly((panels.len().div_ceil(2), 2));
        for (panel, area) in panels.iter().zip(&areas) {
            panel.draw(area).expect("a string takes all that is drawn");
        }
    }
    let head = svg.find('>').expect("a picture begins with its element") + 1;
    svg.insert_str(head, STYLE);
    svg
}

fn panels(all: &[Measured]) -> Vec<Panel> {
    // What was cut off has no number that means anything.
    let whole: Vec<&Measured> =
        all.iter().filter(|m| m.complete && m.run.reach != Reach::Usual).collect();
    let usual: Vec<&Measured> = all.iter().filter(|m| m.run.reach == Reach::Usual).collect();
    let of = |runs: &[&Measured], profile: &str, reach: Reach, x: Value, y: Value| {
        [1, 8, 32].map(|window| {
            let one = |m: &&&Measured| {
                (m.run.profile.name, m.run.reach, m.run.window) == (profile, reach, window)
            };
            let points = runs.iter().filter(one).map(|m| (x(m), y(m))).collect();
            (format!("{reach}, window {window}"), points)
        })
    };
    let by_window = |profile: &str, reach: Reach| {
        let one = |m: &&&Measured| {
            (m.run.profile.name, m.run.reach, m.run.ops) == (profile, reach, super::OPS[0])
        };
        let points = whole.iter().filter(one).map(|m| (m.run.window as f64, m.distinct as f64));
        (format!("{profile}, {reach}"), points.collect())
    };
    let (one, two) = (Reach::Whole(1), Reach::Whole(2));
    let puts: Value = |m| m.run.ops as f64;
    let both = |y: Value| {
        let lines = [one, two].map(|reach| of(&whole, "posix", reach, puts, y));
        lines.into_iter().flatten().collect()
    };
    vec![
        Panel {
            title: "Distinct states, posix, no cap",
            x: "puts",
            y: "states",
            factors: (true, true),
            lines: both(|m| m.distinct as f64),
        },
        Panel {
            title: "Distinct states of 100 puts, no cap",
            x: "window: puts that wait for one sync",
            y: "states",
            factors: (true, true),
            lines: ["posix", "ext4"]
                .into_iter()
                .flat_map(|profile| [one, two].map(|reach| by_window(profile, reach)))
                .collect(),
        },
        Panel {
            title: "Processor time for each state, posix, no cap",
            x: "puts",
            y: "microseconds",
            factors: (true, false),
            lines: both(|m| m.cpu_s * 1e6 / m.distinct as f64),
        },
        Panel {
            title: "States for each recovery that was run, posix, no cap",
            x: "puts",
            y: "without pruning: 1",
            factors: (true, false),
            lines: both(Measured::saved),
        },
        Panel {
            title: "Processor time of an exploration, posix, 1,500 states",
            x: "puts",
            y: "seconds",
            factors: (true, true),
            lines: of(&usual, "posix", Reach::Usual, puts, |m| m.cpu_s).into(),
        },
        Panel {
            title: "Peak memory, posix, 1,500 states",
            x: "MiB that the puts wrote",
            y: "MiB",
            factors: (false, false),
            lines: of(
                &usual,
                "posix",
                Reach::Usual,
                |m| mebibytes(m.written_bytes),
                |m| mebibytes(m.peak_bytes),
            )
            .into(),
        },
    ]
}

/// What is drawn of a run.
type Value = fn(&Measured) -> f64;

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

impl Panel {
    fn draw(&self, area: &Area<'_>) -> Result<(), Box<dyn Error>> {
        let points = self.lines.iter().flat_map(|(_, points)| points);
        let x = Panel::range(points.clone().map(|point| point.0), self.factors.0, 1.1);
        // The names of the lines stand above them.
        let y = Panel::range(points.map(|point| point.1), self.factors.1, 1.6);
        match self.factors {
            (true, true) => self.on(area, x.log_scale(), y.log_scale()),
            (true, false) => self.on(area, x.log_scale(), y),
            (false, _) => self.on(area, x, y),
        }
    }

    /// From the least value, or 0, to the greatest, and `headroom` times as far.
    fn range(
        values: impl Iterator<Item = f64> + Clone,
        factors: bool,
        headroom: f64,
    ) -> Range<f64> {
        let max = values.clone().fold(0.0, f64::max);
        match factors {
            true => values.fold(max, f64::min) / 1.3..max * headroom.powi(2),
            false => 0.0..max * headroom,
        }
    }

    fn on<X, Y>(&self, area: &Area<'_>, x: X, y: Y) -> Result<(), Box<dyn Error>>
    where
        X: AsRangedCoord<Value = f64, CoordDescType: ValueFormatter<f64>>,
        Y: AsRangedCoord<Value = f64, CoordDescType: ValueFormatter<f64>>,
    {
        let text = |size: u32| ("sans-serif", size).into_font().color(&GREY);
        let mut chart = ChartBuilder::on(area)
            .caption(self.title, text(16))
            .margin(12)
            .x_label_area_size(40)
            .y_label_area_size(64)
            .build_cartesian_2d(x, y)?;
        chart
            .configure_mesh()
            .x_desc(self.x)
            .y_desc(self.y)
            .label_style(text(12))
            .axis_desc_style(text(12))
            .axis_style(GREY)
            .bold_line_style(GREY.mix(0.3))
            .light_line_style(TRANSPARENT)
            .x_labels(5)
            .y_labels(6)
            .x_label_formatter(&|value| number(*value))
            .y_label_formatter(&|value| number(*value))
            .draw()?;
        let lines = self.lines.iter().zip(COLOURS);
        for ((name, points), colour) in lines.filter(|((_, points), _)| !points.is_empty()) {
            chart
                .draw_series(
                    LineSeries::new(points.iter().copied(), colour.stroke_width(2)).point_size(3),
                )?
                .label(name)
                .legend(move |(x, y)| {
                    PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2))
                });
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .label_font(text(11))
            .draw()?;
        Ok(())
    }
}

/// With a comma before every three digits, and decimals where it is small.
fn number(value: f64) -> String {
    if value < 10.0 {
        let text = format!("{value:.2}");
        return text.trim_end_matches('0').trim_end_matches('.').into();
    }
    let digits = format!("{value:.0}");
    let groups = digits.as_bytes().rchunks(3).rev();
    groups.map(|group| String::from_utf8_lossy(group)).collect::<Vec<_>>().join(",")
}

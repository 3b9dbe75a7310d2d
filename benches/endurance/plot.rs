//! The run as a drawing: four panels over one axis of time.

use crate::options::Options;
use crate::sample::{Sample, Samples};
use std::fmt::Write as _;

const WIDTH: f64 = 900.0;
const PANEL: f64 = 130.0;
const GAP: f64 = 34.0;
const LEFT: f64 = 80.0;
const TOP: f64 = 40.0;
/// Points of a line; more seconds are joined, by their worst.
const POINTS: usize = 600;
const MIB: f64 = (1 << 20) as f64;

struct Line {
    name: &'static str,
    colour: &'static str,
    value: fn(&Sample) -> f64,
}

struct Panel {
    title: &'static str,
    lines: &'static [Line],
}

const PANELS: &[Panel] = &[
    Panel { title: "operations a second", lines: &[Line { name: "rate", colour: "#1f77b4", value: |s| s.rate }] },
    Panel {
        title: "latency, ms",
        lines: &[
            Line { name: "longest", colour: "#d62728", value: |s| s.max },
            Line { name: "p99", colour: "#ff7f0e", value: |s| s.p99 },
            Line { name: "median", colour: "#2ca02c", value: |s| s.p50 },
        ],
    },
    Panel {
        title: "memory, MiB",
        lines: &[Line { name: "memory", colour: "#9467bd", value: |s| s.memory as f64 / MIB }],
    },
    Panel {
        title: "files, MiB",
        lines: &[
            Line { name: "store", colour: "#8c564b", value: |s| s.store as f64 / MIB },
            Line { name: "log", colour: "#17becf", value: |s| s.log as f64 / MIB },
        ],
    },
];

/// The drawing.
pub fn svg(samples: &Samples, options: &Options) -> String {
    let height = TOP + PANELS.len() as f64 * (PANEL + GAP) + 20.0;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n<text x=\"{LEFT}\" y=\"20\">{} clients \
         on {} rows, {:.0} minutes of inserts, updates and deletes</text>\n",
        options.clients,
        options.rows,
        options.duration.as_secs_f64() / 60.0
    );
    for (at, panel) in PANELS.iter().enumerate() {
        draw(panel, TOP + at as f64 * (PANEL + GAP), samples, &mut out);
    }
    out.push_str("</svg>\n");
    out
}

fn draw(panel: &Panel, top: f64, samples: &Samples, out: &mut String) {
    let seconds = &samples.seconds;
    let width = WIDTH - LEFT - 20.0;
    let most =
        panel.lines.iter().flat_map(|line| seconds.iter().map(line.value)).fold(0.0, f64::max).max(f64::MIN_POSITIVE);
    let end = seconds.last().map_or(1.0, |last| last.at);
    // writing into a string cannot fail
    let _ = writeln!(
        out,
        "<rect x=\"{LEFT}\" y=\"{top}\" width=\"{width}\" height=\"{PANEL}\" fill=\"none\" stroke=\"#ccc\"/>\n<text \
         x=\"{LEFT}\" y=\"{:.0}\">{}</text>\n<text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"end\">{most:.0}</text>\n<text \
         x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"end\">0</text>\n<text x=\"{:.0}\" y=\"{:.0}\" \
         text-anchor=\"end\">{end:.0} s</text>",
        top - 5.0,
        panel.title,
        LEFT - 6.0,
        top + 10.0,
        LEFT - 6.0,
        top + PANEL,
        LEFT + width,
        top + PANEL + 14.0,
    );
    for (at, line) in panel.lines.iter().enumerate() {
        let joined = seconds.chunks(seconds.len().div_ceil(POINTS).max(1));
        let points: Vec<String> = joined
            .map(|chunk| {
                let value = chunk.iter().map(line.value).fold(0.0, f64::max);
                let (x, y) = (LEFT + chunk[0].at / end * width, top + PANEL - value / most * PANEL);
                format!("{x:.1},{y:.1}")
            })
            .collect();
        let x = LEFT + 160.0 + at as f64 * 80.0;
        let (colour, name) = (line.colour, line.name);
        let _ = writeln!(
            out,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\"/>\n<text x=\"{x}\" y=\"{:.0}\" \
             fill=\"{colour}\">{name}</text>",
            points.join(" "),
            top - 5.0
        );
    }
}

//! Plots as SVG, drawn by hand: no script, nothing from elsewhere.

use std::fmt::Write;

use pinhole_timewait::simulate::Distribution;

use super::Run;

/// Columns of the histogram.
pub(super) const COLUMNS: usize = 120;
/// The size of a plot, and what is around it.
const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 280.0;
const LEFT: f64 = 64.0;
const BOTTOM: f64 = 36.0;
const TOP: f64 = 16.0;
/// Marks of an axis.
const MARKS: usize = 6;

/// What a plot of lifetimes spans, seconds: all of them, and a little around.
pub(super) fn span(lifetimes: &Distribution) -> (f64, f64) {
    /// Where all lasted the same.
    const LEAST_S: f64 = 1.0;
    let (least_s, most_s) = (lifetimes.least_s(), lifetimes.most_s());
    let margin_s = ((most_s - least_s) * 0.02).max(LEAST_S / 2.0);
    ((least_s - margin_s).max(0.0), most_s + margin_s)
}

/// The histogram.
pub(super) fn lifetimes(run: &Run) -> String {
    let (from_s, until_s) = span(&run.outcome.lifetimes);
    let columns = run.outcome.lifetimes.columns(from_s, until_s, COLUMNS);
    let most = columns.iter().map(|column| column.1).max().unwrap_or(0).max(1);
    let mut svg = open("How long sockets lasted");
    let width = (WIDTH - LEFT) / COLUMNS as f64;
    for (at, (middle_s, count)) in columns.iter().enumerate().filter(|(_, column)| column.1 > 0) {
        let height = (*count as f64 / most as f64 * plot()).max(1.0);
        let (x, y) = (LEFT + at as f64 * width, TOP + plot() - height);
        let _ = writeln!(
            svg,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{height:.1}\" fill=\"#0b7a5b\">\
             <title>{middle_s:.2} s: {count}</title></rect>",
            (width - 0.6).max(0.4),
        );
    }
    axes(&mut svg, (from_s, until_s), most, "seconds");
    svg.push_str("</svg>\n");
    svg
}

/// Sockets over time.
pub(super) fn population(run: &Run) -> String {
    let outcome = &run.outcome;
    let most = outcome.most.max(1);
    let end_s = outcome.end_s.max(1e-9);
    let mut svg = open("Sockets over time");
    for outage in &outcome.outages {
        let x = |at_s: f64| LEFT + at_s / end_s * (WIDTH - LEFT);
        let (from, until) = (x(outage.from_s), x(outage.until_s));
        let _ = writeln!(
            svg,
            "<rect x=\"{from:.1}\" y=\"{TOP}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"#c8322b\" opacity=\"0.18\">\
             <title>no port from {:.1} s on for {:.1} s</title></rect>",
            (until - from).max(0.3),
            plot(),
            outage.from_s,
            outage.length_s(),
        );
    }
    let points: Vec<String> = outcome
        .population
        .iter()
        .map(|sample| {
            let x = LEFT + sample.at_s / end_s * (WIDTH - LEFT);
            let y = TOP + plot() * (1.0 - sample.sockets as f64 / most as f64);
            format!("{x:.1},{y:.1}")
        })
        .collect();
    let _ = writeln!(
        svg,
        "<polyline points=\"{}\" fill=\"none\" stroke=\"#0a5fb4\" stroke-width=\"1.6\"/>",
        points.join(" ")
    );
    axes(&mut svg, (0.0, end_s), most, "seconds");
    svg.push_str("</svg>\n");
    svg
}

const fn plot() -> f64 {
    HEIGHT - TOP - BOTTOM
}

fn open(title: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" font-family=\"system-ui, \
         sans-serif\" font-size=\"12\">\n<title>{title}</title>\n"
    )
}

fn axes(svg: &mut String, (from, until): (f64, f64), most: u64, unit: &str) {
    let base = TOP + plot();
    let _ = writeln!(svg, "<path d=\"M{LEFT} {TOP}V{base}H{WIDTH}\" fill=\"none\" stroke=\"#8a94a6\"/>");
    for mark in 0..=MARKS {
        let share = mark as f64 / MARKS as f64;
        let (x, value) = (LEFT + share * (WIDTH - LEFT), from + share * (until - from));
        let anchor = match mark {
            0 => "start",
            MARKS => "end",
            _ => "middle",
        };
        let text = if until - from < 20.0 { format!("{value:.2}") } else { format!("{value:.0}") };
        let unit = if mark == MARKS { format!(" {unit}") } else { String::new() };
        let y = base + 18.0;
        let _ =
            writeln!(svg, "<text x=\"{x:.1}\" y=\"{y}\" fill=\"#667085\" text-anchor=\"{anchor}\">{text}{unit}</text>");
    }
    for (share, count) in [(0.0, most), (1.0, 0)] {
        let (x, y) = (LEFT - 8.0, TOP + share * plot() + 4.0);
        let _ = writeln!(svg, "<text x=\"{x}\" y=\"{y:.1}\" fill=\"#667085\" text-anchor=\"end\">{count}</text>");
    }
}

//! A look as lines; and the words that [`view`](super::view) has in common with them.

use std::io::{self, Write};

use pinhole_host::netlink::conntrack::CpuStatistics;

use super::super::paint::{Paint, Tone};
use super::super::{human, trouble};
use super::advice::advise;
use super::tally::Group;
use super::{Args, By, Frame};

/// Lines where nobody says how many.
const ROWS: usize = 20;
/// How wide the fill is drawn.
const BAR: usize = 20;
/// From here on the table is too full.
const FULL: f64 = 0.8;

/// Writes a look for people.
pub(super) fn write(out: &mut impl Write, args: &Args, frame: &Frame) -> io::Result<()> {
    let paint = Paint::for_stdout();
    writeln!(out, "table    {}", fill(frame, paint))?;
    let counters: Vec<_> = counters(frame).iter().map(|(tone, text)| paint.paint(*tone, text).into_owned()).collect();
    writeln!(out, "counters {}", counters.join("  "))?;
    for (tone, words) in notes(frame) {
        writeln!(out, "{}", paint.paint(tone, &words))?;
    }
    let shown = &frame.groups[..frame.groups.len().min(args.rows.unwrap_or(ROWS))];
    let width = shown.iter().map(|group| group.name.chars().count()).max().unwrap_or(0).max(12);
    let headings = headings(args.by, frame);
    let widths: Vec<usize> = std::iter::once(width).chain(headings[1..].iter().map(|name| room(name))).collect();
    writeln!(out, "\n{}", paint.paint(Tone::Heading, &line(&headings, &widths)))?;
    for group in shown {
        writeln!(out, "{}", line(&cells(group, frame), &widths))?;
    }
    if shown.len() < frame.groups.len() {
        writeln!(out, "{}", paint.paint(Tone::Fading, &format!("and {} more", frame.groups.len() - shown.len())))?;
    }
    if args.once { Ok(()) } else { writeln!(out) }
}

/// Names to the left, numbers to the right.
fn line(cells: &[String], widths: &[usize]) -> String {
    let mut line = format!("{:<1$}", cells[0], widths[0]);
    cells.iter().zip(widths).skip(1).for_each(|(cell, width)| line += &format!("  {cell:>width$}"));
    line
}

/// The width of a number's column.
pub(super) fn room(heading: &str) -> usize {
    const LEAST: usize = 8;
    heading.len().max(LEAST)
}

/// Each column's name.
pub(super) fn headings(by: By, frame: &Frame) -> Vec<String> {
    let mut names = vec![label(by).to_uppercase(), "FLOWS".into(), "UNREPLIED".into()];
    if frame.counted {
        names.extend(["PACKETS".into(), "BYTES".into()]);
    }
    if with_rates(frame) {
        names.extend(["PKT/S".into(), "BYTES/S".into()]);
    }
    names
}

/// A group's value in each column.
pub(super) fn cells(group: &Group, frame: &Frame) -> Vec<String> {
    let mut cells = vec![group.name.clone(), group.flows.to_string(), group.unreplied.to_string()];
    if frame.counted {
        cells.extend([human::amount(group.packets), human::bytes(group.bytes)]);
    }
    if with_rates(frame) {
        let (packets, bytes) = (group.packets_per_s.unwrap_or(0.0), group.bytes_per_s.unwrap_or(0.0));
        cells.extend([human::amount(packets.round() as u64), human::bytes(bytes.round() as u64)]);
    }
    cells
}

fn with_rates(frame: &Frame) -> bool {
    frame.groups.iter().any(|group| group.bytes_per_s.is_some())
}

/// What share of the table is taken, and how good that is; none where there is no limit.
pub(super) fn share(frame: &Frame) -> Option<(f64, Tone)> {
    let maximum = frame.fill.maximum.filter(|&maximum| maximum != 0)?;
    let share = (f64::from(frame.fill.entries) / f64::from(maximum)).min(1.0);
    Some((share, if share < FULL { Tone::Good } else { Tone::Bad }))
}

fn fill(frame: &Frame, paint: Paint) -> String {
    let bar = share(frame).map_or_else(String::new, |(share, tone)| {
        let full = (share * BAR as f64).round() as usize;
        format!(" [{}{}] {:.1} %", paint.paint(tone, &"#".repeat(full)), "-".repeat(BAR - full), share * 100.0)
    });
    format!("{}{bar}{}", entries(frame), counted_here(frame))
}

/// "900 of 1000".
pub(super) fn entries(frame: &Frame) -> String {
    match frame.fill.maximum {
        Some(maximum) if maximum != 0 => format!("{} of {maximum}", frame.fill.entries),
        Some(_) | None => frame.fill.entries.to_string(),
    }
}

/// ", 3 counted here; 0 unreplied".
pub(super) fn counted_here(frame: &Frame) -> String {
    let is_all = frame.flows == u64::from(frame.fill.entries);
    let matched = if is_all { String::new() } else { format!(", {} counted here", frame.flows) };
    format!("{matched}; {} unreplied", frame.unreplied)
}

/// The counters that say what was dropped.
pub(super) fn counters(frame: &Frame) -> [(Tone, String); 4] {
    let CpuStatistics { drop, early_drop, insert_failed, invalid, .. } = frame.statistics;
    let rates = frame.rates;
    let one = |name: &str, total: u32, rate: Option<f64>| {
        let rises = rate.filter(|&rate| rate > 0.0);
        let text = rises.map_or_else(|| format!("{name} {total}"), |rate| format!("{name} {total} (+{rate:.1}/s)"));
        let is_bad = name != "invalid" && rises.is_some();
        (if is_bad { Tone::Bad } else { Tone::Plain }, text)
    };
    [
        one("drop", drop, rates.map(|r| r.drop)),
        one("early_drop", early_drop, rates.map(|r| r.early_drop)),
        one("insert_failed", insert_failed, rates.map(|r| r.insert_failed)),
        one("invalid", invalid, rates.map(|r| r.invalid)),
    ]
}

/// What is wrong, and what is missing.
pub(super) fn notes(frame: &Frame) -> Vec<(Tone, String)> {
    let mut notes: Vec<_> = advise(frame).iter().map(|words| (Tone::Bad, format!("! {words}"))).collect();
    if !frame.counted && frame.flows != 0 {
        notes.push((Tone::Plain, trouble::NO_COUNTERS.to_owned()));
    }
    notes
}

/// What flows are counted by.
pub(super) fn label(by: By) -> &'static str {
    match by {
        By::Source => "source",
        By::Destination => "destination",
        By::Nat => "nat",
        By::State => "state",
        By::Protocol => "protocol",
        By::Service => "service",
    }
}

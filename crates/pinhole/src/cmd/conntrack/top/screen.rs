//! A look as text, refreshed in a terminal, and as JSON.

use std::io::{self, Write};

use pinhole_host::netlink::conntrack::CpuStatistics;
use serde_json::{Value, json};

use super::super::paint::{Paint, Tone};
use super::super::{human, trouble};
use super::advice::advise;
use super::tally::Group;
use super::{Args, By, Frame};

/// Lines where nobody says how many fit.
const ROWS: usize = 20;
/// Lines that are not groups: the fill, the counters, advice, headings.
const OTHER_LINES: usize = 8;
/// How wide the fill is drawn.
const BAR: usize = 20;

/// The terminal's other screen, without a cursor; what was on it comes back when this is dropped.
#[derive(Debug)]
pub(super) struct Live;

impl Live {
    pub(super) fn enter() -> Self {
        write_out("\x1b[?1049h\x1b[?25l");
        Self
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        write_out("\x1b[?25h\x1b[?1049l");
    }
}

fn write_out(text: &str) {
    let mut out = io::stdout().lock();
    // A terminal that is gone needs no restoring.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Writes a look for people; `live` over the one before.
pub(super) fn text(out: &mut impl Write, args: &Args, frame: &Frame, live: bool) -> io::Result<()> {
    let lines = lines(args, frame, live);
    if !live {
        lines.iter().try_for_each(|line| writeln!(out, "{line}"))?;
        return if args.once { Ok(()) } else { writeln!(out) };
    }
    // Each line clears what is left of the old one, the end what is below: nothing flickers.
    let body = lines.iter().map(|line| format!("{line}\x1b[K\r\n")).collect::<String>();
    write!(out, "\x1b[H{body}\x1b[J")
}

fn lines(args: &Args, frame: &Frame, live: bool) -> Vec<String> {
    let paint = Paint::for_stdout();
    let mut lines = vec![fill(frame, paint), counters(frame, paint)];
    lines.extend(advise(frame).iter().map(|words| paint.paint(Tone::Bad, &format!("! {words}")).into_owned()));
    if !frame.counted && frame.flows != 0 {
        lines.push(trouble::NO_COUNTERS.to_owned());
    }
    let shown = &frame.groups[..frame.groups.len().min(rows(args, live))];
    let with_rates = shown.iter().any(|group| group.bytes_per_s.is_some());
    let width = shown.iter().map(|group| group.name.chars().count()).max().unwrap_or(0).max(12);
    lines.push(String::new());
    lines.push(paint.paint(Tone::Heading, &heading(args.by, width, frame.counted, with_rates)).into_owned());
    lines.extend(shown.iter().map(|group| row(group, width, frame.counted)));
    if shown.len() < frame.groups.len() {
        lines.push(paint.paint(Tone::Fading, &format!("and {} more", frame.groups.len() - shown.len())).into_owned());
    }
    lines
}

fn rows(args: &Args, live: bool) -> usize {
    let fits =
        || Some(usize::from(rustix::termios::tcgetwinsize(io::stdout()).ok()?.ws_row).saturating_sub(OTHER_LINES));
    args.rows.or_else(|| fits().filter(|&rows| live && rows > 0)).unwrap_or(ROWS)
}

fn fill(frame: &Frame, paint: Paint) -> String {
    let entries = frame.fill.entries;
    let of = match frame.fill.maximum {
        Some(maximum) if maximum != 0 => {
            let share = (f64::from(entries) / f64::from(maximum)).min(1.0);
            let full = (share * BAR as f64).round() as usize;
            let tone = if share < 0.8 { Tone::Good } else { Tone::Bad };
            let bar = paint.paint(tone, &"#".repeat(full)).into_owned() + &"-".repeat(BAR - full);
            format!("{entries} of {maximum} [{bar}] {:.1} %", share * 100.0)
        }
        _ => entries.to_string(),
    };
    let matched =
        if frame.flows == u64::from(entries) { String::new() } else { format!(", {} counted here", frame.flows) };
    format!("table    {of}{matched}; {} unreplied", frame.unreplied)
}

fn counters(frame: &Frame, paint: Paint) -> String {
    let CpuStatistics { drop, early_drop, insert_failed, invalid, .. } = frame.statistics;
    let rates = frame.rates;
    let one = |name: &str, total: u32, rate: Option<f64>| {
        let text = match rate {
            Some(rate) if rate > 0.0 => format!("{name} {total} (+{rate:.1}/s)"),
            Some(_) | None => format!("{name} {total}"),
        };
        let is_bad = name != "invalid" && rate.is_some_and(|rate| rate > 0.0);
        paint.paint(if is_bad { Tone::Bad } else { Tone::Plain }, &text).into_owned()
    };
    let all = [
        one("drop", drop, rates.map(|r| r.drop)),
        one("early_drop", early_drop, rates.map(|r| r.early_drop)),
        one("insert_failed", insert_failed, rates.map(|r| r.insert_failed)),
        one("invalid", invalid, rates.map(|r| r.invalid)),
    ];
    format!("counters {}", all.join("  "))
}

fn heading(by: By, width: usize, counted: bool, with_rates: bool) -> String {
    let mut line = format!("{:<width$}  {:>8}  {:>9}", label(by).to_uppercase(), "FLOWS", "UNREPLIED");
    if counted {
        line += &format!("  {:>8}  {:>8}", "PACKETS", "BYTES");
    }
    if with_rates {
        line += &format!("  {:>8}  {:>8}", "PKT/S", "BYTES/S");
    }
    line
}

fn row(group: &Group, width: usize, counted: bool) -> String {
    let mut line = format!("{:<width$}  {:>8}  {:>9}", group.name, group.flows, group.unreplied);
    if counted {
        line += &format!("  {:>8}  {:>8}", human::amount(group.packets), human::bytes(group.bytes));
    }
    if let (Some(packets), Some(bytes)) = (group.packets_per_s, group.bytes_per_s) {
        line += &format!("  {:>8}  {:>8}", human::amount(packets.round() as u64), human::bytes(bytes.round() as u64));
    }
    line
}

fn label(by: By) -> &'static str {
    match by {
        By::Source => "source",
        By::Destination => "destination",
        By::Nat => "nat",
        By::State => "state",
        By::Protocol => "protocol",
        By::Service => "service",
    }
}

/// Writes a look for machines, as one line.
pub(super) fn json(out: &mut impl Write, args: &Args, frame: &Frame) -> io::Result<()> {
    writeln!(out, "{}", object(args, frame))
}

pub(super) fn object(args: &Args, frame: &Frame) -> Value {
    let counted = |count: u64| if frame.counted { json!(count) } else { Value::Null };
    let shown = frame.groups.iter().take(args.rows.unwrap_or(usize::MAX));
    let groups = shown.map(|group| {
        json!({
            "name": group.name,
            "flows": group.flows,
            "unreplied": group.unreplied,
            "packets": counted(group.packets),
            "bytes": counted(group.bytes),
            "packets_per_s": group.packets_per_s,
            "bytes_per_s": group.bytes_per_s,
        })
    });
    let s = frame.statistics;
    json!({
        "time": frame.now_ns as f64 / 1e9,
        "entries": frame.fill.entries,
        "maximum": frame.fill.maximum,
        "flows": frame.flows,
        "unreplied": frame.unreplied,
        "by": label(args.by),
        "groups": groups.collect::<Vec<_>>(),
        "counters": {
            "found": s.found,
            "invalid": s.invalid,
            "insert": s.insert,
            "insert_failed": s.insert_failed,
            "drop": s.drop,
            "early_drop": s.early_drop,
            "error": s.error,
            "search_restart": s.search_restart,
            "clash_resolve": s.clash_resolve,
            "chain_too_long": s.chain_too_long,
        },
        "per_s": frame.rates,
        "advice": advise(frame),
    })
}

//! A look as a screen, drawn over the one before.

use std::collections::HashMap;
use std::io::{self, Write};
use std::net::SocketAddr;

use pinhole_host::clock::now_ns;

use super::super::groups::histogram;
use super::super::machine::Machine;
use super::super::{chart, trouble};
use super::change::{Change, Watched};
use crate::cmd::conntrack::paint::{Paint, Tone};

/// Columns and lines of the plot.
const COLUMNS: usize = 62;
const HEIGHT: usize = 8;
/// Peers that are listed.
const PEERS: usize = 10;

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

/// Draws it.
pub(super) fn write(out: &mut impl Write, machine: &Machine, watched: &Watched, change: &Change) -> io::Result<()> {
    // Each line clears what is left of the old one, the end what is below: nothing flickers.
    let body = lines(machine, watched, change).iter().map(|line| format!("{line}\x1b[K\r\n")).collect::<String>();
    write!(out, "\x1b[H{body}\x1b[J")
}

fn lines(machine: &Machine, watched: &Watched, change: &Change) -> Vec<String> {
    let paint = Paint::for_stdout();
    let sample = &watched.sample;
    let since_s = now_ns().saturating_sub(sample.at_ns) as f64 / 1e9;
    let ahead: Vec<(f64, usize)> = sample
        .calendar(sample.dead.iter())
        .into_iter()
        .map(|(at_s, count)| ((at_s - since_s).max(0.0), count))
        .collect();
    let next = ahead.first().map_or_else(String::new, |(at_s, count)| format!("; the next {count} die in {at_s:.1} s"));
    let mut lines = vec![
        format!("Linux {}, {}: TIME_WAIT lasts {}", machine.release, machine.hz, machine.lasts()),
        paint.paint(Tone::Heading, &format!("{} wait{next}", sample.dead.len())).into_owned(),
        format!(
            "last look: born {}, died {} ({} predicted, {} before their time, {} late), {} began anew",
            change.born, change.died, change.predicted, change.early, change.late, change.restarted
        ),
        String::new(),
    ];
    let until_s = machine.hz.to_s(machine.timeout_j() + machine.granule_j());
    let bars = chart::area(&histogram(&ahead, COLUMNS, until_s), HEIGHT);
    lines.extend(bars.iter().map(|bar| format!("  {}", paint.paint(Tone::Good, bar))));
    let end = format!("{until_s:.0} s");
    let gap = COLUMNS - "now".len() - end.len();
    lines.push(format!("  now{:gap$}{end}", ""));
    lines.push(String::new());
    lines.push(paint.paint(Tone::Heading, &format!("{:<48}  {:>7}  {:>10}", "TO", "WAIT", "LAST IN s")).into_owned());
    lines.extend(peers(watched, since_s));
    lines.extend(trouble::of_clock(machine.jiffies.source).map(|words| paint.paint(Tone::Fading, words).into_owned()));
    lines
}

fn peers(watched: &Watched, since_s: f64) -> Vec<String> {
    let mut peers: HashMap<SocketAddr, (usize, u64)> = HashMap::new();
    for dead in &watched.sample.dead {
        let (count, last_ns) = peers.entry(dead.socket.remote).or_default();
        *count += 1;
        *last_ns = (*last_ns).max(dead.death_ns);
    }
    let mut peers: Vec<_> = peers.into_iter().collect();
    peers.sort_by_key(|&(peer, (count, _))| (std::cmp::Reverse(count), peer));
    let at_ns = watched.sample.at_ns;
    let line = |(peer, (count, last_ns)): &(SocketAddr, (usize, u64))| {
        let last_s = (last_ns.saturating_sub(at_ns) as f64 / 1e9 - since_s).max(0.0);
        format!("{:<48}  {count:>7}  {last_s:>10.1}", peer.to_string())
    };
    peers.iter().take(PEERS).map(line).collect()
}

//! For people.

use std::io::{self, Write};

use pinhole_timewait::capacity::SLOW_SHARE;

use super::super::groups::{Group, Key, histogram};
use super::super::sample::{Dead, Kind};
use super::super::{chart, trouble};
use super::{Args, View};
use crate::cmd::conntrack::paint::{Paint, Tone};

/// Columns of a group's bars: one granule each for what lasts a minute.
const BARS: usize = 30;
/// Lines where nobody says how many.
const LINES: usize = 20;
/// Nearly all of the ports.
const FULL_SHARE: f64 = 0.9;

pub(super) fn write(out: &mut impl Write, args: &Args, view: &View) -> io::Result<()> {
    let paint = Paint::for_stdout();
    heading(out, view, paint)?;
    if args.sockets {
        sockets(out, args, view)?
    } else {
        groups(out, args, view, paint)?
    }
    let notes = trouble::of_clock(view.machine.jiffies.source).into_iter();
    let notes = notes.chain(trouble::of_settings(&view.machine.settings));
    for note in notes.chain((!view.tracked).then_some(trouble::NO_CONNTRACK)) {
        writeln!(out, "{}", paint.paint(Tone::Fading, note))?;
    }
    Ok(())
}

fn heading(out: &mut impl Write, view: &View, paint: Paint) -> io::Result<()> {
    let machine = &view.machine;
    writeln!(out, "Linux {}, {}: TIME_WAIT lasts {}", machine.release, machine.hz, machine.lasts())?;
    let (time_wait, fin_wait2, overdue) = view.groups.totals();
    let mut line = format!("{time_wait} in TIME_WAIT, {fin_wait2} in FIN_WAIT_2");
    if let Some(most) = machine.settings.max_tw_buckets {
        line += &format!(", of {most} at most (tcp_max_tw_buckets)");
    }
    if overdue > 0 {
        line += &format!("; {overdue} overdue: their time is up, the wheel has not come to them yet");
    }
    writeln!(out, "{line}")?;
    let calendar = view.sample.calendar(view.sample.dead.iter());
    match calendar[..] {
        [] => {}
        [(in_s, count)] => writeln!(out, "all {count} die in {in_s:.3} s")?,
        [(first_s, count), .., (last_s, _)] => {
            writeln!(out, "the next {count} die in {first_s:.3} s, the last in {last_s:.3} s")?;
        }
    }
    if let Some(overflow) = view.counters.and_then(|counters| counters.overflow).filter(|&count| count > 0) {
        let words = format!("! {overflow} closed without TIME_WAIT since the start: tcp_max_tw_buckets was reached");
        writeln!(out, "{}", paint.paint(Tone::Bad, &words))?;
    }
    Ok(())
}

fn groups(out: &mut impl Write, args: &Args, view: &View, paint: Paint) -> io::Result<()> {
    let pool = view.machine.pool(view.groups.blocked);
    let ports = pool.ports();
    let all = &view.groups.groups;
    let shown = &all[..all.len().min(args.limit.unwrap_or(LINES))];
    if shown.is_empty() {
        return writeln!(out, "nothing waits here");
    }
    writeln!(
        out,
        "ports {}-{}: {ports} to each destination ({} reserved, {} listened on)\n",
        pool.low, pool.high, pool.reserved, pool.blocked
    )?;
    let width = shown.iter().map(|group| name(&group.key).chars().count()).max().unwrap_or(0).max(12);
    let tracked = if view.tracked { format!("  {:>9}", "CONNTRACK") } else { String::new() };
    let heading = format!(
        "{:<width$}  {:>9}  {:>8}  {:>6}  {:>6}  {:>5}{tracked}",
        "CONNECTIONS", "TIME_WAIT", "FIN_WAIT", "LIVE", "FREE", "USED"
    );
    let bars = bars(heading.len(), columns());
    let released = "RELEASED OVER THE NEXT MINUTE".get(..bars).unwrap_or("RELEASED OVER THE NEXT MINUTE");
    let heading = format!("{heading}  {released}");
    writeln!(out, "{}", paint.paint(Tone::Heading, heading.trim_end()))?;
    for group in shown {
        writeln!(out, "{}", row(group, view, ports, (width, bars), paint))?;
    }
    if shown.len() < all.len() {
        writeln!(out, "{}", paint.paint(Tone::Fading, &format!("and {} more", all.len() - shown.len())))?;
    }
    for group in shown {
        if let (Key::Out { to, .. }, Some(words)) = (&group.key, warning(share(group, ports))) {
            writeln!(out, "{}", paint.paint(Tone::Bad, &format!("! to {to}: {words}")))?;
        }
    }
    Ok(())
}

/// How many bars fit behind `before` columns: all where output goes elsewhere than to a terminal, none where few would.
fn bars(before: usize, columns: Option<usize>) -> usize {
    const FEW: usize = 8;
    let room = columns.map_or(BARS, |columns| columns.saturating_sub(before + 2).min(BARS));
    if room < FEW { 0 } else { room }
}

/// The terminal's width.
fn columns() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    Some(size.ws_col.into()).filter(|&columns| columns > 0)
}

fn row(group: &Group, view: &View, ports: u32, (width, bars): (usize, usize), paint: Paint) -> String {
    let (free, used) = match group.key {
        Key::Out { .. } => {
            let share = share(group, ports);
            let tone = if share >= SLOW_SHARE { Tone::Bad } else { Tone::Plain };
            let used = format!("{:>4.0}%", share * 100.0);
            (ports.saturating_sub(group.used).to_string(), paint.paint(tone, &used).into_owned())
        }
        Key::In { .. } => ("-".to_owned(), format!("{:>5}", "-")),
    };
    let tracked = match group.tracked.filter(|_| view.tracked) {
        Some(tracking) if tracking.time_wait > 0 => format!("  {:>4} {:>3}s", tracking.time_wait, tracking.last_s),
        _ if view.tracked => format!("  {:>9}", "-"),
        _ => String::new(),
    };
    let dead = group.dead.iter().map(|&at| &view.sample.dead[at]);
    let until_s = view.machine.hz.to_s(view.machine.timeout_j() + view.machine.granule_j());
    let bars = match bars {
        0 => String::new(),
        _ => chart::line(&histogram(&view.sample.calendar(dead), bars, until_s)),
    };
    let line = format!(
        "{:<width$}  {:>9}  {:>8}  {:>6}  {:>6}  {used}{tracked}  {}",
        name(&group.key),
        group.time_wait,
        group.fin_wait2,
        group.living,
        free,
        paint.paint(Tone::Good, bars.trim_end()),
    );
    line.trim_end().to_owned()
}

fn name(key: &Key) -> String {
    match key {
        Key::Out { from, to } => format!("{from} → {to}"),
        Key::In { service } => format!("→ {service}"),
    }
}

fn share(group: &Group, ports: u32) -> f64 {
    f64::from(group.used) / f64::from(ports.max(1))
}

fn warning(share: f64) -> Option<&'static str> {
    match share {
        _ if share >= FULL_SHARE => Some("nearly out of ports; see `pinhole timewait forecast`"),
        _ if share >= SLOW_SHARE => {
            Some("more than half of the ports are taken, and connect() takes milliseconds rather than microseconds")
        }
        _ => None,
    }
}

fn sockets(out: &mut impl Write, args: &Args, view: &View) -> io::Result<()> {
    let mut dead: Vec<&Dead> = view.sample.dead.iter().collect();
    dead.sort_by_key(|dead| dead.death_ns);
    if dead.is_empty() {
        return writeln!(out, "nothing waits here");
    }
    let count = dead.len().min(args.limit.unwrap_or(usize::MAX));
    writeln!(out, "\n{:>9}  {:>9}  {:<11}  SOCKET", "DIES IN s", "TIMER s", "STATE")?;
    for dead in &dead[..count] {
        let socket = &dead.socket;
        let left_s = dead.left_s(view.sample.at_ns);
        let timer_s = f64::from(socket.expires_ms) / 1000.0;
        let state = match dead.kind {
            Kind::TimeWait if dead.is_overdue() => "overdue",
            Kind::TimeWait => "TIME_WAIT",
            Kind::FinWait2 | Kind::FinWait2Whole => "FIN_WAIT_2",
        };
        writeln!(out, "{left_s:>9.3}  {timer_s:>9.3}  {state:<11}  {} → {}", socket.local, socket.remote)?;
    }
    if count < dead.len() {
        writeln!(out, "and {} more", dead.len() - count)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_have_the_room_that_is_left_or_none() {
        let cases =
            [(60, None, BARS), (60, Some(200), BARS), (60, Some(80), 18), (60, Some(65), 0), (100, Some(80), 0)];
        for (before, columns, expected) in cases {
            assert_eq!(bars(before, columns), expected, "{before} {columns:?}");
        }
    }

    #[test]
    fn half_of_the_ports_is_worth_a_warning() {
        assert_eq!(warning(0.49), None);
        assert!(warning(0.5).is_some_and(|words| words.contains("milliseconds")));
        assert!(warning(0.95).is_some_and(|words| words.contains("forecast")));
    }
}

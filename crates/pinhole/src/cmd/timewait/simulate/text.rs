//! For people, with a plot.

use std::io::{self, Write};

use super::super::chart;
use super::{Run, SHARES, SHORT_OUTAGE_S, svg};
use crate::cmd::conntrack::human;
use crate::cmd::conntrack::paint::{Paint, Tone};

/// The plot's size, in characters.
const WIDTH: usize = 72;
const HEIGHT: usize = 8;
/// Outages that are listed.
const OUTAGES: usize = 5;

pub(super) fn write(out: &mut impl Write, run: &Run) -> io::Result<()> {
    let paint = Paint::for_stdout();
    let (plan, outcome, lifetimes) = (&run.plan, &run.outcome, &run.outcome.lifetimes);
    writeln!(out, "Linux {}, {}: {}", run.kernel.text, plan.hz, plan.generation.words())?;
    let per_s = outcome.served as f64 / run.took.as_secs_f64().max(1e-9);
    writeln!(
        out,
        "{} sockets in {:.0} s of its time and {:.2} s of ours ({} a second)",
        outcome.served,
        outcome.end_s,
        run.took.as_secs_f64(),
        human::amount(per_s as u64)
    )?;
    if outcome.overflowed > 0 {
        let share = outcome.overflowed as f64 / outcome.served as f64 * 100.0;
        let words = format!("{} closed without TIME_WAIT, for want of a bucket ({share:.1} %)", outcome.overflowed);
        writeln!(out, "{}", paint.paint(Tone::Waiting, &words))?;
    }
    if lifetimes.count() == 0 {
        return writeln!(out, "none came after the warm-up");
    }
    writeln!(out, "\n{}", paint.paint(Tone::Heading, "LIFETIME, SECONDS"))?;
    let shares: Vec<_> =
        SHARES.iter().map(|&(name, share)| format!("{name} {:.2}", lifetimes.quantile_s(share))).collect();
    writeln!(
        out,
        "least {:.3}  {}  most {:.3}  mean {:.3}",
        lifetimes.least_s(),
        shares.join("  "),
        lifetimes.most_s(),
        lifetimes.mean_s()
    )?;
    let (from_s, until_s) = svg::span(lifetimes);
    let counts: Vec<u64> = lifetimes.columns(from_s, until_s, WIDTH).into_iter().map(|(_, count)| count).collect();
    for line in chart::area(&counts, HEIGHT) {
        writeln!(out, "  {}", paint.paint(Tone::Good, &line))?;
    }
    axis(out, from_s, until_s)?;
    writeln!(out, "\n{}", paint.paint(Tone::Heading, "SOCKETS OVER TIME"))?;
    let counts = population(run);
    for line in chart::area(&counts, HEIGHT / 2) {
        writeln!(out, "  {}", paint.paint(Tone::Translated, &line))?;
    }
    axis(out, 0.0, outcome.end_s)?;
    writeln!(out, "at most {} at once", outcome.most)?;
    if outcome.ticks.all > 0 {
        let share = outcome.ticks.stalled as f64 / outcome.ticks.all as f64 * 100.0;
        writeln!(out, "the hand stayed at {} of {} ticks ({share:.0} %)", outcome.ticks.stalled, outcome.ticks.all)?;
    }
    outages(out, run, paint)
}

fn axis(out: &mut impl Write, from_s: f64, until_s: f64) -> io::Result<()> {
    let (left, right) = (format!("{from_s:.1}"), format!("{until_s:.1} s"));
    let gap = WIDTH.saturating_sub(left.len() + right.len());
    writeln!(out, "  {left}{:gap$}{right}", "")
}

/// The most of each column.
fn population(run: &Run) -> Vec<u64> {
    let mut counts = vec![0; WIDTH];
    for sample in &run.outcome.population {
        let column = (sample.at_s / run.outcome.end_s.max(1e-9) * WIDTH as f64) as usize;
        let count = &mut counts[column.min(WIDTH - 1)];
        *count = (*count).max(sample.sockets);
    }
    counts
}

fn outages(out: &mut impl Write, run: &Run, paint: Paint) -> io::Result<()> {
    let outcome = &run.outcome;
    let Some(ports) = run.plan.ports else { return Ok(()) };
    if outcome.refused == 0 {
        return writeln!(out, "{}", paint.paint(Tone::Good, &format!("{ports} ports were enough for all")));
    }
    let share = outcome.refused as f64 / (outcome.refused + outcome.served) as f64 * 100.0;
    let words = format!("{} refused for want of a port ({share:.1} %)", outcome.refused);
    writeln!(out, "{}", paint.paint(Tone::Bad, &words))?;
    let long: Vec<_> = outcome.outages.iter().filter(|outage| outage.length_s() >= SHORT_OUTAGE_S).collect();
    for outage in long.iter().take(OUTAGES) {
        writeln!(out, "  from {:.2} s on for {:.2} s: {}", outage.from_s, outage.length_s(), outage.refused)?;
    }
    if long.len() > OUTAGES {
        writeln!(out, "  and {} more of at least {SHORT_OUTAGE_S} s", long.len() - OUTAGES)?;
    }
    Ok(())
}

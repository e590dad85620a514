//! A look as one line.

use std::io::{self, Write};

use pinhole_host::local_time::LocalTime;
use serde_json::json;

use super::super::machine::Machine;
use super::super::show;
use super::change::{Change, Watched};
use crate::cmd::conntrack::output;

/// For people.
pub(super) fn text(out: &mut impl Write, watched: &Watched, change: &Change) -> io::Result<()> {
    let now_ns = output::now_ns();
    let LocalTime { hour, minute, second, .. } = LocalTime::at((now_ns / 1_000_000_000).cast_signed());
    let ms = now_ns % 1_000_000_000 / 1_000_000;
    write!(
        out,
        "{hour:02}:{minute:02}:{second:02}.{ms:03}  {:>6} wait  born {:<5} died {:<5}",
        watched.sample.dead.len(),
        change.born,
        change.died
    )?;
    for (count, words) in [(change.early, "before their time"), (change.late, "late"), (change.restarted, "began anew")]
    {
        if count > 0 {
            write!(out, "  {count} {words}")?;
        }
    }
    match watched.sample.calendar(watched.sample.dead.iter()).first() {
        Some((in_s, count)) => writeln!(out, "  next {count} in {in_s:.3} s"),
        None => writeln!(out),
    }
}

/// For machines.
pub(super) fn json(out: &mut impl Write, machine: &Machine, watched: &Watched, change: &Change) -> io::Result<()> {
    let mean_s = (!change.lives_s.is_empty()).then(|| change.lives_s.iter().sum::<f64>() / change.lives_s.len() as f64);
    let line = json!({
        "time": output::now_ns() as f64 / 1e9,
        "wait": watched.sample.dead.len(),
        "born": change.born,
        "died": change.died,
        "predicted": change.predicted,
        "early": change.early,
        "late": change.late,
        "restarted": change.restarted,
        "mean_life_s": mean_s,
        "deaths": watched.sample.calendar(watched.sample.dead.iter()),
        "jiffies_from": show::machine(machine)["jiffies_from"],
    });
    writeln!(out, "{line}")
}

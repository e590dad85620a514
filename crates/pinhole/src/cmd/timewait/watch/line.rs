//! A look as one line.

use std::io::{self, Write};

use pinhole_host::local_time::LocalTime;
use serde_json::json;

use super::super::machine::Machine;
use super::super::show;
use super::change::{Change, Watched};
use crate::cmd::conntrack::output;

/// "12:34:56", of nanoseconds since 1970.
pub(super) fn time(now_ns: u64) -> String {
    let LocalTime { hour, minute, second, .. } = LocalTime::at((now_ns / 1_000_000_000).cast_signed());
    format!("{hour:02}:{minute:02}:{second:02}")
}

/// For people.
pub(super) fn text(out: &mut impl Write, watched: &Watched, change: &Change) -> io::Result<()> {
    let now_ns = output::now_ns();
    let ms = now_ns % 1_000_000_000 / 1_000_000;
    let (waiting, born, died) = (watched.sample.dead.len(), change.born, change.died);
    let mut line = format!("{}.{ms:03}  {waiting:>6} wait  born {born:<5} died {died:<5}", time(now_ns));
    for (count, words) in [(change.early, "before their time"), (change.late, "late"), (change.restarted, "began anew")]
    {
        if count > 0 {
            line += &format!("  {count} {words}");
        }
    }
    if let Some((in_s, count)) = watched.sample.calendar(watched.sample.dead.iter()).first() {
        line += &format!("  next {count} in {in_s:.3} s");
    }
    writeln!(out, "{}", line.trim_end())
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

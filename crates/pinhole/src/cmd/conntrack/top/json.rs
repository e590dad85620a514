//! A look for machines.

use std::io::{self, Write};

use serde_json::{Value, json};

use super::advice::advise;
use super::text::label;
use super::{Args, Frame};

/// Writes a look as one line.
pub(super) fn write(out: &mut impl Write, args: &Args, frame: &Frame) -> io::Result<()> {
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

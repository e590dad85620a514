//! The matrix for machines: an object with one entry a cell.

use serde_json::{Value, json};

use super::Report;
use super::tally::Tally;
use crate::cmd::lab::{millis, words};

/// All of it.
pub(super) fn text(report: &Report) -> String {
    let cells: Vec<Value> = report.maps.iter().flat_map(|(_, tallies)| tallies).map(cell).collect();
    let value = json!({
        "seeds": { "first": report.seeds.start, "count": report.seeds.end - report.seeds.start },
        "took_ms": millis(report.took),
        "cells": cells,
    });
    format!("{value:#}\n")
}

fn cell(tally: &Tally) -> Value {
    let conditions = tally.cell.conditions;
    let contradictions = tally.contradictions.iter().map(|(seed, what)| json!({ "seed": seed, "what": what }));
    json!({
        "cell": tally.cell.to_string(),
        "alice": tally.cell.alice.to_string(),
        "bob": tally.cell.bob.to_string(),
        "carrier": conditions.carrier,
        "poisoning": conditions.poisoning,
        "loss_percent": conditions.loss_percent,
        "runs": tally.runs,
        "direct": tally.direct.len(),
        "median_ms": tally.median().map(millis),
        "p99_ms": tally.p99().map(millis),
        "oracle": words::must(tally.ruling.must),
        "way": words::way(&tally.ruling),
        "reason": (!tally.is_always()).then(|| words::reason(&tally.ruling)),
        "fixes": tally.ruling.verdict.fixes.iter().map(|&fix| words::fix(fix)).collect::<Vec<_>>(),
        "typical_seed": tally.typical,
        "contradictions": contradictions.collect::<Vec<_>>(),
    })
}

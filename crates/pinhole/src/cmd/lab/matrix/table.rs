//! The matrix for a terminal: one letter a cell, and below it what stands in the way of those that are not direct.

use std::collections::BTreeMap;
use std::fmt::Write;

use pinhole_traversal::diagnosis::pair::Fix;
use pinhole_world::Nature;

use super::Report;
use super::tally::{Tally, quantile};
use crate::cmd::conntrack::paint::{Paint, Tone};
use crate::cmd::lab::{human, words};

/// So many contradictions are shown; there should be none.
const MOST_SHOWN: usize = 20;

/// All of it.
pub(super) fn text(report: &Report, paint: Paint) -> String {
    let mut text = String::new();
    for (conditions, tallies) in &report.maps {
        let title = match conditions.to_string().as_str() {
            "" => "plain".to_owned(),
            words => words.trim_start_matches('+').replace('+', ", "),
        };
        let _ = writeln!(text, "{}", paint.paint(Tone::Heading, &title));
        map(&mut text, tallies, paint);
        summary(&mut text, tallies);
        obstacles(&mut text, tallies);
        contradictions(&mut text, tallies, paint);
        text.push('\n');
    }
    let runs: u64 = report.maps.iter().flat_map(|(_, tallies)| tallies).map(|tally| tally.runs).sum();
    let _ = writeln!(
        text,
        "{runs} runs in {}, seeds {} to {}",
        human(report.took),
        report.seeds.start,
        report.seeds.end - 1
    );
    text
}

/// One letter a cell: # all direct, a digit for tenths, . none.
fn map(text: &mut String, tallies: &[Tally], paint: Paint) {
    let kinds: Vec<Nature> = Nature::all().collect();
    let of: BTreeMap<(Nature, Nature), &Tally> =
        tallies.iter().map(|tally| ((tally.cell.alice, tally.cell.bob), tally)).collect();
    let wide = kinds.iter().map(|kind| kind.to_string().len()).max().unwrap_or_default();
    for (number, row) in kinds.iter().enumerate() {
        let cells: Vec<Option<&Tally>> =
            kinds.iter().map(|column| of.get(&(*row, *column)).or_else(|| of.get(&(*column, *row))).copied()).collect();
        if cells.iter().all(Option::is_none) {
            continue;
        }
        let _ = write!(text, "{number:>3} {:<wide$} ", row.to_string());
        for (at, cell) in cells.into_iter().enumerate() {
            if at % 4 == 0 {
                text.push(' ');
            }
            let (letter, tone) = cell.map_or((' ', Tone::Plain), letter);
            text.push_str(&paint.paint(tone, &letter.to_string()));
        }
        text.push('\n');
    }
    text.push_str("    columns in the order of the rows; # direct in every run, 0-9 tenths of the runs, . in none\n");
}

fn letter(tally: &Tally) -> (char, Tone) {
    match tally.direct.len() as u64 {
        0 => ('.', Tone::Bad),
        all if all == tally.runs => ('#', Tone::Good),
        some => (char::from(b'0' + (some * 10 / tally.runs) as u8), Tone::Waiting),
    }
}

fn summary(text: &mut String, tallies: &[Tally]) {
    let always = tallies.iter().filter(|tally| tally.is_always()).count();
    let never = tallies.iter().filter(|tally| tally.direct.is_empty()).count();
    let mut times: Vec<_> = tallies.iter().flat_map(|tally| &tally.direct).copied().collect();
    times.sort_unstable();
    let _ = write!(
        text,
        "    {} pairs: {always} always direct, {} sometimes, {never} never",
        tallies.len(),
        tallies.len() - always - never
    );
    if let (Some(median), Some(p99)) = (quantile(&times, 0.5), quantile(&times, 0.99)) {
        let _ = write!(text, "; time to direct: median {}, p99 {}", human(median), human(p99));
    }
    text.push('\n');
}

/// Why pairs are not always direct, the commonest first, and what would help.
fn obstacles(text: &mut String, tallies: &[Tally]) {
    let mut reasons: BTreeMap<String, (usize, Vec<Fix>, String)> = BTreeMap::new();
    for tally in tallies.iter().filter(|tally| !tally.is_always()) {
        let entry = reasons.entry(words::reason(&tally.ruling));
        let (count, fixes, _) = entry.or_insert_with(|| (0, Vec::new(), tally.cell.to_string()));
        *count += 1;
        for &fix in &tally.ruling.verdict.fixes {
            if !fixes.contains(&fix) {
                fixes.push(fix);
            }
        }
    }
    let mut reasons: Vec<_> = reasons.into_iter().collect();
    reasons.sort_by_key(|(_, (count, ..))| std::cmp::Reverse(*count));
    for (reason, (count, fixes, example)) in reasons {
        let _ = writeln!(text, "    {count:>4} not always direct: {reason}; as {example}");
        let fixes: Vec<&str> = fixes.iter().map(|&fix| words::fix(fix)).collect();
        if !fixes.is_empty() {
            let _ = writeln!(text, "         would help: {}", fixes.join(" · "));
        }
    }
}

fn contradictions(text: &mut String, tallies: &[Tally], paint: Paint) {
    let found =
        tallies.iter().flat_map(|tally| tally.contradictions.iter().map(move |(seed, what)| (tally, seed, what)));
    let count = found.clone().count();
    for (tally, seed, what) in found.take(MOST_SHOWN) {
        let head = paint.paint(Tone::Bad, "contradicts the oracle");
        let _ = writeln!(text, "    {head}: {what}: pinhole lab replay --seed {seed} {}", tally.cell);
    }
    if count > MOST_SHOWN {
        let _ = writeln!(text, "    and {} more runs", count - MOST_SHOWN);
    }
}

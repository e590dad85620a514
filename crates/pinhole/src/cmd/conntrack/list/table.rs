//! Flows as a table for people, and what it all comes to.

use std::collections::BTreeMap;
use std::io::{self, Write};

use pinhole_host::netlink::conntrack::{Entry, Fill};

use super::super::paint::{Paint, Tone};
use super::super::people::{self, People};
use super::super::{human, names, trouble};

/// Columns, and whether their text ends at the right edge.
const COLUMNS: [(&str, bool); 9] = [
    ("PROTO", false),
    ("STATE", false),
    ("FROM", false),
    ("TO", false),
    ("SENT", true),
    ("BACK", true),
    ("AGE", true),
    ("LEFT", true),
    ("NOTES", false),
];

type Row = [(String, Tone); COLUMNS.len()];

/// Writes the table of `entries`, the first of `found`, and a summary.
pub(super) fn write(
    entries: &[Entry],
    found: usize,
    fill: Option<Fill>,
    people: &People,
    now_ns: u64,
    out: &mut impl Write,
) -> io::Result<()> {
    let rows: Vec<Row> = entries.iter().map(|entry| row(entry, people, now_ns)).collect();
    let has = |column: usize| rows.iter().any(|row| !row[column].0.is_empty());
    let width = |column: usize| rows.iter().map(|row| row[column].0.chars().count()).max().unwrap_or(0);
    // What no flow has gets no column.
    let columns: Vec<(usize, usize)> = (0..COLUMNS.len())
        .filter(|&column| has(column))
        .map(|column| (column, width(column).max(COLUMNS[column].0.len())))
        .collect();
    let paint = Paint::for_stdout();
    let mut line = |texts: &dyn Fn(usize) -> (String, Tone)| -> io::Result<()> {
        let mut line = String::new();
        for &(column, width) in &columns {
            let (text, tone) = texts(column);
            let padding = " ".repeat(width.saturating_sub(text.chars().count()));
            let painted = paint.paint(tone, &text);
            line += &if COLUMNS[column].1 { format!("{padding}{painted}  ") } else { format!("{painted}{padding}  ") };
        }
        writeln!(out, "{}", line.trim_end())
    };
    if !rows.is_empty() {
        line(&|column| (COLUMNS[column].0.to_owned(), Tone::Heading))?;
    }
    for row in &rows {
        line(&|column| row[column].clone())?;
    }
    summary(entries, found, fill, out)
}

fn row(entry: &Entry, people: &People, now_ns: u64) -> Row {
    let (state, tone) = people::state(entry);
    let plain = |text: String| (text, Tone::Plain);
    let towards = |text: String, translated: bool| (text, if translated { Tone::Translated } else { Tone::Plain });
    let count = |counters: Option<pinhole_host::netlink::conntrack::Counters>| {
        counters.map_or_else(String::new, |counters| human::bytes(counters.bytes))
    };
    let age_s = entry.began_ns.map(|began| now_ns.saturating_sub(began) / 1_000_000_000);
    [
        plain(names::protocol(entry.original.protocol)),
        (state, tone),
        towards(people.source(entry), entry.is_source_translated()),
        towards(people.destination(entry), entry.is_destination_translated()),
        plain(count(entry.sent)),
        plain(count(entry.received)),
        plain(age_s.map_or_else(String::new, human::span)),
        plain(entry.timeout_s.map_or_else(String::new, |left| human::span(left.into()))),
        (people.notes(entry), Tone::Fading),
    ]
}

fn summary(entries: &[Entry], found: usize, fill: Option<Fill>, out: &mut impl Write) -> io::Result<()> {
    let mut protocols = BTreeMap::<u8, usize>::new();
    entries.iter().for_each(|entry| *protocols.entry(entry.original.protocol).or_default() += 1);
    let protocols: Vec<_> =
        protocols.iter().map(|(number, count)| format!("{count} {}", names::protocol(*number))).collect();
    let translated = entries.iter().filter(|e| e.is_source_translated() || e.is_destination_translated()).count();
    let unreplied = entries.iter().filter(|entry| !entry.is_answered()).count();
    let mut parts = vec![match entries.len() {
        0 => "no flows".to_owned(),
        1 => format!("1 flow: {}", protocols.join(", ")),
        count => format!("{count} flows: {}", protocols.join(", ")),
    }];
    if found > entries.len() {
        parts.push(format!("the first of {found}"));
    }
    if translated != 0 {
        parts.push(format!("{translated} translated"));
    }
    if unreplied != 0 {
        parts.push(format!("{unreplied} unreplied"));
    }
    if let Some(Fill { entries, maximum: Some(maximum) }) = fill {
        let percent = u64::from(entries) * 100 / u64::from(maximum.max(1));
        parts.push(format!("the table holds {entries} of {maximum} ({percent} %)"));
    }
    writeln!(out, "{}", parts.join("; "))?;
    let hint = |missing: bool, words: &str| {
        if missing && !entries.is_empty() { words.to_owned() + "\n" } else { String::new() }
    };
    out.write_all(hint(entries.iter().all(|entry| entry.total().is_none()), trouble::NO_COUNTERS).as_bytes())?;
    out.write_all(hint(entries.iter().all(|entry| entry.began_ns.is_none()), trouble::NO_TIMES).as_bytes())
}

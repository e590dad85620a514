//! What was found, for people.

use std::io::{self, Write};

use super::report::{Counts, Differing, Field, Report};
use crate::cmd::conntrack::paint::{Paint, Tone};

/// What is longer gets a line of its own.
const BESIDE: usize = 34;

/// Writes it.
pub(super) fn write(report: &Report, paint: Paint, out: &mut impl Write) -> io::Result<()> {
    let counts = &report.counts;
    writeln!(
        out,
        "{}: {} through Linux {} and through the engine as {}, in {:.1} s",
        report.source,
        packets(counts.replayed),
        report.kernel,
        report.engine,
        report.seconds
    )?;
    writeln!(out, "the kernel {}", did(counts))?;
    for line in beside(counts) {
        writeln!(out, "{line}")?;
    }
    if counts.invalid > counts.replayed / 4 && counts.answers_turned + counts.invalid > 8 {
        let hint = "many are INVALID: if they were captured where they were sent, the network card fills in checksums later; \
                    `--set nf_conntrack_checksum=0` does not look at them";
        writeln!(out, "{}", paint.paint(Tone::Waiting, hint))?;
    }
    for differing in &report.differences {
        writeln!(out)?;
        one(differing, paint, out)?;
    }
    let stopped = if report.stopped { "stopped: " } else { "" };
    let replayed = packets(counts.replayed);
    let (verdict, tone) = match report.differences.len() {
        0 => (format!("{stopped}no difference in {replayed}"), Tone::Good),
        1 => (format!("{stopped}a difference, after {replayed}"), Tone::Bad),
        many => (
            format!("{stopped}{many} of {replayed} differ; what follows the first of a flow may follow from it"),
            Tone::Bad,
        ),
    };
    writeln!(out, "{}", paint.paint(tone, &verdict))
}

fn did(counts: &Counts) -> String {
    let Counts { forwarded, answered, delivered, dropped, invalid, .. } = counts;
    let all = [("forwarded", forwarded), ("answered", answered), ("kept", delivered), ("dropped", dropped)];
    let words: Vec<String> =
        all.iter().filter(|(_, count)| **count > 0).map(|(word, count)| format!("{word} {count}")).collect();
    let invalid = if *invalid > 0 { format!("; {invalid} were INVALID") } else { String::new() };
    if words.is_empty() { "got nothing".into() } else { format!("{}{invalid}", words.join(", ")) }
}

/// What is to be known of how it was replayed.
fn beside(counts: &Counts) -> Vec<String> {
    let Counts { not_ip, of_the_router, too_long, answers_turned, .. } = *counts;
    let left_out = [
        (not_ip, "without an IP packet"),
        (of_the_router, "from the router's own address"),
        (too_long, "longer than an IP packet may be"),
    ];
    let left_out: Vec<String> =
        left_out.iter().filter(|(count, _)| *count > 0).map(|(count, words)| format!("{count} {words}")).collect();
    let mut lines = Vec::new();
    if !left_out.is_empty() {
        lines.push(format!("left out: {}", left_out.join(", ")));
    }
    if answers_turned > 0 {
        lines.push(format!("{} went in as the outside sends them, to the translated address", answers(answers_turned)));
    }
    lines
}

fn one(differing: &Differing, paint: Paint, out: &mut impl Write) -> io::Result<()> {
    let Differing { number, time_s, input, packet, fields, before, trace } = differing;
    let heading = format!("packet {number}, {time_s:.6} s, in by {input}");
    writeln!(out, "{}  {packet}", paint.paint(Tone::Heading, &heading))?;
    for field in fields {
        self::field(field, paint, out)?;
    }
    if !before.is_empty() {
        writeln!(out, "  {}", paint.paint(Tone::Heading, "before it, in its flow"))?;
    }
    for before in before {
        let did = [before.verdict, &before.info, &before.state].into_iter().filter(|word| *word != "none");
        writeln!(
            out,
            "    #{} {:.6} s  {} > {}  ({})",
            before.number,
            before.time_s,
            before.input,
            before.packet,
            did.collect::<Vec<_>>().join(", ")
        )?;
    }
    match trace {
        Some(command) => {
            let words: Vec<String> = command.iter().map(|word| quoted(word)).collect();
            writeln!(out, "  why the engine does that: {}", words.join(" "))
        }
        None => writeln!(
            out,
            "  why the engine does that: say `--save FILE.pkt` too, which writes what was replayed; the command is shown then"
        ),
    }
}

fn field(Field { field, engine, kernel, differs }: &Field, paint: Paint, out: &mut impl Write) -> io::Result<()> {
    if !differs {
        // Within what the comparison allows, such as a second of a timeout, or the same.
        return writeln!(out, "    {field:<13}  {kernel}");
    }
    let mark = |text: String| paint.paint(Tone::Bad, &text).into_owned();
    if engine.chars().count().max(kernel.chars().count()) <= BESIDE {
        let line = mark(format!("  ≠ {field:<13}  engine {engine:<BESIDE$}  kernel {kernel}"));
        return writeln!(out, "{line}");
    }
    writeln!(out, "{}", mark(format!("  ≠ {field:<13}  engine {engine}")))?;
    writeln!(out, "{}", mark(format!("  {:<15}  kernel {kernel}", "")))
}

fn packets(count: u64) -> String {
    if count == 1 { "1 packet".into() } else { format!("{count} packets") }
}

fn answers(count: u64) -> String {
    if count == 1 { "1 answer".into() } else { format!("{count} answers") }
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,+@%".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

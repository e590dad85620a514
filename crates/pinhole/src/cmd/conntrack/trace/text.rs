//! An account for people: the packet, what happened where, the verdict, the flow.

use std::io::{self, Write};

use pinhole_netfilter::Verdict;
use pinhole_netfilter::explain::{Account, FlowState};
use pinhole_netfilter::watch::{Note, Topic};

use super::super::paint::{Paint, Tone};
use super::Traced;
use super::summary::Summary;

/// How it is written.
pub(super) struct Text {
    pub(super) paint: Paint,
    /// Whether rules that do not match are told of, too.
    pub(super) detail: bool,
}

impl Text {
    /// One packet.
    pub(super) fn packet(&self, traced: &Traced, out: &mut impl Write) -> io::Result<()> {
        let Traced { number, at, account } = traced;
        let heading = format!("#{number}  {:.6} s  {}", at.as_secs_f64(), came(account));
        writeln!(out, "{}  {}", self.paint.paint(Tone::Heading, &heading), printable(&account.before))?;
        for stage in &account.stages {
            let shown = |note: &&Note| self.detail || note.topic != Topic::Tried;
            writeln!(out, "  {}", self.paint.paint(Tone::Heading, stage.place.name()))?;
            for note in stage.notes.iter().filter(shown) {
                let topic = format!("{:<9}", word(note.topic));
                let text = printable(&note.text);
                writeln!(
                    out,
                    "    {} {}",
                    self.paint.paint(Tone::Fading, &topic),
                    self.paint.paint(tone(note), &text)
                )?;
            }
        }
        self.verdict(account, out)?;
        for sent in &account.sent {
            let how = if sent.is_piece { "and by" } else { "answered by" };
            writeln!(out, "     {how} {}  {}", sent.interface, printable(&sent.line))?;
        }
        for prefix in &account.logs {
            writeln!(out, "     logged {:?}", prefix)?;
        }
        if let Some(flow) = &account.flow {
            flow_lines(flow).iter().try_for_each(|line| writeln!(out, "     {line}"))?;
        }
        writeln!(out)
    }

    fn verdict(&self, account: &Account, out: &mut impl Write) -> io::Result<()> {
        let (words, tone) = (verdict(account), verdict_tone(account));
        write!(out, "  {}", self.paint.paint(tone, &format!("=> {words}")))?;
        match &account.after {
            Some(after) if *after == account.before => writeln!(out, ", as it came"),
            Some(after) => writeln!(out, "  {}", printable(after)),
            None => writeln!(out),
        }
    }

    /// What is worth a word at the end.
    pub(super) fn end(&self, summary: &Summary, out: &mut impl Write) -> io::Result<()> {
        summary.hints().iter().try_for_each(|hint| writeln!(out, "{}", self.paint.paint(Tone::Waiting, hint)))
    }
}

/// Where a packet came in.
pub(super) fn came(account: &Account) -> String {
    account.input.as_ref().map_or_else(|| "from the router itself".to_owned(), |input| format!("in by {input}"))
}

/// What became of a packet, in words.
pub(super) fn verdict(account: &Account) -> String {
    match account.verdict {
        Verdict::Forward(_) => format!("forwarded by {}", account.output.as_deref().unwrap_or("nowhere")),
        Verdict::Deliver => "delivered to the router itself".into(),
        Verdict::Hold => "held until the other fragments are here".into(),
        Verdict::Drop(reason) => {
            let place = account.end().map_or_else(String::new, |place| format!(" in {place}"));
            format!("dropped{place}: {reason}")
        }
    }
}

const fn verdict_tone(account: &Account) -> Tone {
    match account.verdict {
        Verdict::Forward(_) | Verdict::Deliver => Tone::Good,
        Verdict::Hold => Tone::Waiting,
        Verdict::Drop(_) => Tone::Bad,
    }
}

/// A flow: both directions, and what is known of it.
pub(super) fn flow_lines(flow: &FlowState) -> Vec<String> {
    let state = flow.state.map_or_else(String::new, |state| format!("{state}, "));
    let mut lines = vec![
        format!("flow     {}", flow.original),
        format!("answers  {}", flow.reply),
        format!("         {state}{:.0} s left, {}{}", flow.remaining.as_secs_f64(), flow.status, beside(flow)),
    ];
    if let Some(master) = flow.master {
        lines.push(format!("         expected by {master}"));
    }
    lines
}

fn beside(flow: &FlowState) -> String {
    let mark = (flow.mark != 0).then(|| format!(", mark {:#x}", flow.mark));
    let zone = (flow.zone != 0).then(|| format!(", zone {}", flow.zone));
    let helper = flow.helper.map(|helper| format!(", helper {helper}"));
    [mark, zone, helper].into_iter().flatten().collect()
}

/// Who speaks, in a word of the field.
pub(super) const fn word(topic: Topic) -> &'static str {
    match topic {
        Topic::Hook => "hook",
        Topic::Fragment => "fragments",
        Topic::Table => "flows",
        Topic::Track => "tracker",
        Topic::Rule => "rule",
        Topic::Tried => "tried",
        Topic::Nat => "nat",
        Topic::Helper => "helper",
        Topic::Route => "route",
        Topic::Answer => "answer",
    }
}

fn tone(note: &Note) -> Tone {
    match note.topic {
        Topic::Tried => Tone::Fading,
        Topic::Nat => Tone::Translated,
        Topic::Track | Topic::Table if note.text.contains("INVALID") => Tone::Bad,
        Topic::Hook
        | Topic::Fragment
        | Topic::Table
        | Topic::Track
        | Topic::Rule
        | Topic::Helper
        | Topic::Route
        | Topic::Answer => Tone::Plain,
    }
}

/// What packets and rules say, without what a terminal would obey.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

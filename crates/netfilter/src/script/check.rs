//! A script's expectations held against what was observed, and a script filled with it.

use core::fmt;

use super::{EntryExpect, EntryView, Expect, Item, Line, Observed, ProtocolView, Script, TcpSide, Tolerance, Verdict};

/// An expectation that was not met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The line that says it, counted from one.
    pub line: usize,
    /// What was expected.
    pub expected: String,
    /// What was observed, in the same words.
    pub found: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: expected {}, found {}", self.line, self.expected, self.found)
    }
}

/// The expectations of a script that were not met. `observed` is in the order of its packets.
pub fn check(script: &Script, observed: &[Observed], tolerance: Tolerance) -> Vec<Failure> {
    let mut failures = Vec::new();
    for (inject, expectations) in groups(script) {
        let Some(observed) = observed.get(inject.index) else { break };
        let found = outcomes(observed, inject.side);
        let mut outputs = observed.outputs.iter();
        for line in expectations {
            let Item::Expect(expect) = &line.item else { continue };
            let next = if matches!(expect, Expect::Output(_)) { outputs.next() } else { None };
            if !is_met(expect, observed, next, inject.side, tolerance) {
                let found = found_like(expect, &found, next);
                failures.push(Failure { line: line.number, expected: expect.to_string(), found });
            }
        }
    }
    failures
}

/// The script with every outcome as it was observed. Expectations that are met stay as they are; a packet without any gets
/// all.
pub fn fill(script: &Script, observed: &[Observed], tolerance: Tolerance) -> Script {
    let mut lines = Vec::new();
    let before = script.lines.iter().take_while(|line| !matches!(line.item, Item::Inject(..)));
    lines.extend(before.cloned());
    for (inject, rest) in groups(script) {
        lines.push(inject.line.clone());
        let Some(observed) = observed.get(inject.index) else {
            lines.extend(rest.into_iter().cloned());
            continue;
        };
        let is_expect = |line: &&Line| matches!(line.item, Item::Expect(_));
        let kept: Vec<Line> = rest.iter().copied().filter(|line| !is_expect(line)).cloned().collect();
        let mut old: Vec<&Line> = rest.into_iter().filter(is_expect).collect();
        for expect in outcomes(observed, inject.side) {
            let same_kind = |line: &&Line| matches!(&line.item, Item::Expect(old) if kind(old) == kind(&expect));
            let place = old.iter().position(same_kind);
            let old = place.map(|place| old.remove(place));
            let mut line = Line { number: 0, item: Item::Expect(expect.clone()), comment: None };
            if let Some(old) = old {
                line.comment.clone_from(&old.comment);
                let output = match &expect {
                    Expect::Output(output) => Some(output),
                    _ => None,
                };
                if let Item::Expect(was) = &old.item
                    && is_met(was, observed, output, inject.side, tolerance)
                    && fully_said(was)
                {
                    line.item = old.item.clone();
                }
            }
            lines.push(line);
        }
        lines.extend(kept);
    }
    Script { lines }
}

struct Inject<'a> {
    index: usize,
    side: super::Side,
    line: &'a Line,
}

/// Each packet with the lines up to the next one.
fn groups(script: &Script) -> Vec<(Inject<'_>, Vec<&Line>)> {
    let mut groups: Vec<(Inject<'_>, Vec<&Line>)> = Vec::new();
    for line in &script.lines {
        if let Item::Inject(side, _) = line.item {
            groups.push((Inject { index: groups.len(), side, line }, Vec::new()));
        } else if let Some((_, rest)) = groups.last_mut() {
            rest.push(line);
        }
    }
    groups
}

/// All that can be said of an outcome.
fn outcomes(observed: &Observed, from: super::Side) -> Vec<Expect> {
    let mut outcomes: Vec<Expect> = match observed.verdict(from) {
        Verdict::Dropped => vec![Expect::Drop],
        Verdict::Delivered => vec![Expect::Delivered],
        Verdict::Forwarded | Verdict::Answered => observed.outputs.iter().cloned().map(Expect::Output).collect(),
    };
    outcomes.push(observed.info.map_or(Expect::Unseen, Expect::Info));
    outcomes.push(observed.entry.as_ref().map_or(Expect::NoEntry, |entry| Expect::Entry(EntryExpect::of(entry))));
    outcomes
}

/// What was found, as far as it answers the expectation.
fn found_like(expect: &Expect, found: &[Expect], next: Option<&super::Output>) -> String {
    if let (Expect::Output(_), Some(output)) = (expect, next) {
        return Expect::Output(output.clone()).to_string();
    }
    let same = found.iter().find(|other| kind(other) == kind(expect));
    same.map_or("nothing".into(), ToString::to_string)
}

/// Which question an expectation answers.
const fn kind(expect: &Expect) -> u8 {
    match expect {
        Expect::Drop | Expect::Delivered | Expect::Output(_) => 0,
        Expect::Info(_) | Expect::Unseen => 1,
        Expect::NoEntry | Expect::Entry(_) => 2,
    }
}

/// Whether nothing is gained by writing the outcome anew.
fn fully_said(expect: &Expect) -> bool {
    match expect {
        Expect::Entry(entry) => entry.timeout_s.is_some() && entry.status.is_some(),
        Expect::Drop | Expect::Delivered | Expect::Output(_) | Expect::Info(_) | Expect::Unseen | Expect::NoEntry => {
            true
        }
    }
}

fn is_met(
    expect: &Expect,
    observed: &Observed,
    next: Option<&super::Output>,
    from: super::Side,
    tolerance: Tolerance,
) -> bool {
    match expect {
        Expect::Drop => observed.verdict(from) == Verdict::Dropped,
        Expect::Delivered => observed.verdict(from) == Verdict::Delivered,
        Expect::Output(output) => next == Some(output),
        Expect::Info(info) => observed.info == Some(*info),
        Expect::Unseen => observed.info.is_none(),
        Expect::NoEntry => observed.entry.is_none(),
        Expect::Entry(expected) => observed.entry.as_ref().is_some_and(|entry| expected.is_true_of(entry, tolerance)),
    }
}

impl EntryExpect {
    /// All that is known of an entry.
    pub fn of(entry: &EntryView) -> Self {
        let sides = |read: fn(TcpSide) -> u8| match entry.protocol {
            Some(ProtocolView::Tcp { sides, .. }) => Some(sides.map(read)),
            Some(ProtocolView::Sctp { .. }) | None => None,
        };
        Self {
            state: entry.protocol.map(|protocol| protocol.state()),
            status: Some(entry.status.0),
            timeout_s: Some(entry.timeout_s),
            scale: sides(|side| side.scale),
            flags: sides(|side| side.flags),
            tags: match entry.protocol {
                Some(ProtocolView::Sctp { tags, .. }) => Some(tags),
                Some(ProtocolView::Tcp { .. }) | None => None,
            },
            mark: (entry.mark != 0).then_some(entry.mark),
            helper: entry.helper.clone(),
            original: Some(entry.original),
            reply: Some(entry.reply),
        }
    }

    /// Whether all that is said is true.
    pub fn is_true_of(&self, entry: &EntryView, tolerance: Tolerance) -> bool {
        fn holds<T: PartialEq>(said: &Option<T>, is: &Option<T>) -> bool {
            said.is_none() || said == is
        }
        let is = Self::of(entry);
        let timeout = self.timeout_s.is_none_or(|said| said.abs_diff(entry.timeout_s) <= tolerance.timeout_s);
        timeout
            && holds(&self.state, &is.state)
            && holds(&self.status, &is.status)
            && holds(&self.scale, &is.scale)
            && holds(&self.flags, &is.flags)
            && holds(&self.tags, &is.tags)
            && self.mark.is_none_or(|mark| mark == entry.mark)
            && holds(&self.helper, &is.helper)
            && holds(&self.original, &is.original)
            && holds(&self.reply, &is.reply)
    }
}

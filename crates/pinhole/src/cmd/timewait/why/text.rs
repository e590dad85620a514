//! A finding in words, and for machines.

use std::io::{self, Write};

use pinhole_timewait::claim::{Answer, Says};
use serde_json::{Value, json};

use super::super::machine::Machine;
use super::super::{show, trouble};
use super::finding::{Cause, Finding, PawsCounter, Tracked};
use crate::cmd::conntrack::paint::{Paint, Tone};

pub(super) fn write(out: &mut impl Write, finding: &Finding, machine: &Machine) -> io::Result<()> {
    let paint = Paint::for_stdout();
    let (from, to) = finding.ends;
    writeln!(out, "{from} → {to}: {}", paint.paint(Tone::Heading, &verdict(finding, machine)))?;
    for line in evidence(finding, machine) {
        writeln!(out, "  {line}")?;
    }
    if let Some([both, none]) = &finding.answers {
        writeln!(out, "its port")?;
        writeln!(out, "  {}", port("with SO_REUSEADDR on the dead socket and the new one", both))?;
        writeln!(out, "  {}", port("with no option on the dead socket", none))?;
        if let Some(remedy) = none.remedies.first() {
            writeln!(out, "  otherwise: {remedy}")?;
        }
    }
    if let Some(words) = trouble::of_clock(machine.jiffies.source).filter(|_| finding.seen.first.is_some()) {
        writeln!(out, "{}", paint.paint(Tone::Fading, words))?;
    }
    Ok(())
}

fn verdict(finding: &Finding, machine: &Machine) -> String {
    let left_s = finding.seen.last.map_or(0.0, |dead| dead.left_s(finding.seen.at_ns));
    match finding.cause {
        Cause::Waits => format!("in TIME_WAIT, dies in {left_s:.3} s"),
        Cause::Overdue => format!("overdue, dies in {left_s:.3} s: its time is up, and the wheel comes to it then"),
        Cause::Restarted => {
            format!("in TIME_WAIT, and segments start its time anew; without more of them it dies in {left_s:.3} s")
        }
        Cause::PawsLoop => format!(
            "in TIME_WAIT, and segments with old timestamps start its time anew: another host behind the peer's NAT, or a \
             clock that was set back; without more of them it dies in {left_s:.3} s"
        ),
        Cause::FinWait2 => {
            format!("in FIN_WAIT_2, dies in {left_s:.3} s: the other side has not closed, and nobody here waits for it")
        }
        Cause::FinWait2Whole => format!(
            "in FIN_WAIT_2, dies in {left_s:.3} s: the other side has not closed; tcp_fin_timeout is {} s, of which what is \
             above 60 s counts twice",
            machine.settings.fin_timeout_s.unwrap_or_default()
        ),
        Cause::Died => "gone, at its time, while this looked on".to_owned(),
        Cause::Killed => {
            "gone before its time, while this looked on: an RST, a SYN that a listener took, or somebody's hand"
                .to_owned()
        }
        Cause::Reused => {
            "gone before its time, while this looked on: a new connection from here took its place".to_owned()
        }
        Cause::Alive => "not dead".to_owned(),
        Cause::TrackedOnly => "no socket has it any more; only connection tracking does".to_owned(),
        Cause::Nothing => "there is nothing of it here".to_owned(),
    }
}

fn evidence(finding: &Finding, machine: &Machine) -> Vec<String> {
    let seen = &finding.seen;
    let mut lines = Vec::new();
    if let Some(dead) = seen.last {
        let age_s = seen.at_ns.saturating_sub(dead.since_ns) as f64 / 1e9;
        let timer_s = f64::from(dead.socket.expires_ms) / 1000.0;
        // The timer of one that was overdue already tells no more than that.
        let at_least = if seen.first.is_some_and(|first| first.is_overdue()) { "more than " } else { "" };
        lines.push(format!(
            "its time began {at_least}{age_s:.3} s ago; its timer says {timer_s:.3} s, which `ss -o` shows"
        ));
        lines.push(format!(
            "the wheel of this kernel goes in steps of {:.3} s, and rounds up",
            machine.hz.to_s(machine.granule_j())
        ));
    }
    if seen.restarts > 0 {
        lines.push(format!("its time began anew {} times while this looked on", seen.restarts));
    }
    let (paws_name, paws_meaning) = match seen.paws_counter {
        PawsCounter::OfDead => ("PAWSTimewait", "segments refused by timestamp, in this namespace"),
        PawsCounter::OfAll => {
            ("PAWSEstab", "segments refused by timestamp, in this namespace, those of live connections too")
        }
    };
    for (count, name, meaning) in [
        (seen.paws, paws_name, paws_meaning),
        (seen.recycled, "TWRecycled", "taken by a new connection from here, in this namespace"),
    ] {
        if count > 0 {
            lines.push(format!("{name} went up by {count}: {meaning}"));
        }
    }
    if let Some(socket) = finding.living {
        lines.push(format!("a socket in {} has it", socket.state.name()));
    }
    match finding.tracked {
        Tracked::Entry { state, left_s } => {
            let state = state.unwrap_or("no state");
            lines.push(format!(
                "connection tracking has it in {state} for {left_s} s more: a NAT keeps its mapping so long"
            ));
        }
        Tracked::NotAllowed => lines.push(trouble::NO_CONNTRACK.to_owned()),
        Tracked::Nothing => {}
    }
    if seen.reversed && finding.cause == Cause::Nothing {
        let (from, to) = finding.ends;
        lines.push(format!("the other way round there is one: pinhole timewait why {to} {from}"));
    }
    if seen.listens && seen.last.is_some() {
        lines.push(
            "somebody listens on its port: a new SYN of the peer that is newer takes its place at once".to_owned(),
        );
    }
    lines
}

fn port(condition: &str, answer: &Answer) -> String {
    match (answer.bind, answer.connect) {
        (Says::Ok, Says::Ok) => format!("{condition}: bind(), listen() and connect() to the same peer work now"),
        (Says::Ok, connect) => {
            format!("{condition}: bind() and listen() work now, connect() says {connect}: {}", answer.rule)
        }
        (bind, _) => format!("{condition}: bind() says {bind} for {:.3} s", answer.wait_ms as f64 / 1000.0),
    }
}

pub(super) fn json(finding: &Finding, machine: &Machine) -> Value {
    let seen = &finding.seen;
    let answer = |answer: &Answer| {
        json!({
            "bind": answer.bind.to_string(),
            "connect": answer.connect.to_string(),
            "listen": answer.listen.to_string(),
            "rule": answer.rule.to_string(),
            "wait_s": answer.wait_ms as f64 / 1000.0,
            "remedies": answer.remedies.iter().map(ToString::to_string).collect::<Vec<_>>(),
        })
    };
    let (tracked, tracked_s) = match finding.tracked {
        Tracked::Entry { state, left_s } => (state, Some(left_s)),
        Tracked::Nothing | Tracked::NotAllowed => (None, None),
    };
    json!({
        "from": finding.ends.0,
        "to": finding.ends.1,
        "cause": name(finding.cause),
        "words": verdict(finding, machine),
        "evidence": evidence(finding, machine),
        "socket": seen.last.map(|dead| show::socket(&dead, seen.at_ns)),
        "state": seen.last.map(|dead| show::state(dead.kind)).or(finding.living.map(|socket| socket.state.name())),
        "restarts": seen.restarts,
        "paws": seen.paws,
        "recycled": seen.recycled,
        "listens": seen.listens,
        "conntrack": tracked,
        "conntrack_s": tracked_s,
        "with_reuse_addr": finding.answers.as_ref().map(|answers| answer(&answers[0])),
        "without_options": finding.answers.as_ref().map(|answers| answer(&answers[1])),
    })
}

const fn name(cause: Cause) -> &'static str {
    match cause {
        Cause::Waits => "waits",
        Cause::Overdue => "overdue",
        Cause::Restarted => "restarted",
        Cause::PawsLoop => "paws_loop",
        Cause::FinWait2 => "fin_wait_2",
        Cause::FinWait2Whole => "fin_wait_2_long",
        Cause::Died => "died",
        Cause::Killed => "killed",
        Cause::Reused => "reused",
        Cause::Alive => "alive",
        Cause::TrackedOnly => "conntrack_only",
        Cause::Nothing => "nothing",
    }
}

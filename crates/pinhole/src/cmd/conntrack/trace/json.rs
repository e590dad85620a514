//! An account for machines. The names of fields stay as they are; docs/explain.md has them all.

use pinhole_netfilter::explain::{FlowState, Sent, Stage};
use pinhole_netfilter::script::TupleView;
use serde::Serialize;

use super::{Traced, summary, text};

/// One packet.
#[derive(Debug, Serialize)]
pub(super) struct Packet<'a> {
    number: u64,
    time_s: f64,
    /// Null if the router itself sent it.
    input: Option<&'a str>,
    before: &'a str,
    hooks: Vec<Hook<'a>>,
    verdict: Verdict<'a>,
    /// Null if it was dropped or is held.
    after: Option<&'a str>,
    /// Connection tracking's word for it; null if it did not get that far.
    state: Option<String>,
    /// Null if there is none afterwards.
    flow: Option<Flow>,
    sent: Vec<Answer<'a>>,
    logs: &'a [String],
}

#[derive(Debug, Serialize)]
struct Hook<'a> {
    /// `arrival`, `routing`, or netfilter's name.
    hook: &'static str,
    notes: Vec<Note<'a>>,
}

#[derive(Debug, Serialize)]
struct Note<'a> {
    topic: &'static str,
    text: &'a str,
}

#[derive(Debug, Serialize)]
struct Verdict<'a> {
    kind: &'static str,
    interface: Option<&'a str>,
    reason: Option<&'static str>,
    text: String,
}

#[derive(Debug, Serialize)]
pub(super) struct Flow {
    original: String,
    reply: String,
    protocol: u8,
    state: Option<&'static str>,
    remaining_s: f64,
    status: Vec<String>,
    mark: u32,
    zone: u16,
    helper: Option<&'static str>,
    master: Option<String>,
    tcp: Option<[Side; 2]>,
}

#[derive(Debug, Serialize)]
struct Side {
    end: u32,
    maxend: u32,
    maxwin: u32,
    scale: u8,
}

#[derive(Debug, Serialize)]
struct Answer<'a> {
    interface: &'a str,
    packet: &'a str,
}

impl<'a> Packet<'a> {
    pub(super) fn new(traced: &'a Traced) -> Self {
        let Traced { number, at, account } = traced;
        let (kind, reason) = summary::names(account.verdict);
        let verdict = Verdict { kind, interface: account.output.as_deref(), reason, text: text::verdict(account) };
        Self {
            number: *number,
            time_s: at.as_secs_f64(),
            input: account.input.as_deref(),
            before: &account.before,
            hooks: account.stages.iter().map(Hook::new).collect(),
            verdict,
            after: account.after.as_deref(),
            state: account.info.map(|info| info.to_string()),
            flow: account.flow.as_ref().map(Flow::new),
            sent: account.sent.iter().map(|Sent { interface, line, .. }| Answer { interface, packet: line }).collect(),
            logs: &account.logs,
        }
    }
}

impl<'a> Hook<'a> {
    fn new(stage: &'a Stage) -> Self {
        let notes = stage.notes.iter().map(|note| Note { topic: note.topic.name(), text: &note.text });
        Self { hook: stage.place.name(), notes: notes.collect() }
    }
}

impl Flow {
    fn new(flow: &FlowState) -> Self {
        let status = flow.status.to_string();
        let side = |side: &pinhole_netfilter::explain::TcpSide| Side {
            end: side.end,
            maxend: side.maxend,
            maxwin: side.maxwin,
            scale: side.scale,
        };
        Self {
            original: flow.original.to_string(),
            reply: flow.reply.to_string(),
            protocol: flow.original.protocol,
            state: flow.state,
            remaining_s: flow.remaining.as_secs_f64(),
            status: status.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect(),
            mark: flow.mark,
            zone: flow.zone,
            helper: flow.helper,
            master: flow.master.as_ref().map(TupleView::to_string),
            tcp: flow.tcp.as_ref().map(|[original, reply]| [side(original), side(reply)]),
        }
    }
}

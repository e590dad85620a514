//! What was found, as plain data; JSON is this. The names of fields stay as they are; docs/conntrack.md has them all.

use pinhole_netfilter::script::{Difference, EntryView, Info, Observed, Output, ProtocolView, Side, Verdict};
use pinhole_wire::text;
use serde::Serialize;

use super::recent::Replayed;

/// All of it.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// The script or capture.
    pub(super) source: String,
    /// This machine's kernel, as it calls itself.
    pub(super) kernel: String,
    /// The kernel that the engine was like.
    pub(super) engine: &'static str,
    #[serde(flatten)]
    pub(super) counts: Counts,
    pub(super) seconds: f64,
    /// Whether somebody stopped it before the end.
    pub(super) stopped: bool,
    pub(super) differences: Vec<Differing>,
}

/// How many of what.
#[derive(Debug, Default, Serialize)]
pub(super) struct Counts {
    /// IP packets that were read.
    pub(super) packets: u64,
    /// Those that both routers got.
    pub(super) replayed: u64,
    /// Frames without an IP packet.
    pub(super) not_ip: u64,
    /// Packets that the router itself sent, which cannot come in.
    pub(super) of_the_router: u64,
    /// Packets longer than any, which a card has put together or has yet to cut.
    pub(super) too_long: u64,
    /// Answers that were given back the ends that they have outside.
    pub(super) answers_turned: u64,
    /// What the kernel did.
    pub(super) forwarded: u64,
    pub(super) answered: u64,
    pub(super) delivered: u64,
    pub(super) dropped: u64,
    pub(super) invalid: u64,
}

impl Counts {
    /// One more that both got.
    pub(super) fn count(&mut self, kernel: &Observed, side: Side) {
        self.replayed += 1;
        match kernel.verdict(side) {
            Verdict::Forwarded => self.forwarded += 1,
            Verdict::Answered => self.answered += 1,
            Verdict::Delivered => self.delivered += 1,
            Verdict::Dropped => self.dropped += 1,
        }
        self.invalid += u64::from(kernel.info == Some(Info::Invalid));
    }
}

/// A packet that both took differently.
#[derive(Debug, Serialize)]
pub(super) struct Differing {
    /// Counted from 1; of a capture, all IP packets count.
    pub(super) number: u64,
    pub(super) time_s: f64,
    pub(super) input: String,
    pub(super) packet: String,
    pub(super) fields: Vec<Field>,
    /// What came before it in its flow, oldest first.
    pub(super) before: Vec<Before>,
    /// The command that explains it; null where it needs `--save` first.
    pub(super) trace: Option<Vec<String>>,
}

/// One thing that is known of a packet or its flow.
#[derive(Debug, Serialize)]
pub(super) struct Field {
    pub(super) field: String,
    pub(super) engine: String,
    pub(super) kernel: String,
    pub(super) differs: bool,
}

/// An earlier packet.
#[derive(Debug, Serialize)]
pub(super) struct Before {
    pub(super) number: u64,
    pub(super) time_s: f64,
    pub(super) input: String,
    pub(super) packet: String,
    /// What the kernel did.
    pub(super) verdict: &'static str,
    pub(super) info: String,
    pub(super) state: String,
}

impl Differing {
    /// Describes it.
    pub(super) fn new(
        replayed: &Replayed,
        engine: &Observed,
        differences: &[Difference],
        before: &[&Replayed],
        names: &[String; 2],
        trace: Option<Vec<String>>,
    ) -> Self {
        Self {
            number: replayed.number,
            time_s: replayed.at.as_secs_f64(),
            input: names[replayed.side.index()].clone(),
            packet: printable(&replayed.packet),
            fields: fields(replayed.side, engine, &replayed.kernel, differences, names),
            before: before.iter().map(|before| Before::new(before, names)).collect(),
            trace,
        }
    }
}

impl Before {
    fn new(replayed: &Replayed, names: &[String; 2]) -> Self {
        Self {
            number: replayed.number,
            time_s: replayed.at.as_secs_f64(),
            input: names[replayed.side.index()].clone(),
            packet: printable(&replayed.packet),
            verdict: verdict(replayed.kernel.verdict(replayed.side)),
            info: info(&replayed.kernel),
            state: replayed.kernel.entry.as_ref().map_or_else(|| NONE.into(), state),
        }
    }
}

const NONE: &str = "none";

/// What both did, thing by thing. What differs is what the comparison says; the words are for people.
fn fields(
    side: Side,
    engine: &Observed,
    kernel: &Observed,
    differences: &[Difference],
    names: &[String; 2],
) -> Vec<Field> {
    let mut fields = Vec::new();
    let mut add = |field: &str, [engine, kernel]: [String; 2], of: &[&str]| {
        let is_new = engine != NONE || kernel != NONE;
        let differs = engine != kernel && differences.iter().any(|difference| of.contains(&difference.of));
        if is_new || differs {
            fields.push(Field { field: field.to_owned(), engine, kernel, differs });
        }
    };
    let both = [engine, kernel];
    add("verdict", both.map(|did| verdict(did.verdict(side)).to_owned()), &["output", "delivered"]);
    add("seen as", both.map(info), &["info"]);
    for at in 0..engine.outputs.len().max(kernel.outputs.len()) {
        let name = if at == 0 { "comes out".to_owned() } else { format!("comes out {}", at + 1) };
        add(
            &name,
            both.map(|did| did.outputs.get(at).map_or(NONE.into(), |output| came_out(output, names))),
            &["output"],
        );
    }
    let entries = both.map(|did| did.entry.as_ref());
    let mut of_entry = |field: &str, of: &[&str], show: &dyn Fn(&EntryView) -> String| {
        let of: Vec<&str> = of.iter().copied().chain(["entry"]).collect();
        add(field, entries.map(|entry| entry.map_or_else(|| NONE.into(), show)), &of);
    };
    of_entry("flow", &["original tuple"], &|entry| entry.original.to_string());
    of_entry("answers", &["reply tuple"], &|entry| entry.reply.to_string());
    of_entry("state", &["state"], &state);
    of_entry("status", &["status"], &|entry| entry.status.to_string());
    of_entry("timeout", &["timeout"], &|entry| format!("{} s", entry.timeout_s));
    of_entry("mark", &["mark"], &|entry| if entry.mark == 0 { NONE.into() } else { format!("{:#x}", entry.mark) });
    of_entry("helper", &["helper"], &|entry| entry.helper.clone().unwrap_or_else(|| NONE.into()));
    for (at, of) in [(0, "original side"), (1, "reply side")] {
        of_entry(of, &[of], &|entry| tcp_side(entry, at));
    }
    of_entry("tags", &["tags"], &tags);
    of_entry("zones", &["zones"], &zones);
    add("expected", both.map(expected), &["expectations"]);
    fields
}

fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Dropped => "dropped",
        Verdict::Delivered => "delivered",
        Verdict::Forwarded => "forwarded",
        Verdict::Answered => "answered",
    }
}

fn info(observed: &Observed) -> String {
    observed.info.map_or_else(|| NONE.into(), |info| info.to_string())
}

fn came_out(output: &Output, names: &[String; 2]) -> String {
    format!("{} < {}", names[output.side.index()], printable(&output.packet))
}

fn state(entry: &EntryView) -> String {
    entry.protocol.map_or_else(
        || NONE.into(),
        |view| {
            let (protocol, number) = view.state();
            format!("{protocol} {}", ProtocolView::state_name((protocol, number)))
        },
    )
}

fn tcp_side(entry: &EntryView, at: usize) -> String {
    match entry.protocol {
        Some(ProtocolView::Tcp { sides, .. }) => format!("scale {} flags {:#x}", sides[at].scale, sides[at].flags),
        Some(ProtocolView::Sctp { .. }) | None => NONE.into(),
    }
}

fn tags(entry: &EntryView) -> String {
    match entry.protocol {
        Some(ProtocolView::Sctp { tags: [original, reply], .. }) => format!("{original:#x} {reply:#x}"),
        Some(ProtocolView::Tcp { .. }) | None => NONE.into(),
    }
}

/// The zones of both directions, which most flows are in no other than the first of.
fn zones(entry: &EntryView) -> String {
    match entry.zones {
        [0, 0] => NONE.into(),
        [original, reply] => format!("{original} {reply}"),
    }
}

fn expected(observed: &Observed) -> String {
    let all: Vec<String> = observed.expectations.iter().map(ToString::to_string).collect();
    if all.is_empty() { NONE.into() } else { all.join(", ") }
}

/// A packet as text, without what a terminal would obey.
fn printable(packet: &[u8]) -> String {
    text::write(packet).chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

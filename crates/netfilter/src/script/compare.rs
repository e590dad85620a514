//! Two routers, the same packet: what differs, in words.

use core::cmp::Ordering;
use core::fmt;
use std::collections::BTreeMap;

use pinhole_wire::text::{self, Body, Checksum, Content, Line};

use super::{EntryView, ExpectationView, Observed, Output, ProtocolView, TupleView};

/// What is not counted as a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tolerance {
    /// By how many seconds timeouts may differ.
    pub timeout_s: u32,
    /// Whether a port that one router chose must be the other's.
    pub ports: Ports,
}

/// How ports that a router chose are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ports {
    /// They are the same.
    Same,
    /// They are one's own choice, but each of the one router stands for one of the other, for good.
    Renamed,
}

impl Default for Tolerance {
    fn default() -> Self {
        Self { timeout_s: 1, ports: Ports::Same }
    }
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Of what.
    pub of: &'static str,
    /// What was expected.
    pub expected: String,
    /// What was found.
    pub found: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: expected {}, found {}", self.of, self.expected, self.found)
    }
}

/// Compares what two routers did, packet after packet, and remembers which port of the one is which of the other.
#[derive(Clone, Debug, Default)]
pub struct Comparer {
    tolerance: Tolerance,
    /// For each (protocol, port found in the other router's tuples): the port expected.
    renamed: BTreeMap<(u8, u16), u16>,
}

impl Comparer {
    /// One that has seen nothing yet.
    pub fn new(tolerance: Tolerance) -> Self {
        Self { tolerance, renamed: BTreeMap::new() }
    }

    /// Timeouts may differ by so many seconds from now on.
    pub fn allow(&mut self, timeout_s: u32) {
        self.tolerance.timeout_s = timeout_s;
    }

    /// What differs between what was expected and what was found.
    pub fn differences(&mut self, expected: &Observed, found: &Observed) -> Vec<Difference> {
        let mut differences = Differences(Vec::new());
        if let (Some(expected), Some(found)) = (&expected.entry, &found.entry) {
            self.learn(&expected.reply, &found.reply);
        }
        differences.unless_equal("info", &Shown(expected.info), &Shown(found.info));
        differences.unless_equal("delivered", &expected.delivered, &found.delivered);
        self.outputs(&expected.outputs, &found.outputs, &mut differences);
        match (&expected.entry, &found.entry) {
            (None, None) => {}
            (Some(expected), Some(found)) => self.entry(expected, found, &mut differences),
            (Some(expected), None) => differences.add("entry", &describe(expected), &"none"),
            (None, Some(found)) => differences.add("entry", &"none", &describe(found)),
        }
        self.expectations(&expected.expectations, &found.expectations, &mut differences);
        differences.0
    }

    /// What differs between two tables, each in order.
    pub fn tables(&self, expected: &[EntryView], found: &[EntryView]) -> Vec<Difference> {
        let mut differences = Differences(Vec::new());
        let (mut expected, mut found) = (expected.iter().peekable(), found.iter().peekable());
        loop {
            let order = match (expected.peek(), found.peek()) {
                (None, None) => return differences.0,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(one), Some(other)) => one.place().cmp(&other.place()),
            };
            let one = if order.is_le() { expected.next() } else { None };
            let other = if order.is_ge() { found.next() } else { None };
            match (one, other) {
                (Some(one), Some(other)) => self.entry(one, other, &mut differences),
                (Some(one), None) => differences.add("entry of the table", &describe(one), &"none"),
                (None, Some(other)) => differences.add("entry of the table", &"none", &describe(other)),
                (None, None) => {}
            }
        }
    }

    fn expectations(&self, expected: &[ExpectationView], found: &[ExpectationView], differences: &mut Differences) {
        let same = |one: &ExpectationView, other: &ExpectationView| {
            one.timeout_s.abs_diff(other.timeout_s) <= self.tolerance.timeout_s
                && ExpectationView { timeout_s: other.timeout_s, ..one.clone() } == *other
        };
        if expected.len() != found.len() || !expected.iter().zip(found).all(|(one, other)| same(one, other)) {
            let list = |all: &[ExpectationView]| {
                let all: Vec<String> = all.iter().map(ToString::to_string).collect();
                if all.is_empty() { "none".to_owned() } else { all.join(", ") }
            };
            differences.add("expectations", &list(expected), &list(found));
        }
    }

    fn outputs(&self, expected: &[Output], found: &[Output], differences: &mut Differences) {
        for at in 0..expected.len().max(found.len()) {
            let (expected, found) = (expected.get(at), found.get(at));
            let same = match (expected, found) {
                (Some(expected), Some(found)) => expected.side == found.side && self.same_packet(expected, found),
                (None, _) | (_, None) => false,
            };
            if !same {
                let show = |output: Option<&Output>| {
                    output.map_or("nothing".to_owned(), |output| {
                        format!("{} < {}", output.side, text::write(&output.packet))
                    })
                };
                differences.add("output", &show(expected), &show(found));
            }
        }
    }

    fn same_packet(&self, expected: &Output, found: &Output) -> bool {
        if expected.packet == found.packet {
            return true;
        }
        let (Ok(mut one), Ok(mut other)) = (Line::of(&expected.packet), Line::of(&found.packet)) else { return false };
        self.rename(&mut other);
        forget_quoted_checksums(&mut one);
        forget_quoted_checksums(&mut other);
        self.tolerance.ports == Ports::Renamed && one == other
    }

    /// Gives a packet the ports that it would have from the other router; so too what it quotes.
    fn rename(&self, line: &mut Line) {
        let protocol = u8::from(line.protocol());
        let (src, dst) = line.ends_mut();
        for end in [src, dst] {
            if let Some(&port) = self.renamed.get(&(protocol, end.port())) {
                end.set_port(port);
            }
        }
        let Body::Icmp(message) = &mut line.body else { return };
        match &mut message.content {
            Content::Quote { packet, .. } => self.rename(packet),
            Content::Data(_) => {
                let identifier = (message.rest >> 16) as u16;
                if let Some(&port) = self.renamed.get(&(protocol, identifier)) {
                    message.rest = u32::from(port) << 16 | message.rest & 0xffff;
                }
            }
        }
    }

    fn learn(&mut self, expected: &TupleView, found: &TupleView) {
        let is_port = expected.has_ports() || expected.is_icmp();
        if self.tolerance.ports == Ports::Renamed && is_port && expected.protocol == found.protocol {
            let id = |tuple: &TupleView| if tuple.is_icmp() { tuple.src_id } else { tuple.dst_id };
            self.renamed.entry((found.protocol, id(found))).or_insert(id(expected));
        }
    }

    fn entry(&self, expected: &EntryView, found: &EntryView, differences: &mut Differences) {
        differences.unless_equal("original tuple", &expected.original, &found.original);
        differences.unless_equal("reply tuple", &expected.reply, &self.renamed(found.reply));
        differences.unless_equal("status", &expected.status, &found.status);
        if expected.timeout_s.abs_diff(found.timeout_s) > self.tolerance.timeout_s {
            differences.add("timeout", &expected.timeout_s, &found.timeout_s);
        }
        differences.unless_equal("mark", &expected.mark, &found.mark);
        differences.unless_equal("zones", &format!("{:?}", expected.zones), &format!("{:?}", found.zones));
        let helper = |entry: &EntryView| entry.helper.clone().unwrap_or("none".into());
        differences.unless_equal("helper", &helper(expected), &helper(found));
        protocol(expected.protocol, found.protocol, differences);
    }

    fn renamed(&self, tuple: TupleView) -> TupleView {
        let id = if tuple.is_icmp() { tuple.src_id } else { tuple.dst_id };
        match self.renamed.get(&(tuple.protocol, id)) {
            Some(&port) if tuple.is_icmp() => TupleView { src_id: port, ..tuple },
            Some(&port) => TupleView { dst_id: port, ..tuple },
            None => tuple,
        }
    }
}

/// The checksum of a packet that is quoted in part cannot be told right from wrong, and differs with the ports.
fn forget_quoted_checksums(line: &mut Line) {
    if let Body::Icmp(message) = &mut line.body
        && let Content::Quote { packet, .. } = &mut message.content
    {
        packet.checksum = Checksum::Right;
        forget_quoted_checksums(packet);
    }
}

fn protocol(expected: Option<ProtocolView>, found: Option<ProtocolView>, differences: &mut Differences) {
    let state = |view: Option<ProtocolView>| {
        view.map_or("none".to_owned(), |view| {
            let (protocol, number) = view.state();
            format!("{protocol} {}", ProtocolView::state_name((protocol, number)))
        })
    };
    differences.unless_equal("state", &state(expected), &state(found));
    match (expected, found) {
        (Some(ProtocolView::Tcp { sides: expected, .. }), Some(ProtocolView::Tcp { sides: found, .. })) => {
            for (at, name) in [(0, "original side"), (1, "reply side")] {
                let show = |side: super::TcpSide| format!("scale {} flags {:#x}", side.scale, side.flags);
                differences.unless_equal(name, &show(expected[at]), &show(found[at]));
                if let (Some(expected), Some(found)) = (expected[at].window, found[at].window)
                    && expected != found
                {
                    differences.add(
                        "window (end, maxend, maxwin, maxack)",
                        &format!("{expected:?}"),
                        &format!("{found:?}"),
                    );
                }
            }
        }
        (Some(ProtocolView::Sctp { tags: expected, .. }), Some(ProtocolView::Sctp { tags: found, .. })) => {
            differences.unless_equal("tags", &format!("{expected:#x?}"), &format!("{found:#x?}"));
        }
        (Some(ProtocolView::Tcp { .. } | ProtocolView::Sctp { .. }) | None, _) => {}
    }
}

fn describe(entry: &EntryView) -> String {
    format!("{} (reply {}) status {}", entry.original, entry.reply, entry.status)
}

struct Differences(Vec<Difference>);

impl Differences {
    fn add(&mut self, of: &'static str, expected: &dyn fmt::Display, found: &dyn fmt::Display) {
        self.0.push(Difference { of, expected: expected.to_string(), found: found.to_string() });
    }

    fn unless_equal<T: PartialEq + fmt::Display>(&mut self, of: &'static str, expected: &T, found: &T) {
        if expected != found {
            self.add(of, expected, found);
        }
    }
}

#[derive(PartialEq)]
struct Shown<T>(Option<T>);

impl<T: fmt::Display> fmt::Display for Shown<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(value) => value.fmt(f),
            None => f.write_str("nothing"),
        }
    }
}

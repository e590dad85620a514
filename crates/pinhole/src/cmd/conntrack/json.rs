//! An entry for machines. The names of fields stay as they are; docs/conntrack.md has them all.

use std::net::IpAddr;

use pinhole_host::netlink::conntrack::{Counters, Entry, Icmp, State, TcpSide, Tuple, status};
use serde::Serialize;

use super::names;

/// One flow.
#[derive(Debug, Serialize)]
pub(super) struct Flow<'a> {
    id: u32,
    family: &'static str,
    protocol: String,
    protocol_number: u8,
    /// conntrack(8)'s word; null where the protocol has no states.
    state: Option<&'static str>,
    status: Vec<&'static str>,
    timeout_s: Option<u32>,
    original: Direction,
    reply: Direction,
    /// What the source and the destination become, null where they stay what they are.
    source_nat: Option<String>,
    destination_nat: Option<String>,
    /// Null where the kernel does not count.
    sent: Option<Count>,
    received: Option<Count>,
    /// Seconds since 1970, null where the kernel keeps no times.
    began: Option<f64>,
    ended: Option<f64>,
    age_s: Option<f64>,
    mark: u32,
    zone: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    uses: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    helper: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    labels: Vec<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    master: Option<Direction>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tcp: Option<[Option<Side>; 2]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sctp_tags: Option<[Option<u32>; 2]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    secmark: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    security_context: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sequence_shift: Option<[Option<Shift>; 2]>,
}

#[derive(Debug, Serialize)]
struct Direction {
    source: IpAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_port: Option<u16>,
    destination: IpAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    destination_port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    icmp: Option<Query>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gre_keys: Option<[u16; 2]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    zone: Option<u16>,
}

#[derive(Debug, Serialize)]
struct Query {
    r#type: u8,
    code: u8,
    id: u16,
}

#[derive(Debug, Serialize)]
struct Count {
    packets: u64,
    bytes: u64,
}

#[derive(Debug, Serialize)]
struct Side {
    window_scale: u8,
    flags: u8,
}

#[derive(Debug, Serialize)]
struct Shift {
    position: u32,
    before: i32,
    after: i32,
}

impl<'a> Flow<'a> {
    /// `now_ns` since 1970, for the age.
    pub(super) fn new(entry: &'a Entry, now_ns: u64) -> Self {
        let original = &entry.original;
        let seconds = |ns: u64| ns as f64 / 1e9;
        let end_ns = entry.ended_ns.unwrap_or(now_ns);
        let (tcp, sctp_tags) = match entry.state {
            Some(State::Tcp { sides, .. }) => (Some(sides.map(|side| side.map(Side::from))), None),
            Some(State::Sctp { tags, .. }) => (None, Some(tags)),
            Some(State::Dccp { .. }) | None => (None, None),
        };
        let shift = |shifts: &[Option<_>; 2]| shifts.map(|shift| shift.map(Shift::from));
        Self {
            id: entry.id,
            family: if original.source.is_ipv4() { "ipv4" } else { "ipv6" },
            protocol: names::protocol(original.protocol),
            protocol_number: original.protocol,
            state: entry.state.map(|state| state.name()),
            status: status::NAMES.iter().filter(|(_, bit)| entry.status & bit != 0).map(|(name, _)| *name).collect(),
            timeout_s: entry.timeout_s,
            original: Direction::from(original),
            reply: Direction::from(&entry.reply),
            source_nat: entry.is_source_translated().then(|| end(entry.reply.destination, &entry.reply)),
            destination_nat: entry.is_destination_translated().then(|| end(entry.reply.source, &entry.reply)),
            sent: entry.sent.map(Count::from),
            received: entry.received.map(Count::from),
            began: entry.began_ns.map(seconds),
            ended: entry.ended_ns.map(seconds),
            age_s: entry.began_ns.map(|began| seconds(end_ns.saturating_sub(began))),
            mark: entry.mark.unwrap_or(0),
            zone: entry.zone.unwrap_or(0),
            uses: entry.uses,
            helper: entry.helper.as_deref(),
            labels: entry.labels.map(|labels| names::bits(labels).collect()).unwrap_or_default(),
            master: entry.master.as_ref().map(Direction::from),
            tcp,
            sctp_tags,
            secmark: entry.secmark,
            security_context: entry.security_context.as_deref(),
            sequence_shift: entry.seq_adj.as_deref().map(shift),
        }
    }
}

/// An address, with the port or the identifier where there is one.
fn end(end: std::net::SocketAddr, tuple: &Tuple) -> String {
    match tuple.icmp {
        Some(icmp) => format!("{} id {}", end.ip(), icmp.id),
        None if tuple.has_ports() => end.to_string(),
        None => end.ip().to_string(),
    }
}

impl From<&Tuple> for Direction {
    fn from(tuple: &Tuple) -> Self {
        let port = |port: u16| tuple.has_ports().then_some(port);
        let (source, destination) = (tuple.source, tuple.destination);
        Self {
            source: source.ip(),
            source_port: port(source.port()),
            destination: destination.ip(),
            destination_port: port(destination.port()),
            icmp: tuple.icmp.map(Query::from),
            gre_keys: (tuple.protocol == 47).then(|| [source.port(), destination.port()]),
            zone: tuple.zone,
        }
    }
}

impl From<Icmp> for Query {
    fn from(icmp: Icmp) -> Self {
        Self { r#type: icmp.kind, code: icmp.code, id: icmp.id }
    }
}

impl From<Counters> for Count {
    fn from(counters: Counters) -> Self {
        Self { packets: counters.packets, bytes: counters.bytes }
    }
}

impl From<TcpSide> for Side {
    fn from(side: TcpSide) -> Self {
        Self { window_scale: side.scale, flags: side.flags }
    }
}

impl From<pinhole_host::netlink::conntrack::SeqAdj> for Shift {
    fn from(shift: pinhole_host::netlink::conntrack::SeqAdj) -> Self {
        Self { position: shift.position, before: shift.before, after: shift.after }
    }
}

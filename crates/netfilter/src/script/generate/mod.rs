//! Packets that nobody thought of: cases from a seed, which walk the trackers' tables, leave them, and collide on purpose.
//!
//! The model: a [`Case`] is a router ([`rules`]) and some packets of a few flows ([`flow`]). A flow knows its two ends as
//! each side of the router sees them, if ports are kept, so the packets are made before any router has seen one, and every
//! router gets the same. [`tcp`] and [`datagram`] choose what comes next: mostly what an honest end would send, else
//! something beside it. The same seed gives the same case. [`shrink()`] makes a case that differs as short as it can be.

mod datagram;
mod flow;
mod rules;
mod shrink;
mod talk;
mod tcp;

pub use shrink::shrink;
pub use talk::{Hosts, Talk};

use pinhole_sansio::Rng;
use pinhole_wire::icmp;
use pinhole_wire::text::{Body, Content, Line, Message};

use super::{Item, Script, Setup, Side};
use flow::Flow;

/// A router and packets for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// The router.
    pub setup: Setup,
    /// Where each packet comes in; all at once.
    pub packets: Vec<(Side, Vec<u8>)>,
}

/// Most packets of a case, and most flows.
const MAX_PACKETS: u64 = 48;
const MAX_FLOWS: u64 = 3;

impl Case {
    /// The case that `seed` determines. Its router is one of a few, the same for 256 seeds in a row, so that a kernel needs
    /// not be set up for each.
    pub fn of_seed(seed: u64) -> Self {
        let mut rng = Rng::from_seed(seed);
        let kind = &rules::ALL[(seed / 256) as usize % rules::ALL.len()];
        let mut flows: Vec<Flow> = Vec::new();
        for _ in 0..=rng.below(MAX_FLOWS) {
            let next = match flows.last() {
                // The same ports from another host, or the same again: they want the same place.
                Some(last) if rng.chance(0.5) => last.collider(&mut rng, kind),
                _ => Flow::any(&mut rng, kind),
            };
            flows.push(next);
        }
        let count = 4 + rng.below(MAX_PACKETS - 3);
        let mut packets: Vec<(Side, Vec<u8>)> = Vec::new();
        while (packets.len() as u64) < count {
            let flow = rng.below(flows.len() as u64) as usize;
            let next = flows[flow].next(&mut rng);
            let error = if rng.chance(0.06) { error(&flows[flow], &mut rng) } else { None };
            packets.extend(next.into_iter().chain(error));
            if rng.chance(0.05) {
                let again = packets[rng.below(packets.len() as u64) as usize].clone();
                packets.push(again);
            }
        }
        Self { setup: kind.setup(), packets }
    }

    /// The case as a script, with nothing expected: now and then flows get older before a packet, which one that says.
    pub fn script(&self) -> Script {
        let age = |packet: &[u8]| {
            let seed = packet.iter().fold(0, |hash: u64, &byte| hash.wrapping_mul(0x1_0000_01b3) ^ u64::from(byte));
            ages(&mut Rng::from_seed(seed)).map(Item::Age)
        };
        let items = self
            .packets
            .iter()
            .flat_map(|(side, packet)| [age(packet), Some(Item::Inject(*side, packet.clone()))].into_iter().flatten());
        Script::of_items(&self.setup, items)
    }
}

/// By how many seconds flows get older, if they do: about as much as timeouts are, and other times.
fn ages(rng: &mut Rng) -> Option<u32> {
    const SECONDS: [u32; 14] = [1, 5, 9, 20, 30, 58, 61, 110, 118, 170, 290, 310, 1_000, 431_000];
    rng.chance(0.04).then(|| SECONDS[rng.below(SECONDS.len() as u64) as usize])
}

/// An ICMP error about the last packet of a flow, from beyond the router; mostly right.
fn error(flow: &Flow, rng: &mut Rng) -> Option<(Side, Vec<u8>)> {
    let (from, line) = flow.last.clone()?;
    let mut quoted = flow.seen_from(from.other(), line);
    quoted.ip.ttl = quoted.ip.ttl.wrapping_sub(1);
    let (mut src, mut dst) = (quoted.dst, quoted.src);
    if rng.chance(0.3) {
        src = flow::some_router(from.other(), src.is_ipv4());
    }
    if rng.chance(0.1) {
        dst = flow::some_router(from, dst.is_ipv4());
    }
    src.set_port(0);
    dst.set_port(0);
    let kinds: &[(u8, u8)] = if src.is_ipv4() { &ERRORS_V4 } else { &ERRORS_V6 };
    let (message_type, code) = kinds[rng.below(kinds.len() as u64) as usize];
    let whole = quoted.packet()?.len();
    let header = if src.is_ipv4() { 20 } else { 40 };
    let cut = match rng.below(4) {
        0 => None,
        1 => Some(header + 8),
        2 => Some(header + rng.below(24) as usize),
        _ => Some(whole.min(500)),
    };
    let cut = cut.filter(|cut| *cut < whole);
    let content = Content::Quote { packet: Box::new(quoted), cut };
    let message = Message { message_type, code, rest: if rng.chance(0.1) { 1_300 } else { 0 }, content };
    let mut line = Line::new(src, dst, Body::Icmp(message));
    flow::bend(&mut line, rng);
    Some((from.other(), line.packet()?))
}

const ERRORS_V4: [(u8, u8); 7] = [
    (icmp::v4::UNREACHABLE, icmp::v4::PORT),
    (icmp::v4::UNREACHABLE, icmp::v4::HOST),
    (icmp::v4::UNREACHABLE, icmp::v4::FRAGMENTATION_NEEDED),
    (icmp::v4::TIME_EXCEEDED, 0),
    (icmp::v4::SOURCE_QUENCH, 0),
    (icmp::v4::REDIRECT, 1),
    (icmp::v4::PARAMETER_PROBLEM, 0),
];
const ERRORS_V6: [(u8, u8); 4] = [
    (icmp::v6::UNREACHABLE, icmp::v6::PORT),
    (icmp::v6::TOO_BIG, 0),
    (icmp::v6::TIME_EXCEEDED, 0),
    (icmp::v6::PARAMETER_PROBLEM, 0),
];

#[cfg(test)]
mod tests;

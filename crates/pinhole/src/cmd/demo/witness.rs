//! What was seen at the core of the Internet and at the NATs, and the verdict that rests on it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use pinhole_host::netlink::conntrack::Entry;
use pinhole_lab::{Seen, Verdict as Fate};
use pinhole_netns::{Internet, Tap};
use pinhole_wire::wireguard::Kind;
use pinhole_wire::{Protocol, wireguard};
use serde::Serialize;

use super::echo::{Echoes, SIZE};
use super::plan::PORT;
use super::{ALICE, BOB, HUB};

/// A tunnel message that carries an echo is longer than the echo.
const LARGE: usize = SIZE;
/// How many packets of one kind from one side are worth a line each: a search for a port sends hundreds.
const SHOWN: u32 = 4;

/// Watches the core.
pub(super) struct Witness {
    tap: Tap,
    shown: BTreeMap<(Ipv4Addr, &'static str), u32>,
    /// The first tunnel data that went directly, and between which endpoints.
    first_direct: Option<Seen>,
    /// Messages large enough for an echo: from alice's NAT to bob's, from bob's to alice's, to or from the hub.
    there: u64,
    back: u64,
    relayed: u64,
}

/// A packet worth a line.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Sight {
    pub(super) what: &'static str,
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
    pub(super) fate: &'static str,
}

/// What it all comes to.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Verdict {
    /// Whether tunnel data went directly both ways and none through the hub, seen at the core and at both NATs.
    pub(super) direct: bool,
    /// What is missing for that, if anything.
    pub(super) missing: Vec<String>,
    /// The two endpoints, as NATs gave them.
    pub(super) path: Option<(SocketAddr, SocketAddr)>,
    /// From the start of the second agent to the first tunnel data on the direct path.
    pub(super) time_to_direct_ms: Option<f64>,
    /// Echoes sent through the tunnel.
    pub(super) sent: u16,
    /// Echoes that came back.
    pub(super) received: usize,
    /// Round trips: the shortest, the median, the longest.
    pub(super) round_trip_ms: Option<[f64; 3]>,
    /// Messages with echoes seen at the core: from alice's NAT to bob's, back, and to or from the hub.
    pub(super) seen: [u64; 3],
    /// Packets that alice's NAT and bob's NAT counted between the two, out and in.
    pub(super) counted: [Option<(u64, u64)>; 2],
}

impl Verdict {
    /// Whether it is what the demo is for.
    pub(super) fn is_direct(&self) -> bool {
        self.direct
    }
}

impl Witness {
    pub(super) fn new(internet: &Internet) -> Self {
        Self::watching(internet.tap())
    }

    fn watching(tap: Tap) -> Self {
        Self { tap, shown: BTreeMap::new(), first_direct: None, there: 0, back: 0, relayed: 0 }
    }

    /// One that has counted this much: there, back, through the hub.
    #[cfg(test)]
    pub(super) fn having_seen([there, back, relayed]: [u64; 3]) -> Self {
        Self { there, back, relayed, ..Self::watching(std::sync::mpsc::channel().1) }
    }

    /// Takes what has been seen since the last time; returns what is worth a line.
    pub(super) fn look(&mut self) -> Vec<Sight> {
        let seen: Vec<Seen> = self.tap.try_iter().collect();
        seen.iter().filter_map(|seen| self.take(seen)).collect()
    }

    /// The verdict, for a second agent that began at `began` and a core whose time began at `epoch`.
    pub(super) fn verdict(
        &self,
        began: Instant,
        epoch: Instant,
        echoes: Echoes,
        mappings: &[Vec<Entry>; 2],
    ) -> Verdict {
        let path = self.first_direct.map(|seen| {
            let (from, to) = (seen.flow.src, seen.flow.dst);
            if from.ip() == ALICE { (from, to) } else { (to, from) }
        });
        let (alice, bob) = path.unwrap_or_else(|| (SocketAddr::from((ALICE, PORT)), SocketAddr::from((BOB, PORT))));
        let counted = [counted(&mappings[0], alice, bob), counted(&mappings[1], bob, alice)];
        let received = echoes.round_trips.len();
        let mut missing = Vec::new();
        let mut require = |met: bool, what: &str| {
            if !met {
                missing.push(what.to_owned());
            }
        };
        require(received > 0, "no echo came back through the tunnel");
        require(self.there >= received as u64, "the core has not seen every echo go from NAT to NAT");
        require(self.back >= received as u64, "the core has not seen every answer go from NAT to NAT");
        require(self.relayed == 0, "tunnel data went through the public host");
        require(counted[0].is_some(), "alice's NAT tracks no answered flow to bob's");
        require(counted[1].is_some(), "bob's NAT tracks no answered flow to alice's");
        let at = |seen: Seen| epoch + Duration::from_nanos(seen.at.as_nanos());
        Verdict {
            direct: missing.is_empty(),
            missing,
            path,
            time_to_direct_ms: self.first_direct.map(|seen| ms(at(seen).saturating_duration_since(began))),
            sent: echoes.sent,
            received,
            round_trip_ms: summary(&echoes.round_trips),
            seen: [self.there, self.back, self.relayed],
            counted,
        }
    }

    fn take(&mut self, seen: &Seen) -> Option<Sight> {
        let (from, to) = (v4(seen.flow.src.ip())?, v4(seen.flow.dst.ip())?);
        if seen.flow.protocol != Protocol::Udp {
            return None;
        }
        let forwarded = matches!(seen.verdict, Fate::Forwarded(_));
        let direct = (from, to) == (ALICE, BOB) || (from, to) == (BOB, ALICE);
        let data = seen.wireguard == Some(Kind::Transport);
        if forwarded && data && seen.payload > LARGE {
            match (from, to) {
                (ALICE, BOB) => self.there += 1,
                (BOB, ALICE) => self.back += 1,
                _ if from == HUB || to == HUB => self.relayed += 1,
                _ => {}
            }
        }
        let first_data = forwarded && direct && data && self.first_direct.is_none();
        if first_data {
            self.first_direct = Some(*seen);
        }
        if !direct {
            return None;
        }
        let what = match seen.wireguard {
            Some(Kind::HandshakeInitiation) => "handshake initiation",
            Some(Kind::HandshakeResponse) => "handshake response",
            Some(Kind::Transport) if first_data => "the first tunnel data",
            Some(Kind::Transport | Kind::CookieReply) => return None,
            None if forwarded => "probe",
            None => "opener",
        };
        let shown = self.shown.entry((from, what)).or_default();
        *shown += 1;
        (*shown <= SHOWN).then(|| Sight { what, from: seen.flow.src, to: seen.flow.dst, fate: fate(seen.verdict) })
    }
}

/// What a NAT counted of the flow between its outside endpoint and the peer's, out and in, if it was answered.
fn counted(entries: &[Entry], ours: SocketAddr, peer: SocketAddr) -> Option<(u64, u64)> {
    let is_path = |entry: &&Entry| (entry.reply.source, entry.reply.destination) == (peer, ours);
    let entry = entries.iter().filter(is_path).find(|entry| entry.is_answered())?;
    // A kernel that does not count says nothing; that the flow was answered is the point.
    let packets = |counters: Option<pinhole_host::netlink::conntrack::Counters>| counters.map_or(0, |c| c.packets);
    Some((packets(entry.sent), packets(entry.received)))
}

fn fate(verdict: Fate) -> &'static str {
    match verdict {
        Fate::Forwarded(_) => "forwarded",
        Fate::Expired => "expires on the way, as meant",
        Fate::LostComing(_) | Fate::LostGoing(_) | Fate::Overload => "lost",
        Fate::Unroutable | Fate::TooBig | Fate::ForRouter => "not forwarded",
    }
}

fn summary(sorted: &[Duration]) -> Option<[f64; 3]> {
    Some([ms(*sorted.first()?), ms(sorted[sorted.len() / 2]), ms(*sorted.last()?)])
}

fn ms(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 100_000.0).round() / 100.0
}

fn v4(address: IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    }
}

const _: () = assert!(LARGE > wireguard::INITIATION_LEN);

//! Adds up what the tap saw, by who sent to whom.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use pinhole_wire::Protocol;
use pinhole_wire::wireguard::{KEEPALIVE_LEN, Kind};

use crate::core::{Seen, Verdict};

/// How many pairs are kept apart; packets of further pairs are counted nowhere. A scan must not eat the memory.
const MAX_PAIRS: usize = 65_536;

/// What went from one public address and port to another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Packets that the router forwarded.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Packets that were lost on a link or dropped.
    pub lost: u64,
    /// WireGuard handshake messages among those forwarded.
    pub handshakes: u64,
    /// WireGuard messages with tunnel data among those forwarded; keepalives are not data.
    pub data: u64,
}

/// The tallies of all pairs.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    pairs: BTreeMap<(Protocol, SocketAddr, SocketAddr), Tally>,
}

impl Ledger {
    /// Adds a packet.
    pub fn add(&mut self, seen: &Seen) {
        let key = (seen.flow.protocol, seen.flow.src, seen.flow.dst);
        if self.pairs.len() >= MAX_PAIRS && !self.pairs.contains_key(&key) {
            return;
        }
        let tally = self.pairs.entry(key).or_default();
        if !matches!(seen.verdict, Verdict::Forwarded(_) | Verdict::ForRouter) {
            tally.lost += 1;
            return;
        }
        tally.packets += 1;
        tally.bytes += seen.length as u64;
        match seen.wireguard {
            Some(Kind::Transport) => tally.data += u64::from(seen.payload > KEEPALIVE_LEN),
            Some(Kind::HandshakeInitiation | Kind::HandshakeResponse) => tally.handshakes += 1,
            Some(Kind::CookieReply) | None => {}
        }
    }

    /// Every pair, ordered.
    pub fn pairs(&self) -> impl Iterator<Item = (Protocol, SocketAddr, SocketAddr, Tally)> + '_ {
        self.pairs.iter().map(|(&(protocol, from, to), &tally)| (protocol, from, to, tally))
    }

    /// The sum over all pairs that `which` selects by sender and receiver.
    pub fn sum(&self, which: impl Fn(SocketAddr, SocketAddr) -> bool) -> Tally {
        let selected = self.pairs().filter(|&(_, from, to, _)| which(from, to));
        selected.fold(Tally::default(), |sum, (_, _, _, tally)| Tally {
            packets: sum.packets + tally.packets,
            bytes: sum.bytes + tally.bytes,
            lost: sum.lost + tally.lost,
            handshakes: sum.handshakes + tally.handshakes,
            data: sum.data + tally.data,
        })
    }
}

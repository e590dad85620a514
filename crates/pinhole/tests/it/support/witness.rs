//! What crosses the Internet, seen at its core; and what the NATs counted.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use pinhole_lab::{Seen, Verdict};
use pinhole_netns::{Internet, Tap};
use pinhole_wire::Protocol;
use pinhole_wire::wireguard::{KEEPALIVE_LEN, Kind};

use super::plan::{HUB, PORT};
use super::traffic::SIZE;
use super::until;

/// Looks at the core from the moment it is made.
#[derive(Debug)]
pub struct Witness {
    tap: Tap,
    epoch: Instant,
    /// Everything that was seen, in order.
    pub seen: Vec<Seen>,
}

impl Witness {
    /// Begins to look.
    pub fn new(internet: &Internet) -> Self {
        Self { tap: internet.tap(), epoch: internet.epoch(), seen: Vec::new() }
    }

    /// Takes in what was seen since the last time.
    pub fn look(&mut self) {
        self.seen.extend(self.tap.try_iter());
    }

    /// Waits for tunnel data (no keepalive) from one home to the other, whichever comes first, at whatever address they have
    /// then; says how long after `begin` the core forwarded it.
    pub fn first_direct(&mut self, begin: Instant) -> Duration {
        let mut at = 0;
        let found = until("tunnel data between the homes", || {
            self.look();
            let new = self.seen[at..].iter().find(|seen| is_data(seen) && is_direct(seen)).copied();
            at = self.seen.len();
            new
        });
        self.when(&found).saturating_duration_since(begin)
    }

    /// When the core saw it.
    pub fn when(&self, seen: &Seen) -> Instant {
        self.epoch + Duration::from_nanos(seen.at.as_nanos())
    }

    /// The endpoints between which UDP went between the homes, forwarded and as from/to: openers that died are not among
    /// them.
    pub fn direct_pairs(&mut self) -> BTreeSet<(SocketAddr, SocketAddr)> {
        self.look();
        let direct = self.seen.iter().filter(|seen| is_direct(seen) && is_forwarded(seen));
        direct.filter(|seen| seen.wireguard.is_some()).map(|seen| (seen.flow.src, seen.flow.dst)).collect()
    }

    /// How many datagrams of a [`Stream`](super::traffic::Stream) the core forwarded from `from` to `to`.
    pub fn datagrams(&mut self, from: Ipv4Addr, to: Ipv4Addr) -> usize {
        self.look();
        let large = self.seen.iter().filter(|seen| is_forwarded(seen) && is_data(seen) && seen.payload > SIZE);
        large.filter(|seen| seen.flow.src.ip() == from && seen.flow.dst.ip() == to).count()
    }

    /// How many datagrams of a stream went to or from the public host: in a direct tunnel none.
    pub fn relayed(&mut self) -> usize {
        self.look();
        let large = self.seen.iter().filter(|seen| is_data(seen) && seen.payload > SIZE);
        large.filter(|seen| seen.flow.src.ip() == HUB || seen.flow.dst.ip() == HUB).count()
    }
}

/// What the NAT of `name`'s home counted of the flow between its WireGuard device and `peer`: packets out and in, and the
/// endpoint it gave.
///
/// # Panics
/// When it tracks no such flow that was answered.
pub fn counted(internet: &mut Internet, name: &str, peer: IpAddr) -> (u64, u64, SocketAddr) {
    let entries = internet.site(name).conntrack().expect("the NAT's kernel has ctnetlink");
    let ours = entries.iter().filter(|entry| entry.original.source.port() == PORT && entry.is_answered());
    let flow =
        ours.filter(|entry| entry.original.destination.ip() == peer).max_by_key(|entry| entry.sent.map(|s| s.packets));
    let flow = flow.unwrap_or_else(|| panic!("{name}'s NAT tracks no answered flow to {peer}: {entries:#?}"));
    let packets = |counters: Option<pinhole_host::netlink::conntrack::Counters>| counters.expect("it counts").packets;
    (packets(flow.sent), packets(flow.received), flow.mapped())
}

fn is_direct(seen: &Seen) -> bool {
    let ends = [seen.flow.src.ip(), seen.flow.dst.ip()];
    seen.flow.protocol == Protocol::Udp && !ends.contains(&IpAddr::V4(HUB))
}

fn is_forwarded(seen: &Seen) -> bool {
    matches!(seen.verdict, Verdict::Forwarded(_))
}

fn is_data(seen: &Seen) -> bool {
    is_forwarded(seen) && seen.wireguard == Some(Kind::Transport) && seen.payload > KEEPALIVE_LEN
}

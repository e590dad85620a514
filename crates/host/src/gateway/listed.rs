//! What a plane translates at the moment, for people.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use pinhole_netfilter::behaviour::Reason;
use pinhole_netfilter::table::Flow;
use pinhole_netfilter::{Address, Direction};
use pinhole_sansio::Instant;
use pinhole_wire::Protocol;

use super::Plane;
use super::plane::Engine;

/// A flow and its translation. Ports of ICMP are identifiers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Translation {
    /// What is spoken.
    pub protocol: Protocol,
    /// Who began, or is meant: an endpoint inside.
    pub inside: SocketAddr,
    /// What the outside knows it by.
    pub external: SocketAddr,
    /// The other end.
    pub remote: SocketAddr,
    /// How long it lives without another packet.
    pub remaining: Duration,
}

impl Plane {
    /// How many flows there are.
    pub fn flows(&mut self) -> usize {
        match &mut self.engine {
            Engine::Behaviour(nat, _) => nat.sessions(),
            Engine::Rules(rules) => rules.router.v4().table.len() + rules.router.v6().table.len(),
        }
    }

    /// What is translated, `most` at most.
    pub fn translations(&mut self, now: Instant, most: usize) -> Vec<Translation> {
        match &mut self.engine {
            Engine::Behaviour(nat, _) => {
                let all = nat.list().into_iter().take(most);
                all.map(|session| Translation {
                    protocol: session.protocol,
                    inside: session.inside,
                    external: session.external,
                    remote: session.remote,
                    remaining: session.remaining,
                })
                .collect()
            }
            Engine::Rules(rules) => {
                let v4 = rules.router.v4().table.iter().map(|(_, flow)| of(flow, now)).take(most).collect::<Vec<_>>();
                let left = most - v4.len();
                let v6 = rules.router.v6().table.iter().map(|(_, flow)| of(flow, now)).take(left);
                v4.iter().copied().chain(v6).collect()
            }
        }
    }

    /// Packets that went no further, by reason, the most frequent first.
    pub fn drops(&mut self) -> Vec<(String, u64)> {
        let mut drops: Vec<(String, u64)> = match &mut self.engine {
            Engine::Behaviour(nat, _) => {
                let counters = nat.counters();
                Reason::ALL.iter().map(|&reason| (reason.to_string(), counters.of(reason))).collect()
            }
            Engine::Rules(rules) => rules.router.drops().map(|(reason, count)| (reason.to_string(), count)).collect(),
        };
        drops.retain(|(_, count)| *count != 0);
        drops.sort_by(|(a, m), (b, n)| n.cmp(m).then_with(|| a.cmp(b)));
        drops
    }
}

/// A flow of a router with rules. One that began outside shows its destination's two names.
fn of<A: Address + Into<IpAddr>>(flow: &Flow<A>, now: Instant) -> Translation {
    let [original, reply] = [Direction::Original, Direction::Reply].map(|direction| flow.tuple(direction));
    let is_inbound = flow.status.contains(pinhole_netfilter::Status::DST_NAT);
    let end = |address: A, id| SocketAddr::new(address.into(), id);
    let protocol = Protocol::from(original.protocol);
    let remaining = flow.remaining(now);
    if is_inbound {
        let inside = end(reply.src, reply.src_id);
        let (external, remote) = (end(original.dst, original.dst_id), end(original.src, original.src_id));
        Translation { protocol, inside, external, remote, remaining }
    } else {
        let inside = end(original.src, original.src_id);
        // The identifiers of ICMP lie at the source; what lies at the destination is a type.
        let is_icmp = matches!(protocol, Protocol::Icmp | Protocol::Icmpv6);
        let id = if is_icmp { reply.src_id } else { reply.dst_id };
        let remote = end(original.dst, if is_icmp { 0 } else { original.dst_id });
        Translation { protocol, inside, external: end(reply.dst, id), remote, remaining }
    }
}

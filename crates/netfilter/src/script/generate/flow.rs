//! A flow of a case: two ends, as both sides of the router see them, and what they speak.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use pinhole_sansio::Rng;
use pinhole_wire::text::{Body, Checksum, Line};

use super::datagram::Datagrams;
use super::rules::Rules;
use super::tcp::Connection;
use crate::script::Side;

/// Two ends and what they speak.
#[derive(Clone, Debug)]
pub(super) struct Flow {
    inside: SocketAddr,
    outside: SocketAddr,
    /// What the outside takes for the inside end.
    inside_seen: SocketAddr,
    speech: Speech,
    /// The last packet, as it came in, and where.
    pub(super) last: Option<(Side, Line)>,
}

#[derive(Clone, Debug)]
enum Speech {
    Tcp(Connection),
    Datagrams(Datagrams),
}

impl Flow {
    pub(super) fn any(rng: &mut Rng, rules: &Rules) -> Self {
        let is_v4 = !rng.chance(rules.v6);
        let inside = SocketAddr::new(inside_host(is_v4, rng), 4_000 + rng.below(3) as u16);
        let outside = SocketAddr::new(outside_host(is_v4, rng), [80, 53, 21][rng.below(3) as usize]);
        let opener = if rng.chance(rules.inbound) { Side::Out } else { Side::In };
        let speech = if rng.chance(0.6) {
            Speech::Tcp(Connection::new(opener, rng))
        } else {
            Speech::Datagrams(Datagrams::any(opener, rng))
        };
        let inside_seen = SocketAddr::new(rules.outside_view(inside.ip(), rng), inside.port());
        Self { inside, outside, inside_seen, speech, last: None }
    }

    /// A flow that wants what this one has: the same ports, mostly from another host.
    pub(super) fn collider(&self, rng: &mut Rng, rules: &Rules) -> Self {
        let host = if rng.chance(0.7) { inside_host(self.inside.is_ipv4(), rng) } else { self.inside.ip() };
        let speech = match &self.speech {
            Speech::Tcp(_) => Speech::Tcp(Connection::new(Side::In, rng)),
            Speech::Datagrams(datagrams) => Speech::Datagrams(datagrams.clone()),
        };
        let inside = SocketAddr::new(host, self.inside.port());
        let inside_seen = SocketAddr::new(rules.outside_view(host, rng), inside.port());
        Self { inside, outside: self.outside, inside_seen, speech, last: None }
    }

    /// The next packets: one, or the fragments of one.
    pub(super) fn next(&mut self, rng: &mut Rng) -> Vec<(Side, Vec<u8>)> {
        let is_v4 = self.inside.is_ipv4();
        let (side, body) = match &mut self.speech {
            Speech::Tcp(connection) => connection.next(rng),
            Speech::Datagrams(datagrams) => datagrams.next(is_v4, rng),
        };
        let (src, dst) = self.ends(side);
        let mut line = Line::new(src, dst, body);
        bend(&mut line, rng);
        let Some(packet) = line.packet() else { return Vec::new() };
        let is_long = packet.len() > 200;
        self.last = Some((side, line));
        let pieces = if is_long && rng.chance(0.1) { super::datagram::fragments(&packet, rng) } else { vec![packet] };
        pieces.into_iter().map(|packet| (side, packet)).collect()
    }

    /// Source and destination of what comes in at a side.
    fn ends(&self, from: Side) -> (SocketAddr, SocketAddr) {
        match from {
            Side::In => (self.inside, self.outside),
            Side::Out => (self.outside, self.inside_seen),
        }
    }

    /// A packet of this flow that came in at the other side, as it leaves at `side`.
    pub(super) fn seen_from(&self, side: Side, line: Line) -> Line {
        let (dst, src) = self.ends(side);
        Line { src, dst, ..line }
    }
}

fn inside_host(is_v4: bool, rng: &mut Rng) -> IpAddr {
    let host = 10 + rng.below(2) as u8;
    if is_v4 {
        Ipv4Addr::new(10, 0, 0, host).into()
    } else {
        Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, host.into()).into()
    }
}

fn outside_host(is_v4: bool, rng: &mut Rng) -> IpAddr {
    let host = 1 + rng.below(2) as u8;
    if is_v4 {
        Ipv4Addr::new(198, 51, 100, host).into()
    } else {
        Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, host.into()).into()
    }
}

/// Somebody else at a side, who may send errors.
pub(super) fn some_router(side: Side, is_v4: bool) -> SocketAddr {
    let address: IpAddr = match (side, is_v4) {
        (Side::In, true) => Ipv4Addr::new(10, 0, 0, 99).into(),
        (Side::Out, true) => Ipv4Addr::new(192, 0, 2, 99).into(),
        (Side::In, false) => Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0x99).into(),
        (Side::Out, false) => Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 0x99).into(),
    };
    SocketAddr::new(address, 0)
}

/// Rarely, something about the packet is not as it should be.
pub(super) fn bend(line: &mut Line, rng: &mut Rng) {
    if rng.chance(0.02) {
        line.checksum =
            if matches!(line.body, Body::Udp(_)) && rng.chance(0.5) { Checksum::None } else { Checksum::Bad };
    }
    if rng.chance(0.02) {
        line.ip.ttl = rng.below(3) as u8;
    }
    if rng.chance(0.02) {
        line.ip.tos = rng.next_u64() as u8;
    }
    if rng.chance(0.02) {
        line.ip.id = rng.next_u64() as u16;
        line.ip.dont_fragment = false;
    }
}

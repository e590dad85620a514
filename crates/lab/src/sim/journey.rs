//! The witness: where each packet went, when, and where it ended.

use core::net::SocketAddr;

use pinhole_sansio::Instant;
use pinhole_wire::{Flow, Protocol, ipv4, udp, wireguard};

use super::gate::Refusal;
use crate::link::Loss;
use crate::network::PlaceId;

/// Packets whose journeys are kept; the first ones tell how a path came about.
const MOST_JOURNEYS: usize = 20_000;

/// Where something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Where {
    /// At a host or router.
    At(PlaceId),
    /// At the Internet's router.
    Internet,
}

/// One packet's way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Journey {
    /// What it was when it was sent.
    pub sent: Glance,
    /// Where it was when; the first is its sender.
    pub path: Vec<(Instant, Where)>,
    /// How it ended; `None` if it is under way.
    pub end: Option<End>,
    /// What it was at its end: NATs change addresses.
    pub last: Glance,
}

/// What one sees of a packet at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Glance {
    /// What it speaks.
    pub protocol: Protocol,
    /// Where it comes from.
    pub from: SocketAddr,
    /// Where it goes to.
    pub to: SocketAddr,
    /// Its time to live.
    pub ttl: u8,
    /// Bytes of the IP packet.
    pub length: usize,
    /// Which WireGuard message it is, if its shape is one's.
    pub wireguard: Option<wireguard::Kind>,
    /// Bytes of its UDP payload.
    pub payload: usize,
}

/// How a packet's way ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// At a host.
    Arrived,
    /// It was for a router itself, or was kept there.
    Taken,
    /// A link did not carry it.
    Lost(Loss),
    /// A router let it go no further.
    Refused(Refusal),
    /// Its time to live ran out on the Internet.
    Expired,
    /// Nobody has the address.
    Unroutable,
    /// It was longer than the next link allows.
    TooBig,
    /// The host is down.
    HostDown,
}

/// Writes journeys down, if somebody wants them.
#[derive(Debug, Default)]
pub(super) struct Witness {
    pub(super) on: bool,
    journeys: Vec<Journey>,
}

/// The number of a packet's journey; none is written down of the last number.
pub(super) type Ticket = u32;
/// The number of all packets whose journey is not written down.
pub(super) const UNSEEN: Ticket = Ticket::MAX;

impl Witness {
    /// A packet is sent.
    pub(super) fn begin(&mut self, at: Instant, place: Where, packet: &[u8]) -> Ticket {
        if !self.on || self.journeys.len() >= MOST_JOURNEYS {
            return UNSEEN;
        }
        let Some(sent) = Glance::of(packet) else { return UNSEEN };
        self.journeys.push(Journey { sent, path: vec![(at, place)], end: None, last: sent });
        (self.journeys.len() - 1) as Ticket
    }

    /// It gets somewhere.
    pub(super) fn pass(&mut self, ticket: Ticket, at: Instant, place: Where) {
        if let Some(journey) = self.journeys.get_mut(ticket as usize) {
            journey.path.push((at, place));
        }
    }

    /// Its way ends.
    pub(super) fn end(&mut self, ticket: Ticket, packet: &[u8], end: End) {
        if let Some(journey) = self.journeys.get_mut(ticket as usize) {
            journey.end = Some(end);
            journey.last = Glance::of(packet).unwrap_or(journey.last);
        }
    }

    pub(super) fn journeys(&self) -> &[Journey] {
        &self.journeys
    }
}

impl Glance {
    /// What one sees; `None` of what is no IPv4 packet.
    pub fn of(packet: &[u8]) -> Option<Self> {
        let ip = ipv4::Packet::new_checked(packet).ok()?;
        let flow = Flow::of(packet).ok()?;
        let udp = (flow.protocol == Protocol::Udp).then(|| udp::Packet::new_checked(ip.payload()).ok()).flatten();
        let payload = udp.as_ref().map_or(0, |udp| udp.payload().len());
        let wireguard = udp.and_then(|udp| wireguard::Packet::new_checked(udp.payload()).ok().map(|it| it.kind()));
        let (ttl, length) = (ip.ttl(), ip.total_len());
        Some(Self { protocol: flow.protocol, from: flow.src, to: flow.dst, ttl, length, wireguard, payload })
    }
}

//! What is not TCP: UDP, ICMP queries, SCTP, GRE, other protocols, and fragments of any.

use pinhole_sansio::Rng;
use pinhole_wire::text::{Body, Chunk, Content, Gre, Line, Message, Payload};
use pinhole_wire::{Protocol, ip, ipv4, ipv6};

use crate::script::Side;

/// A flow without a stream.
#[derive(Clone, Debug)]
pub(super) struct Datagrams {
    opener: Side,
    kind: Kind,
    /// The identifier of its queries, and the tags of its associations.
    identifier: u16,
    /// Which of the queries it asks.
    pair: usize,
    step: u32,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Udp,
    Query,
    Sctp,
    Gre,
    Other(u8),
}

impl Datagrams {
    pub(super) fn any(opener: Side, rng: &mut Rng) -> Self {
        let kinds =
            [Kind::Udp, Kind::Udp, Kind::Query, Kind::Query, Kind::Sctp, Kind::Sctp, Kind::Gre, Kind::Other(50)];
        let kind = kinds[rng.below(kinds.len() as u64) as usize];
        Self { opener, kind, identifier: 7 + rng.below(2) as u16, pair: rng.below(5) as usize, step: 0 }
    }

    /// The next datagram, and where it comes in.
    pub(super) fn next(&mut self, is_v4: bool, rng: &mut Rng) -> (Side, Body) {
        self.step += 1;
        let is_first = self.step == 1;
        let side = if is_first && rng.chance(0.9) || rng.chance(0.5) { self.opener } else { self.opener.other() };
        let payload = Payload::zeros([0, 1, 32, 600][rng.below(4) as usize]);
        let body = match self.kind {
            Kind::Udp => Body::Udp(payload),
            Kind::Query => Body::Icmp(self.query(side, is_v4, payload, rng)),
            Kind::Sctp => self.sctp(side, rng),
            Kind::Gre if rng.chance(0.3) => {
                Body::Gre(Gre::Pptp { call: self.identifier, sequence: Some(1), acknowledgment: None, payload })
            }
            Kind::Gre => Body::Gre(Gre::Other { flags: 0, protocol: 0x800, payload }),
            Kind::Other(protocol) => Body::Other { protocol: protocol.into(), payload },
        };
        (side, body)
    }

    fn query(&self, side: Side, is_v4: bool, payload: Payload, rng: &mut Rng) -> Message {
        let pairs: &[[u8; 2]] = if is_v4 { &[[8, 0], [8, 0], [13, 14], [15, 16], [17, 18]] } else { &[[128, 129]] };
        let pair = pairs[self.pair % pairs.len()];
        let is_answer = (side != self.opener) != rng.chance(0.05);
        let mut message_type = pair[usize::from(is_answer)];
        if rng.chance(0.05) {
            message_type = rng.next_u64() as u8;
        }
        let code = if rng.chance(0.03) { 1 } else { 0 };
        let rest = u32::from(self.identifier) << 16 | rng.below(100) as u32;
        Message { message_type, code, rest, content: Content::Data(payload) }
    }

    /// An association: what comes next by the book, or any chunk.
    fn sctp(&self, side: Side, rng: &mut Rng) -> Body {
        const TAGS: [u32; 2] = [0x1111, 0x2222];
        let is_opener = side == self.opener;
        let own = TAGS[usize::from(!is_opener)];
        let peer = TAGS[usize::from(is_opener)];
        let kind = match (self.step, rng.chance(0.7)) {
            (1, true) => 1,
            (_, true) => {
                let likely: &[u8] = if is_opener { &[10, 0, 0, 3, 7, 14, 4] } else { &[2, 11, 0, 3, 8, 5] };
                likely[(self.step as usize / 2).saturating_sub(1).min(likely.len() - 1)]
            }
            (_, false) => rng.below(16) as u8,
        };
        let tag = match (kind, rng.below(20)) {
            (_, 0) => 0x3333,
            (_, 1) => own,
            (1, _) => 0,
            _ => peer,
        };
        let mut chunks = vec![match kind {
            1 | 2 => Chunk::init(kind, own, 1),
            other => Chunk::zeros(other, rng.below(3) as usize * 4),
        }];
        if rng.chance(0.1) {
            chunks.push(Chunk::zeros(rng.below(16) as u8, 4));
        }
        if rng.chance(0.1) {
            chunks[0].flags = 1;
        }
        Body::Sctp { tag, chunks }
    }
}

/// The packet in two or three pieces, in any order, now and then without one.
pub(super) fn fragments(packet: &[u8], rng: &mut Rng) -> Vec<Vec<u8>> {
    let Some((line, protocol, payload)) = opaque(packet) else { return vec![packet.to_vec()] };
    let at = (payload.len() / 2) & !7;
    let mut edges = vec![0, at, payload.len()];
    if rng.chance(0.5) && at >= 16 {
        edges.insert(1, (at / 2) & !7);
    }
    let identification = rng.below(65_535) as u32 + 1;
    let mut pieces: Vec<Vec<u8>> = edges
        .windows(2)
        .filter_map(|edge| {
            let mut piece = line.clone();
            let more = edge[1] < payload.len();
            piece.ip.dont_fragment = false;
            piece.ip.fragment = Some(ipv6::Fragment { identification, offset: edge[0], more });
            piece.body = Body::Other { protocol, payload: payload[edge[0]..edge[1]].into() };
            piece.packet()
        })
        .collect();
    for at in (1..pieces.len()).rev() {
        pieces.swap(at, rng.below(at as u64 + 1) as usize);
    }
    if rng.chance(0.03) {
        pieces.pop();
    }
    pieces
}

/// The header of a packet and the bytes behind it.
fn opaque(packet: &[u8]) -> Option<(Line, Protocol, Vec<u8>)> {
    let view = ip::Packet::new_checked(packet).ok()?;
    let upper = view.upper().ok()?;
    let expected = if view.src().is_ipv4() { ipv4::HEADER_LEN } else { ipv6::HEADER_LEN };
    if upper.offset != expected || view.is_fragment() {
        return None;
    }
    let payload = packet[upper.offset..upper.end].to_vec();
    let [src, dst] = [view.src(), view.dst()].map(|address| core::net::SocketAddr::new(address, 0));
    let mut line = Line::new(src, dst, Body::Other { protocol: upper.protocol, payload: payload.as_slice().into() });
    line.ip.ttl = view.ttl();
    Some((line, upper.protocol, payload))
}

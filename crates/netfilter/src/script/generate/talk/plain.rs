//! Two hosts that speak a protocol that says nothing of other connections.

use core::net::SocketAddr;

use pinhole_sansio::Rng;
use pinhole_wire::text::{Body, Chunk, Content, Gre, Line, Message, Payload};

use super::end::{Ends, Stream};
use super::one;
use crate::script::Side;
use crate::tuple::{DCCP, UDP_LITE};

#[derive(Clone, Debug)]
pub(super) enum Plain {
    Tcp(Box<Stream>),
    Datagrams(Datagrams),
}

/// What has no stream.
#[derive(Clone, Debug)]
pub(super) struct Datagrams {
    ends: Ends,
    kind: Kind,
    identifiers: [u16; 2],
    /// SCTP's tags of the opener and the other.
    tags: [u32; 2],
    step: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Udp,
    Ping,
    Sctp,
    Dccp,
    UdpLite,
    Gre,
    Other,
}

impl Plain {
    pub fn new(opener: Side, (own, peer): (SocketAddr, SocketAddr), rng: &mut Rng) -> Self {
        let kinds = [
            Kind::Udp,
            Kind::Udp,
            Kind::Ping,
            Kind::Sctp,
            Kind::Sctp,
            Kind::Dccp,
            Kind::UdpLite,
            Kind::Gre,
            Kind::Other,
        ];
        if rng.chance(0.4) {
            return Self::Tcp(Box::new(Stream::new(opener, own, peer, rng)));
        }
        let kind = one(&kinds, rng);
        let identifier = 7 + rng.below(2) as u16;
        let tags = [0x1111, 0x2222];
        Self::Datagrams(Datagrams {
            ends: Ends::new(opener, own, peer),
            kind,
            identifiers: [identifier; 2],
            tags,
            step: 0,
        })
    }

    pub fn speak(&mut self, rng: &mut Rng) -> Option<(Side, Line)> {
        match self {
            Self::Tcp(stream) if stream.is_open() && rng.chance(0.5) => {
                let side = if rng.chance(0.5) { Side::In } else { Side::Out };
                let len = one(&[1, 100, 1_000], rng);
                stream.say(side, vec![0; len], rng)
            }
            Self::Tcp(stream) => stream.shake(rng),
            Self::Datagrams(datagrams) => datagrams.speak(rng),
        }
    }

    pub fn hear(&mut self, side: Side, line: &Line) {
        match self {
            Self::Tcp(stream) => drop(stream.hear(side, line)),
            Self::Datagrams(datagrams) => datagrams.hear(side, line),
        }
    }
}

impl Datagrams {
    fn speak(&mut self, rng: &mut Rng) -> Option<(Side, Line)> {
        self.step += 1;
        let opener = self.ends.opener;
        let is_opener = self.ends.of(opener.other()).is_none() || rng.chance(0.5);
        let side = if is_opener { opener } else { opener.other() };
        let payload = Payload::zeros(one(if self.kind == Kind::UdpLite { &[0, 1, 32] } else { &[0, 1, 32, 600] }, rng));
        let is_v4 = self.ends.own().is_ipv4();
        let (src, dst) = self.ends.of(side)?;
        let body = match self.kind {
            Kind::Udp => Body::Udp(payload),
            Kind::Ping => {
                let types = if is_v4 { [8, 0] } else { [128, 129] };
                let message_type = types[usize::from(!is_opener)];
                let rest = u32::from(self.identifiers[side.index()]) << 16 | self.step as u32;
                Body::Icmp(Message { message_type, code: 0, rest, content: Content::Data(payload) })
            }
            Kind::Sctp => self.sctp(is_opener, rng),
            Kind::Dccp => Body::Other { protocol: DCCP.into(), payload: Payload(dccp(src, dst, is_opener, rng)) },
            Kind::UdpLite => {
                Body::Other { protocol: UDP_LITE.into(), payload: Payload(udp_lite(src, dst, &payload, rng)) }
            }
            Kind::Gre => Body::Gre(gre(payload, rng)),
            Kind::Other => Body::Other { protocol: 50.into(), payload },
        };
        Some((side, self.ends.line(side, body, rng)?))
    }

    fn hear(&mut self, side: Side, line: &Line) {
        let mut line = line.clone();
        match &line.body {
            Body::Icmp(Message { content: Content::Quote { .. }, .. }) => return,
            Body::Icmp(message) => self.identifiers[side.index()] = (message.rest >> 16) as u16,
            Body::Other { protocol, payload } if [DCCP, UDP_LITE].contains(&u8::from(*protocol)) => {
                let half = |at: usize| u16::from_be_bytes([payload[at], payload[at + 1]]);
                if payload.len() >= 4 {
                    let (src, dst) = (half(0), half(2));
                    line.src.set_port(src);
                    line.dst.set_port(dst);
                }
            }
            Body::Udp(_) | Body::Tcp { .. } | Body::Gre(_) | Body::Sctp { .. } | Body::Other { .. } => {}
        }
        self.ends.hear(side, &line);
    }

    /// What comes next by the book, or any chunk.
    fn sctp(&self, is_opener: bool, rng: &mut Rng) -> Body {
        let [own, peer] = if is_opener { self.tags } else { [self.tags[1], self.tags[0]] };
        let by_the_book: [&[u8]; 2] = [&[1, 10, 0, 3, 4, 7, 14], &[2, 11, 3, 0, 5, 8]];
        let by_the_book = by_the_book[usize::from(!is_opener)];
        let kind = if rng.chance(0.75) {
            by_the_book[(self.step / 2).min(by_the_book.len() - 1)]
        } else {
            rng.below(16) as u8
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
        if rng.chance(0.2) {
            chunks.push(Chunk::zeros(rng.below(16) as u8, 4));
        }
        if rng.chance(0.1) {
            chunks[0].flags = 1;
        }
        Body::Sctp { tag, chunks }
    }
}

/// A DCCP header (RFC 4340 §5.1); no tracker of 6.18 reads more than its ports.
fn dccp(src: SocketAddr, dst: SocketAddr, is_opener: bool, rng: &mut Rng) -> Vec<u8> {
    let kind = if is_opener { one(&[0, 2, 3, 4], rng) } else { one(&[1, 2, 3, 4], rng) };
    let mut bytes = [src.port().to_be_bytes(), dst.port().to_be_bytes()].concat();
    bytes.extend([4, 0, 0, 0, kind << 1 | 1, 0, 0, 0, 0, 0, 0, 1]);
    bytes
}

/// UDP-Lite (RFC 3828 §3.1), whose checksum covers the header at least.
fn udp_lite(src: SocketAddr, dst: SocketAddr, payload: &[u8], rng: &mut Rng) -> Vec<u8> {
    let coverage = one(&[0_u16, 8, 8, 4, 1_000], rng);
    let mut bytes = [src.port(), dst.port(), coverage, 0].map(u16::to_be_bytes).concat();
    bytes.extend_from_slice(payload);
    let total = bytes.len();
    let covered = if coverage == 0 { total } else { usize::from(coverage).min(total) };
    let protocol = one(&[UDP_LITE, 17], rng);
    let sum = pinhole_wire::checksum::Sum::pseudo_header(src.ip(), dst.ip(), protocol.into(), total);
    let sum = sum.bytes(&bytes[..covered]).finish();
    let sum = if rng.chance(0.1) { sum.wrapping_add(1) } else { sum };
    bytes[6..8].copy_from_slice(&(if sum == 0 { 0xffff } else { sum }).to_be_bytes());
    bytes
}

/// GRE, with and without a key (RFC 2784, RFC 2890), and PPTP's that nobody has announced.
fn gre(payload: Payload, rng: &mut Rng) -> Gre {
    match rng.below(4) {
        0 => Gre::Pptp { call: rng.below(2) as u16, sequence: Some(1), acknowledgment: None, payload },
        1 => {
            let mut keyed = vec![0, 0, 0, rng.below(3) as u8];
            keyed.extend_from_slice(&payload);
            Gre::Other { flags: 0x2000, protocol: 0x800, payload: Payload(keyed) }
        }
        2 => Gre::Other { flags: 0x8000, protocol: 0x6558, payload },
        _ => Gre::Other { flags: 0, protocol: 0x800, payload },
    }
}

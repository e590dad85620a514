//! ICMP's part of a line: `echo-request id 7 seq 1 56`, `too-big mtu 1400 (PACKET) cut 28`, `type 9 code 0 rest 0x5 4`.

use core::fmt;
use core::net::IpAddr;

use super::words::{LineError, Words};
use super::{Checksum, Depth, Line, Payload, read_checksum};
use crate::build::Echo;
use crate::{Malformed, Protocol, icmp, ip};

/// An ICMP or ICMPv6 message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The type.
    pub message_type: u8,
    /// The code.
    pub code: u8,
    /// The four bytes behind the checksum: identifier and sequence number, MTU, or whatever the type has there.
    pub rest: u32,
    /// What follows.
    pub content: Content,
}

/// What an ICMP message carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Data.
    Data(Payload),
    /// The packet that an error is about.
    Quote {
        /// The packet.
        packet: Box<Line>,
        /// How many of its bytes are quoted, if not all.
        cut: Option<usize>,
    },
}

/// What stands behind the checksum.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rest {
    /// Identifier and sequence number.
    Query,
    /// The next hop's MTU.
    Mtu,
    /// Nothing that has a name.
    Other,
}

/// The words, each with protocol, type and code (RFC 792, RFC 950, RFC 1812, RFC 4443, RFC 4620).
const WORDS: &[(&str, Protocol, u8, u8, Rest)] = &[
    ("echo-request", Protocol::Icmp, icmp::v4::ECHO_REQUEST, 0, Rest::Query),
    ("echo-reply", Protocol::Icmp, icmp::v4::ECHO_REPLY, 0, Rest::Query),
    ("timestamp-request", Protocol::Icmp, 13, 0, Rest::Query),
    ("timestamp-reply", Protocol::Icmp, 14, 0, Rest::Query),
    ("information-request", Protocol::Icmp, 15, 0, Rest::Query),
    ("information-reply", Protocol::Icmp, 16, 0, Rest::Query),
    ("mask-request", Protocol::Icmp, 17, 0, Rest::Query),
    ("mask-reply", Protocol::Icmp, 18, 0, Rest::Query),
    ("net-unreachable", Protocol::Icmp, icmp::v4::UNREACHABLE, 0, Rest::Other),
    ("host-unreachable", Protocol::Icmp, icmp::v4::UNREACHABLE, icmp::v4::HOST, Rest::Other),
    ("protocol-unreachable", Protocol::Icmp, icmp::v4::UNREACHABLE, 2, Rest::Other),
    ("port-unreachable", Protocol::Icmp, icmp::v4::UNREACHABLE, icmp::v4::PORT, Rest::Other),
    ("too-big", Protocol::Icmp, icmp::v4::UNREACHABLE, icmp::v4::FRAGMENTATION_NEEDED, Rest::Mtu),
    ("prohibited", Protocol::Icmp, icmp::v4::UNREACHABLE, icmp::v4::ADMINISTRATIVELY_PROHIBITED, Rest::Other),
    ("source-quench", Protocol::Icmp, icmp::v4::SOURCE_QUENCH, 0, Rest::Other),
    ("redirect", Protocol::Icmp, icmp::v4::REDIRECT, 1, Rest::Other),
    ("time-exceeded", Protocol::Icmp, icmp::v4::TIME_EXCEEDED, 0, Rest::Other),
    ("reassembly-time-exceeded", Protocol::Icmp, icmp::v4::TIME_EXCEEDED, 1, Rest::Other),
    ("parameter-problem", Protocol::Icmp, icmp::v4::PARAMETER_PROBLEM, 0, Rest::Other),
    ("echo-request", Protocol::Icmpv6, icmp::v6::ECHO_REQUEST, 0, Rest::Query),
    ("echo-reply", Protocol::Icmpv6, icmp::v6::ECHO_REPLY, 0, Rest::Query),
    ("node-information-query", Protocol::Icmpv6, 139, 0, Rest::Query),
    ("node-information-reply", Protocol::Icmpv6, 140, 0, Rest::Query),
    ("no-route", Protocol::Icmpv6, icmp::v6::UNREACHABLE, 0, Rest::Other),
    ("prohibited", Protocol::Icmpv6, icmp::v6::UNREACHABLE, icmp::v6::ADMINISTRATIVELY_PROHIBITED, Rest::Other),
    ("host-unreachable", Protocol::Icmpv6, icmp::v6::UNREACHABLE, icmp::v6::ADDRESS, Rest::Other),
    ("port-unreachable", Protocol::Icmpv6, icmp::v6::UNREACHABLE, icmp::v6::PORT, Rest::Other),
    ("too-big", Protocol::Icmpv6, icmp::v6::TOO_BIG, 0, Rest::Mtu),
    ("time-exceeded", Protocol::Icmpv6, icmp::v6::TIME_EXCEEDED, 0, Rest::Other),
    ("parameter-problem", Protocol::Icmpv6, icmp::v6::PARAMETER_PROBLEM, 0, Rest::Other),
];

impl Message {
    /// An echo over this protocol, ICMP or ICMPv6.
    pub fn echo(protocol: Protocol, Echo { reply, identifier, sequence }: Echo, payload: Payload) -> Self {
        let message_type = match (protocol == Protocol::Icmp, reply) {
            (true, false) => icmp::v4::ECHO_REQUEST,
            (true, true) => icmp::v4::ECHO_REPLY,
            (false, false) => icmp::v6::ECHO_REQUEST,
            (false, true) => icmp::v6::ECHO_REPLY,
        };
        let rest = u32::from(identifier) << 16 | u32::from(sequence);
        Self { message_type, code: 0, rest, content: Content::Data(payload) }
    }

    pub(super) fn bytes(&self) -> Option<Vec<u8>> {
        let mut bytes = vec![self.message_type, self.code, 0, 0];
        bytes.extend(self.rest.to_be_bytes());
        match &self.content {
            Content::Data(data) => bytes.extend_from_slice(data),
            Content::Quote { packet, cut } => {
                let quoted = packet.packet()?;
                bytes.extend_from_slice(&quoted[..cut.unwrap_or(quoted.len()).min(quoted.len())]);
            }
        }
        Some(bytes)
    }

    pub(super) fn show(&self, f: &mut fmt::Formatter<'_>, protocol: Protocol) -> fmt::Result {
        let Self { message_type, code, rest, content } = self;
        let known = WORDS.iter().find(|(_, p, t, c, _)| (*p, *t, *c) == (protocol, *message_type, *code));
        match known {
            Some((word, ..)) => f.write_str(word)?,
            None => write!(f, "type {message_type} code {code}")?,
        }
        match known.map_or(Rest::Other, |(.., rest)| *rest) {
            Rest::Query => write!(f, " id {} seq {}", rest >> 16, rest & 0xffff)?,
            Rest::Mtu => write!(f, " mtu {rest}")?,
            Rest::Other if *rest == 0 => {}
            Rest::Other => write!(f, " rest {rest:#x}")?,
        }
        match content {
            Content::Data(data) => write!(f, " {data}"),
            Content::Quote { packet, cut: None } => write!(f, " ({packet})"),
            Content::Quote { packet, cut: Some(cut) } => write!(f, " ({packet}) cut {cut}"),
        }
    }

    pub(super) fn parse(words: &mut Words<'_>, protocol: Protocol, quotes: usize) -> Result<Self, LineError> {
        let expected = "an ICMP message, as echo-request, or type";
        let word = words.expect(expected)?;
        let (message_type, code, kind) = if word == "type" {
            (words.number("a type")?, words.field("code", "a code")?, Rest::Other)
        } else {
            let known = WORDS.iter().find(|(known, p, ..)| (*known, *p) == (word, protocol));
            let &(_, _, message_type, code, kind) = known.ok_or_else(|| LineError::new(expected, word))?;
            (message_type, code, kind)
        };
        let rest = match kind {
            Rest::Query => {
                let (id, seq): (u16, u16) = (words.field("id", "a number")?, words.field("seq", "a number")?);
                u32::from(id) << 16 | u32::from(seq)
            }
            Rest::Mtu if words.peek() == Some("mtu") => words.field("mtu", "a number")?,
            Rest::Other if words.peek() == Some("rest") => words.field("rest", "a number")?,
            Rest::Mtu | Rest::Other => 0,
        };
        let content = if words.take("(") {
            let quotes = quotes.checked_sub(1).ok_or_else(|| LineError::new("no packet quoted so deep", "("))?;
            let packet = Box::new(Line::parse(words, quotes)?);
            words.literal(")")?;
            let cut = if words.peek() == Some("cut") { Some(words.field("cut", "a length")?) } else { None };
            Content::Quote { packet, cut }
        } else {
            Content::Data(words.payload()?)
        };
        Ok(Self { message_type, code, rest, content })
    }
}

pub(super) fn read(bytes: &[u8], src: IpAddr, dst: IpAddr, quotes: usize) -> Result<(Message, Checksum), Malformed> {
    let view = icmp::Packet::new_checked(bytes)?;
    let protocol = if src.is_ipv4() { Protocol::Icmp } else { Protocol::Icmpv6 };
    let content = match view.kind(protocol) {
        icmp::Kind::Error => quote(view.payload(), quotes),
        icmp::Kind::EchoRequest | icmp::Kind::EchoReply | icmp::Kind::Other => None,
    };
    let message = Message {
        message_type: view.message_type(),
        code: view.code(),
        rest: view.mtu(),
        content: content.unwrap_or_else(|| Content::Data(view.payload().into())),
    };
    Ok((message, read_checksum(bytes, icmp::CHECKSUM, src, dst, protocol)))
}

/// The quoted packet, if a line says it exactly. What was cut off is taken for zeros.
fn quote(quoted: &[u8], quotes: usize) -> Option<Content> {
    let quotes = quotes.checked_sub(1)?;
    let len = match quoted.first()? >> 4 {
        4 => usize::from(u16::from_be_bytes([*quoted.get(2)?, *quoted.get(3)?])),
        _ => 40 + usize::from(u16::from_be_bytes([*quoted.get(4)?, *quoted.get(5)?])),
    };
    let mut whole = quoted.to_vec();
    whole.resize(len.max(quoted.len()), 0);
    supply_tcp_header(&mut whole, quoted.len());
    let exact = |line: &Line| line.packet().is_some_and(|packet| packet.get(..quoted.len()) == Some(quoted));
    let with_right_checksum = |line: &Line| Line { checksum: Checksum::Right, ..line.clone() };
    let line = [Depth::Quotes(quotes), Depth::Opaque].into_iter();
    let line = line.filter_map(|depth| Line::read(&whole, depth).ok());
    // A checksum that was cut off is as good as right.
    let line = line.flat_map(|line| [with_right_checksum(&line), line]).find(exact)?;
    let is_whole = line.packet().is_some_and(|packet| packet.len() == quoted.len());
    Some(Content::Quote { packet: Box::new(line), cut: (!is_whole).then_some(quoted.len()) })
}

/// Where only the first bytes of a TCP header are quoted, the rest is zeros, which is no header: it needs its length.
fn supply_tcp_header(whole: &mut [u8], quoted: usize) {
    const DATA_OFFSET: usize = 12;
    let upper = ip::Packet::new_checked(&*whole).and_then(|packet| packet.upper());
    if let Ok(ip::Upper { protocol: Protocol::Tcp, offset, first: true, .. }) = upper
        && offset + DATA_OFFSET >= quoted
        && let Some(field) = whole.get_mut(offset + DATA_OFFSET)
    {
        *field = 5 << 4;
    }
}

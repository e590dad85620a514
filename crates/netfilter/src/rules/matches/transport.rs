//! What the transport header says: ports, TCP flags and options, ICMP types (`net/netfilter/xt_tcpudp.c`, `xt_multiport.c`,
//! `xt_sctp.c`, `xt_dccp.c`, `net/ipv4/netfilter/ip_tables.c` for ICMP).
//!
//! A later fragment has no such header and never matches, negated or not.

use super::Answer;
use crate::rules::subject::Subject;
use crate::rules::value::{Not, Span};
use crate::tuple::Address;

/// `-m udp`, `-m sctp`, `-m dccp`; a part of `-m tcp`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Ports {
    /// `--sport`.
    pub source: Option<Not<Span<u16>>>,
    /// `--dport`.
    pub destination: Option<Not<Span<u16>>>,
}

impl Ports {
    /// Asks a packet whose header is `header` bytes long at least.
    pub(super) fn test<A: Address>(&self, subject: &Subject<'_, A>, header: usize) -> Answer {
        let Some(body) = subject.body else { return Answer::No };
        if body.len() < header { Answer::Malformed } else { Answer::of(self.contain(ports(body))) }
    }

    fn contain(&self, (source, destination): (u16, u16)) -> bool {
        let test = |span: Option<Not<Span<u16>>>, port| span.is_none_or(|span| span.wants(span.is.contains(port)));
        test(self.source, source) && test(self.destination, destination)
    }
}

/// The ports of a header that is four bytes long at least.
fn ports(body: &[u8]) -> (u16, u16) {
    (u16::from_be_bytes([body[0], body[1]]), u16::from_be_bytes([body[2], body[3]]))
}

/// `-m tcp`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tcp {
    /// `--sport`, `--dport`.
    pub ports: Ports,
    /// `--tcp-option`: an option of this number.
    pub option: Option<Not<u8>>,
    /// `--tcp-flags`, `--syn`.
    pub flags: Option<Not<TcpFlags>>,
}

/// Which flags must be set, of those that are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TcpFlags {
    /// Which are looked at.
    pub mask: u8,
    /// Which of these must be set, the others clear.
    pub set: u8,
}

impl TcpFlags {
    /// The names, in the order in which iptables-save writes them.
    pub(in crate::rules) const NAMES: [(u8, &'static str); 6] =
        [(0x01, "FIN"), (0x02, "SYN"), (0x04, "RST"), (0x08, "PSH"), (0x10, "ACK"), (0x20, "URG")];
    /// The first segment of a connection (`--syn`).
    pub const SYN: Self = Self { mask: 0x17, set: 0x02 };
}

/// The length of TCP's fixed header, in bytes.
const TCP_HEADER: usize = 20;

impl Tcp {
    pub(super) fn test<A: Address>(&self, subject: &Subject<'_, A>) -> Answer {
        let Some(body) = subject.body else { return Answer::No };
        if body.len() < TCP_HEADER {
            return Answer::Malformed;
        }
        if !self.ports.contain(ports(body)) {
            return Answer::No;
        }
        if let Some(flags) = self.flags
            && !flags.wants(body[13] & flags.is.mask == flags.is.set)
        {
            return Answer::No;
        }
        match self.option {
            Some(option) => has_option(body, option),
            None => Answer::Yes,
        }
    }
}

/// Asks for a TCP option. A header shorter than the fixed one, or longer than the packet, is malformed.
fn has_option(body: &[u8], wanted: Not<u8>) -> Answer {
    let header = usize::from(body[12] >> 4) * 4;
    let Some(mut options) = body.get(TCP_HEADER..header) else { return Answer::Malformed };
    while let [kind, rest @ ..] = options {
        if *kind == wanted.is {
            return Answer::of(wanted.wants(true));
        }
        let length = match rest {
            [length, ..] if *kind > 1 => usize::from(*length).max(1),
            _ => 1,
        };
        options = options.get(length..).unwrap_or_default();
    }
    Answer::of(wanted.wants(false))
}

/// `-m multiport`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Multiport {
    /// Which port.
    pub which: Which,
    /// One of these.
    pub ports: Vec<Span<u16>>,
}

/// Which port of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Which {
    /// `--sports`.
    Source,
    /// `--dports`.
    Destination,
    /// `--ports`: one of both.
    Either,
}

impl Multiport {
    /// How many ports fit, where a range takes the place of two (`XT_MULTI_PORTS`).
    pub const MOST: usize = 15;

    pub(super) fn test<A: Address>(&self, subject: &Subject<'_, A>, not: bool) -> Answer {
        let Some(body) = subject.body else { return Answer::No };
        if body.len() < 4 {
            return Answer::Malformed;
        }
        let (source, destination) = ports(body);
        let found = self.ports.iter().any(|span| match self.which {
            Which::Source => span.contains(source),
            Which::Destination => span.contains(destination),
            Which::Either => span.contains(source) || span.contains(destination),
        });
        Answer::of(found != not)
    }
}

/// `-m icmp`, `-m icmp6`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Icmp {
    /// The type; none is any (`any`, ICMP only).
    pub message_type: Option<u8>,
    /// The code; none is any.
    pub code: Option<u8>,
}

impl Icmp {
    pub(super) fn test<A: Address>(self, subject: &Subject<'_, A>, not: bool) -> Answer {
        let Some(body) = subject.body else { return Answer::No };
        if body.len() < pinhole_wire::icmp::HEADER_LEN {
            return Answer::Malformed;
        }
        let is = |wanted: Option<u8>, byte| wanted.is_none_or(|wanted| wanted == byte);
        let found = self.message_type.is_none() || is(self.message_type, body[0]) && is(self.code, body[1]);
        Answer::of(found != not)
    }
}

//! Packets written down, one per line: what a person reads and a packet script contains.
//!
//! ```text
//! 10.0.0.1:51820 > 203.0.113.2:51820 udp 32
//! [fd00::1]:4000 > [fd00::2]:80 tcp S seq 1 ack 0 win 64240 0
//! 10.0.0.1 > 203.0.113.2 icmp echo-request id 7 seq 1 56 ttl 3
//! 203.0.113.1 > 10.0.0.1 icmp time-exceeded (10.0.0.1:51820 > 203.0.113.2:51820 udp)
//! 10.0.0.1 > 203.0.113.2 proto 47 100
//! ```
//!
//! The number after the protocol's own fields is the length of the payload in bytes. `ttl` is written only where it is not
//! 64, and `frag` where the packet is a fragment. TCP flags are tcpdump's letters. [`Line`] is what such a line says:
//! [`Line::of`] reads it from a packet, `Display` writes it, `FromStr` reads UDP, TCP and echo lines back, and
//! [`Line::packet`] makes the packet.

use core::fmt;
use core::net::{IpAddr, SocketAddr};
use core::str::{FromStr, SplitAsciiWhitespace};

use crate::build::{self, BuildError, Echo, Segment};
use crate::{Flow, Malformed, Protocol, icmp, ip, ipv4, ipv6, tcp, udp};

/// The time to live that is not worth writing down: what Linux sends with.
const USUAL_TTL: u8 = 64;

/// What a line says about a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// Who sent it to whom.
    pub flow: Flow,
    /// Its time to live or hop limit.
    pub ttl: u8,
    /// Whether it is a fragment.
    pub fragment: bool,
    /// The fields of its protocol.
    pub body: Body,
    /// The length of its payload, in bytes.
    pub len: usize,
}

/// The fields of a protocol that are worth a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// UDP has none.
    Udp,
    /// TCP.
    Tcp(Segment),
    /// An ICMP or ICMPv6 echo.
    Echo(Echo),
    /// An ICMP or ICMPv6 error about a packet, of which the flow is known unless the quote is unreadable.
    Error {
        /// The ICMP type.
        message_type: u8,
        /// The ICMP code.
        code: u8,
        /// The flow of the packet that it is about.
        about: Option<Flow>,
    },
    /// Another ICMP or ICMPv6 message.
    Icmp {
        /// The ICMP type.
        message_type: u8,
        /// The ICMP code.
        code: u8,
    },
    /// Anything else, and later fragments.
    Other,
}

impl Line {
    /// What is to be said about an IP packet.
    ///
    /// # Errors
    /// If it is malformed.
    pub fn of(packet: &[u8]) -> Result<Self, Malformed> {
        let ip = ip::Packet::new_checked(packet)?;
        let upper = ip.upper()?;
        let flow = Flow::of(packet)?;
        let bytes = &packet[upper.offset..upper.end];
        let (body, len) = if upper.first { body(upper.protocol, bytes)? } else { (Body::Other, bytes.len()) };
        Ok(Self { flow, ttl: ip.ttl(), fragment: ip.is_fragment(), body, len })
    }

    /// A packet of which the line is true: its payload is zeros. `None` if it does not say enough, as for an error.
    pub fn packet(&self) -> Option<Vec<u8>> {
        let payload = vec![0; self.len];
        let mut out = vec![0; self.len + ipv6::HEADER_LEN + tcp::HEADER_LEN];
        let (src, dst) = (self.flow.src, self.flow.dst);
        let written: Result<usize, BuildError> = match self.body {
            Body::Udp => build::udp(src, dst, self.ttl, &payload, &mut out),
            Body::Tcp(segment) => build::tcp(src, dst, self.ttl, segment, &payload, &mut out),
            Body::Echo(echo) => build::echo(src.ip(), dst.ip(), self.ttl, echo, &payload, &mut out),
            Body::Error { .. } | Body::Icmp { .. } | Body::Other => return None,
        };
        out.truncate(written.ok()?);
        Some(out)
    }
}

fn body(protocol: Protocol, bytes: &[u8]) -> Result<(Body, usize), Malformed> {
    Ok(match protocol {
        Protocol::Udp => (Body::Udp, udp::Packet::new_checked(bytes)?.payload().len()),
        Protocol::Tcp => {
            let tcp = tcp::Packet::new_checked(bytes)?;
            let segment = Segment { flags: tcp.flags(), seq: tcp.seq(), ack: tcp.ack(), window: tcp.window() };
            (Body::Tcp(segment), tcp.payload().len())
        }
        Protocol::Icmp | Protocol::Icmpv6 => {
            let icmp = icmp::Packet::new_checked(bytes)?;
            let (message_type, code) = (icmp.message_type(), icmp.code());
            let echo = |reply| Body::Echo(Echo { reply, identifier: icmp.identifier(), sequence: icmp.sequence() });
            let body = match icmp.kind(protocol) {
                icmp::Kind::EchoRequest => echo(false),
                icmp::Kind::EchoReply => echo(true),
                icmp::Kind::Error => Body::Error { message_type, code, about: Flow::of_quoted(icmp.payload()).ok() },
                icmp::Kind::Other => Body::Icmp { message_type, code },
            };
            (body, icmp.payload().len())
        }
        Protocol::Other(_) => (Body::Other, bytes.len()),
    })
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (src, dst, protocol) = (self.flow.src, self.flow.dst, self.flow.protocol);
        match self.body {
            Body::Udp => write!(f, "{src} > {dst} udp {}", self.len)?,
            Body::Tcp(Segment { flags, seq, ack, window }) => {
                write!(f, "{src} > {dst} tcp {flags} seq {seq} ack {ack} win {window} {}", self.len)?;
            }
            Body::Echo(Echo { reply, identifier, sequence }) => {
                let word = if reply { "echo-reply" } else { "echo-request" };
                write!(f, "{} > {} {protocol} {word} id {identifier} seq {sequence} {}", src.ip(), dst.ip(), self.len)?;
            }
            Body::Error { message_type, code, about } => {
                write!(f, "{} > {} {protocol} ", src.ip(), dst.ip())?;
                match error_word(protocol, message_type, code) {
                    Some(word) => f.write_str(word)?,
                    None => write!(f, "type {message_type} code {code}")?,
                }
                about.map_or(Ok(()), |about| write!(f, " ({about})"))?;
            }
            Body::Icmp { message_type, code } => {
                write!(f, "{} > {} {protocol} type {message_type} code {code} {}", src.ip(), dst.ip(), self.len)?;
            }
            Body::Other => write!(f, "{} > {} {protocol} {}", src.ip(), dst.ip(), self.len)?,
        }
        if self.fragment {
            f.write_str(" frag")?;
        }
        if self.ttl != USUAL_TTL {
            write!(f, " ttl {}", self.ttl)?;
        }
        Ok(())
    }
}

const fn error_word(protocol: Protocol, message_type: u8, code: u8) -> Option<&'static str> {
    use icmp::{v4, v6};
    match (protocol, message_type, code) {
        (Protocol::Icmp, v4::TIME_EXCEEDED, 0) | (Protocol::Icmpv6, v6::TIME_EXCEEDED, 0) => Some("time-exceeded"),
        (Protocol::Icmp, v4::UNREACHABLE, v4::PORT) | (Protocol::Icmpv6, v6::UNREACHABLE, v6::PORT) => {
            Some("port-unreachable")
        }
        (Protocol::Icmp, v4::UNREACHABLE, v4::HOST) | (Protocol::Icmpv6, v6::UNREACHABLE, v6::ADDRESS) => {
            Some("host-unreachable")
        }
        (Protocol::Icmp, v4::UNREACHABLE, v4::ADMINISTRATIVELY_PROHIBITED)
        | (Protocol::Icmpv6, v6::UNREACHABLE, v6::ADMINISTRATIVELY_PROHIBITED) => Some("prohibited"),
        (Protocol::Icmp, v4::UNREACHABLE, v4::FRAGMENTATION_NEEDED) | (Protocol::Icmpv6, v6::TOO_BIG, _) => {
            Some("too-big")
        }
        _ => None,
    }
}

/// Why a text is not a line that can be read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineError {
    /// The word that was expected.
    pub expected: &'static str,
    /// What stood in its place; empty at the end of the line.
    pub found: String,
}

impl fmt::Display for LineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = if self.found.is_empty() { "the end of the line" } else { &self.found };
        write!(f, "expected {}, found {found}", self.expected)
    }
}

impl core::error::Error for LineError {}

impl FromStr for Line {
    type Err = LineError;

    fn from_str(text: &str) -> Result<Self, LineError> {
        let mut words = Words(text.split_ascii_whitespace());
        let src = words.end()?;
        words.literal(">")?;
        let dst = words.end()?;
        let (flow, body) = match words.next("udp, tcp, icmp or icmp6")? {
            "udp" => (Flow { protocol: Protocol::Udp, src, dst }, Body::Udp),
            "tcp" => (Flow { protocol: Protocol::Tcp, src, dst }, Body::Tcp(words.segment()?)),
            "icmp" => words.echo(Protocol::Icmp, src, dst)?,
            "icmp6" => words.echo(Protocol::Icmpv6, src, dst)?,
            other => return Err(LineError { expected: "udp, tcp, icmp or icmp6", found: other.into() }),
        };
        let len = words.number("a payload length")?;
        let ttl = match words.0.next() {
            None => USUAL_TTL,
            Some("ttl") => words.number("a time to live")?,
            Some(other) => return Err(LineError { expected: "ttl or the end of the line", found: other.into() }),
        };
        match words.0.next() {
            None if src.is_ipv4() == dst.is_ipv4() && len <= MAX_PAYLOAD => {
                Ok(Self { flow, ttl, fragment: false, body, len })
            }
            None if len > MAX_PAYLOAD => Err(LineError { expected: "a length that IP allows", found: len.to_string() }),
            None => Err(LineError { expected: "two addresses of one family", found: text.into() }),
            Some(more) => Err(LineError { expected: "the end of the line", found: more.into() }),
        }
    }
}

/// The longest payload that fits every kind of packet made here: IPv4's 65,535 less its header and TCP's.
const MAX_PAYLOAD: usize = 65_535 - ipv4::HEADER_LEN - tcp::HEADER_LEN;

struct Words<'a>(SplitAsciiWhitespace<'a>);

impl<'a> Words<'a> {
    fn next(&mut self, expected: &'static str) -> Result<&'a str, LineError> {
        self.0.next().ok_or(LineError { expected, found: String::new() })
    }

    fn literal(&mut self, expected: &'static str) -> Result<(), LineError> {
        let found = self.next(expected)?;
        if found == expected { Ok(()) } else { Err(LineError { expected, found: found.into() }) }
    }

    fn number<N: FromStr>(&mut self, expected: &'static str) -> Result<N, LineError> {
        let found = self.next(expected)?;
        found.parse().map_err(|_| LineError { expected, found: found.into() })
    }

    /// `word` and the number after it.
    fn field<N: FromStr>(&mut self, word: &'static str) -> Result<N, LineError> {
        self.literal(word)?;
        self.number("a number")
    }

    /// An address, with or without a port.
    fn end(&mut self) -> Result<SocketAddr, LineError> {
        let expected = "an address";
        let word = self.next(expected)?;
        let bare = || word.parse::<IpAddr>().map(|address| SocketAddr::new(address, 0));
        word.parse().or_else(|_| bare()).map_err(|_| LineError { expected, found: word.into() })
    }

    fn segment(&mut self) -> Result<Segment, LineError> {
        let expected = "TCP flags, as SFRP.UEW or -";
        let word = self.next(expected)?;
        let flags = tcp::Flags::from_letters(word).ok_or(LineError { expected, found: word.into() })?;
        Ok(Segment { flags, seq: self.field("seq")?, ack: self.field("ack")?, window: self.field("win")? })
    }

    fn echo(&mut self, protocol: Protocol, src: SocketAddr, dst: SocketAddr) -> Result<(Flow, Body), LineError> {
        if (protocol == Protocol::Icmp) != src.is_ipv4() {
            return Err(LineError { expected: "icmp over IPv4 or icmp6 over IPv6", found: protocol.to_string() });
        }
        let expected = "echo-request or echo-reply";
        let reply = match self.next(expected)? {
            "echo-request" => false,
            "echo-reply" => true,
            other => return Err(LineError { expected, found: other.into() }),
        };
        let identifier: u16 = self.field("id")?;
        let sequence = self.field("seq")?;
        let (src_id, dst_id) = if reply { (0, identifier) } else { (identifier, 0) };
        let flow = Flow { protocol, src: SocketAddr::new(src.ip(), src_id), dst: SocketAddr::new(dst.ip(), dst_id) };
        Ok((flow, Body::Echo(Echo { reply, identifier, sequence })))
    }
}

#[cfg(test)]
mod tests;

//! What a NAT reads of a packet, and how it rewrites it: at fixed places, with checksums corrected, never computed.
//!
//! [`pinhole_wire::edit`] does that for whole packets. Here first fragments and the packets that ICMP errors quote must
//! work as well, whose lengths are not what their headers say.

use core::net::IpAddr;

use pinhole_wire::edit::End;
use pinhole_wire::{Protocol, checksum, icmp, ip, tcp, udp};

use super::reason::Reason;
use crate::tuple::Address;

/// The protocols that are translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Proto {
    Udp,
    Tcp,
    Icmp,
}

impl Proto {
    pub(super) const COUNT: usize = 3;

    pub(super) const fn protocol<A: Address>(self) -> Protocol {
        match self {
            Self::Udp => Protocol::Udp,
            Self::Tcp => Protocol::Tcp,
            Self::Icmp => A::ICMP,
        }
    }

    pub(super) fn of<A: Address>(protocol: Protocol) -> Option<Self> {
        match protocol {
            Protocol::Udp => Some(Self::Udp),
            Protocol::Tcp => Some(Self::Tcp),
            Protocol::Icmp | Protocol::Icmpv6 => (protocol == A::ICMP).then_some(Self::Icmp),
            Protocol::Other(_) => None,
        }
    }
}

/// One end of a packet. The port of an ICMP query is its identifier, and the other end of it has port zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Endpoint<A> {
    pub(super) address: A,
    pub(super) port: u16,
}

/// What a packet is to a NAT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It has ports, and is whole or a first fragment. TCP has flags.
    Transport(tcp::Flags),
    /// An ICMP error, which quotes a packet.
    Error,
    /// A fragment that has no ports.
    LaterFragment,
}

/// What was read of a packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parsed<A> {
    pub(super) proto: Proto,
    pub(super) kind: Kind,
    pub(super) src: Endpoint<A>,
    pub(super) dst: Endpoint<A>,
    /// Where the transport header begins.
    pub(super) offset: usize,
    /// Where the packet ends.
    pub(super) end: usize,
    /// What fragments of one packet have in common; none if it is whole.
    pub(super) fragment: Option<u32>,
}

/// Reads a packet.
pub(super) fn parse<A: Address>(packet: &[u8]) -> Result<Parsed<A>, Reason> {
    let ip = ip::Packet::new_checked(packet).map_err(|_| Reason::Malformed)?;
    let (Some(src), Some(dst)) = (A::of(ip.src()), A::of(ip.dst())) else { return Err(Reason::Family) };
    let upper = ip.upper().map_err(|_| Reason::Malformed)?;
    let fragment = match &ip {
        ip::Packet::V4(ip) => ip.is_fragment_of().map(u32::from),
        ip::Packet::V6(ip) => {
            ip.upper_layer().ok().and_then(|upper| upper.fragment).map(|fragment| fragment.identification)
        }
    };
    let proto = Proto::of::<A>(upper.protocol).ok_or(Reason::Protocol)?;
    let mut parsed = Parsed {
        proto,
        kind: Kind::LaterFragment,
        src: Endpoint { address: src, port: 0 },
        dst: Endpoint { address: dst, port: 0 },
        offset: upper.offset,
        end: upper.end,
        fragment,
    };
    if upper.first {
        parsed.read_transport(&packet[upper.offset..upper.end])?;
    }
    Ok(parsed)
}

/// IPv4's side of [`parse`].
trait FragmentOf {
    /// The identification, if it is a fragment.
    fn is_fragment_of(&self) -> Option<u16>;
}

impl FragmentOf for pinhole_wire::ipv4::Packet<&[u8]> {
    fn is_fragment_of(&self) -> Option<u16> {
        (self.more_fragments() || self.fragment_offset() > 0).then(|| self.identification())
    }
}

impl<A: Address> Parsed<A> {
    fn read_transport(&mut self, body: &[u8]) -> Result<(), Reason> {
        let whole = self.fragment.is_none();
        self.kind = Kind::Transport(tcp::Flags(0));
        match self.proto {
            Proto::Udp => {
                let fits = if whole { udp::Packet::new_checked(body).is_ok() } else { body.len() >= udp::HEADER_LEN };
                (self.src.port, self.dst.port) = ports(body).filter(|_| fits).ok_or(Reason::Malformed)?;
            }
            Proto::Tcp => {
                let tcp = tcp::Packet::new_checked(body).map_err(|_| Reason::Malformed)?;
                (self.src.port, self.dst.port) = (tcp.src_port(), tcp.dst_port());
                self.kind = Kind::Transport(tcp.flags());
            }
            Proto::Icmp => {
                let icmp = icmp::Packet::new_checked(body).map_err(|_| Reason::Malformed)?;
                match Message::of::<A>(icmp.message_type()) {
                    Message::Query => self.src.port = icmp.identifier(),
                    Message::Answer => self.dst.port = icmp.identifier(),
                    Message::Error if whole => self.kind = Kind::Error,
                    Message::Error | Message::Other => return Err(Reason::Protocol),
                }
            }
        }
        Ok(())
    }

    /// Whether it begins a TCP connection.
    pub(super) fn is_syn(&self) -> bool {
        let Kind::Transport(flags) = self.kind else { return false };
        flags.contains(tcp::Flags::SYN) && !flags.contains(tcp::Flags::ACK) && !flags.contains(tcp::Flags::RST)
    }

    /// The flags of a TCP segment.
    pub(super) fn flags(&self) -> tcp::Flags {
        match self.kind {
            Kind::Transport(flags) => flags,
            Kind::Error | Kind::LaterFragment => tcp::Flags(0),
        }
    }

    /// Gives the packet and what is known of it another end.
    pub(super) fn rewrite(&mut self, packet: &mut [u8], end: End, new: Endpoint<A>) {
        let old = match end {
            End::Source => core::mem::replace(&mut self.src, new),
            End::Destination => core::mem::replace(&mut self.dst, new),
        };
        set_address(packet, end, old.address, new.address);
        match self.kind {
            Kind::Transport(_) => {
                let body = &mut packet[self.offset..self.end];
                set_port::<A>(body, self.proto, end, old, new);
            }
            Kind::Error | Kind::LaterFragment => {}
        }
    }
}

/// What an ICMP message is to a NAT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// It asks, and has an identifier.
    Query,
    /// It answers, with the identifier of the query.
    Answer,
    /// It quotes a packet and is translated with it.
    Error,
    /// It does not cross a NAT: redirects speak of a route inside, source quench and information requests are not to be
    /// supported (RFC 5508 REQ-10), and what is neither query nor error may be dropped (REQ-11).
    Other,
}

/// The queries of RFC 1122 §3.2.2 that have an identifier, each with its answer: echo, timestamp, address mask.
const QUERIES_V4: [(u8, u8); 3] = [(icmp::v4::ECHO_REQUEST, icmp::v4::ECHO_REPLY), (13, 14), (17, 18)];
/// ICMPv6 has echo only.
const QUERIES_V6: [(u8, u8); 1] = [(icmp::v6::ECHO_REQUEST, icmp::v6::ECHO_REPLY)];

impl Message {
    /// What this type is.
    pub(super) fn of<A: Address>(message_type: u8) -> Self {
        let queries = if A::IS_V4 { &QUERIES_V4[..] } else { &QUERIES_V6[..] };
        if queries.iter().any(|&(query, _)| query == message_type) {
            return Self::Query;
        }
        if queries.iter().any(|&(_, answer)| answer == message_type) {
            return Self::Answer;
        }
        let is_error = if A::IS_V4 {
            matches!(message_type, icmp::v4::UNREACHABLE | icmp::v4::TIME_EXCEEDED | icmp::v4::PARAMETER_PROBLEM)
        } else {
            // RFC 4443 §2.1.
            message_type < 128
        };
        if is_error { Self::Error } else { Self::Other }
    }
}

/// Whether an IPv4 header has a source route among its options (RFC 791 §3.1). Bytes that are no header have none.
pub(super) fn has_source_route(header: &[u8]) -> bool {
    const END: u8 = 0;
    const NOTHING: u8 = 1;
    const LOOSE: u8 = 131;
    const STRICT: u8 = 137;
    let length = header.first().filter(|first| **first >> 4 == 4).map_or(0, |first| usize::from(first & 0x0f) * 4);
    let mut options = header.get(20..length).unwrap_or_default();
    while let Some(&kind) = options.first() {
        let length = match kind {
            END => return false,
            LOOSE | STRICT => return true,
            NOTHING => 1,
            _ => options.get(1).map_or(usize::MAX, |&length| usize::from(length.max(2))),
        };
        options = options.get(length..).unwrap_or_default();
    }
    false
}

fn ports(body: &[u8]) -> Option<(u16, u16)> {
    let &[a, b, c, d] = body.first_chunk::<4>()?;
    Some((u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])))
}

/// Puts an address in an IP header that is there, and corrects its checksum. IPv6's has none.
pub(super) fn set_address<A: Address>(header: &mut [u8], end: End, old: A, new: A) {
    if A::IS_V4 {
        let at = match end {
            End::Source => 12,
            End::Destination => 16,
        };
        let (old, new) = (old.to_number() as u32, new.to_number() as u32);
        header[at..at + 4].copy_from_slice(&new.to_be_bytes());
        adjust(header, 10, |checksum| checksum::adjust_u32(checksum, old, new));
    } else {
        let at = match end {
            End::Source => 8,
            End::Destination => 24,
        };
        header[at..at + 16].copy_from_slice(&new.to_number().to_be_bytes());
    }
}

/// Puts a port, or the identifier of a query, in a transport header of which at least four bytes are there (eight for
/// ICMP), and corrects its checksum for port and address, if that is there too.
pub(super) fn set_port<A: Address>(body: &mut [u8], proto: Proto, end: End, old: Endpoint<A>, new: Endpoint<A>) {
    let (at, sum_at, covers_addresses) = match proto {
        Proto::Udp => (port_at(end), 6, true),
        Proto::Tcp => (port_at(end), 16, true),
        Proto::Icmp => (4, 2, !A::IS_V4),
    };
    // The end of a query that has no identifier.
    let has_port = proto != Proto::Icmp || is_identified::<A>(body[0], end);
    if has_port {
        body[at..at + 2].copy_from_slice(&new.port.to_be_bytes());
    }
    if body.len() < sum_at + 2 {
        return;
    }
    let udp_none = proto == Proto::Udp && body[sum_at] == 0 && body[sum_at + 1] == 0;
    if udp_none {
        return;
    }
    adjust(body, sum_at, |mut checksum| {
        if has_port {
            checksum = checksum::adjust(checksum, old.port, new.port);
        }
        if covers_addresses {
            checksum = adjust_address(checksum, old.address, new.address);
        }
        if proto == Proto::Udp && checksum == 0 { 0xffff } else { checksum }
    });
}

/// Whether the identifier of a query of this type stands for this end.
fn is_identified<A: Address>(message_type: u8, end: End) -> bool {
    match (Message::of::<A>(message_type), end) {
        (Message::Query, End::Source) | (Message::Answer, End::Destination) => true,
        (Message::Query | Message::Answer | Message::Error | Message::Other, End::Source | End::Destination) => false,
    }
}

const fn port_at(end: End) -> usize {
    match end {
        End::Source => 0,
        End::Destination => 2,
    }
}

fn adjust_address<A: Address>(checksum: u16, old: A, new: A) -> u16 {
    if A::IS_V4 {
        checksum::adjust_u32(checksum, old.to_number() as u32, new.to_number() as u32)
    } else {
        let (old, new): (IpAddr, IpAddr) = (old.into(), new.into());
        checksum::adjust_address(checksum, old, new)
    }
}

fn adjust(bytes: &mut [u8], at: usize, correct: impl FnOnce(u16) -> u16) {
    let corrected = correct(u16::from_be_bytes([bytes[at], bytes[at + 1]]));
    bytes[at..at + 2].copy_from_slice(&corrected.to_be_bytes());
}

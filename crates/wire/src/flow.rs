//! Who talks to whom: the tuple that names a flow.

use core::fmt;
use core::net::SocketAddr;

use crate::{Malformed, Protocol, icmp, ip, tcp, udp};

/// The protocol and the two ends of a packet.
///
/// An ICMP echo has one identifier instead of two ports. It stands as the source port of a request and as the destination
/// port of a reply, so that [`reversed`](Flow::reversed) gives a request the flow of its reply. Where there are no ports,
/// in other protocols and in later fragments, they are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Flow {
    /// What is spoken.
    pub protocol: Protocol,
    /// Who sent the packet.
    pub src: SocketAddr,
    /// Whom it is for.
    pub dst: SocketAddr,
}

impl Flow {
    /// The flow of an IP packet.
    ///
    /// # Errors
    /// If the packet or its transport header is malformed.
    pub fn of(packet: &[u8]) -> Result<Self, Malformed> {
        Self::read(packet, true)
    }

    /// The flow of the packet that an ICMP error quotes, which may be cut off after eight bytes of transport header.
    ///
    /// # Errors
    /// If even the ports are not there.
    pub fn of_quoted(quote: &[u8]) -> Result<Self, Malformed> {
        // The length fields are those of the whole packet, so views would refuse the rest of it. A header that claims no
        // more than what is there reads the same.
        let mut head = [0; MAX_QUOTE];
        let len = quote.len().min(MAX_QUOTE);
        head[..len].copy_from_slice(&quote[..len]);
        match head[0] >> 4 {
            4 if len >= 4 => {
                let claimed = u16::from_be_bytes([head[2], head[3]]).min(len as u16);
                head[2..4].copy_from_slice(&claimed.to_be_bytes());
            }
            6 if len >= 40 => {
                let claimed = u16::from_be_bytes([head[4], head[5]]).min((len - 40) as u16);
                head[4..6].copy_from_slice(&claimed.to_be_bytes());
            }
            _ => {}
        }
        Self::read(&head[..len], false)
    }

    /// The flow of the answers.
    #[must_use]
    pub const fn reversed(self) -> Self {
        Self { protocol: self.protocol, src: self.dst, dst: self.src }
    }

    fn read(packet: &[u8], whole: bool) -> Result<Self, Malformed> {
        let ip = ip::Packet::new_checked(packet)?;
        let upper = ip.upper()?;
        let body = &packet[upper.offset..upper.end];
        let (src_port, dst_port) = if upper.first { ports(upper.protocol, body, whole)? } else { (0, 0) };
        Ok(Self {
            protocol: upper.protocol,
            src: SocketAddr::new(ip.src(), src_port),
            dst: SocketAddr::new(ip.dst(), dst_port),
        })
    }
}

/// As much of a quoted packet as is looked at: IPv6 with a few extension headers, or IPv4 with all options, and ports.
const MAX_QUOTE: usize = 128;

fn ports(protocol: Protocol, body: &[u8], whole: bool) -> Result<(u16, u16), Malformed> {
    let first_four = || {
        let &[a, b, c, d] = body.first_chunk::<4>().ok_or(Malformed::Truncated)?;
        Ok((u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])))
    };
    match protocol {
        Protocol::Udp if whole => udp::Packet::new_checked(body).map(|udp| (udp.src_port(), udp.dst_port())),
        Protocol::Tcp if whole => tcp::Packet::new_checked(body).map(|tcp| (tcp.src_port(), tcp.dst_port())),
        Protocol::Udp | Protocol::Tcp => first_four(),
        Protocol::Icmp | Protocol::Icmpv6 => {
            let icmp = icmp::Packet::new_checked(body)?;
            Ok(match icmp.kind(protocol) {
                icmp::Kind::EchoRequest => (icmp.identifier(), 0),
                icmp::Kind::EchoReply => (0, icmp.identifier()),
                icmp::Kind::Error | icmp::Kind::Other => (0, 0),
            })
        }
        Protocol::Other(_) => Ok((0, 0)),
    }
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.protocol {
            Protocol::Udp | Protocol::Tcp => write!(f, "{} > {} {}", self.src, self.dst, self.protocol),
            Protocol::Icmp | Protocol::Icmpv6 | Protocol::Other(_) => {
                write!(f, "{} > {} {}", self.src.ip(), self.dst.ip(), self.protocol)?;
                match self.src.port() | self.dst.port() {
                    0 => Ok(()),
                    identifier => write!(f, " id {identifier}"),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;

//! Rewrites an end of a packet in place and corrects every checksum incrementally (RFC 1624): what a NAT does.

use core::net::{IpAddr, SocketAddr};

use crate::bytes::{put_u16, u16_at};
use crate::{Malformed, Protocol, checksum, icmp, ip, tcp, udp};

/// Which end of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Where it comes from.
    Source,
    /// Where it goes.
    Destination,
}

/// Why a packet was not rewritten. It is as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EditError {
    /// The packet is malformed.
    Malformed(Malformed),
    /// The new address is of another family.
    Family,
}

impl From<Malformed> for EditError {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

impl core::fmt::Display for EditError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Malformed(malformed) => malformed.fmt(f),
            Self::Family => f.write_str("the new address is of another family"),
        }
    }
}

impl core::error::Error for EditError {}

/// Replaces one end of an IP packet: its address and, in UDP and TCP, its port; in an ICMP echo the identifier, where
/// [`Flow`](crate::Flow) has it. A checksum that was right stays right, one that was wrong stays wrong by as much, and a
/// UDP checksum of zero over IPv4 stays zero. Later fragments have only an address.
///
/// The packet that an ICMP error quotes is not touched.
///
/// # Errors
/// See [`EditError`].
pub fn rewrite(packet: &mut [u8], end: End, new: SocketAddr) -> Result<(), EditError> {
    let upper = ip::Packet::new_checked(&*packet)?.upper()?;
    let place = if upper.first { place(upper.protocol, end, &packet[upper.offset..upper.end])? } else { Place::NONE };
    let mut ip = ip::Packet::new_checked(&mut *packet)?;
    let old = match end {
        End::Source => ip.src(),
        End::Destination => ip.dst(),
    };
    match (&mut ip, new.ip()) {
        (ip::Packet::V4(ip), IpAddr::V4(address)) => {
            let corrected = checksum::adjust_address(ip.checksum(), old, new.ip());
            match end {
                End::Source => ip.set_src(address),
                End::Destination => ip.set_dst(address),
            }
            ip.set_checksum(corrected);
        }
        (ip::Packet::V6(ip), IpAddr::V6(address)) => match end {
            End::Source => ip.set_src(address),
            End::Destination => ip.set_dst(address),
        },
        _ => return Err(EditError::Family),
    }
    let body = &mut packet[upper.offset..upper.end];
    let Some(at) = place.checksum else { return Ok(()) };
    let mut corrected = u16_at(body, at);
    if place.covers_addresses {
        corrected = checksum::adjust_address(corrected, old, new.ip());
    }
    if let Some(port) = place.port {
        corrected = checksum::adjust(corrected, u16_at(body, port), new.port());
        put_u16(body, port, new.port());
    }
    if !place.is_absent(body) {
        let zero_means_none = upper.protocol == Protocol::Udp && corrected == 0;
        put_u16(body, at, if zero_means_none { 0xffff } else { corrected });
    }
    Ok(())
}

/// Where in an upper layer the fields are that a rewrite changes.
struct Place {
    port: Option<usize>,
    checksum: Option<usize>,
    covers_addresses: bool,
    zero_is_none: bool,
}

impl Place {
    const NONE: Self = Self { port: None, checksum: None, covers_addresses: false, zero_is_none: false };

    /// Whether the sender computed no checksum.
    fn is_absent(&self, body: &[u8]) -> bool {
        self.zero_is_none && self.checksum.is_some_and(|at| u16_at(body, at) == 0)
    }
}

fn place(protocol: Protocol, end: End, body: &[u8]) -> Result<Place, Malformed> {
    let port = match end {
        End::Source => Some(0),
        End::Destination => Some(2),
    };
    Ok(match protocol {
        Protocol::Udp => {
            udp::Packet::new_checked(body)?;
            Place { port, checksum: Some(udp::CHECKSUM), covers_addresses: true, zero_is_none: true }
        }
        Protocol::Tcp => {
            tcp::Packet::new_checked(body)?;
            Place { port, checksum: Some(tcp::CHECKSUM), covers_addresses: true, zero_is_none: false }
        }
        Protocol::Icmp | Protocol::Icmpv6 => {
            let kind = icmp::Packet::new_checked(body)?.kind(protocol);
            let port = match (kind, end) {
                (icmp::Kind::EchoRequest, End::Source) | (icmp::Kind::EchoReply, End::Destination) => {
                    Some(icmp::IDENTIFIER)
                }
                _ => None,
            };
            let covers_addresses = protocol == Protocol::Icmpv6;
            Place { port, checksum: Some(icmp::CHECKSUM), covers_addresses, zero_is_none: false }
        }
        Protocol::Other(_) => Place::NONE,
    })
}

#[cfg(test)]
mod tests;

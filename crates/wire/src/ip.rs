//! IP of either version, and the transport header inside it.

use core::net::IpAddr;

use crate::{Malformed, Protocol, ipv4, ipv6};

/// An IP packet of the version that its first nibble says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet<T: AsRef<[u8]>> {
    /// IPv4.
    V4(ipv4::Packet<T>),
    /// IPv6.
    V6(ipv6::Packet<T>),
}

/// Where the upper layer of a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upper {
    /// What it is.
    pub protocol: Protocol,
    /// Where it begins, in bytes from the start of the packet.
    pub offset: usize,
    /// Where it ends: the length of the packet without what the buffer holds behind it.
    pub end: usize,
    /// Whether its header is there: false in every fragment but the first.
    pub first: bool,
}

impl<T: AsRef<[u8]>> Packet<T> {
    /// A view of `buffer` as the version that its first nibble says.
    ///
    /// # Errors
    /// [`Malformed::Version`] if that is neither 4 nor 6; else what is wrong with the header.
    pub fn new_checked(buffer: T) -> Result<Self, Malformed> {
        match buffer.as_ref().first().ok_or(Malformed::Truncated)? >> 4 {
            4 => ipv4::Packet::new_checked(buffer).map(Self::V4),
            6 => ipv6::Packet::new_checked(buffer).map(Self::V6),
            _ => Err(Malformed::Version),
        }
    }

    /// Gives the buffer back.
    pub fn into_inner(self) -> T {
        match self {
            Self::V4(packet) => packet.into_inner(),
            Self::V6(packet) => packet.into_inner(),
        }
    }

    /// The source address.
    pub fn src(&self) -> IpAddr {
        match self {
            Self::V4(packet) => packet.src().into(),
            Self::V6(packet) => packet.src().into(),
        }
    }

    /// The destination address.
    pub fn dst(&self) -> IpAddr {
        match self {
            Self::V4(packet) => packet.dst().into(),
            Self::V6(packet) => packet.dst().into(),
        }
    }

    /// How many routers it may still cross: time to live or hop limit.
    pub fn ttl(&self) -> u8 {
        match self {
            Self::V4(packet) => packet.ttl(),
            Self::V6(packet) => packet.hop_limit(),
        }
    }

    /// The length of the whole packet, in bytes.
    pub fn total_len(&self) -> usize {
        match self {
            Self::V4(packet) => packet.total_len(),
            Self::V6(packet) => packet.total_len(),
        }
    }

    /// Where the upper layer is, past options and extension headers.
    ///
    /// # Errors
    /// If an IPv6 extension header leaves the packet.
    pub fn upper(&self) -> Result<Upper, Malformed> {
        let end = self.total_len();
        match self {
            Self::V4(packet) => {
                let first = packet.fragment_offset() == 0;
                Ok(Upper { protocol: packet.protocol(), offset: packet.header_len(), end, first })
            }
            Self::V6(packet) => {
                let upper = packet.upper_layer()?;
                let first = upper.fragment.is_none_or(|fragment| fragment.offset == 0);
                Ok(Upper { protocol: upper.protocol, offset: upper.offset, end, first })
            }
        }
    }

    /// Whether it is a fragment, the first included.
    pub fn is_fragment(&self) -> bool {
        match self {
            Self::V4(packet) => packet.more_fragments() || packet.fragment_offset() > 0,
            Self::V6(packet) => packet.upper_layer().is_ok_and(|upper| upper.fragment.is_some()),
        }
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Packet<T> {
    /// Takes one from the time to live, IPv4's checksum included. Returns false if it must not be forwarded.
    #[must_use]
    pub fn decrement_ttl(&mut self) -> bool {
        match self {
            Self::V4(packet) => packet.decrement_ttl(),
            Self::V6(packet) => packet.decrement_hop_limit(),
        }
    }
}

#[cfg(test)]
mod tests;

//! Writes whole packets, checksums filled, into a buffer that the caller owns.
//!
//! Each function takes the payload, writes `headers + payload` to the start of `out` and returns the length. Source and
//! destination must be of one family.

use core::net::{IpAddr, SocketAddr};

use crate::{Protocol, icmp, ipv4, ipv6, tcp, udp};

/// Why a packet cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BuildError {
    /// Source and destination are of different families.
    Family,
    /// The packet is longer than the buffer or than IP allows.
    Space,
}

impl core::fmt::Display for BuildError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Family => "source and destination are of different address families",
            Self::Space => "the packet does not fit",
        })
    }
}

impl core::error::Error for BuildError {}

/// A TCP header, as far as a sender without options chooses it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// The control bits.
    pub flags: tcp::Flags,
    /// The sequence number.
    pub seq: u32,
    /// The acknowledgment number.
    pub ack: u32,
    /// The window, not scaled.
    pub window: u16,
}

/// An echo header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Echo {
    /// Whether it is the reply.
    pub reply: bool,
    /// What request and reply have in common.
    pub identifier: u16,
    /// Which of the requests.
    pub sequence: u16,
}

/// A UDP packet.
///
/// # Errors
/// See [`BuildError`].
pub fn udp(src: SocketAddr, dst: SocketAddr, ttl: u8, payload: &[u8], out: &mut [u8]) -> Result<usize, BuildError> {
    let len = udp::HEADER_LEN + payload.len();
    ip(src.ip(), dst.ip(), Protocol::Udp, ttl, len, out, |body| {
        let mut udp = udp::Packet::init(body, src.port(), dst.port()).map_err(|_| BuildError::Space)?;
        udp.payload_mut().copy_from_slice(payload);
        udp.fill_checksum(src.ip(), dst.ip());
        Ok(())
    })
}

/// A TCP segment without options.
///
/// # Errors
/// See [`BuildError`].
pub fn tcp(
    src: SocketAddr,
    dst: SocketAddr,
    ttl: u8,
    segment: Segment,
    payload: &[u8],
    out: &mut [u8],
) -> Result<usize, BuildError> {
    let len = tcp::HEADER_LEN + payload.len();
    ip(src.ip(), dst.ip(), Protocol::Tcp, ttl, len, out, |body| {
        let mut tcp = tcp::Packet::init(body, src.port(), dst.port(), segment.flags).map_err(|_| BuildError::Space)?;
        tcp.set_seq(segment.seq);
        tcp.set_ack(segment.ack);
        tcp.set_window(segment.window);
        tcp.payload_mut().copy_from_slice(payload);
        tcp.fill_checksum(src.ip(), dst.ip());
        Ok(())
    })
}

/// An ICMP or ICMPv6 echo, as the family of the addresses says.
///
/// # Errors
/// See [`BuildError`].
pub fn echo(
    src: IpAddr,
    dst: IpAddr,
    ttl: u8,
    echo: Echo,
    payload: &[u8],
    out: &mut [u8],
) -> Result<usize, BuildError> {
    let (protocol, message_type) = match (src, echo.reply) {
        (IpAddr::V4(_), false) => (Protocol::Icmp, icmp::v4::ECHO_REQUEST),
        (IpAddr::V4(_), true) => (Protocol::Icmp, icmp::v4::ECHO_REPLY),
        (IpAddr::V6(_), false) => (Protocol::Icmpv6, icmp::v6::ECHO_REQUEST),
        (IpAddr::V6(_), true) => (Protocol::Icmpv6, icmp::v6::ECHO_REPLY),
    };
    ip(src, dst, protocol, ttl, icmp::HEADER_LEN + payload.len(), out, |body| {
        let mut icmp = icmp::Packet::init(body, message_type, 0).map_err(|_| BuildError::Space)?;
        icmp.set_identifier(echo.identifier);
        icmp.set_sequence(echo.sequence);
        icmp.payload_mut().copy_from_slice(payload);
        icmp.fill_checksum(src, dst);
        Ok(())
    })
}

/// An IP packet whose upper layer of `len` bytes `fill` writes. Returns the length of the packet.
///
/// # Errors
/// See [`BuildError`], and what `fill` says.
pub fn ip(
    src: IpAddr,
    dst: IpAddr,
    protocol: Protocol,
    ttl: u8,
    len: usize,
    out: &mut [u8],
    fill: impl FnOnce(&mut [u8]) -> Result<(), BuildError>,
) -> Result<usize, BuildError> {
    let header_len = header_len(src);
    let packet = out.get_mut(..header_len + len).ok_or(BuildError::Space)?;
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            ipv4::Packet::init(&mut *packet, src, dst, protocol, ttl).map_err(|_| BuildError::Space)?;
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            ipv6::Packet::init(&mut *packet, src, dst, protocol, ttl).map_err(|_| BuildError::Space)?;
        }
        _ => return Err(BuildError::Family),
    }
    fill(&mut packet[header_len..])?;
    Ok(header_len + len)
}

/// The length of the IP header that packets from `src` get here.
pub(crate) const fn header_len(src: IpAddr) -> usize {
    match src {
        IpAddr::V4(_) => ipv4::HEADER_LEN,
        IpAddr::V6(_) => ipv6::HEADER_LEN,
    }
}

#[cfg(test)]
pub(crate) mod tests;

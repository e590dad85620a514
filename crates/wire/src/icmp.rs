//! ICMP (RFC 792) and ICMPv6 (RFC 4443), which share a header: type, code, checksum, four bytes that depend on the type.
//!
//! One view serves both. What differs is the numbers ([`v4`], [`v6`]) and the checksum, which covers a pseudo-header in
//! ICMPv6 only; the addresses given to [`Packet::fill_checksum`] say which.

use core::net::IpAddr;

use crate::bytes::{put_u16, put_u32, u16_at, u32_at};
use crate::checksum::Sum;
use crate::{Malformed, Protocol};

/// The length of the header, in bytes.
pub const HEADER_LEN: usize = 8;

const TYPE: usize = 0;
const CODE: usize = 1;
pub(crate) const CHECKSUM: usize = 2;
pub(crate) const IDENTIFIER: usize = 4;
const SEQUENCE: usize = 6;

/// Message types and codes of ICMP for IPv4.
pub mod v4 {
    /// Echo reply.
    pub const ECHO_REPLY: u8 = 0;
    /// Destination unreachable.
    pub const UNREACHABLE: u8 = 3;
    /// Source quench, deprecated by RFC 6633.
    pub const SOURCE_QUENCH: u8 = 4;
    /// Redirect.
    pub const REDIRECT: u8 = 5;
    /// Echo request.
    pub const ECHO_REQUEST: u8 = 8;
    /// Time exceeded; code 0 is "in transit".
    pub const TIME_EXCEEDED: u8 = 11;
    /// Parameter problem.
    pub const PARAMETER_PROBLEM: u8 = 12;
    /// Code of [`UNREACHABLE`]: net unreachable.
    pub const NET: u8 = 0;
    /// Code of [`UNREACHABLE`]: host unreachable.
    pub const HOST: u8 = 1;
    /// Code of [`UNREACHABLE`]: port unreachable.
    pub const PORT: u8 = 3;
    /// Code of [`UNREACHABLE`]: fragmentation needed, with the next hop's MTU (RFC 1191 §4).
    pub const FRAGMENTATION_NEEDED: u8 = 4;
    /// Code of [`UNREACHABLE`]: communication administratively prohibited (RFC 1812 §5.2.7.1).
    pub const ADMINISTRATIVELY_PROHIBITED: u8 = 13;
}

/// Message types and codes of ICMPv6.
pub mod v6 {
    /// Destination unreachable.
    pub const UNREACHABLE: u8 = 1;
    /// Packet too big.
    pub const TOO_BIG: u8 = 2;
    /// Time exceeded; code 0 is "hop limit exceeded in transit".
    pub const TIME_EXCEEDED: u8 = 3;
    /// Parameter problem.
    pub const PARAMETER_PROBLEM: u8 = 4;
    /// Echo request.
    pub const ECHO_REQUEST: u8 = 128;
    /// Echo reply.
    pub const ECHO_REPLY: u8 = 129;
    /// Code of [`UNREACHABLE`]: no route to destination.
    pub const NO_ROUTE: u8 = 0;
    /// Code of [`UNREACHABLE`]: communication administratively prohibited.
    pub const ADMINISTRATIVELY_PROHIBITED: u8 = 1;
    /// Code of [`UNREACHABLE`]: address unreachable.
    pub const ADDRESS: u8 = 3;
    /// Code of [`UNREACHABLE`]: port unreachable.
    pub const PORT: u8 = 4;
}

/// What kind of message it is, as far as a NAT or a prober cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An echo request.
    EchoRequest,
    /// An echo reply.
    EchoReply,
    /// An error about a packet, which it quotes.
    Error,
    /// Anything else: redirects, neighbour discovery, timestamps.
    Other,
}

/// An ICMP or ICMPv6 message. The message is the whole buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<T: AsRef<[u8]>> {
    buffer: T,
}

impl<T: AsRef<[u8]>> Packet<T> {
    /// A view of `buffer`, if the header is there. The checksum is not looked at.
    ///
    /// # Errors
    /// [`Malformed::Truncated`] if it is not.
    pub fn new_checked(buffer: T) -> Result<Self, Malformed> {
        if buffer.as_ref().len() < HEADER_LEN {
            return Err(Malformed::Truncated);
        }
        Ok(Self { buffer })
    }

    /// Gives the buffer back.
    pub fn into_inner(self) -> T {
        self.buffer
    }

    /// The type.
    pub fn message_type(&self) -> u8 {
        self.bytes()[TYPE]
    }

    /// The code.
    pub fn code(&self) -> u8 {
        self.bytes()[CODE]
    }

    /// What the type means in the protocol that carries it, [`Protocol::Icmp`] or [`Protocol::Icmpv6`].
    pub fn kind(&self, protocol: Protocol) -> Kind {
        match (protocol, self.message_type()) {
            (Protocol::Icmp, v4::ECHO_REQUEST) | (Protocol::Icmpv6, v6::ECHO_REQUEST) => Kind::EchoRequest,
            (Protocol::Icmp, v4::ECHO_REPLY) | (Protocol::Icmpv6, v6::ECHO_REPLY) => Kind::EchoReply,
            (
                Protocol::Icmp,
                v4::UNREACHABLE | v4::SOURCE_QUENCH | v4::REDIRECT | v4::TIME_EXCEEDED | v4::PARAMETER_PROBLEM,
            ) => Kind::Error,
            // RFC 4443 §2.1: error messages have a zero in the highest bit of the type.
            (Protocol::Icmpv6, 0..=127) => Kind::Error,
            _ => Kind::Other,
        }
    }

    /// The checksum as it stands.
    pub fn checksum(&self) -> u16 {
        u16_at(self.bytes(), CHECKSUM)
    }

    /// Whether the checksum is right; IPv6 addresses say that it is ICMPv6.
    pub fn verify_checksum(&self, src: IpAddr, dst: IpAddr) -> bool {
        self.sum(src, dst).is_valid()
    }

    /// The identifier of an echo.
    pub fn identifier(&self) -> u16 {
        u16_at(self.bytes(), IDENTIFIER)
    }

    /// The sequence number of an echo.
    pub fn sequence(&self) -> u16 {
        u16_at(self.bytes(), SEQUENCE)
    }

    /// The next hop's MTU in "packet too big" (32 bits, RFC 4443 §3.2); "fragmentation needed" (RFC 1191 §4) has it in the
    /// low half, above which there are zeros.
    pub fn mtu(&self) -> u32 {
        u32_at(self.bytes(), IDENTIFIER)
    }

    /// What follows the header: an echo's data, or the packet that an error quotes.
    pub fn payload(&self) -> &[u8] {
        &self.bytes()[HEADER_LEN..]
    }

    fn sum(&self, src: IpAddr, dst: IpAddr) -> Sum {
        let start = match (src, dst) {
            (IpAddr::V6(_), IpAddr::V6(_)) => Sum::pseudo_header(src, dst, Protocol::Icmpv6, self.bytes().len()),
            _ => Sum::new(),
        };
        start.bytes(self.bytes())
    }

    fn bytes(&self) -> &[u8] {
        self.buffer.as_ref()
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Packet<T> {
    /// Writes a header over the start of `buffer`, with zeros after type and code.
    ///
    /// # Errors
    /// [`Malformed::Truncated`] if the header does not fit.
    pub fn init(mut buffer: T, message_type: u8, code: u8) -> Result<Self, Malformed> {
        let header = buffer.as_mut().get_mut(..HEADER_LEN).ok_or(Malformed::Truncated)?;
        header.fill(0);
        header[TYPE] = message_type;
        header[CODE] = code;
        Ok(Self { buffer })
    }

    /// Sets the type. The checksum is left as it is, as with every setter.
    pub fn set_message_type(&mut self, message_type: u8) {
        self.bytes_mut()[TYPE] = message_type;
    }

    /// Sets the identifier of an echo.
    pub fn set_identifier(&mut self, identifier: u16) {
        put_u16(self.bytes_mut(), IDENTIFIER, identifier);
    }

    /// Sets the sequence number of an echo.
    pub fn set_sequence(&mut self, sequence: u16) {
        put_u16(self.bytes_mut(), SEQUENCE, sequence);
    }

    /// Sets the next hop's MTU, for either family.
    pub fn set_mtu(&mut self, mtu: u32) {
        put_u32(self.bytes_mut(), IDENTIFIER, mtu);
    }

    /// Writes the checksum.
    pub fn set_checksum(&mut self, checksum: u16) {
        put_u16(self.bytes_mut(), CHECKSUM, checksum);
    }

    /// Computes the checksum and writes it; IPv6 addresses say that it is ICMPv6.
    pub fn fill_checksum(&mut self, src: IpAddr, dst: IpAddr) {
        self.set_checksum(0);
        let checksum = self.sum(src, dst).finish();
        self.set_checksum(checksum);
    }

    /// What follows the header, to be edited.
    pub fn payload_mut(&mut self) -> &mut [u8] {
        &mut self.bytes_mut()[HEADER_LEN..]
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        self.buffer.as_mut()
    }
}

#[cfg(test)]
mod tests;

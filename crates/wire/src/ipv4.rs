//! IPv4 (RFC 791).

use core::net::Ipv4Addr;

use crate::bytes::{array_at, put_u16, u16_at};
use crate::{Malformed, Protocol, checksum};

/// The length of a header without options, in bytes.
pub const HEADER_LEN: usize = 20;

const TOS: usize = 1;
const TOTAL_LEN: usize = 2;
const IDENTIFICATION: usize = 4;
const FLAGS_AND_OFFSET: usize = 6;
const TTL: usize = 8;
const PROTOCOL: usize = 9;
const CHECKSUM: usize = 10;
const SRC: usize = 12;
const DST: usize = 16;

const DONT_FRAGMENT: u16 = 0x4000;
const MORE_FRAGMENTS: u16 = 0x2000;
const OFFSET_MASK: u16 = 0x1fff;

/// An IPv4 packet in a buffer, which may be longer than the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<T: AsRef<[u8]>> {
    buffer: T,
}

impl<T: AsRef<[u8]>> Packet<T> {
    /// A view of `buffer`, if the header and all that it speaks of is there. The checksum is not looked at.
    ///
    /// # Errors
    /// Which field is impossible.
    pub fn new_checked(buffer: T) -> Result<Self, Malformed> {
        let bytes = buffer.as_ref();
        if bytes.len() < HEADER_LEN {
            return Err(Malformed::Truncated);
        }
        if bytes[0] >> 4 != 4 {
            return Err(Malformed::Version);
        }
        let packet = Self { buffer };
        let (header_len, total_len) = (packet.header_len(), packet.total_len());
        if header_len < HEADER_LEN {
            return Err(Malformed::HeaderLength);
        }
        if total_len > packet.buffer.as_ref().len() || total_len < HEADER_LEN {
            return Err(Malformed::Length);
        }
        if header_len > total_len {
            return Err(Malformed::HeaderLength);
        }
        Ok(packet)
    }

    /// Gives the buffer back.
    pub fn into_inner(self) -> T {
        self.buffer
    }

    /// The length of the header with its options, in bytes.
    pub fn header_len(&self) -> usize {
        usize::from(self.bytes()[0] & 0x0f) * 4
    }

    /// The DSCP and ECN octet (RFC 2474, RFC 3168).
    pub fn traffic_class(&self) -> u8 {
        self.bytes()[TOS]
    }

    /// The length of the whole packet, in bytes.
    pub fn total_len(&self) -> usize {
        usize::from(u16_at(self.bytes(), TOTAL_LEN))
    }

    /// What the fragments of one packet have in common.
    pub fn identification(&self) -> u16 {
        u16_at(self.bytes(), IDENTIFICATION)
    }

    /// Whether routers must not fragment it.
    pub fn dont_fragment(&self) -> bool {
        u16_at(self.bytes(), FLAGS_AND_OFFSET) & DONT_FRAGMENT != 0
    }

    /// Whether more fragments follow.
    pub fn more_fragments(&self) -> bool {
        u16_at(self.bytes(), FLAGS_AND_OFFSET) & MORE_FRAGMENTS != 0
    }

    /// Where in the original packet's payload this fragment belongs, in bytes.
    pub fn fragment_offset(&self) -> usize {
        usize::from(u16_at(self.bytes(), FLAGS_AND_OFFSET) & OFFSET_MASK) * 8
    }

    /// How many routers it may still cross.
    pub fn ttl(&self) -> u8 {
        self.bytes()[TTL]
    }

    /// What it carries.
    pub fn protocol(&self) -> Protocol {
        self.bytes()[PROTOCOL].into()
    }

    /// The header checksum as it stands.
    pub fn checksum(&self) -> u16 {
        u16_at(self.bytes(), CHECKSUM)
    }

    /// Whether the header checksum is right.
    pub fn verify_checksum(&self) -> bool {
        checksum::Sum::new().bytes(self.header()).is_valid()
    }

    /// The source address.
    pub fn src(&self) -> Ipv4Addr {
        array_at::<4>(self.bytes(), SRC).into()
    }

    /// The destination address.
    pub fn dst(&self) -> Ipv4Addr {
        array_at::<4>(self.bytes(), DST).into()
    }

    /// The header with its options.
    pub fn header(&self) -> &[u8] {
        &self.bytes()[..self.header_len()]
    }

    /// What it carries: all between the header and the total length.
    pub fn payload(&self) -> &[u8] {
        &self.bytes()[self.header_len()..self.total_len()]
    }

    fn bytes(&self) -> &[u8] {
        self.buffer.as_ref()
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Packet<T> {
    /// Writes a header without options over the start of `buffer`: the whole buffer is the packet, it may not be
    /// fragmented, and its identification is zero, as RFC 6864 §4.1 allows for such. The checksum is filled.
    ///
    /// # Errors
    /// [`Malformed::Truncated`] if the header does not fit, [`Malformed::Length`] if the buffer is over 65,535 bytes long.
    pub fn init(mut buffer: T, src: Ipv4Addr, dst: Ipv4Addr, protocol: Protocol, ttl: u8) -> Result<Self, Malformed> {
        let bytes = buffer.as_mut();
        let total_len = u16::try_from(bytes.len()).map_err(|_| Malformed::Length)?;
        let header = bytes.get_mut(..HEADER_LEN).ok_or(Malformed::Truncated)?;
        header.fill(0);
        header[0] = 0x45;
        put_u16(header, TOTAL_LEN, total_len);
        put_u16(header, FLAGS_AND_OFFSET, DONT_FRAGMENT);
        header[TTL] = ttl;
        header[PROTOCOL] = protocol.into();
        header[SRC..DST].copy_from_slice(&src.octets());
        header[DST..HEADER_LEN].copy_from_slice(&dst.octets());
        let mut packet = Self { buffer };
        packet.fill_checksum();
        Ok(packet)
    }

    /// Sets the DSCP and ECN octet. The checksum is left as it is.
    pub fn set_traffic_class(&mut self, class: u8) {
        self.bytes_mut()[TOS] = class;
    }

    /// Sets the identification. The checksum is left as it is.
    pub fn set_identification(&mut self, identification: u16) {
        put_u16(self.bytes_mut(), IDENTIFICATION, identification);
    }

    /// Sets the "don't fragment" flag. The checksum is left as it is.
    pub fn set_dont_fragment(&mut self, set: bool) {
        let field = u16_at(self.bytes(), FLAGS_AND_OFFSET) & !DONT_FRAGMENT;
        put_u16(self.bytes_mut(), FLAGS_AND_OFFSET, if set { field | DONT_FRAGMENT } else { field });
    }

    /// Makes it the fragment that belongs at `offset` bytes, a multiple of 8. The checksum is left as it is.
    pub fn set_fragment(&mut self, offset: usize, more: bool) {
        let keep = u16_at(self.bytes(), FLAGS_AND_OFFSET) & DONT_FRAGMENT;
        let more = if more { MORE_FRAGMENTS } else { 0 };
        put_u16(self.bytes_mut(), FLAGS_AND_OFFSET, keep | more | (offset / 8) as u16 & OFFSET_MASK);
    }

    /// Sets the time to live. The checksum is left as it is.
    pub fn set_ttl(&mut self, ttl: u8) {
        self.bytes_mut()[TTL] = ttl;
    }

    /// Takes one from the time to live and corrects the checksum. At 0 or 1 it does nothing and returns false: the packet
    /// must not be forwarded (RFC 1812 §5.3.1).
    #[must_use]
    pub fn decrement_ttl(&mut self) -> bool {
        if self.ttl() <= 1 {
            return false;
        }
        let old = u16_at(self.bytes(), TTL);
        self.bytes_mut()[TTL] -= 1;
        let new = u16_at(self.bytes(), TTL);
        let corrected = checksum::adjust(self.checksum(), old, new);
        self.set_checksum(corrected);
        true
    }

    /// Sets the source address. Checksums are left as they are; [`crate::edit`] corrects all of them.
    pub fn set_src(&mut self, src: Ipv4Addr) {
        self.bytes_mut()[SRC..SRC + 4].copy_from_slice(&src.octets());
    }

    /// Sets the destination address. Checksums are left as they are; [`crate::edit`] corrects all of them.
    pub fn set_dst(&mut self, dst: Ipv4Addr) {
        self.bytes_mut()[DST..DST + 4].copy_from_slice(&dst.octets());
    }

    /// Writes the header checksum.
    pub fn set_checksum(&mut self, checksum: u16) {
        put_u16(self.bytes_mut(), CHECKSUM, checksum);
    }

    /// Computes the header checksum and writes it.
    pub fn fill_checksum(&mut self) {
        self.set_checksum(0);
        let checksum = checksum::of(self.header());
        self.set_checksum(checksum);
    }

    /// What it carries, to be edited.
    pub fn payload_mut(&mut self) -> &mut [u8] {
        let range = self.header_len()..self.total_len();
        &mut self.bytes_mut()[range]
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        self.buffer.as_mut()
    }
}

#[cfg(test)]
mod tests;

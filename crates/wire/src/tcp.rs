//! TCP (RFC 9293): the header. Options are bytes; what a segment means for a connection is not for here.

use core::fmt;
use core::net::IpAddr;
use core::ops::BitOr;

use crate::bytes::{put_u16, put_u32, u16_at, u32_at};
use crate::checksum::Sum;
use crate::{Malformed, Protocol};

/// The length of a header without options, in bytes.
pub const HEADER_LEN: usize = 20;

const SRC_PORT: usize = 0;
const DST_PORT: usize = 2;
const SEQ: usize = 4;
const ACK: usize = 8;
const DATA_OFFSET: usize = 12;
const FLAGS: usize = 13;
const WINDOW: usize = 14;
pub(crate) const CHECKSUM: usize = 16;

/// The control bits.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Flags(pub u8);

impl Flags {
    /// No more data from the sender.
    pub const FIN: Self = Self(0x01);
    /// Synchronise sequence numbers.
    pub const SYN: Self = Self(0x02);
    /// Reset the connection.
    pub const RST: Self = Self(0x04);
    /// Push.
    pub const PSH: Self = Self(0x08);
    /// The acknowledgment number counts.
    pub const ACK: Self = Self(0x10);
    /// The urgent pointer counts.
    pub const URG: Self = Self(0x20);
    /// ECN echo (RFC 3168).
    pub const ECE: Self = Self(0x40);
    /// Congestion window reduced (RFC 3168).
    pub const CWR: Self = Self(0x80);

    /// The letters that stand for the bits, lowest bit first, as tcpdump writes them.
    const LETTERS: [char; 8] = ['F', 'S', 'R', 'P', '.', 'U', 'E', 'W'];

    /// Whether all of `other` are set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The bits that these letters stand for; none if one stands for nothing. `-` is "no bit".
    pub fn from_letters(letters: &str) -> Option<Self> {
        if letters == "-" {
            return Some(Self(0));
        }
        letters.chars().try_fold(Self(0), |flags, letter| {
            let bit = Self::LETTERS.iter().position(|&known| known == letter)?;
            Some(flags | Self(1 << bit))
        })
    }
}

impl BitOr for Flags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("-");
        }
        let set = (0..8).filter(|bit| self.0 & 1 << bit != 0);
        set.map(|bit| Self::LETTERS[bit]).try_for_each(|letter| write!(f, "{letter}"))
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Flags({self})")
    }
}

/// A TCP segment. The segment is the whole buffer: the header does not say where it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<T: AsRef<[u8]>> {
    buffer: T,
}

impl<T: AsRef<[u8]>> Packet<T> {
    /// A view of `buffer`, if the header with its options is there. The checksum is not looked at.
    ///
    /// # Errors
    /// Which field is impossible.
    pub fn new_checked(buffer: T) -> Result<Self, Malformed> {
        if buffer.as_ref().len() < HEADER_LEN {
            return Err(Malformed::Truncated);
        }
        let packet = Self { buffer };
        if packet.header_len() < HEADER_LEN || packet.header_len() > packet.buffer.as_ref().len() {
            return Err(Malformed::HeaderLength);
        }
        Ok(packet)
    }

    /// Gives the buffer back.
    pub fn into_inner(self) -> T {
        self.buffer
    }

    /// The source port.
    pub fn src_port(&self) -> u16 {
        u16_at(self.bytes(), SRC_PORT)
    }

    /// The destination port.
    pub fn dst_port(&self) -> u16 {
        u16_at(self.bytes(), DST_PORT)
    }

    /// The sequence number.
    pub fn seq(&self) -> u32 {
        u32_at(self.bytes(), SEQ)
    }

    /// The acknowledgment number.
    pub fn ack(&self) -> u32 {
        u32_at(self.bytes(), ACK)
    }

    /// The length of the header with its options, in bytes.
    pub fn header_len(&self) -> usize {
        usize::from(self.bytes()[DATA_OFFSET] >> 4) * 4
    }

    /// The control bits.
    pub fn flags(&self) -> Flags {
        Flags(self.bytes()[FLAGS])
    }

    /// The window, not scaled.
    pub fn window(&self) -> u16 {
        u16_at(self.bytes(), WINDOW)
    }

    /// The checksum as it stands.
    pub fn checksum(&self) -> u16 {
        u16_at(self.bytes(), CHECKSUM)
    }

    /// Whether the checksum is right between these addresses.
    pub fn verify_checksum(&self, src: IpAddr, dst: IpAddr) -> bool {
        self.sum(src, dst).is_valid()
    }

    /// The options, padding included.
    pub fn options(&self) -> &[u8] {
        &self.bytes()[HEADER_LEN..self.header_len()]
    }

    /// What it carries.
    pub fn payload(&self) -> &[u8] {
        &self.bytes()[self.header_len()..]
    }

    fn sum(&self, src: IpAddr, dst: IpAddr) -> Sum {
        Sum::pseudo_header(src, dst, Protocol::Tcp, self.bytes().len()).bytes(self.bytes())
    }

    fn bytes(&self) -> &[u8] {
        self.buffer.as_ref()
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Packet<T> {
    /// Writes a header without options over the start of `buffer`; all numbers are zero.
    ///
    /// # Errors
    /// [`Malformed::Truncated`] if the header does not fit.
    pub fn init(mut buffer: T, src_port: u16, dst_port: u16, flags: Flags) -> Result<Self, Malformed> {
        let header = buffer.as_mut().get_mut(..HEADER_LEN).ok_or(Malformed::Truncated)?;
        header.fill(0);
        put_u16(header, SRC_PORT, src_port);
        put_u16(header, DST_PORT, dst_port);
        header[DATA_OFFSET] = 5 << 4;
        header[FLAGS] = flags.0;
        Ok(Self { buffer })
    }

    /// Sets the source port. The checksum is left as it is, as with every setter.
    pub fn set_src_port(&mut self, port: u16) {
        put_u16(self.bytes_mut(), SRC_PORT, port);
    }

    /// Sets the destination port.
    pub fn set_dst_port(&mut self, port: u16) {
        put_u16(self.bytes_mut(), DST_PORT, port);
    }

    /// Sets the sequence number.
    pub fn set_seq(&mut self, seq: u32) {
        put_u32(self.bytes_mut(), SEQ, seq);
    }

    /// Sets the acknowledgment number.
    pub fn set_ack(&mut self, ack: u32) {
        put_u32(self.bytes_mut(), ACK, ack);
    }

    /// Sets the control bits.
    pub fn set_flags(&mut self, flags: Flags) {
        self.bytes_mut()[FLAGS] = flags.0;
    }

    /// Sets the window.
    pub fn set_window(&mut self, window: u16) {
        put_u16(self.bytes_mut(), WINDOW, window);
    }

    /// Writes the checksum.
    pub fn set_checksum(&mut self, checksum: u16) {
        put_u16(self.bytes_mut(), CHECKSUM, checksum);
    }

    /// Computes the checksum between these addresses and writes it.
    pub fn fill_checksum(&mut self, src: IpAddr, dst: IpAddr) {
        self.set_checksum(0);
        let checksum = self.sum(src, dst).finish();
        self.set_checksum(checksum);
    }

    /// What it carries, to be edited.
    pub fn payload_mut(&mut self) -> &mut [u8] {
        let start = self.header_len();
        &mut self.bytes_mut()[start..]
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        self.buffer.as_mut()
    }
}

#[cfg(test)]
mod tests;

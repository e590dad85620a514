//! UDP (RFC 768).

use core::net::IpAddr;

use crate::bytes::{put_u16, u16_at};
use crate::checksum::Sum;
use crate::{Malformed, Protocol};

/// The length of the header, in bytes.
pub const HEADER_LEN: usize = 8;

const SRC_PORT: usize = 0;
const DST_PORT: usize = 2;
const LEN: usize = 4;
pub(crate) const CHECKSUM: usize = 6;

/// A UDP datagram in a buffer, which may be longer than the datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<T: AsRef<[u8]>> {
    buffer: T,
}

impl<T: AsRef<[u8]>> Packet<T> {
    /// A view of `buffer`, if the header and the length that it names is there. The checksum is not looked at.
    ///
    /// # Errors
    /// Which field is impossible.
    pub fn new_checked(buffer: T) -> Result<Self, Malformed> {
        if buffer.as_ref().len() < HEADER_LEN {
            return Err(Malformed::Truncated);
        }
        let packet = Self { buffer };
        if packet.total_len() < HEADER_LEN || packet.total_len() > packet.buffer.as_ref().len() {
            return Err(Malformed::Length);
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

    /// The length of header and payload, in bytes.
    pub fn total_len(&self) -> usize {
        usize::from(u16_at(self.bytes(), LEN))
    }

    /// The checksum as it stands; zero says "none".
    pub fn checksum(&self) -> u16 {
        u16_at(self.bytes(), CHECKSUM)
    }

    /// Whether the checksum is right between these addresses. None at all is right over IPv4 (RFC 768) and wrong over
    /// IPv6 (RFC 8200 §8.1).
    pub fn verify_checksum(&self, src: IpAddr, dst: IpAddr) -> bool {
        if self.checksum() == 0 {
            return src.is_ipv4();
        }
        self.sum(src, dst).is_valid()
    }

    /// What it carries.
    pub fn payload(&self) -> &[u8] {
        &self.bytes()[HEADER_LEN..self.total_len()]
    }

    fn sum(&self, src: IpAddr, dst: IpAddr) -> Sum {
        let len = self.total_len();
        Sum::pseudo_header(src, dst, Protocol::Udp, len).bytes(&self.bytes()[..len])
    }

    fn bytes(&self) -> &[u8] {
        self.buffer.as_ref()
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Packet<T> {
    /// Writes a header over the start of `buffer`: the whole buffer is the datagram, without a checksum.
    ///
    /// # Errors
    /// [`Malformed::Truncated`] if the header does not fit, [`Malformed::Length`] if the buffer is over 65,535 bytes long.
    pub fn init(mut buffer: T, src_port: u16, dst_port: u16) -> Result<Self, Malformed> {
        let bytes = buffer.as_mut();
        let len = u16::try_from(bytes.len()).map_err(|_| Malformed::Length)?;
        let header = bytes.get_mut(..HEADER_LEN).ok_or(Malformed::Truncated)?;
        put_u16(header, SRC_PORT, src_port);
        put_u16(header, DST_PORT, dst_port);
        put_u16(header, LEN, len);
        put_u16(header, CHECKSUM, 0);
        Ok(Self { buffer })
    }

    /// Sets the source port. The checksum is left as it is.
    pub fn set_src_port(&mut self, port: u16) {
        put_u16(self.bytes_mut(), SRC_PORT, port);
    }

    /// Sets the destination port. The checksum is left as it is.
    pub fn set_dst_port(&mut self, port: u16) {
        put_u16(self.bytes_mut(), DST_PORT, port);
    }

    /// Writes the checksum.
    pub fn set_checksum(&mut self, checksum: u16) {
        put_u16(self.bytes_mut(), CHECKSUM, checksum);
    }

    /// Computes the checksum between these addresses and writes it; one that computes to zero is sent as ffff (RFC 768).
    pub fn fill_checksum(&mut self, src: IpAddr, dst: IpAddr) {
        self.set_checksum(0);
        let checksum = self.sum(src, dst).finish();
        self.set_checksum(if checksum == 0 { 0xffff } else { checksum });
    }

    /// What it carries, to be edited.
    pub fn payload_mut(&mut self) -> &mut [u8] {
        let len = self.total_len();
        &mut self.bytes_mut()[HEADER_LEN..len]
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        self.buffer.as_mut()
    }
}

#[cfg(test)]
mod tests;

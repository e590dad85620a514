//! IPv6 (RFC 8200): the fixed header, and the way past its extension headers.

use core::net::Ipv6Addr;

use crate::bytes::{array_at, put_u16, put_u32, u16_at, u32_at};
use crate::{Malformed, Protocol};

/// The length of the fixed header, in bytes.
pub const HEADER_LEN: usize = 40;

const PAYLOAD_LEN: usize = 4;
const NEXT_HEADER: usize = 6;
const HOP_LIMIT: usize = 7;
const SRC: usize = 8;
const DST: usize = 24;

/// The extension headers that are walked over (RFC 8200 §4, RFC 4302 for AH). Everything else is the upper layer.
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION_OPTIONS: u8 = 60;

/// The most extension headers that are walked over. RFC 8200 §4.1 recommends each at most once, one of them twice; more is
/// nobody's honest traffic.
const MAX_EXTENSIONS: usize = 8;

/// An IPv6 packet in a buffer, which may be longer than the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<T: AsRef<[u8]>> {
    buffer: T,
}

/// What follows the last extension header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpperLayer {
    /// The protocol.
    pub protocol: Protocol,
    /// Where it begins, in bytes from the start of the packet.
    pub offset: usize,
    /// The fragment header on the way, if there was one.
    pub fragment: Option<Fragment>,
}

/// A fragment header (RFC 8200 §4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// What the fragments of one packet have in common.
    pub identification: u32,
    /// Where in the fragmentable part this one belongs, in bytes.
    pub offset: usize,
    /// Whether more fragments follow.
    pub more: bool,
}

impl<T: AsRef<[u8]>> Packet<T> {
    /// A view of `buffer`, if the fixed header and the payload that it speaks of is there. Extension headers are read
    /// by [`upper_layer`](Self::upper_layer). Jumbograms (RFC 2675) are not known.
    ///
    /// # Errors
    /// Which field is impossible.
    pub fn new_checked(buffer: T) -> Result<Self, Malformed> {
        let bytes = buffer.as_ref();
        if bytes.len() < HEADER_LEN {
            return Err(Malformed::Truncated);
        }
        if bytes[0] >> 4 != 6 {
            return Err(Malformed::Version);
        }
        let packet = Self { buffer };
        if packet.total_len() > packet.buffer.as_ref().len() {
            return Err(Malformed::Length);
        }
        Ok(packet)
    }

    /// Gives the buffer back.
    pub fn into_inner(self) -> T {
        self.buffer
    }

    /// The DSCP and ECN octet.
    pub fn traffic_class(&self) -> u8 {
        (u16_at(self.bytes(), 0) >> 4) as u8
    }

    /// The flow label, 20 bits.
    pub fn flow_label(&self) -> u32 {
        u32_at(self.bytes(), 0) & 0x000f_ffff
    }

    /// The length of all that follows the fixed header, in bytes.
    pub fn payload_len(&self) -> usize {
        usize::from(u16_at(self.bytes(), PAYLOAD_LEN))
    }

    /// The length of the whole packet, in bytes.
    pub fn total_len(&self) -> usize {
        HEADER_LEN + self.payload_len()
    }

    /// What follows the fixed header: an extension header or the upper layer.
    pub fn next_header(&self) -> u8 {
        self.bytes()[NEXT_HEADER]
    }

    /// How many routers it may still cross.
    pub fn hop_limit(&self) -> u8 {
        self.bytes()[HOP_LIMIT]
    }

    /// The source address.
    pub fn src(&self) -> Ipv6Addr {
        array_at::<16>(self.bytes(), SRC).into()
    }

    /// The destination address.
    pub fn dst(&self) -> Ipv6Addr {
        array_at::<16>(self.bytes(), DST).into()
    }

    /// All that follows the fixed header, extension headers included.
    pub fn payload(&self) -> &[u8] {
        &self.bytes()[HEADER_LEN..self.total_len()]
    }

    /// Walks over the extension headers. In a fragment that is not the first, what is found is a piece of the upper layer.
    ///
    /// # Errors
    /// [`Malformed::HeaderLength`] if an extension header leaves the packet or there are more than any honest sender needs.
    pub fn upper_layer(&self) -> Result<UpperLayer, Malformed> {
        let packet = &self.bytes()[..self.total_len()];
        let (mut next, mut offset, mut fragment) = (self.next_header(), HEADER_LEN, None);
        for _ in 0..=MAX_EXTENSIONS {
            if !matches!(next, HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | DESTINATION_OPTIONS) {
                return Ok(UpperLayer { protocol: next.into(), offset, fragment });
            }
            let header = packet.get(offset..offset + 8).ok_or(Malformed::HeaderLength)?;
            let len = match next {
                FRAGMENT => 8,
                AUTHENTICATION => (usize::from(header[1]) + 2) * 4,
                _ => (usize::from(header[1]) + 1) * 8,
            };
            if next == FRAGMENT {
                let field = u16_at(header, 2);
                let (identification, offset) = (u32_at(header, 4), usize::from(field & 0xfff8));
                fragment = Some(Fragment { identification, offset, more: field & 1 != 0 });
            }
            offset += len;
            next = header[0];
            if offset > packet.len() {
                return Err(Malformed::HeaderLength);
            }
            if fragment.is_some_and(|fragment| fragment.offset > 0) {
                return Ok(UpperLayer { protocol: next.into(), offset, fragment });
            }
        }
        Err(Malformed::HeaderLength)
    }

    fn bytes(&self) -> &[u8] {
        self.buffer.as_ref()
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Packet<T> {
    /// Writes a fixed header over the start of `buffer`: the whole buffer is the packet.
    ///
    /// # Errors
    /// [`Malformed::Truncated`] if the header does not fit, [`Malformed::Length`] if the payload is over 65,535 bytes long.
    pub fn init(mut buffer: T, src: Ipv6Addr, dst: Ipv6Addr, protocol: Protocol, hops: u8) -> Result<Self, Malformed> {
        let bytes = buffer.as_mut();
        let payload_len = bytes.len().checked_sub(HEADER_LEN).ok_or(Malformed::Truncated)?;
        let payload_len = u16::try_from(payload_len).map_err(|_| Malformed::Length)?;
        put_u32(bytes, 0, 0x6000_0000);
        put_u16(bytes, PAYLOAD_LEN, payload_len);
        bytes[NEXT_HEADER] = protocol.into();
        bytes[HOP_LIMIT] = hops;
        bytes[SRC..DST].copy_from_slice(&src.octets());
        bytes[DST..HEADER_LEN].copy_from_slice(&dst.octets());
        Ok(Self { buffer })
    }

    /// Sets the DSCP and ECN octet.
    pub fn set_traffic_class(&mut self, class: u8) {
        let word = u32_at(self.bytes(), 0) & 0xf00f_ffff | u32::from(class) << 20;
        put_u32(self.bytes_mut(), 0, word);
    }

    /// Sets the flow label, of which the low 20 bits count.
    pub fn set_flow_label(&mut self, label: u32) {
        let word = u32_at(self.bytes(), 0) & 0xfff0_0000 | label & 0x000f_ffff;
        put_u32(self.bytes_mut(), 0, word);
    }

    /// Sets the hop limit.
    pub fn set_hop_limit(&mut self, hops: u8) {
        self.bytes_mut()[HOP_LIMIT] = hops;
    }

    /// Takes one from the hop limit. At 0 or 1 it does nothing and returns false: the packet must not be forwarded
    /// (RFC 8200 §3).
    #[must_use]
    pub fn decrement_hop_limit(&mut self) -> bool {
        let hops = self.hop_limit();
        if hops > 1 {
            self.set_hop_limit(hops - 1);
        }
        hops > 1
    }

    /// Sets the source address. Checksums are left as they are; [`crate::edit`] corrects all of them.
    pub fn set_src(&mut self, src: Ipv6Addr) {
        self.bytes_mut()[SRC..DST].copy_from_slice(&src.octets());
    }

    /// Sets the destination address. Checksums are left as they are; [`crate::edit`] corrects all of them.
    pub fn set_dst(&mut self, dst: Ipv6Addr) {
        self.bytes_mut()[DST..HEADER_LEN].copy_from_slice(&dst.octets());
    }

    /// All that follows the fixed header, to be edited.
    pub fn payload_mut(&mut self) -> &mut [u8] {
        let range = HEADER_LEN..self.total_len();
        &mut self.bytes_mut()[range]
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        self.buffer.as_mut()
    }
}

#[cfg(test)]
mod tests;

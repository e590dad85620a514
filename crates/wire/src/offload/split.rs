//! A packet as the kernel left it at a TUN device, and the packets it stands for.

use core::net::IpAddr;

use super::{GSO_ECN, GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4, NEEDS_CSUM, TCP_CHECKSUM, UDP_CHECKSUM, VnetHdr};
use crate::checksum::{self, Sum};
use crate::{Malformed, Protocol};

/// TCP flags in byte 13 of the header.
const FIN: u8 = 0x01;
const PSH: u8 = 0x08;
const CWR: u8 = 0x80;

/// A packet from a TUN device, read as the segments that are to be sent.
///
/// A plain packet is one segment. Segments are written one by one to wherever they are wanted; nothing is allocated.
#[derive(Clone, Copy, Debug)]
pub struct Split<'a> {
    packet: &'a [u8],
    destination: IpAddr,
    work: Work,
}

#[derive(Clone, Copy, Debug)]
enum Work {
    /// It goes as it is.
    Whole,
    /// It goes whole, with the checksum at `field` filled in over all from `start`.
    Checksum { start: usize, field: usize },
    /// It is cut: `headers` bytes are repeated before each `size` bytes of what follows.
    Cut { transport: usize, headers: usize, size: usize, tcp: bool },
}

impl<'a> Split<'a> {
    /// Reads `packet`, which came with `vnet`.
    ///
    /// # Errors
    /// [`Malformed`] if it is no IP packet, or if the header names bytes that are not in it or an offload that is not known.
    pub fn new(vnet: &VnetHdr, packet: &'a [u8]) -> Result<Self, Malformed> {
        let destination = destination(packet)?;
        let start = usize::from(vnet.csum_start);
        let field = start + usize::from(vnet.csum_offset);
        let size = usize::from(vnet.gso_size);
        let work = match vnet.gso_type & !GSO_ECN {
            0 if vnet.flags & NEEDS_CSUM == 0 => Work::Whole,
            0 if field + 2 > packet.len() => return Err(Malformed::Length),
            0 => Work::Checksum { start, field },
            GSO_TCPV4 | GSO_TCPV6 => {
                let offset = *packet.get(start + 12).ok_or(Malformed::Truncated)?;
                let len = usize::from(offset >> 4) * 4;
                Work::Cut { transport: start, headers: start + len.max(20), size, tcp: true }
            }
            GSO_UDP_L4 => Work::Cut { transport: start, headers: start + 8, size, tcp: false },
            _ => return Err(Malformed::Version),
        };
        if let Work::Cut { transport, headers, size, .. } = work {
            let network = if destination.is_ipv4() { 20 } else { 40 };
            if size == 0 || transport < network || headers >= packet.len() {
                return Err(Malformed::HeaderLength);
            }
        }
        Ok(Self { packet, destination, work })
    }

    /// A packet that needs nothing.
    ///
    /// # Errors
    /// [`Malformed`] if it is no IP packet.
    pub fn whole(packet: &'a [u8]) -> Result<Self, Malformed> {
        Self::new(&VnetHdr::default(), packet)
    }

    /// Where it goes.
    pub fn destination(&self) -> IpAddr {
        self.destination
    }

    /// How many segments it is: at least one.
    pub fn count(&self) -> usize {
        match self.work {
            Work::Whole | Work::Checksum { .. } => 1,
            Work::Cut { headers, size, .. } => (self.packet.len() - headers).div_ceil(size),
        }
    }

    /// The length of segment `index`, in bytes.
    ///
    /// # Panics
    /// If there is no such segment.
    pub fn segment_len(&self, index: usize) -> usize {
        assert!(index < self.count(), "segment {index} of {}", self.count());
        match self.work {
            Work::Whole | Work::Checksum { .. } => self.packet.len(),
            Work::Cut { headers, size, .. } => headers + size.min(self.packet.len() - headers - index * size),
        }
    }

    /// Writes segment `index` to `out`, which has its length.
    ///
    /// # Panics
    /// If there is no such segment, or `out` has another length.
    pub fn write(&self, index: usize, out: &mut [u8]) {
        match self.work {
            Work::Whole => out.copy_from_slice(self.packet),
            Work::Checksum { start, field } => {
                out.copy_from_slice(self.packet);
                // The field holds the pseudo-header's sum, which so becomes part of what is summed.
                let sum = checksum::of(&out[start..]);
                put(out, field, sum_or_ffff(sum));
            }
            Work::Cut { transport, headers, size, tcp } => {
                let from = headers + index * size;
                let to = self.packet.len().min(from + size);
                let (head, body) = out.split_at_mut(headers);
                head.copy_from_slice(&self.packet[..headers]);
                body.copy_from_slice(&self.packet[from..to]);
                self.fix_network(index, transport, out);
                if tcp {
                    let last = to == self.packet.len();
                    fix_tcp(&mut out[transport..], index, index * size, last);
                } else {
                    let len = out.len() - transport;
                    put(out, transport + 4, len as u16);
                }
                self.fix_checksum(transport, tcp, out);
            }
        }
    }

    /// Lengths, identification and header checksum of the network layer.
    fn fix_network(&self, index: usize, transport: usize, out: &mut [u8]) {
        if self.destination.is_ipv4() {
            let len = out.len() as u16;
            put(out, 2, len);
            let id = u16::from_be_bytes([out[4], out[5]]).wrapping_add(index as u16);
            put(out, 4, id);
            put(out, 10, 0);
            let sum = checksum::of(&out[..transport]);
            put(out, 10, sum);
        } else {
            let len = (out.len() - 40) as u16;
            put(out, 4, len);
        }
    }

    fn fix_checksum(&self, transport: usize, tcp: bool, out: &mut [u8]) {
        let (protocol, field) = if tcp { (Protocol::Tcp, TCP_CHECKSUM) } else { (Protocol::Udp, UDP_CHECKSUM) };
        put(out, transport + field, 0);
        // The two addresses stand side by side in both headers.
        let addresses = if self.destination.is_ipv4() { 12..20 } else { 8..40 };
        let segment = &out[transport..];
        let sum = Sum::new().bytes(&out[addresses]).word(u16::from(u8::from(protocol))).long(segment.len() as u32);
        let sum = sum.bytes(segment).finish();
        put(out, transport + field, if tcp { sum } else { sum_or_ffff(sum) });
    }
}

/// Sequence number and flags of a TCP segment: FIN and PSH belong to the last, CWR to the first.
fn fix_tcp(tcp: &mut [u8], index: usize, offset: usize, last: bool) {
    let sequence = u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]).wrapping_add(offset as u32);
    tcp[4..8].copy_from_slice(&sequence.to_be_bytes());
    if !last {
        tcp[13] &= !(FIN | PSH);
    }
    if index != 0 {
        tcp[13] &= !CWR;
    }
}

/// A UDP checksum of zero would mean that there is none (RFC 768); for TCP both mean the same.
const fn sum_or_ffff(sum: u16) -> u16 {
    if sum == 0 { 0xffff } else { sum }
}

fn put(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

/// The destination of an IP packet whose fixed header is whole.
fn destination(packet: &[u8]) -> Result<IpAddr, Malformed> {
    match packet.first().ok_or(Malformed::Truncated)? >> 4 {
        4 => {
            let header = packet.first_chunk::<20>().ok_or(Malformed::Truncated)?;
            Ok(IpAddr::from([header[16], header[17], header[18], header[19]]))
        }
        6 => {
            let header = packet.first_chunk::<40>().ok_or(Malformed::Truncated)?;
            Ok(IpAddr::from(*header.last_chunk::<16>().ok_or(Malformed::Truncated)?))
        }
        _ => Err(Malformed::Version),
    }
}

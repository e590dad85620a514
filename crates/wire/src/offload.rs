//! Segmentation offload at a TUN device: one read or write carries up to 64 KiB of one TCP or UDP flow.
//!
//! A TUN device opened with `IFF_VNET_HDR` puts a [`VnetHdr`] before each packet (include/uapi/linux/virtio_net.h). On the
//! way out the kernel leaves to us what a network card would do: to cut a large packet into segments and to fill in
//! checksums. That is [`Split`]. On the way in it takes from us what a network card would give it: segments of one flow put
//! together. That is [`Coalescer`].
//!
//! Deliberately not here: tunnels inside the packet, SCTP, the old UDP fragmentation offload. The kernel is not asked for
//! them and so does not make them.

mod coalesce;
mod split;

pub use coalesce::{Coalescer, Group};
pub use split::Split;

use crate::checksum::Sum;
use crate::{Protocol, ip};

/// The checksum field holds the sum of the pseudo-header only (`VIRTIO_NET_HDR_F_NEEDS_CSUM`).
const NEEDS_CSUM: u8 = 1;
/// The checksum was looked at, and is right (`VIRTIO_NET_HDR_F_DATA_VALID`).
const DATA_VALID: u8 = 2;
/// `VIRTIO_NET_HDR_GSO_TCPV4`.
const GSO_TCPV4: u8 = 1;
/// `VIRTIO_NET_HDR_GSO_TCPV6`.
const GSO_TCPV6: u8 = 4;
/// `VIRTIO_NET_HDR_GSO_UDP_L4` (Linux 6.2).
const GSO_UDP_L4: u8 = 5;
/// `VIRTIO_NET_HDR_GSO_ECN`, a bit beside the type: the first segment carries CWR.
const GSO_ECN: u8 = 0x80;

/// Offset of the checksum in a TCP header.
const TCP_CHECKSUM: usize = 16;
/// Offset of the checksum in a UDP header.
const UDP_CHECKSUM: usize = 6;

/// What stands before each packet, `struct virtio_net_hdr`. Numbers have the byte order of the host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VnetHdr {
    /// `VIRTIO_NET_HDR_F_*`.
    pub flags: u8,
    /// `VIRTIO_NET_HDR_GSO_*`.
    pub gso_type: u8,
    /// Bytes of all headers together.
    pub hdr_len: u16,
    /// Payload bytes of each segment but the last.
    pub gso_size: u16,
    /// Where the checksummed part begins.
    pub csum_start: u16,
    /// Where in it the checksum is.
    pub csum_offset: u16,
}

impl VnetHdr {
    /// Its length in bytes.
    pub const LEN: usize = 10;

    /// Reads one from the start of `bytes`; `None` if they are too few.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.first_chunk::<{ Self::LEN }>()?;
        let number = |at: usize| u16::from_ne_bytes([bytes[at], bytes[at + 1]]);
        Some(Self {
            flags: bytes[0],
            gso_type: bytes[1],
            hdr_len: number(2),
            gso_size: number(4),
            csum_start: number(6),
            csum_offset: number(8),
        })
    }

    /// Its bytes.
    pub fn to_bytes(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        [bytes[0], bytes[1]] = [self.flags, self.gso_type];
        for (at, number) in [(2, self.hdr_len), (4, self.gso_size), (6, self.csum_start), (8, self.csum_offset)] {
            bytes[at..at + 2].copy_from_slice(&number.to_ne_bytes());
        }
        bytes
    }

    /// Whether the checksum field of the packet behind it holds the sum of the pseudo-header only: whoever sends the packet
    /// on as it is has to keep it so.
    pub const fn is_checksum_partial(&self) -> bool {
        self.flags & NEEDS_CSUM != 0
    }

    /// Whether whoever passed the packet on vouches for what the checksum would tell: it was looked at, or there is none yet
    /// because the packet has left no machine.
    pub const fn is_checksum_vouched_for(&self) -> bool {
        self.flags & (NEEDS_CSUM | DATA_VALID) != 0
    }

    /// Puts the sum of the pseudo-header into the checksum field again, after addresses or the length of `packet` were
    /// changed, whatever was done to that field. Ports are no part of it. Changes nothing if the checksum is a whole one.
    pub fn renew_partial_checksum(&self, packet: &mut [u8]) {
        let protocol = match usize::from(self.csum_offset) {
            TCP_CHECKSUM => Protocol::Tcp,
            UDP_CHECKSUM => Protocol::Udp,
            _ => return,
        };
        let Ok((src, dst)) = ip::Packet::new_checked(&*packet).map(|ip| (ip.src(), ip.dst())) else { return };
        let start = usize::from(self.csum_start);
        let Some(length) = packet.len().checked_sub(start).filter(|_| self.is_checksum_partial()) else { return };
        let sum = !Sum::pseudo_header(src, dst, protocol, length).finish();
        let at = start + usize::from(self.csum_offset);
        if let Some(field) = packet.get_mut(at..at + 2) {
            field.copy_from_slice(&sum.to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests;

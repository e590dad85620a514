//! Whether a packet is intact: what Linux asks once, when a packet arrives from a device, and only if `nf_conntrack_checksum`
//! says so. A packet that is not is INVALID.

use pinhole_wire::{Protocol, checksum::Sum, tcp, udp};

use super::{Upper, u16_at};
use crate::headers::Family;
use crate::settings::Settings;
use crate::tuple;

/// Whether the checksum of what an IP packet carries is right between these addresses, as far as it has one and Linux looks.
/// What is too short to have one is for the tracker to refuse.
#[inline]
pub fn checksum_is_right<A: Family>(upper: Upper<'_>, src: A, dst: A, settings: &Settings) -> bool {
    let Upper { protocol, body } = upper;
    match Protocol::from(protocol) {
        Protocol::Tcp => body.len() < tcp::HEADER_LEN || pseudo(upper, src, dst, body.len()),
        Protocol::Udp => {
            // Zero is "none", in IPv6 too: whether it may be absent is for the receiver to judge.
            body.len() < udp::HEADER_LEN || u16_at(body, 6) == Some(0) || pseudo(upper, src, dst, body.len())
        }
        Protocol::Icmp => Sum::new().bytes(body).is_valid(),
        Protocol::Icmpv6 => pseudo(upper, src, dst, body.len()),
        Protocol::Other(tuple::SCTP) => body.len() < 12 || sctp(body),
        Protocol::Other(tuple::UDP_LITE) if settings.personality.udp_lite => {
            // Linux takes UDP's number into the pseudo-header (`udplite_error`), so what RFC 3828 calls right is wrong.
            let as_udp = Upper { protocol: Protocol::Udp.into(), body };
            let coverage = match u16_at(body, 4) {
                None => return true,
                Some(0) => body.len(),
                Some(coverage) => usize::from(coverage),
            };
            coverage < udp::HEADER_LEN || coverage > body.len() || pseudo(as_udp, src, dst, coverage)
        }
        Protocol::Other(tuple::DCCP) if settings.personality.dccp => {
            // The lower nibble of octet 5 is the coverage in words, plus one; zero is all (RFC 4340 §9.2). Linux counts it
            // from the header on, not from the data on.
            let coverage = match body.get(5).map(|octet| octet & 0x0f) {
                None => return true,
                Some(0) => body.len(),
                Some(words) => (usize::from(words) - 1) * 4,
            };
            coverage > body.len() || pseudo(upper, src, dst, coverage)
        }
        Protocol::Other(_) => true,
    }
}

/// Whether the one's complement sum over the pseudo-header and the first `covered` bytes is right. The length in the
/// pseudo-header is what IP says, not what UDP says.
#[inline]
fn pseudo<A: Family>(upper: Upper<'_>, src: A, dst: A, covered: usize) -> bool {
    let header = A::pseudo_header(src, dst, upper.protocol, upper.body.len());
    header.bytes(&upper.body[..covered]).is_valid()
}

/// Whether SCTP's CRC32c is right (RFC 9260 §6.8, appendix A): computed with zero in its place, sent with the lowest octet first.
fn sctp(body: &[u8]) -> bool {
    sctp_checksum(body) == u32::from_le_bytes([body[8], body[9], body[10], body[11]])
}

/// The checksum of an SCTP packet of at least 12 bytes, whatever stands in its place.
pub(crate) fn sctp_checksum(body: &[u8]) -> u32 {
    !crc32c(crc32c(crc32c(!0, &body[..8]), &[0; 4]), &body[12..])
}

/// CRC32c of `bytes` after those that gave `crc`, reflected, polynomial 0x1EDC6F41.
fn crc32c(crc: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(crc, |crc, &byte| crc >> 8 ^ CRC32C[usize::from(crc as u8 ^ byte)])
}

/// What each octet adds.
static CRC32C: [u32; 256] = {
    let mut table = [0; 256];
    let mut octet = 0;
    while octet < 256 {
        let (mut crc, mut bit) = (octet as u32, 0);
        while bit < 8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
            bit += 1;
        }
        table[octet] = crc;
        octet += 1;
    }
    table
};

#[cfg(test)]
mod tests;

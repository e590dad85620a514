//! Makes a packet look like a tuple: one end's address and port, and every checksum that covers them
//! (`nf_nat_manip_pkt` in `net/netfilter/nf_nat_proto.c`).

use pinhole_wire::Protocol;

use super::Manip;
use crate::headers::{Family, Fragment, Headers, correct, difference};
use crate::settings::Personality;
use crate::track::sctp_checksum;
use crate::tuple::{DCCP, GRE, SCTP, Tuple, UDP_LITE};

/// Gives a packet the source or the destination of `target`, whose other end the packet has already. `headers` are the
/// packet's and follow it. The packet may be one that an ICMP error quotes, and end anywhere.
///
/// # Errors
/// If the packet ends within the first bytes of its transport header. It is as it was.
#[inline]
pub(crate) fn rewrite<A: Family>(
    packet: &mut [u8],
    headers: &mut Headers<A>,
    target: &Tuple<A>,
    manip: Manip,
    personality: &Personality,
) -> Result<(), TooShort> {
    let (old, new, id) = match manip {
        Manip::Source => (headers.src, target.src, target.src_id),
        Manip::Destination => (headers.dst, target.dst, target.dst_id),
    };
    if headers.fragment != Some(Fragment::Later) {
        let body = &mut packet[headers.offset..headers.end];
        if has_header::<A>(headers.protocol, personality) && body.len() < LEAST {
            return Err(TooShort);
        }
        let addresses = old.difference(new);
        match Protocol::from(headers.protocol) {
            Protocol::Tcp => ports(body, manip, id, addresses, Checksum { at: 16, header: 20, zero_is_none: false }),
            Protocol::Udp => ports(body, manip, id, addresses, Checksum { at: 6, header: 8, zero_is_none: true }),
            Protocol::Other(UDP_LITE) if personality.udp_lite => {
                ports(body, manip, id, addresses, Checksum { at: 6, header: 8, zero_is_none: false });
            }
            Protocol::Other(DCCP) if personality.dccp => {
                ports(body, manip, id, addresses, Checksum { at: 6, header: 12, zero_is_none: false });
            }
            Protocol::Other(SCTP) => stream(body, manip, id),
            Protocol::Other(GRE) => call(body, manip, id),
            protocol if protocol == A::ICMP => query::<A>(body, target.src_id, addresses),
            Protocol::Icmp | Protocol::Icmpv6 | Protocol::Other(_) => {}
        }
    }
    new.put(packet, manip);
    match manip {
        Manip::Source => headers.src = new,
        Manip::Destination => headers.dst = new,
    }
    Ok(())
}

/// A packet ends too early to be rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooShort;

/// As much of a transport header must be there, in bytes: what an ICMP error quotes at least (RFC 792).
const LEAST: usize = 8;

/// Whether a protocol has a header that is looked at.
#[inline]
fn has_header<A: Family>(protocol: u8, personality: &Personality) -> bool {
    match Protocol::from(protocol) {
        Protocol::Tcp | Protocol::Udp => true,
        Protocol::Icmp | Protocol::Icmpv6 => Protocol::from(protocol) == A::ICMP,
        Protocol::Other(other) => other == GRE || personality.has_ports(other),
    }
}

/// Where a protocol has its checksum.
struct Checksum {
    at: usize,
    /// As much of the packet must be there for the checksum to be corrected.
    header: usize,
    /// Whether zero means that there is none.
    zero_is_none: bool,
}

/// A protocol with two ports and a checksum over a pseudo-header.
#[inline]
fn ports(body: &mut [u8], manip: Manip, port: u16, addresses: u32, checksum: Checksum) {
    let at = field(manip);
    let Some(old) = put_u16(body, at, port) else { return };
    if body.len() < checksum.header {
        return;
    }
    let Some(sum) = u16_at(body, checksum.at) else { return };
    if checksum.zero_is_none && sum == 0 {
        return;
    }
    let corrected = correct(sum, addresses + difference(old, port));
    let zero = checksum.zero_is_none && corrected == 0;
    put_u16(body, checksum.at, if zero { 0xffff } else { corrected });
}

/// SCTP's checksum covers no address, but is no sum that could be corrected: it is made anew.
fn stream(body: &mut [u8], manip: Manip, port: u16) {
    if put_u16(body, field(manip), port).is_some() && body.len() >= 12 {
        let sum = sctp_checksum(body);
        body[8..12].copy_from_slice(&sum.to_le_bytes());
    }
}

/// PPTP's GRE names only its receiver's call (RFC 2637 §4.1).
fn call(body: &mut [u8], manip: Manip, key: u16) {
    let is_pptp = u16_at(body, 0).is_some_and(|flags| flags & 0x7 == 1);
    if is_pptp && manip == Manip::Destination {
        put_u16(body, 6, key);
    }
}

/// The identifier of an ICMP query, and ICMPv6's checksum, which covers the addresses.
fn query<A: Family>(body: &mut [u8], id: u16, addresses: u32) {
    let Some(&[message_type, _, a, b]) = body.first_chunk::<4>() else { return };
    let has_id = if A::IS_V4 { matches!(message_type, 0 | 8 | 13..=18) } else { matches!(message_type, 128 | 129) };
    let ids = if has_id { put_u16(body, 4, id).map_or(0, |old| difference(old, id)) } else { 0 };
    let covered = if A::IS_V4 { ids } else { ids + addresses };
    if covered != 0 {
        put_u16(body, 2, correct(u16::from_be_bytes([a, b]), covered));
    }
}

const fn field(manip: Manip) -> usize {
    match manip {
        Manip::Source => 0,
        Manip::Destination => 2,
    }
}

#[inline]
fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2).map(|field| u16::from_be_bytes([field[0], field[1]]))
}

/// Writes a field and gives what was there, if it is there.
#[inline]
fn put_u16(bytes: &mut [u8], at: usize, value: u16) -> Option<u16> {
    let field = bytes.get_mut(at..at + 2)?;
    let old = u16::from_be_bytes([field[0], field[1]]);
    field.copy_from_slice(&value.to_be_bytes());
    Some(old)
}

#[cfg(test)]
mod tests;

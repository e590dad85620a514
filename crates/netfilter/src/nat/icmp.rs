//! ICMP errors of translated flows: the packet they quote is translated back, and they seem to come from outside
//! (`nf_nat_icmp_reply_translation` and `nf_nat_icmpv6_reply_translation` in `net/netfilter/nf_nat_proto.c`).

use pinhole_wire::{Protocol, icmp};

use super::{Manip, rewrite};
use crate::headers::{Family, Headers};
use crate::settings::Personality;
use crate::status::{Direction, Status};
use crate::tuple::Tuple;

/// Why an ICMP error is dropped rather than translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorRefused {
    /// It is damaged: its checksum is wrong.
    Checksum,
    /// It is a redirect, and the way of a translated flow is nobody else's business.
    Redirect,
    /// What it quotes cannot be read.
    Quote,
}

/// Translates the ICMP error `packet` about a flow as a hook does that translates `manip`. `direction` is that of the error.
///
/// # Errors
/// Why it is to be dropped.
pub(crate) fn translate_error<A: Family>(
    packet: &mut [u8],
    headers: &mut Headers<A>,
    tuples: &[Tuple<A>; 2],
    status: Status,
    direction: Direction,
    manip: Manip,
    personality: &Personality,
) -> Result<(), ErrorRefused> {
    let (src, dst, protocol) = (headers.src, headers.dst, headers.protocol);
    let body = headers.body(packet);
    let sum = if A::IS_V4 { Default::default() } else { A::pseudo_header(src, dst, protocol, body.len()) };
    if body.len() < icmp::HEADER_LEN || !sum.bytes(body).is_valid() {
        return Err(ErrorRefused::Checksum);
    }
    let redirect = if A::IS_V4 { icmp::v4::REDIRECT } else { REDIRECT_V6 };
    if body[0] == redirect && (!status.contains(Status::NAT_DONE) || status.intersects(Status::NAT)) {
        return Err(ErrorRefused::Redirect);
    }
    if !is_translated(status, direction, manip) {
        return Ok(());
    }
    // The quoted packet went the other way, so what is a source out there is its destination.
    let other = &tuples[(!direction).index()];
    let (offset, end) = (headers.offset + icmp::HEADER_LEN, headers.end);
    let quote = &mut packet[offset..end];
    let mut quoted = A::quoted_headers(quote).map_err(|_| ErrorRefused::Quote)?;
    quoted.end = quoted.end.min(quote.len());
    rewrite(quote, &mut quoted, other, opposite(manip), personality).map_err(|_| ErrorRefused::Quote)?;

    let target = Tuple { src: other.dst, dst: other.src, src_id: 0, dst_id: 0, protocol };
    match manip {
        Manip::Source => headers.src = target.src,
        Manip::Destination => headers.dst = target.dst,
    }
    if manip == Manip::Source { target.src } else { target.dst }.put(packet, manip);
    packet[headers.offset + 2..headers.offset + 4].fill(0);
    let body = headers.body(packet);
    let sum = if A::IS_V4 {
        Default::default()
    } else {
        A::pseudo_header(headers.src, headers.dst, Protocol::Icmpv6.into(), body.len())
    };
    let checksum = sum.bytes(body).finish();
    packet[headers.offset + 2..headers.offset + 4].copy_from_slice(&checksum.to_be_bytes());
    Ok(())
}

/// ICMPv6's redirect (RFC 4861 §4.5).
const REDIRECT_V6: u8 = 137;

/// Whether packets of a direction are translated by a hook of this kind.
#[inline]
pub(crate) fn is_translated(status: Status, direction: Direction, manip: Manip) -> bool {
    let bit = match (manip, direction) {
        (Manip::Source, Direction::Original) | (Manip::Destination, Direction::Reply) => Status::SRC_NAT,
        (Manip::Destination, Direction::Original) | (Manip::Source, Direction::Reply) => Status::DST_NAT,
    };
    status.contains(bit)
}

const fn opposite(manip: Manip) -> Manip {
    match manip {
        Manip::Source => Manip::Destination,
        Manip::Destination => Manip::Source,
    }
}

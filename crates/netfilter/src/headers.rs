//! What the engine reads of a packet's IP headers, once, and how it writes there.
//!
//! [`Family`] is what differs between IPv4 and IPv6; everything above it is written once.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use pinhole_wire::checksum::Sum;
use pinhole_wire::{Malformed, Protocol, checksum, icmp, ipv4, ipv6};

use crate::fragment::Fragmented;
use crate::nat::Manip;
use crate::plain::Plain;
use crate::tuple::{Address, GRE, Tuple};

/// The IP headers of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headers<A> {
    /// Who sends.
    pub src: A,
    /// To whom.
    pub dst: A,
    /// What is carried: an IP protocol number.
    pub protocol: u8,
    /// Time to live or hop limit.
    pub ttl: u8,
    /// Where the transport header begins, in bytes.
    pub offset: usize,
    /// Where the packet ends as IP says, in bytes.
    pub end: usize,
    /// Whether it is a fragment, and if so which.
    pub fragment: Option<Fragment>,
}

/// Which fragment of a packet it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fragment {
    /// The one with the transport header.
    First,
    /// Any other.
    Later,
}

/// What differs between the families.
pub trait Family: Address + Fragmented + Plain {
    /// Reads the IP headers. IPv4's checksum must be right.
    ///
    /// # Errors
    /// What is wrong with the headers; [`Malformed::Length`] too for a wrong header checksum.
    fn headers(packet: &[u8]) -> Result<Headers<Self>, Malformed>;

    /// Reads the IP headers of a packet that an ICMP error quotes: it may be cut, and its checksum is not looked at.
    ///
    /// # Errors
    /// What is wrong with the headers.
    fn quoted_headers(quote: &[u8]) -> Result<Headers<Self>, Malformed>;

    /// Writes this address over the source or the destination, IPv4's checksum included. `packet` begins with a header
    /// that [`headers`](Self::headers) or [`quoted_headers`](Self::quoted_headers) could read.
    fn put(self, packet: &mut [u8], end: Manip);

    /// Takes one from the time to live or hop limit, which is at least one, IPv4's checksum included.
    fn decrement_ttl(packet: &mut [u8]);

    /// Whether an address can be one host's, beyond doubt.
    fn is_unicast(self) -> bool;

    /// Whether an address is that of all of a network, or of a group.
    fn is_many(self) -> bool;

    /// Whether it is that of a group which every router is in.
    fn is_joined(self) -> bool;

    /// Whether what comes in from an address of the router's own is refused (`fib_validate_source`); IPv6 does not look.
    const REFUSES_ITSELF: bool;

    /// Whether an address is known on its own link only, so that no route leads there through another one.
    fn is_of_link(self) -> bool;

    /// Whether a packet with these ends is lost before any hook sees it.
    fn is_lost(src: Self, dst: Self) -> bool;

    /// Whether a packet from here may go to `dst`, or even to this host.
    fn may_reach(self, dst: Self) -> bool;

    /// Whether a packet from here may leave its network.
    fn may_leave(self) -> bool;

    /// By how much a checksum's complement changes when `self` becomes `new`: to be given to [`correct`].
    fn difference(self, new: Self) -> u32;

    /// The sum of the pseudo-header of a transport protocol.
    fn pseudo_header(src: Self, dst: Self, protocol: u8, length: usize) -> Sum {
        Sum::pseudo_header(src.into(), dst.into(), Protocol::from(protocol), length)
    }

    /// Whether an ICMP message of this type quotes a packet, as far as conntrack is concerned.
    fn is_icmp_error(message_type: u8) -> bool;
}

/// `checksum` after a change of which `difference` is the one's complement sum of the new words and the complements of
/// the old ones (RFC 1624 equation 3).
pub(crate) const fn correct(checksum: u16, difference: u32) -> u16 {
    let mut sum = !checksum as u32 + (difference & 0xffff) + (difference >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    !(sum as u16)
}

/// The difference that replacing `old` by `new` makes.
pub(crate) const fn difference(old: u16, new: u16) -> u32 {
    (!old as u32 & 0xffff) + new as u32
}

impl Family for Ipv4Addr {
    #[inline]
    fn headers(packet: &[u8]) -> Result<Headers<Self>, Malformed> {
        let headers = read_v4(packet)?;
        let &[a, b] = packet[2..4].first_chunk().ok_or(Malformed::Truncated)?;
        let total = usize::from(u16::from_be_bytes([a, b]));
        if total < headers.offset || total > packet.len() {
            return Err(Malformed::Length);
        }
        if checksum::of(&packet[..headers.offset]) != 0 {
            return Err(Malformed::Length);
        }
        Ok(Headers { end: total, ..headers })
    }

    fn quoted_headers(quote: &[u8]) -> Result<Headers<Self>, Malformed> {
        read_v4(quote)
    }

    #[inline]
    fn put(self, packet: &mut [u8], end: Manip) {
        let at = match end {
            Manip::Source => 12,
            Manip::Destination => 16,
        };
        let Some(field) = packet[at..].first_chunk_mut::<4>() else { return };
        let old = Self::from_octets(*field);
        *field = self.octets();
        let sum = u16::from_be_bytes([packet[10], packet[11]]);
        packet[10..12].copy_from_slice(&correct(sum, old.difference(self)).to_be_bytes());
    }

    #[inline]
    fn decrement_ttl(packet: &mut [u8]) {
        let [ttl, _, a, b] = &mut packet[8..12] else { return };
        *ttl = ttl.wrapping_sub(1);
        // The time to live is the upper octet of its word: one less, and the checksum is one more there.
        let sum = u32::from(u16::from_be_bytes([*a, *b])) + 0x100;
        // Of the two zeros of one's complement, a sum over a header is never 0xffff (`ip_decrease_ttl`).
        [*a, *b] = ((sum + u32::from(sum >= 0xffff)) as u16).to_be_bytes();
    }

    #[inline]
    fn is_unicast(self) -> bool {
        // 0.0.0.0/8 is like any other network since Linux 5.3.
        !matches!(self.octets()[0], 127 | 224..=239) && !self.is_unspecified() && self != Self::BROADCAST
    }

    fn is_many(self) -> bool {
        self.is_multicast() || self.is_broadcast() || self.is_unspecified()
    }

    /// All hosts (RFC 1112 §4).
    fn is_joined(self) -> bool {
        !self.is_multicast() || self.octets() == [224, 0, 0, 1]
    }

    const REFUSES_ITSELF: bool = true;

    /// The kernel routes 169.254.0.0/16 as any other network.
    fn is_of_link(self) -> bool {
        false
    }

    fn is_lost(_: Self, _: Self) -> bool {
        false
    }

    /// The kernel's martians (`ip_route_input_slow`, `ip_mc_validate_source`). Who has no address yet may only speak to
    /// those on its network.
    fn may_reach(self, dst: Self) -> bool {
        if self.is_multicast() || self.is_broadcast() || self.is_loopback() || dst.is_loopback() {
            return false;
        }
        if !self.is_unspecified() {
            return !dst.is_unspecified();
        }
        dst.is_broadcast() || dst.is_unspecified() || matches!(dst.octets(), [224, 0, 0, _])
    }

    fn may_leave(self) -> bool {
        true
    }

    #[inline]
    fn difference(self, new: Self) -> u32 {
        let (old, new) = (!self.to_bits(), new.to_bits());
        (old >> 16) + (old & 0xffff) + (new >> 16) + (new & 0xffff)
    }

    #[inline]
    fn pseudo_header(src: Self, dst: Self, protocol: u8, length: usize) -> Sum {
        Sum::new().long(src.to_bits()).long(dst.to_bits()).word(protocol.into()).word(length as u16)
    }

    fn is_icmp_error(message_type: u8) -> bool {
        use icmp::v4::{PARAMETER_PROBLEM, REDIRECT, SOURCE_QUENCH, TIME_EXCEEDED, UNREACHABLE};
        matches!(message_type, UNREACHABLE | SOURCE_QUENCH | REDIRECT | TIME_EXCEEDED | PARAMETER_PROBLEM)
    }
}

#[inline]
fn read_v4(packet: &[u8]) -> Result<Headers<Ipv4Addr>, Malformed> {
    let header = packet.first_chunk::<{ ipv4::HEADER_LEN }>().ok_or(Malformed::Truncated)?;
    if header[0] >> 4 != 4 {
        return Err(Malformed::Version);
    }
    let offset = usize::from(header[0] & 0xf) * 4;
    if offset < ipv4::HEADER_LEN || offset > packet.len() {
        return Err(Malformed::HeaderLength);
    }
    let place = u16::from_be_bytes([header[6], header[7]]);
    let fragment = match (place & 0x1fff, place & 0x2000) {
        (0, 0) => None,
        (0, _) => Some(Fragment::First),
        (_, _) => Some(Fragment::Later),
    };
    let address = |at: usize| Ipv4Addr::new(header[at], header[at + 1], header[at + 2], header[at + 3]);
    let (src, dst) = (address(12), address(16));
    Ok(Headers { src, dst, protocol: header[9], ttl: header[8], offset, end: packet.len(), fragment })
}

impl Family for Ipv6Addr {
    fn headers(packet: &[u8]) -> Result<Headers<Self>, Malformed> {
        let ip = ipv6::Packet::new_checked(packet)?;
        let upper = ip.upper_layer()?;
        let fragment = upper.fragment.map(|place| if place.offset == 0 { Fragment::First } else { Fragment::Later });
        Ok(Headers {
            src: ip.src(),
            dst: ip.dst(),
            protocol: upper.protocol.into(),
            ttl: ip.hop_limit(),
            offset: upper.offset,
            end: ip.total_len(),
            fragment,
        })
    }

    fn quoted_headers(quote: &[u8]) -> Result<Headers<Self>, Malformed> {
        // The length is that of the whole packet. A header that claims no more than what is there reads the same.
        let mut head = [0; MAX_QUOTE];
        let len = quote.len().min(MAX_QUOTE);
        let room = len.checked_sub(ipv6::HEADER_LEN).ok_or(Malformed::Truncated)?;
        head[..len].copy_from_slice(&quote[..len]);
        let claimed = usize::from(u16::from_be_bytes([head[4], head[5]])).min(room) as u16;
        head[4..6].copy_from_slice(&claimed.to_be_bytes());
        Self::headers(&head[..len]).map(|headers| Headers { end: quote.len(), ..headers })
    }

    fn put(self, packet: &mut [u8], end: Manip) {
        let at = match end {
            Manip::Source => 8,
            Manip::Destination => 24,
        };
        if let Some(field) = packet[at..].first_chunk_mut::<16>() {
            *field = self.octets();
        }
    }

    fn decrement_ttl(packet: &mut [u8]) {
        if let Some(hops) = packet.get_mut(7) {
            *hops = hops.wrapping_sub(1);
        }
    }

    fn is_unicast(self) -> bool {
        !(self.is_multicast() || self.is_unspecified() || self.is_loopback() || self.is_unicast_link_local())
    }

    fn is_many(self) -> bool {
        self.is_multicast()
    }

    /// All nodes and all routers of a link (RFC 4291 §2.7.1). That a host is in the groups of its own addresses is an affair
    /// of links with neighbours to discover.
    fn is_joined(self) -> bool {
        !self.is_multicast() || matches!(self.segments(), [0xff02, 0, 0, 0, 0, 0, 0, 1 | 2])
    }

    const REFUSES_ITSELF: bool = false;

    fn is_of_link(self) -> bool {
        self.is_unicast_link_local()
    }

    /// A group as a source, the loopback address, and groups of no scope or of this host's alone (`ip6_rcv_core`).
    fn is_lost(src: Self, dst: Self) -> bool {
        let is_of_no_link = dst.is_multicast() && dst.octets()[1] & 0xf <= 1;
        src.is_multicast() || src.is_loopback() || dst.is_loopback() || is_of_no_link
    }

    fn may_reach(self, _: Self) -> bool {
        true
    }

    /// Not from nobody, nor from an address that only its link knows (`ip6_forward`).
    fn may_leave(self) -> bool {
        !(self.is_unspecified() || self.is_of_link())
    }

    fn difference(self, new: Self) -> u32 {
        let words = self.segments().into_iter().zip(new.segments());
        words.map(|(old, new)| difference(old, new)).sum()
    }

    fn is_icmp_error(message_type: u8) -> bool {
        message_type < 128
    }
}

/// As much of a quoted IPv6 packet as is looked at: its header and a few extension headers.
const MAX_QUOTE: usize = 256;

impl<A: Family> Headers<A> {
    /// The transport header and what it carries.
    pub fn body<'a>(&self, packet: &'a [u8]) -> &'a [u8] {
        &packet[self.offset..self.end]
    }

    /// The tuple of the packet (`nf_ct_get_tuple`), unless its transport header is cut off before the fields.
    #[inline]
    pub fn tuple(&self, packet: &[u8]) -> Option<Tuple<A>> {
        let body = packet.get(self.offset..self.end)?;
        let (src_id, dst_id) = ids::<A>(self.protocol, body)?;
        Some(Tuple { src: self.src, dst: self.dst, src_id, dst_id, protocol: self.protocol })
    }
}

/// The two fields that name a flow beside the addresses.
#[inline]
fn ids<A: Family>(protocol: u8, body: &[u8]) -> Option<(u16, u16)> {
    let field = |at: usize| Some(u16::from_be_bytes(*body.get(at..)?.first_chunk()?));
    match protocol {
        6 | 17 | crate::tuple::SCTP | crate::tuple::DCCP | crate::tuple::UDP_LITE => Some((field(0)?, field(2)?)),
        GRE => {
            // Version 1 is PPTP's (RFC 2637 §4.1), and names its receiver's call. Other GRE has no keys for conntrack, nor
            // has one that is cut off (`gre_pkt_to_tuple`).
            match (body.first_chunk::<4>(), field(6)) {
                (Some(&[_, version, kind @ ..]), Some(call)) if version & 0x7 == 1 => {
                    (kind == PPP).then_some((0, call))
                }
                (Some(_) | None, _) => Some((0, 0)),
            }
        }
        _ if Protocol::from(protocol) == A::ICMP => {
            field(6)?;
            Some((field(4)?, field(0)?))
        }
        _ => Some((0, 0)),
    }
}

/// What PPTP's GRE carries.
const PPP: [u8; 2] = 0x880b_u16.to_be_bytes();

/// The address of either family behind a generic one.
pub(crate) fn ip<A: Address>(address: A) -> IpAddr {
    address.into()
}

#[cfg(test)]
mod tests;

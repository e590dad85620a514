//! Fragments of IPv6 (RFC 8200 §4.5).

use core::net::Ipv6Addr;
use core::time::Duration;

use pinhole_wire::{Protocol, icmp, ipv6, tcp, udp};

use super::cut::Piece;
use super::{Fragmented, LIFE_V6, Part};
use crate::headers::Headers;

/// Extension headers (RFC 8200 §4, RFC 4302).
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION_OPTIONS: u8 = 60;
/// The length of a fragment header, in bytes.
const FRAGMENT_LEN: usize = 8;
/// Where the fixed header says what follows it.
const NEXT_HEADER: usize = 6;
/// No payload is longer.
const MAX_PAYLOAD: usize = 65_535;
/// Congestion experienced (RFC 3168 §5).
const CE: u8 = 3;

impl Fragmented for Ipv6Addr {
    const LIFE: Duration = LIFE_V6;
    const CUTS_UNALIGNED: bool = false;

    fn part(packet: &[u8], headers: &Headers<Self>) -> Option<Part> {
        headers.fragment?;
        let ip = ipv6::Packet::new_checked(packet).ok()?;
        let (_, head) = fragment_header(packet)?;
        let header = packet.get(head..head + FRAGMENT_LEN)?;
        let place = u16::from_be_bytes([header[2], header[3]]);
        let offset = usize::from(place & 0xfff8);
        Some(Part {
            id: u32::from_be_bytes([header[4], header[5], header[6], header[7]]),
            protocol: 0,
            offset,
            more: place & 1 != 0,
            head,
            body: head + FRAGMENT_LEN,
            ecn: 1 << (ip.traffic_class() & 3),
            dont_fragment: false,
            is_cut_short: offset == 0 && headers.offset + least(headers.protocol) > headers.end,
        })
    }

    fn is_per_link(self) -> bool {
        self.is_multicast() || self.is_unicast_link_local()
    }

    fn join(packet: &mut [u8], first: &[u8], head: usize, congested: bool, _: bool) -> bool {
        let Some(payload) = packet.len().checked_sub(ipv6::HEADER_LEN).filter(|&payload| payload <= MAX_PAYLOAD) else {
            return false;
        };
        let Some((says, _)) = fragment_header(first) else { return false };
        packet[4..6].copy_from_slice(&(payload as u16).to_be_bytes());
        packet[says] = first[head];
        let Ok(mut ip) = ipv6::Packet::new_checked(packet) else { return false };
        if congested {
            ip.set_traffic_class(ip.traffic_class() | CE);
        }
        true
    }

    fn unfragmentable(packet: &[u8]) -> Option<(usize, usize)> {
        last_of_all(packet).map(|(_, head)| (head, FRAGMENT_LEN))
    }

    fn cut(packet: &mut [u8], whole: &[u8], head: usize, piece: Piece) {
        let Some((says, _)) = last_of_all(whole) else { return };
        let payload = (packet.len() - ipv6::HEADER_LEN) as u16;
        packet[4..6].copy_from_slice(&payload.to_be_bytes());
        packet[says] = FRAGMENT;
        let header = &mut packet[head..head + FRAGMENT_LEN];
        header[..2].copy_from_slice(&[whole[says], 0]);
        header[2..4].copy_from_slice(&(piece.offset as u16 & 0xfff8 | u16::from(!piece.is_last)).to_be_bytes());
        header[4..].copy_from_slice(&piece.id.to_be_bytes());
    }
}

/// How many bytes of an upper layer the first fragment must hold (`ipv6frag_thdr_truncated`).
fn least(protocol: u8) -> usize {
    match Protocol::from(protocol) {
        Protocol::Tcp => tcp::HEADER_LEN,
        Protocol::Udp => udp::HEADER_LEN,
        Protocol::Icmpv6 => icmp::HEADER_LEN,
        Protocol::Icmp | Protocol::Other(_) => 1,
    }
}

/// Where the header before the fragment header says what follows it, and where the fragment header is.
fn fragment_header(packet: &[u8]) -> Option<(usize, usize)> {
    let (mut says, mut at) = (NEXT_HEADER, ipv6::HEADER_LEN);
    loop {
        match *packet.get(says)? {
            FRAGMENT => return Some((says, at)),
            kind @ (HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS | AUTHENTICATION) => {
                says = at;
                at += length(kind, *packet.get(at + 1)?);
            }
            _ => return None,
        }
    }
}

/// Where the last of the headers that every piece must have says what follows it, and where they end
/// (`ip6_find_1stfragopt`).
fn last_of_all(packet: &[u8]) -> Option<(usize, usize)> {
    let (mut says, mut at, mut has_routing) = (NEXT_HEADER, ipv6::HEADER_LEN, false);
    loop {
        match *packet.get(says)? {
            DESTINATION_OPTIONS if has_routing => return Some((says, at)),
            kind @ (HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS) => {
                has_routing |= kind == ROUTING;
                says = at;
                at += length(kind, *packet.get(at + 1)?);
            }
            _ => return (at <= packet.len()).then_some((says, at)),
        }
    }
}

/// The length of an extension header that says so of its own, in bytes.
fn length(kind: u8, says: u8) -> usize {
    if kind == AUTHENTICATION { (usize::from(says) + 2) * 4 } else { (usize::from(says) + 1) * 8 }
}

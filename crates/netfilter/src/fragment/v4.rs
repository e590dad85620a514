//! Fragments of IPv4 (RFC 791 §3.2).

use core::net::Ipv4Addr;
use core::time::Duration;

use pinhole_wire::ipv4;

use super::cut::Piece;
use super::{Fragmented, LIFE_V4, Part};
use crate::headers::Headers;

/// No packet is longer.
const MAX_LEN: usize = 65_535;
/// Congestion experienced (RFC 3168 §5).
const CE: u8 = 3;
/// The option that ends the list, and the one that fills space (RFC 791 §3.1).
const END: u8 = 0;
const NO_OPERATION: u8 = 1;
/// Options with this bit go with every fragment.
const COPIED: u8 = 0x80;

impl Fragmented for Ipv4Addr {
    const LIFE: Duration = LIFE_V4;
    const CUTS_UNALIGNED: bool = true;

    fn part(packet: &[u8], headers: &Headers<Self>) -> Option<Part> {
        headers.fragment?;
        let ip = ipv4::Packet::new_checked(packet).ok()?;
        Some(Part {
            id: ip.identification().into(),
            protocol: headers.protocol,
            offset: ip.fragment_offset(),
            more: ip.more_fragments(),
            head: headers.offset,
            body: headers.offset,
            ecn: 1 << (ip.traffic_class() & 3),
            dont_fragment: ip.dont_fragment(),
            is_cut_short: false,
        })
    }

    fn is_per_link(self) -> bool {
        false
    }

    fn join(packet: &mut [u8], _: &[u8], _: usize, congested: bool, dont_fragment: bool) -> bool {
        if packet.len() > MAX_LEN {
            return false;
        }
        let length = (packet.len() as u16).to_be_bytes();
        packet[2..4].copy_from_slice(&length);
        let Ok(mut ip) = ipv4::Packet::new_checked(packet) else { return false };
        if congested {
            ip.set_traffic_class(ip.traffic_class() | CE);
        }
        ip.set_fragment(0, false);
        ip.set_dont_fragment(dont_fragment);
        ip.fill_checksum();
        true
    }

    fn unfragmentable(packet: &[u8]) -> Option<(usize, usize)> {
        ipv4::Packet::new_checked(packet).ok().map(|ip| (ip.header_len(), 0))
    }

    fn cut(packet: &mut [u8], whole: &[u8], head: usize, piece: Piece) {
        let Ok(ip) = ipv4::Packet::new_checked(whole) else { return };
        let (start, more) = (ip.fragment_offset(), ip.more_fragments());
        let length = (packet.len() as u16).to_be_bytes();
        packet[2..4].copy_from_slice(&length);
        if piece.offset > 0 && start == 0 {
            drop_options(&mut packet[ipv4::HEADER_LEN..head]);
        }
        let Ok(mut ip) = ipv4::Packet::new_checked(&mut packet[..]) else { return };
        ip.set_fragment(start + piece.offset, more || !piece.is_last);
        ip.set_dont_fragment(piece.dont_fragment);
        ip.fill_checksum();
    }
}

/// Overwrites the options that only the first fragment has (`ip_options_fragment`). The header keeps its length.
fn drop_options(mut options: &mut [u8]) {
    while let Some(&kind) = options.first() {
        let length = match (kind, options.get(1)) {
            (END, _) => return,
            (NO_OPERATION, _) => 1,
            (_, Some(&length)) => usize::from(length),
            (_, None) => return,
        };
        if length == 0 || length > options.len() || kind != NO_OPERATION && length < 2 {
            return;
        }
        let (option, rest) = options.split_at_mut(length);
        if kind & COPIED == 0 {
            option.fill(NO_OPERATION);
        }
        options = rest;
    }
}

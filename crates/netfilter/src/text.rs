//! What a helper changes of a packet: its text, and with it lengths, checksums and sequence numbers
//! (`nf_nat_mangle_tcp_packet` and `nf_nat_mangle_udp_packet` in `net/netfilter/nf_nat_helper.c`,
//! `nf_ct_seq_adjust` in `nf_conntrack_seqadj.c`).

use pinhole_wire::{Protocol, ipv4, ipv6, tcp, udp};

use crate::headers::{Family, Headers, correct, difference};
use crate::helper::Outcome;
use crate::seqadj::Seqadj;
use crate::status::Direction;

/// The longest IP packet, in bytes.
const LONGEST: usize = 65_535;
/// The option that carries blocks that have arrived (RFC 2018 §3).
const SACK: u8 = 5;

/// The sequence number of a TCP segment.
pub(crate) fn seq<A: Family>(packet: &[u8], headers: &Headers<A>) -> Option<u32> {
    if Protocol::from(headers.protocol) != Protocol::Tcp {
        return None;
    }
    tcp::Packet::new_checked(headers.body(packet)).ok().map(|segment| segment.seq())
}

/// Replaces parts of the payload of a TCP segment or UDP datagram, and says by how much it has grown. Nothing, and the
/// packet is as it was, if it would be longer than IP allows or is neither.
///
/// Linux shows ICMP errors about a flow of UDP to its helper too, takes them for datagrams, and makes of the field behind
/// their checksum a length and a checksum (measured on 6.18): so it is here.
pub(crate) fn replace<A: Family>(packet: &mut Vec<u8>, headers: &mut Headers<A>, outcome: &Outcome<A>) -> Option<i32> {
    let body = headers.body(packet);
    let header = match Protocol::from(headers.protocol) {
        Protocol::Tcp => tcp::Packet::new_checked(body).ok()?.header_len(),
        Protocol::Udp | Protocol::Icmp | Protocol::Icmpv6 if body.len() >= udp::HEADER_LEN => udp::HEADER_LEN,
        Protocol::Udp | Protocol::Icmp | Protocol::Icmpv6 | Protocol::Other(_) => return None,
    };
    let payload = outcome.apply(&body[header..]);
    let start = headers.offset + header;
    let (old_end, new_end) = (headers.end, start + payload.len());
    if new_end > LONGEST {
        return None;
    }
    let had_checksum = Protocol::from(headers.protocol) == Protocol::Tcp || body[6..8] != [0, 0];
    packet.truncate(start);
    packet.extend_from_slice(&payload);
    headers.end = new_end;
    set_length::<A>(packet, new_end);
    if Protocol::from(headers.protocol) != Protocol::Tcp {
        let length = (new_end - headers.offset) as u16;
        packet[headers.offset + 4..headers.offset + 6].copy_from_slice(&length.to_be_bytes());
    }
    if had_checksum {
        fill_checksum(packet, headers);
    }
    Some((new_end as i64 - old_end as i64) as i32)
}

/// Gives a packet another destination port.
pub(crate) fn set_destination_port<A: Family>(packet: &mut [u8], headers: &Headers<A>, port: u16) {
    let Some(field) = packet.get_mut(headers.offset + 2..headers.offset + 4) else { return };
    field.copy_from_slice(&port.to_be_bytes());
    let has_checksum = match Protocol::from(headers.protocol) {
        Protocol::Tcp => headers.end - headers.offset >= tcp::HEADER_LEN,
        Protocol::Udp => packet.get(headers.offset + 6..headers.offset + 8).is_some_and(|sum| sum != [0, 0]),
        Protocol::Icmp | Protocol::Icmpv6 | Protocol::Other(_) => false,
    };
    if has_checksum {
        fill_checksum(packet, headers);
    }
}

/// Shifts the sequence number of a TCP segment, and what it acknowledges. `false` if the packet is to be dropped: it ends
/// before its options do, or an option is not whole.
///
/// Linux does so to ICMP errors about the reply direction as well, as if they were segments, and spoils what they quote (measured on
/// 6.18): so it is here.
pub(crate) fn adjust<A: Family>(
    packet: &mut [u8],
    headers: &Headers<A>,
    seqadj: &Seqadj,
    direction: Direction,
) -> bool {
    let body = &mut packet[headers.offset..headers.end];
    if body.len() < tcp::HEADER_LEN {
        return false;
    }
    let word = |body: &[u8], at: usize| u32::from_be_bytes([body[at], body[at + 1], body[at + 2], body[at + 3]]);
    let (seq, ack, header) = (word(body, 4), word(body, 8), usize::from(body[12] >> 4) * 4);
    let (new_seq, new_ack) = (seqadj.adjust_seq(direction, seq), seqadj.adjust_ack(direction, ack));
    let has_ack = body[13] & tcp::Flags::ACK.0 != 0;
    let mut checksum = correct_u32(u16::from_be_bytes([body[16], body[17]]), seq, new_seq);
    body[4..8].copy_from_slice(&new_seq.to_be_bytes());
    if has_ack {
        checksum = correct_u32(checksum, ack, new_ack);
        body[8..12].copy_from_slice(&new_ack.to_be_bytes());
    }
    body[16..18].copy_from_slice(&checksum.to_be_bytes());
    if !has_ack {
        return true;
    }
    if header > body.len() {
        return false;
    }
    adjust_sack(body, header, seqadj, direction)
}

/// Shifts the edges of what has arrived (`nf_ct_sack_adjust`). `false` at an option that is not whole.
fn adjust_sack(body: &mut [u8], header: usize, seqadj: &Seqadj, direction: Direction) -> bool {
    /// Bytes of a block.
    const BLOCK: usize = 8;
    let mut checksum = u16::from_be_bytes([body[16], body[17]]);
    let mut at = tcp::HEADER_LEN;
    while at < header {
        match body[at] {
            0 => break,
            1 => {
                at += 1;
                continue;
            }
            _ => {}
        }
        if at + 1 == header {
            return false;
        }
        let (kind, length) = (body[at], usize::from(body[at + 1]));
        if length < 2 || at + length > header {
            return false;
        }
        let blocks = length - 2;
        if kind == SACK && blocks >= BLOCK && blocks % BLOCK == 0 {
            for edge in (at + 2..at + length).step_by(BLOCK / 2) {
                let old = u32::from_be_bytes([body[edge], body[edge + 1], body[edge + 2], body[edge + 3]]);
                let new = seqadj.adjust_ack(direction, old);
                body[edge..edge + 4].copy_from_slice(&new.to_be_bytes());
                // An edge may begin at an odd place, where every octet counts in the other half of a word.
                let [old, new] = [old, new].map(|number| if edge % 2 == 0 { number } else { number.rotate_left(8) });
                checksum = correct_u32(checksum, old, new);
            }
            body[16..18].copy_from_slice(&checksum.to_be_bytes());
        }
        at += length;
    }
    true
}

const fn correct_u32(checksum: u16, old: u32, new: u32) -> u16 {
    let low = difference(old as u16, new as u16);
    correct(checksum, difference((old >> 16) as u16, (new >> 16) as u16) + low)
}

/// Writes the length of an IP packet, IPv4's checksum included.
pub(crate) fn set_length<A: Family>(packet: &mut [u8], length: usize) {
    if A::IS_V4 {
        packet[2..4].copy_from_slice(&(length as u16).to_be_bytes());
        if let Ok(mut ip) = ipv4::Packet::new_checked(packet) {
            ip.fill_checksum();
        }
    } else {
        packet[4..6].copy_from_slice(&((length - ipv6::HEADER_LEN) as u16).to_be_bytes());
    }
}

fn fill_checksum<A: Family>(packet: &mut [u8], headers: &Headers<A>) {
    let (src, dst) = (headers.src.into(), headers.dst.into());
    let body = &mut packet[headers.offset..headers.end];
    match Protocol::from(headers.protocol) {
        Protocol::Tcp => {
            if let Ok(mut segment) = tcp::Packet::new_checked(body) {
                segment.fill_checksum(src, dst);
            }
        }
        Protocol::Udp | Protocol::Icmp | Protocol::Icmpv6 => {
            if let Ok(mut datagram) = udp::Packet::new_checked(body) {
                datagram.fill_checksum(src, dst);
            }
        }
        Protocol::Other(_) => {}
    }
}

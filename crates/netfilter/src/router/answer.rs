//! What a router says to the sender of a packet: ICMP errors, and TCP resets where a rule asks for one.

use core::net::IpAddr;

use pinhole_wire::answer::Trouble;
use pinhole_wire::{answer, build, ip, tcp};

use super::{Outbox, Packet};
use crate::headers::{Family, Headers};
use crate::interface::{Interface, InterfaceId};
use crate::rules::Reject;

/// The time to live of answers.
const TTL: u8 = 64;
/// Room for any ICMP error.
const ROOM: usize = answer::MAX_ERROR_V6;

/// Sends the ICMP error about `packet` out by the interface that it came in by, from the router's address there.
pub(super) fn complain<A: Family>(
    packet: &Packet,
    trouble: Trouble,
    by: InterfaceId,
    interfaces: &[Interface],
    outbox: &mut Outbox,
) {
    let Some(router) = interfaces.get(by.place()).and_then(Interface::address::<A>) else { return };
    let mut buffer = [0; ROOM];
    if let Ok(length) = answer::error(&packet.bytes, trouble, router.into(), &mut buffer) {
        let mut error = buffer[..length].to_vec();
        give_precedence(&mut error, &packet.bytes);
        outbox.packet(by, error);
    }
}

/// ICMP errors of Linux have the precedence "internetwork control" beside the type of service of the packet that they are
/// about, and may be fragmented (`__icmp_send` in `net/ipv4/icmp.c`). ICMPv6 has neither.
fn give_precedence(error: &mut [u8], about: &[u8]) {
    const INTERNETWORK_CONTROL: u8 = 0xc0;
    const TYPE_OF_SERVICE: u8 = 0x1e;
    if let (Ok(ip::Packet::V4(mut error)), Ok(ip::Packet::V4(about))) =
        (ip::Packet::new_checked(error), ip::Packet::new_checked(about))
    {
        error.set_traffic_class(about.traffic_class() & TYPE_OF_SERVICE | INTERNETWORK_CONTROL);
        error.set_dont_fragment(false);
        error.fill_checksum();
    }
}

/// What a rule that rejects a packet sends to its sender: an ICMP error of the rule's code, or a reset from the packet's own
/// destination.
pub(super) fn reject<A: Family>(
    packet: &Packet,
    headers: &Headers<A>,
    reject: Reject,
    by: InterfaceId,
    interfaces: &[Interface],
    outbox: &mut Outbox,
) {
    match reject {
        Reject::TcpReset => {
            if let Some(reset) = reset(&packet.bytes, headers) {
                outbox.packet(by, reset);
            }
        }
        Reject::Icmp { code, .. } => {
            let Some(router) = interfaces.get(by.place()).and_then(Interface::address::<A>) else { return };
            let mut buffer = [0; ROOM];
            // The error that quotes as REJECT's does, with the rule's code in its place.
            if let Ok(length) = answer::error(&packet.bytes, Trouble::PortUnreachable, router.into(), &mut buffer) {
                let mut error = buffer[..length].to_vec();
                recode::<A>(&mut error, code, router.into());
                give_precedence(&mut error, &packet.bytes);
                outbox.packet(by, error);
            }
        }
    }
}

/// Gives an ICMP error another code.
fn recode<A: Family>(error: &mut [u8], code: u8, router: IpAddr) {
    let Ok(headers) = A::headers(error) else { return };
    let dst = headers.dst.into();
    let mut icmp = match pinhole_wire::icmp::Packet::new_checked(&mut error[headers.offset..headers.end]) {
        Ok(icmp) => icmp,
        Err(_) => return,
    };
    icmp.payload_mut();
    let mut bytes = icmp.into_inner();
    bytes[1] = code;
    if let Ok(mut icmp) = pinhole_wire::icmp::Packet::new_checked(&mut bytes) {
        icmp.fill_checksum(router, dst);
    }
}

/// The reset that answers a TCP segment (RFC 9293 §3.5.2), unless it is one itself (`nf_reject_ip_tcphdr_get`).
fn reset<A: Family>(packet: &[u8], headers: &Headers<A>) -> Option<Vec<u8>> {
    let segment = tcp::Packet::new_checked(headers.body(packet)).ok()?;
    let flags = segment.flags();
    if flags.contains(tcp::Flags::RST) {
        return None;
    }
    let length = segment.payload().len() as u32;
    let (seq, ack, flags) = if flags.contains(tcp::Flags::ACK) {
        (segment.ack(), 0, tcp::Flags::RST)
    } else {
        let occupied = length + u32::from(flags.contains(tcp::Flags::SYN)) + u32::from(flags.contains(tcp::Flags::FIN));
        (0, segment.seq().wrapping_add(occupied), tcp::Flags::RST | tcp::Flags::ACK)
    };
    let ip = ip::Packet::new_checked(packet).ok()?;
    let [from, to] = [(ip.dst(), segment.dst_port()), (ip.src(), segment.src_port())].map(core::net::SocketAddr::from);
    let mut out = vec![0; 60];
    let segment = build::Segment { flags, seq, ack, window: 0 };
    let length = build::tcp(from, to, TTL, segment, &[], &mut out).ok()?;
    out.truncate(length);
    Some(out)
}

//! What a router says to the sender of a packet: ICMP errors, and TCP resets where a rule asks for one.

use core::net::IpAddr;

use pinhole_wire::answer::Trouble;
use pinhole_wire::checksum::Sum;
use pinhole_wire::{Protocol, answer, build, ip, tcp};

use crate::headers::{Family, Headers};

/// The time to live of answers.
const TTL: u8 = 64;
/// Room for any ICMP error.
const ROOM: usize = answer::MAX_ERROR_V6;

/// The ICMP error about `packet`, from an address of the router.
pub(super) fn error<A: Family>(packet: &[u8], trouble: Trouble, router: A) -> Option<Vec<u8>> {
    if is_unknown_icmp::<A>(packet) {
        return None;
    }
    let mut buffer = [0; ROOM];
    let length = answer::error(packet, trouble, router.into(), &mut buffer).ok()?;
    let mut error = buffer[..length].to_vec();
    give_precedence(&mut error, packet);
    Some(error)
}

/// Whether this is an ICMP message of a type that Linux does not know: it might be an error, and errors are not answered by
/// errors (`__icmp_send`, `NR_ICMP_TYPES`).
fn is_unknown_icmp<A: Family>(packet: &[u8]) -> bool {
    const HIGHEST_TYPE: u8 = 18;
    A::headers(packet).is_ok_and(|headers| {
        Protocol::from(headers.protocol) == Protocol::Icmp
            && A::IS_V4
            && headers.body(packet).first().is_some_and(|&message_type| message_type > HIGHEST_TYPE)
    })
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

/// Whether a packet that a rule rejects is answered: only if it is intact, as far as its protocol has a checksum over all of
/// it; protocols that are not known are taken to have one (`nf_reject_verify_csum`).
pub(super) fn is_intact<A: Family>(packet: &[u8], headers: &Headers<A>) -> bool {
    const GRE_HAS_CHECKSUM: u8 = 0x80;
    const WITHOUT: [u8; 5] = [50, 51, crate::tuple::SCTP, crate::tuple::UDP_LITE, crate::tuple::DCCP];
    let body = headers.body(packet);
    let has_checksum = match Protocol::from(headers.protocol) {
        Protocol::Udp => body.get(6..8) != Some(&[0, 0]),
        Protocol::Other(crate::tuple::GRE) => body.first().is_none_or(|flags| flags & GRE_HAS_CHECKSUM != 0),
        Protocol::Other(other) => !WITHOUT.contains(&other),
        Protocol::Tcp | Protocol::Icmp | Protocol::Icmpv6 => true,
    };
    if !A::IS_V4 && body.is_empty() {
        return false;
    }
    if !has_checksum {
        return true;
    }
    let sum = match Protocol::from(headers.protocol) {
        // Without a pseudo-header, nothing but zeros is as good as a right sum.
        Protocol::Icmp | Protocol::Icmpv6 | Protocol::Other(_) if A::IS_V4 => {
            let sum = Sum::new().bytes(body);
            return sum.is_valid() || sum.finish() == 0xffff;
        }
        Protocol::Tcp | Protocol::Udp | Protocol::Icmp | Protocol::Icmpv6 | Protocol::Other(_) => {
            A::pseudo_header(headers.src, headers.dst, headers.protocol, body.len())
        }
    };
    sum.bytes(body).is_valid()
}

/// The ICMP error of a rule that rejects a packet: "unreachable", for the reason that `code` stands for.
pub(super) fn unreachable<A: Family>(packet: &[u8], code: u8, router: A) -> Option<Vec<u8>> {
    let mut error = error::<A>(packet, Trouble::PortUnreachable, router)?;
    recode::<A>(&mut error, code, router.into());
    Some(error)
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
pub(super) fn reset<A: Family>(packet: &[u8], headers: &Headers<A>) -> Option<Vec<u8>> {
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

//! What a router or host answers to a packet: ICMP errors (RFC 792, RFC 1812 §4.3, RFC 4443 §3) and echo replies.

use core::net::IpAddr;

use crate::{Malformed, Protocol, build, checksum, icmp, ip, ipv4, ipv6};

/// The longest ICMP error over IPv4, in bytes (RFC 1812 §4.3.2.3).
pub const MAX_ERROR_V4: usize = 576;
/// The longest ICMPv6 error, in bytes: the smallest MTU (RFC 4443 §2.4 c).
pub const MAX_ERROR_V6: usize = 1280;
/// The time to live of answers, as Linux sends them.
const TTL: u8 = 64;

/// What is wrong with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Its time to live has run out.
    TimeExceeded,
    /// It is a fragment, and the others did not come in time.
    ReassemblyTimeExceeded,
    /// Nobody listens on its port.
    PortUnreachable,
    /// Nobody has its destination address.
    HostUnreachable,
    /// No route leads to its destination.
    NoRoute,
    /// A rule forbids it.
    Prohibited,
    /// It is too long for the next link and may not be fragmented.
    TooBig {
        /// The next link's MTU in bytes.
        mtu: u16,
    },
}

/// Why no error is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The packet is malformed.
    Malformed(Malformed),
    /// It is an ICMP error itself, and errors are not answered by errors.
    IsError,
    /// It is a later fragment.
    IsFragment,
    /// It was sent to a group, or its source address is nobody's in particular.
    NotUnicast,
    /// The router's address is of another family, or the buffer is shorter than the error.
    CannotBuild(build::BuildError),
}

impl From<Malformed> for Refusal {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

/// Writes the ICMP error from `router` to the sender of `packet` into `out` and returns its length. It quotes as much of
/// the packet as the limits ([`MAX_ERROR_V4`], [`MAX_ERROR_V6`]) and `out` allow.
///
/// # Errors
/// Why there is none: the conditions of RFC 1122 §3.2.2 and RFC 4443 §2.4 (e), or a buffer shorter than the headers.
pub fn error(packet: &[u8], trouble: Trouble, router: IpAddr, out: &mut [u8]) -> Result<usize, Refusal> {
    let ip = ip::Packet::new_checked(packet)?;
    may_be_answered(&ip, packet, trouble)?;
    let (protocol, message_type, code, longest) = match ip {
        ip::Packet::V4(_) => {
            let (message_type, code) = number_v4(trouble);
            (Protocol::Icmp, message_type, code, MAX_ERROR_V4)
        }
        ip::Packet::V6(_) => {
            let (message_type, code) = number_v6(trouble);
            (Protocol::Icmpv6, message_type, code, MAX_ERROR_V6)
        }
    };
    let headers = build::header_len(router) + icmp::HEADER_LEN;
    let room = longest.min(out.len()).saturating_sub(headers);
    let quote = &packet[..ip.total_len().min(room)];
    build::ip(router, ip.src(), protocol, TTL, icmp::HEADER_LEN + quote.len(), out, |body| {
        let mut icmp = icmp::Packet::init(body, message_type, code).map_err(|_| build::BuildError::Space)?;
        if let Trouble::TooBig { mtu } = trouble {
            icmp.set_mtu(mtu.into());
        }
        icmp.payload_mut().copy_from_slice(quote);
        icmp.fill_checksum(router, ip.src());
        Ok(())
    })
    .map_err(Refusal::CannotBuild)
}

/// Makes an echo request its own reply, in place: addresses swapped, type changed, checksums corrected, a fresh time to
/// live. Returns false and changes nothing if it is not a whole echo request to a single host.
pub fn echo_reply(packet: &mut [u8]) -> bool {
    let Ok(ip) = ip::Packet::new_checked(&*packet) else { return false };
    let (src, dst, fragment) = (ip.src(), ip.dst(), ip.is_fragment());
    let Ok(upper) = ip.upper() else { return false };
    let Ok(mut icmp) = icmp::Packet::new_checked(&mut packet[upper.offset..upper.end]) else { return false };
    if fragment || icmp.kind(upper.protocol) != icmp::Kind::EchoRequest || !is_host(src) || !is_host(dst) {
        return false;
    }
    let request = u16::from_be_bytes([icmp.message_type(), icmp.code()]);
    let message_type = match src {
        IpAddr::V4(_) => icmp::v4::ECHO_REPLY,
        IpAddr::V6(_) => icmp::v6::ECHO_REPLY,
    };
    let reply = u16::from_be_bytes([message_type, icmp.code()]);
    let corrected = checksum::adjust(icmp.checksum(), request, reply);
    icmp.set_message_type(message_type);
    icmp.set_checksum(corrected);
    // Swapping addresses changes no sum.
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => ipv4::Packet::new_checked(&mut *packet).is_ok_and(|mut ip| {
            ip.set_src(dst);
            ip.set_dst(src);
            ip.set_ttl(TTL);
            ip.fill_checksum();
            true
        }),
        (IpAddr::V6(src), IpAddr::V6(dst)) => ipv6::Packet::new_checked(&mut *packet).is_ok_and(|mut ip| {
            ip.set_src(dst);
            ip.set_dst(src);
            ip.set_hop_limit(TTL);
            true
        }),
        _ => false,
    }
}

fn may_be_answered(ip: &ip::Packet<&[u8]>, packet: &[u8], trouble: Trouble) -> Result<(), Refusal> {
    let upper = ip.upper()?;
    if !upper.first {
        return Err(Refusal::IsFragment);
    }
    // RFC 4443 §2.4 (e.3): "packet too big" is the exception, so that path MTU discovery works for multicast.
    let group_is_fine = matches!((trouble, ip.dst()), (Trouble::TooBig { .. }, IpAddr::V6(_)));
    if !is_host(ip.src()) || !(group_is_fine || is_host(ip.dst())) {
        return Err(Refusal::NotUnicast);
    }
    if matches!(upper.protocol, Protocol::Icmp | Protocol::Icmpv6) {
        let icmp = icmp::Packet::new_checked(&packet[upper.offset..upper.end])?;
        if icmp.kind(upper.protocol) == icmp::Kind::Error {
            return Err(Refusal::IsError);
        }
    }
    Ok(())
}

/// Whether an address can be that of one host on a network. Directed broadcasts cannot be told without a netmask.
fn is_host(address: IpAddr) -> bool {
    match address {
        // 240/4 is reserved and ends with the limited broadcast (RFC 1122 §3.2.1.3).
        IpAddr::V4(v4) => !(v4.is_unspecified() || v4.is_loopback() || v4.octets()[0] >= 224),
        IpAddr::V6(v6) => !(v6.is_unspecified() || v6.is_loopback() || v6.is_multicast()),
    }
}

const fn number_v4(trouble: Trouble) -> (u8, u8) {
    match trouble {
        Trouble::TimeExceeded => (icmp::v4::TIME_EXCEEDED, 0),
        Trouble::ReassemblyTimeExceeded => (icmp::v4::TIME_EXCEEDED, 1),
        Trouble::PortUnreachable => (icmp::v4::UNREACHABLE, icmp::v4::PORT),
        Trouble::HostUnreachable => (icmp::v4::UNREACHABLE, icmp::v4::HOST),
        Trouble::NoRoute => (icmp::v4::UNREACHABLE, icmp::v4::NET),
        Trouble::Prohibited => (icmp::v4::UNREACHABLE, icmp::v4::ADMINISTRATIVELY_PROHIBITED),
        Trouble::TooBig { .. } => (icmp::v4::UNREACHABLE, icmp::v4::FRAGMENTATION_NEEDED),
    }
}

const fn number_v6(trouble: Trouble) -> (u8, u8) {
    match trouble {
        Trouble::TimeExceeded => (icmp::v6::TIME_EXCEEDED, 0),
        Trouble::ReassemblyTimeExceeded => (icmp::v6::TIME_EXCEEDED, 1),
        Trouble::PortUnreachable => (icmp::v6::UNREACHABLE, icmp::v6::PORT),
        Trouble::HostUnreachable => (icmp::v6::UNREACHABLE, icmp::v6::ADDRESS),
        Trouble::NoRoute => (icmp::v6::UNREACHABLE, icmp::v6::NO_ROUTE),
        Trouble::Prohibited => (icmp::v6::UNREACHABLE, icmp::v6::ADMINISTRATIVELY_PROHIBITED),
        Trouble::TooBig { .. } => (icmp::v6::TOO_BIG, 0),
    }
}

#[cfg(test)]
mod tests;

//! ICMP errors: the packet that they quote is translated back (RFC 5508 §4).

use core::net::IpAddr;

use pinhole_wire::edit::End;
use pinhole_wire::{Protocol, checksum, icmp, ipv4, ipv6};

use super::packet::{Endpoint, Message, Parsed, Proto, set_address, set_port};
use super::reason::Reason;
use crate::tuple::Address;

/// The packet that an error quotes, of which there may be no more than the beginning.
#[derive(Clone, Copy, Debug)]
pub(super) struct Quote<A> {
    pub(super) proto: Proto,
    pub(super) src: Endpoint<A>,
    pub(super) dst: Endpoint<A>,
    /// Where it begins in the error.
    offset: usize,
    /// Where its transport header begins there.
    upper: usize,
}

/// Reads what an error is about. Its own checksum and that of the quoted IP header must be right (REQ-3); that of the quoted
/// transport header is nobody's business, as most of what it covers is not there.
pub(super) fn read<A: Address>(parsed: &Parsed<A>, packet: &[u8]) -> Result<Quote<A>, Reason> {
    let message = icmp::Packet::new_checked(&packet[parsed.offset..parsed.end]).map_err(|_| Reason::Malformed)?;
    let (src, dst): (IpAddr, IpAddr) = (parsed.src.address.into(), parsed.dst.address.into());
    if !message.verify_checksum(src, dst) {
        return Err(Reason::Checksum);
    }
    let quote = message.payload();
    let (protocol, src, dst, header_len) = if A::IS_V4 { read_v4(quote)? } else { read_v6(quote)? };
    let proto = Proto::of::<A>(protocol).ok_or(Reason::UnrelatedError)?;
    let upper = quote.get(header_len..).unwrap_or_default();
    let (src_port, dst_port) = match proto {
        Proto::Udp | Proto::Tcp => {
            let &[a, b, c, d] = upper.first_chunk::<4>().ok_or(Reason::Malformed)?;
            (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]))
        }
        Proto::Icmp => {
            let query = icmp::Packet::new_checked(upper).map_err(|_| Reason::Malformed)?;
            match Message::of::<A>(query.message_type()) {
                Message::Query => (query.identifier(), 0),
                Message::Answer => (0, query.identifier()),
                Message::Error | Message::Other => return Err(Reason::UnrelatedError),
            }
        }
    };
    let (Some(src), Some(dst)) = (A::of(src), A::of(dst)) else { return Err(Reason::Family) };
    let offset = parsed.offset + icmp::HEADER_LEN;
    Ok(Quote {
        proto,
        src: Endpoint { address: src, port: src_port },
        dst: Endpoint { address: dst, port: dst_port },
        offset,
        upper: offset + header_len,
    })
}

impl<A: Address> Quote<A> {
    /// The quoted packet, in the packet that quotes it.
    pub(super) fn of<'a>(&self, packet: &'a [u8]) -> &'a [u8] {
        &packet[self.offset..]
    }
}

/// Gives the quoted packet another end, and the error the address that goes with it: what the NAT did to the packet's
/// source comes back at the error's destination, and the other way round. Type and code stay.
pub(super) fn rewrite<A: Address>(
    parsed: &mut Parsed<A>,
    packet: &mut [u8],
    quote: Quote<A>,
    end: End,
    new: Endpoint<A>,
) {
    let (old, outer) = match end {
        End::Source => (quote.src, End::Destination),
        End::Destination => (quote.dst, End::Source),
    };
    set_address(&mut packet[quote.offset..parsed.end], end, old.address, new.address);
    set_port::<A>(&mut packet[quote.upper..parsed.end], quote.proto, end, old, new);
    parsed.rewrite(packet, outer, Endpoint { address: new.address, port: 0 });
    let (src, dst): (IpAddr, IpAddr) = (parsed.src.address.into(), parsed.dst.address.into());
    if let Ok(mut message) = icmp::Packet::new_checked(&mut packet[parsed.offset..parsed.end]) {
        message.fill_checksum(src, dst);
    }
}

type Header = (Protocol, IpAddr, IpAddr, usize);

/// An IPv4 header with its options (REQ-3 b). Its length field is that of the whole packet, which is not here.
fn read_v4(quote: &[u8]) -> Result<Header, Reason> {
    let fixed = quote.first_chunk::<{ ipv4::HEADER_LEN }>().ok_or(Reason::Malformed)?;
    let header_len = usize::from(fixed[0] & 0x0f) * 4;
    let header = quote.get(..header_len).filter(|header| header.len() >= ipv4::HEADER_LEN && fixed[0] >> 4 == 4);
    let header = header.ok_or(Reason::Malformed)?;
    if checksum::of(header) != 0 {
        return Err(Reason::Checksum);
    }
    let later = u16::from_be_bytes([fixed[6], fixed[7]]) & 0x1fff != 0;
    if later {
        return Err(Reason::UnrelatedError);
    }
    let address = |at: usize| IpAddr::from([fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]]);
    Ok((fixed[9].into(), address(12), address(16), header_len))
}

/// An IPv6 header. Quoted packets with extension headers are not known.
fn read_v6(quote: &[u8]) -> Result<Header, Reason> {
    let fixed = quote.first_chunk::<{ ipv6::HEADER_LEN }>().ok_or(Reason::Malformed)?;
    if fixed[0] >> 4 != 6 {
        return Err(Reason::Malformed);
    }
    let address = |at: usize| {
        let mut octets = [0; 16];
        octets.copy_from_slice(&fixed[at..at + 16]);
        IpAddr::from(octets)
    };
    Ok((fixed[6].into(), address(8), address(24), ipv6::HEADER_LEN))
}

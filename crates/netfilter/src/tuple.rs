//! Tuples: what names one direction of a flow (`include/net/netfilter/nf_conntrack_tuple.h`).

use core::fmt;
use core::hash::Hash;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use pinhole_wire::{Protocol, icmp};

/// An address family: the engine is written once and compiled for each, so that IPv4 does not carry room for IPv6.
pub trait Address: Copy + Eq + Ord + Hash + fmt::Debug + fmt::Display + Into<IpAddr> + 'static {
    /// The address that is none: `0.0.0.0` or `::`.
    const UNSPECIFIED: Self;
    /// Bits of an address.
    const BITS: u32;
    /// Whether this is IPv4.
    const IS_V4: bool = Self::BITS == 32;
    /// ICMP of this family.
    const ICMP: Protocol;

    /// Two addresses as they lie one behind the other, to be compared and copied at once.
    type Pair: Copy + Eq;

    /// Two addresses as one.
    fn pair(src: Self, dst: Self) -> Self::Pair;

    /// The address as a number, the first octet highest.
    fn to_number(self) -> u128;

    /// The address that `number` is, of which only the lowest [`BITS`](Self::BITS) count.
    fn of_number(number: u128) -> Self;

    /// The address, if it is of this family.
    fn of(address: IpAddr) -> Option<Self>;
}

impl Address for Ipv4Addr {
    const UNSPECIFIED: Self = Self::UNSPECIFIED;
    const BITS: u32 = 32;
    const ICMP: Protocol = Protocol::Icmp;

    type Pair = u64;

    #[inline(always)]
    fn pair(src: Self, dst: Self) -> u64 {
        let [src, dst] = [src, dst].map(|address| u64::from(u32::from_le_bytes(address.octets())));
        src | dst << 32
    }

    fn to_number(self) -> u128 {
        u128::from(self.to_bits())
    }

    fn of_number(number: u128) -> Self {
        Self::from_bits(number as u32)
    }

    fn of(address: IpAddr) -> Option<Self> {
        match address {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        }
    }
}

impl Address for Ipv6Addr {
    const UNSPECIFIED: Self = Self::UNSPECIFIED;
    const BITS: u32 = 128;
    const ICMP: Protocol = Protocol::Icmpv6;

    type Pair = [Self; 2];

    #[inline(always)]
    fn pair(src: Self, dst: Self) -> [Self; 2] {
        [src, dst]
    }

    fn to_number(self) -> u128 {
        self.to_bits()
    }

    fn of_number(number: u128) -> Self {
        Self::from_bits(number)
    }

    fn of(address: IpAddr) -> Option<Self> {
        match address {
            IpAddr::V4(_) => None,
            IpAddr::V6(address) => Some(address),
        }
    }
}

/// One direction of a flow.
///
/// What the two 16-bit fields are depends on the protocol: ports (TCP, UDP, UDP-Lite, DCCP, SCTP); for ICMP the identifier
/// in `src_id` and type and code in `dst_id` (type in the upper octet); for GRE the two keys; zero otherwise.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tuple<A> {
    /// Who sends.
    pub src: A,
    /// To whom.
    pub dst: A,
    /// The source port, ICMP identifier or source key.
    pub src_id: u16,
    /// The destination port, ICMP type and code, or destination key.
    pub dst_id: u16,
    /// The IP protocol number.
    pub protocol: u8,
}

/// GRE's protocol number.
pub const GRE: u8 = 47;
/// SCTP's protocol number.
pub const SCTP: u8 = 132;
/// DCCP's protocol number.
pub const DCCP: u8 = 33;
/// UDP-Lite's protocol number.
pub const UDP_LITE: u8 = 136;

impl<A: Address> Tuple<A> {
    /// The tuple of an answer, or nothing for an ICMP type that has no answer (`nf_ct_invert_tuple`).
    pub fn inverse(self) -> Option<Self> {
        let (src_id, dst_id) = if Protocol::from(self.protocol) == A::ICMP {
            let answer = answer_type::<A>((self.dst_id >> 8) as u8)?;
            (self.src_id, u16::from(answer) << 8 | self.dst_id & 0xff)
        } else {
            (self.dst_id, self.src_id)
        };
        Some(Self { src: self.dst, dst: self.src, src_id, dst_id, protocol: self.protocol })
    }

    /// Its source as people write it: with the port, if there is one.
    pub(crate) fn src_end(&self) -> String {
        end(self.src, self.has_ports().then_some(self.src_id))
    }

    /// Its destination, likewise.
    pub(crate) fn dst_end(&self) -> String {
        end(self.dst, self.has_ports().then_some(self.dst_id))
    }

    /// Whether the fields are ports.
    pub fn has_ports(&self) -> bool {
        matches!(self.protocol, 6 | 17 | DCCP | SCTP | UDP_LITE)
    }

    /// Whether this is ICMP of the tuple's own family.
    pub fn is_icmp(&self) -> bool {
        Protocol::from(self.protocol) == A::ICMP
    }
}

fn end<A: Address>(address: A, port: Option<u16>) -> String {
    port.map_or_else(|| address.to_string(), |port| core::net::SocketAddr::from((address.into(), port)).to_string())
}

/// The ICMP type that answers `message_type`, if conntrack knows one (`invmap` in `nf_conntrack_proto_icmp.c` and
/// `nf_conntrack_proto_icmpv6.c`).
fn answer_type<A: Address>(message_type: u8) -> Option<u8> {
    if A::IS_V4 {
        Some(match message_type {
            icmp::v4::ECHO_REQUEST => icmp::v4::ECHO_REPLY,
            icmp::v4::ECHO_REPLY => icmp::v4::ECHO_REQUEST,
            13 => 14,
            14 => 13,
            15 => 16,
            16 => 15,
            17 => 18,
            18 => 17,
            _ => return None,
        })
    } else {
        Some(match message_type {
            icmp::v6::ECHO_REQUEST => icmp::v6::ECHO_REPLY,
            icmp::v6::ECHO_REPLY => icmp::v6::ECHO_REQUEST,
            139 => 140,
            140 => 139,
            _ => return None,
        })
    }
}

impl<A: Address> fmt::Display for Tuple<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let &Self { src, dst, src_id, dst_id, protocol } = self;
        if self.has_ports() {
            let (src, dst) = ((src.into(), src_id), (dst.into(), dst_id));
            let [src, dst] = [src, dst].map(core::net::SocketAddr::from);
            write!(f, "{src} > {dst} {}", Protocol::from(protocol))
        } else if self.is_icmp() {
            write!(f, "{src} > {dst} {} type {} code {} id {src_id}", A::ICMP, dst_id >> 8, dst_id & 0xff)
        } else if protocol == GRE {
            write!(f, "{src} > {dst} gre {src_id:#x} {dst_id:#x}")
        } else {
            write!(f, "{src} > {dst} {}", Protocol::from(protocol))
        }
    }
}

impl<A: Address> fmt::Debug for Tuple<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tuple({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tuple(src_id: u16, dst_id: u16, protocol: u8) -> Tuple<Ipv4Addr> {
        Tuple { src: Ipv4Addr::new(10, 0, 0, 1), dst: Ipv4Addr::new(192, 0, 2, 1), src_id, dst_id, protocol }
    }

    #[test]
    fn the_inverse_of_ports_swaps_them() {
        let inverse = tuple(4_000, 53, 17).inverse().expect("UDP has answers");
        assert_eq!(inverse.to_string(), "192.0.2.1:53 > 10.0.0.1:4000 udp");
        assert_eq!(inverse.inverse(), Some(tuple(4_000, 53, 17)));
    }

    #[test]
    fn the_inverse_of_an_echo_keeps_the_identifier() {
        let inverse = tuple(7, 8 << 8, 1).inverse().expect("an echo has an answer");
        assert_eq!(inverse.to_string(), "192.0.2.1 > 10.0.0.1 icmp type 0 code 0 id 7");
        assert_eq!(tuple(0, 3 << 8 | 1, 1).inverse(), None, "an error has none");
    }
}

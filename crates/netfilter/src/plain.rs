//! Packets with nothing special about them: IP without options, extension headers and fragments, then TCP or UDP. There both
//! addresses and both ports lie one behind the other, so that a flow is compared with them, and its translation written over
//! them, as they are.
//!
//! Sums are taken in little-endian order: a one's complement sum does not depend on it but for a final swap (RFC 1071 §2 B).

use core::net::{Ipv4Addr, Ipv6Addr};

use pinhole_wire::{checksum, ipv4, ipv6};

use crate::tuple::{Address, Tuple};

/// A tuple without its protocol, as a packet has it between its IP header's addresses and its first ports: the addresses, then
/// both 16-bit fields in the order of the network.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Ends<A> {
    /// Who sends.
    pub src: A,
    /// To whom.
    pub dst: A,
    /// What a tuple has as `src_id` and `dst_id`.
    pub ids: [u8; 4],
}

impl<A: Address> Ends<A> {
    /// Those of a tuple.
    #[inline]
    pub const fn of(tuple: &Tuple<A>) -> Self {
        let ([a, b], [c, d]) = (tuple.src_id.to_be_bytes(), tuple.dst_id.to_be_bytes());
        Self { src: tuple.src, dst: tuple.dst, ids: [a, b, c, d] }
    }

    /// The tuple, with its protocol.
    #[inline]
    pub const fn tuple(self, protocol: u8) -> Tuple<A> {
        let Self { src, dst, ids: [a, b, c, d] } = self;
        Tuple { src, dst, src_id: u16::from_be_bytes([a, b]), dst_id: u16::from_be_bytes([c, d]), protocol }
    }

    /// Those of an answer, where the fields are ports.
    #[inline]
    pub const fn swapped(self) -> Self {
        let ids = u32::from_le_bytes(self.ids).rotate_left(16).to_le_bytes();
        Self { src: self.dst, dst: self.src, ids }
    }
}

/// All is compared, whatever differs first: mostly nothing does.
impl<A: Address> PartialEq for Ends<A> {
    #[inline(always)]
    fn eq(&self, other: &Self) -> bool {
        (A::pair(self.src, self.dst) == A::pair(other.src, other.dst)) & (self.ids == other.ids)
    }
}

impl<A: Address> Eq for Ends<A> {}

/// What differs between the families.
pub trait Plain: Address {
    /// Where in a packet the addresses begin, in bytes.
    const ENDS: usize;
    /// Where the transport header begins, which is where they end.
    const BODY: usize;

    /// Whether a packet has nothing special: nothing behind it, a right header checksum, a time to live that lets it pass.
    fn is_plain(packet: &[u8]) -> bool;

    /// The ends and the protocol of a packet, whether or not it is plain, if it is long enough for that.
    fn ends(packet: &[u8]) -> Option<(Ends<Self>, u8)>;

    /// The sum of the new addresses and of the complements of the old ones.
    fn difference(old: &Ends<Self>, new: &Ends<Self>) -> u64;

    /// Writes the ends, and takes one from the time to live. `addresses` is the [`difference`](Self::difference) that makes.
    fn forward(packet: &mut [u8], new: &Ends<Self>, addresses: u64);
}

/// Whether the transport checksum of a plain packet is right; with UDP zero is "none".
#[inline(always)]
pub(crate) fn is_intact<A: Plain>(packet: &[u8], protocol: u8) -> bool {
    if protocol == UDP && packet.get(A::BODY + UDP_CHECKSUM..A::BODY + UDP_CHECKSUM + 2) == Some(&[0, 0]) {
        return true;
    }
    let length = (packet.len() - A::BODY) as u32;
    let pseudo = u64::from(u16::from(protocol).swap_bytes()) + u64::from(length.swap_bytes());
    fold_twice(add(checksum::swapped(&packet[A::ENDS..]), pseudo)) == 0xffff
}

/// Gives a plain packet with the ends `old` those of `new`, takes one from its time to live, and corrects all checksums.
#[inline(always)]
pub(crate) fn translate<A: Plain>(packet: &mut [u8], old: &Ends<A>, new: &Ends<A>, protocol: u8) {
    let addresses = A::difference(old, new);
    A::forward(packet, new, addresses);
    let is_udp = protocol == UDP;
    let at = A::BODY + if is_udp { UDP_CHECKSUM } else { TCP_CHECKSUM };
    let Some(field) = packet.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<2>()) else { return };
    if is_udp && *field == [0, 0] {
        return;
    }
    let [old, new] = [old.ids, new.ids].map(u32::from_le_bytes);
    let corrected = correct(*field, u64::from(fold(addresses)) + u64::from(!old) + u64::from(new));
    let corrected = if is_udp && corrected == 0 { 0xffff } else { corrected };
    *field = corrected.to_le_bytes();
}

pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
/// Where UDP has its checksum, in bytes.
const UDP_CHECKSUM: usize = 6;
/// Where TCP has it.
const TCP_CHECKSUM: usize = 16;

/// One's complement addition.
#[inline]
const fn add(a: u64, b: u64) -> u64 {
    let (sum, carry) = a.overflowing_add(b);
    sum + carry as u64
}

/// A one's complement sum in 32 bits.
#[inline]
const fn fold(sum: u64) -> u32 {
    (sum.wrapping_add(sum.rotate_left(32)) >> 32) as u32
}

/// A one's complement sum in 16 bits.
#[inline]
const fn fold_twice(sum: u64) -> u16 {
    let sum = fold(sum);
    (sum.wrapping_add(sum.rotate_left(16)) >> 16) as u16
}

/// A checksum, in little-endian order, after a change of which `difference` is the sum of the new words and the complements of the old ones (RFC 1624
/// equation 3).
#[inline]
const fn correct(checksum: [u8; 2], difference: u64) -> u16 {
    let sum = !u16::from_le_bytes(checksum) as u64;
    !fold_twice(sum + difference)
}

/// What one less in the time to live, the first octet of its word, adds to a sum: the complement of one.
const ONE_LESS: u64 = 0xfffe;

impl Plain for Ipv4Addr {
    const ENDS: usize = 12;
    const BODY: usize = ipv4::HEADER_LEN;

    #[inline(always)]
    fn is_plain(packet: &[u8]) -> bool {
        /// Version 4 and five words of header; the length; neither "more fragments" nor an offset.
        const FIXED: u64 = u64::from_le_bytes([0xff, 0, 0xff, 0xff, 0, 0, 0x3f, 0xff]);
        let Some(header) = packet.first_chunk::<{ ipv4::HEADER_LEN }>() else { return false };
        let Ok(length) = u16::try_from(packet.len()) else { return false };
        let ([first, second], last) = header.as_chunks::<8>() else { return false };
        let Some(&last) = last.first_chunk::<4>() else { return false };
        let [a, b] = length.to_be_bytes();
        let &[ttl, protocol, ..] = second;
        let sum =
            add(add(u64::from_le_bytes(*first), u64::from_le_bytes(*second)), u64::from(u32::from_le_bytes(last)));
        u64::from_le_bytes(*first) & FIXED == u64::from_le_bytes([0x45, 0, a, b, 0, 0, 0, 0])
            && ttl > 1
            && matches!(protocol, TCP | UDP)
            && fold_twice(sum) == 0xffff
    }

    #[inline(always)]
    fn ends(packet: &[u8]) -> Option<(Ends<Self>, u8)> {
        let &[.., protocol, _, _, a, b, c, d, e, f, g, h, i, j, k, l] = packet.first_chunk::<24>()?;
        let (src, dst) = (Self::new(a, b, c, d), Self::new(e, f, g, h));
        Some((Ends { src, dst, ids: [i, j, k, l] }, protocol))
    }

    #[inline(always)]
    fn difference(old: &Ends<Self>, new: &Ends<Self>) -> u64 {
        add(!Self::pair(old.src, old.dst), Self::pair(new.src, new.dst))
    }

    #[inline(always)]
    fn forward(packet: &mut [u8], new: &Ends<Self>, addresses: u64) {
        let Some(header) = packet.first_chunk_mut::<24>() else { return };
        header[8] = header[8].wrapping_sub(1);
        let sum = correct([header[10], header[11]], u64::from(fold(addresses)) + ONE_LESS);
        header[10..12].copy_from_slice(&sum.to_le_bytes());
        header[12..20].copy_from_slice(&Self::pair(new.src, new.dst).to_le_bytes());
        header[20..24].copy_from_slice(&new.ids);
    }
}

impl Plain for Ipv6Addr {
    const ENDS: usize = 8;
    const BODY: usize = ipv6::HEADER_LEN;

    #[inline]
    fn is_plain(packet: &[u8]) -> bool {
        let Some(&[version, _, _, _, a, b, protocol, hops, ..]) = packet.first_chunk::<{ ipv6::HEADER_LEN }>() else {
            return false;
        };
        let length = usize::from(u16::from_be_bytes([a, b]));
        (version >> 4 == 6)
            & (length + ipv6::HEADER_LEN == packet.len())
            & ((protocol == TCP) | (protocol == UDP))
            & (hops > 1)
    }

    #[inline(always)]
    fn ends(packet: &[u8]) -> Option<(Ends<Self>, u8)> {
        let (header, rest) = packet.split_first_chunk::<{ ipv6::HEADER_LEN }>()?;
        let (start, addresses) = header.split_first_chunk::<8>()?;
        let (src, dst) = (*addresses.first_chunk::<16>()?, *addresses.last_chunk::<16>()?);
        let (src, dst) = (Self::from_octets(src), Self::from_octets(dst));
        Some((Ends { src, dst, ids: *rest.first_chunk::<4>()? }, start[6]))
    }

    #[inline(always)]
    fn difference(old: &Ends<Self>, new: &Ends<Self>) -> u64 {
        let sum = |address: Self, invert: u64| {
            let (high, low) = ((address.to_bits() >> 64) as u64, address.to_bits() as u64);
            add(high.swap_bytes() ^ invert, low.swap_bytes() ^ invert)
        };
        let old = add(sum(old.src, u64::MAX), sum(old.dst, u64::MAX));
        add(old, add(sum(new.src, 0), sum(new.dst, 0)))
    }

    #[inline(always)]
    fn forward(packet: &mut [u8], new: &Ends<Self>, _: u64) {
        let Some(header) = packet.first_chunk_mut::<44>() else { return };
        header[7] = header[7].wrapping_sub(1);
        header[8..24].copy_from_slice(&new.src.octets());
        header[24..40].copy_from_slice(&new.dst.octets());
        header[40..44].copy_from_slice(&new.ids);
    }
}

#[cfg(test)]
mod tests;

//! The Internet checksum: computed over bytes (RFC 1071) and corrected for an edit (RFC 1624).
//!
//! A checksum is the one's complement of the one's complement sum of 16-bit words. [`Sum`] is the sum before the final
//! complement: feed it bytes and words in any order, then [`finish`](Sum::finish). [`adjust`] and its siblings correct a
//! checksum for a field that changed, without reading the rest of the packet.

use core::net::IpAddr;

use crate::Protocol;

/// A one's complement sum under way.
///
/// Holds the sum in a `u64` and folds at the end: 2^24 calls of any kind fit before it could overflow.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum(u64);

impl Sum {
    /// The empty sum.
    #[inline]
    pub const fn new() -> Self {
        Self(0)
    }

    /// The sum of the IPv4 pseudo-header of UDP (RFC 768) and TCP (RFC 9293 §3.1) or the IPv6 one (RFC 8200 §8.1).
    /// `length` is that of the transport header and payload, in bytes.
    ///
    /// Mixed address families have no pseudo-header; both addresses are summed as they are.
    pub fn pseudo_header(src: IpAddr, dst: IpAddr, protocol: Protocol, length: usize) -> Self {
        Self::new().address(src).address(dst).word(u16::from(u8::from(protocol))).long(length as u32)
    }

    /// Adds a 16-bit word.
    #[must_use]
    #[inline]
    pub const fn word(self, word: u16) -> Self {
        Self(self.0 + word as u64)
    }

    /// Adds a 32-bit word.
    #[must_use]
    #[inline]
    pub const fn long(self, long: u32) -> Self {
        Self(self.0 + (long >> 16) as u64 + (long & 0xffff) as u64)
    }

    /// Adds an address.
    #[must_use]
    pub fn address(self, address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => self.long(v4.to_bits()),
            IpAddr::V6(v6) => v6.segments().iter().fold(self, |sum, &segment| sum.word(segment)),
        }
    }

    /// Adds bytes. An odd last byte counts as if a zero followed it, so only the last call may be odd.
    #[must_use]
    #[inline]
    pub fn bytes(self, bytes: &[u8]) -> Self {
        // To swap octets is to multiply by 2^8, modulo the 2^16 - 1 that counts here.
        Self(self.0 + (u64::from(halve(swapped(bytes))) << 8))
    }

    /// The checksum: the one's complement of the sum.
    #[inline]
    pub const fn finish(self) -> u16 {
        !fold(self.0)
    }

    /// Whether the bytes that were summed, with their checksum among them, are intact.
    #[inline]
    pub const fn is_valid(self) -> bool {
        self.finish() == 0
    }
}

/// The checksum of `bytes`.
pub fn of(bytes: &[u8]) -> u16 {
    Sum::new().bytes(bytes).finish()
}

/// `checksum`, corrected for a 16-bit field that went from `old` to `new` (RFC 1624 equation 3).
#[must_use]
pub const fn adjust(checksum: u16, old: u16, new: u16) -> u16 {
    !fold(!checksum as u64 + !old as u64 + new as u64)
}

/// `checksum`, corrected for a 32-bit field that went from `old` to `new`.
#[must_use]
pub const fn adjust_u32(checksum: u16, old: u32, new: u32) -> u16 {
    let half = adjust(checksum, (old >> 16) as u16, (new >> 16) as u16);
    adjust(half, old as u16, new as u16)
}

/// `checksum`, corrected for an address that changed. Families may not differ; if they do, the sum is still that of the
/// bytes.
#[must_use]
pub fn adjust_address(checksum: u16, old: IpAddr, new: IpAddr) -> u16 {
    let [old, new] = [old, new].map(|address| u64::from(!Sum::new().address(address).finish()));
    !fold(u64::from(!checksum) + (0xffff - old) + new)
}

/// The one's complement sum of bytes as 64-bit words in little-endian order. Folded to 16 bits it is the sum with its octets
/// swapped (RFC 1071 §2 B); it costs less than a [`Sum`] where all else that is added can be had in that order too.
#[must_use]
#[inline(always)]
pub fn swapped(bytes: &[u8]) -> u64 {
    if bytes.len() < BLOCK { swapped_few(bytes) } else { swapped_many(bytes) }
}

/// The same of bytes of which there are less than [`BLOCK`].
#[inline(always)]
fn swapped_few(bytes: &[u8]) -> u64 {
    let (pairs, mut rest) = bytes.as_chunks::<16>();
    let mut sum = 0;
    for pair in pairs {
        let (words, _) = pair.as_chunks::<8>();
        sum = words.iter().fold(sum, |sum, &word| add(sum, u64::from_le_bytes(word)));
    }
    if let Some((&word, after)) = rest.split_first_chunk::<8>() {
        sum = add(sum, u64::from_le_bytes(word));
        rest = after;
    }
    if !rest.is_empty() {
        let unused = 64 - 8 * rest.len() as u32;
        let word = match bytes.last_chunk::<8>() {
            Some(&end) => u64::from_le_bytes(end) >> unused,
            None => rest.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte)),
        };
        sum = add(sum, word);
    }
    sum
}

/// The same of any number of bytes: short words are added, in a loop that the compiler vectorises.
#[inline(never)]
fn swapped_many(bytes: &[u8]) -> u64 {
    let (blocks, rest) = bytes.as_chunks::<BLOCK>();
    add(long(blocks.as_flattened()), swapped_few(rest))
}

/// Bytes that are summed at a time where there are many.
const BLOCK: usize = 128;

/// The sum of many bytes, a multiple of four.
fn long(bytes: &[u8]) -> u64 {
    let (words, _) = bytes.as_chunks::<4>();
    words.iter().map(|&word| u64::from(u32::from_le_bytes(word))).sum()
}

/// One's complement addition.
#[inline]
const fn add(a: u64, b: u64) -> u64 {
    let (sum, carry) = a.overflowing_add(b);
    sum + carry as u64
}

/// Adds the carries back in until 16 bits are left.
#[inline]
const fn fold(sum: u64) -> u16 {
    let sum = halve(sum);
    (sum.wrapping_add(sum.rotate_left(16)) >> 16) as u16
}

/// Adds the carries back in until 32 bits are left.
#[inline]
const fn halve(sum: u64) -> u32 {
    // Either half and the other one: the carry of the lower halves comes into the upper ones.
    (sum.wrapping_add(sum.rotate_left(32)) >> 32) as u32
}

#[cfg(test)]
mod tests;

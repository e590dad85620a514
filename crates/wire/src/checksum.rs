//! The Internet checksum: computed over bytes (RFC 1071) and corrected for an edit (RFC 1624).
//!
//! A checksum is the one's complement of the one's complement sum of 16-bit words. [`Sum`] is the sum before the final
//! complement: feed it bytes and words in any order, then [`finish`](Sum::finish). [`adjust`] and its siblings correct a
//! checksum for a field that changed, without reading the rest of the packet.

use core::net::IpAddr;

use crate::Protocol;

/// A one's complement sum under way.
///
/// Holds the sum in a `u64` and folds at the end: 2^48 words fit before it could overflow.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum(u64);

impl Sum {
    /// The empty sum.
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
    pub const fn word(self, word: u16) -> Self {
        Self(self.0 + word as u64)
    }

    /// Adds a 32-bit word.
    #[must_use]
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
    pub fn bytes(self, bytes: &[u8]) -> Self {
        // The sum does not depend on byte order except for a final swap (RFC 1071 §2 B), so whole native words are added
        // and the compiler vectorises the loop.
        let (words, rest) = bytes.as_chunks::<4>();
        let mut sum: u64 = words.iter().map(|&word| u64::from(u32::from_ne_bytes(word))).sum();
        let mut last = [0; 4];
        last[..rest.len()].copy_from_slice(rest);
        sum += u64::from(u32::from_ne_bytes(last));
        self.word(u16::from_be(fold(sum)))
    }

    /// The checksum: the one's complement of the sum.
    pub const fn finish(self) -> u16 {
        !fold(self.0)
    }

    /// Whether the bytes that were summed, with their checksum among them, are intact.
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

/// Adds the carries back in until 16 bits are left.
const fn fold(mut sum: u64) -> u16 {
    sum = (sum >> 32) + (sum & 0xffff_ffff);
    sum = (sum >> 16) + (sum & 0xffff);
    sum = (sum >> 16) + (sum & 0xffff);
    sum = (sum >> 16) + (sum & 0xffff);
    sum as u16
}

#[cfg(test)]
mod tests;

//! The keyed hash of tuples: one 64 x 64 to 128 bit multiplication over addresses and ports, which nobody can steer who does
//! not know the secret.

use pinhole_sansio::Rng;

use crate::plain::Ends;
use crate::tuple::Address;

/// What makes a table's hashes its own.
#[derive(Clone, Copy, Debug)]
pub(super) struct Secret([u64; 4]);

impl Secret {
    pub(super) fn new(rng: &mut Rng) -> Self {
        Self([rng.next_u64(), rng.next_u64(), rng.next_u64(), rng.next_u64()])
    }

    /// Of a tuple in a zone.
    #[inline]
    pub(super) fn hash<A: Address>(&self, ends: &Ends<A>, protocol: u8, zone: u16) -> u64 {
        let rest = u64::from(u32::from_be_bytes(ends.ids)) << 32 | u64::from(protocol) << 16 | u64::from(zone);
        fold(self.addresses(ends.src, ends.dst) ^ self.0[0], rest ^ self.0[1])
    }

    /// Of the source of a tuple, its protocol and its zone.
    #[inline]
    pub(super) fn hash_source<A: Address>(&self, ends: &Ends<A>, protocol: u8, zone: u16) -> u64 {
        let [a, b, ..] = ends.ids;
        let rest = u64::from(u16::from_be_bytes([a, b])) << 48 | u64::from(protocol) << 16 | u64::from(zone);
        fold(self.addresses(ends.src, A::UNSPECIFIED) ^ self.0[2], rest ^ self.0[3])
    }

    #[inline]
    fn addresses<A: Address>(&self, src: A, dst: A) -> u64 {
        let (src, dst) = (src.to_number(), dst.to_number());
        if A::IS_V4 {
            return (src as u64) << 32 | dst as u64;
        }
        let part =
            |address: u128, key: usize| fold((address >> 64) as u64 ^ self.0[key], address as u64 ^ self.0[key + 1]);
        part(src, 0) ^ part(dst, 2).rotate_left(32)
    }
}

/// The product of two numbers, its halves laid over each other.
#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product >> 64) as u64 ^ product as u64
}

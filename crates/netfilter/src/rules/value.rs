//! What criteria are made of: negation, addresses under a mask, ranges, and marks under a mask.

use core::fmt;
use core::ops::RangeInclusive;

use crate::tuple::Address;

/// A criterion, or its opposite (`!`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Not<T> {
    /// What is asked.
    pub is: T,
    /// Whether it must not be so.
    pub not: bool,
}

impl<T> Not<T> {
    /// It must be so.
    pub const fn plain(is: T) -> Self {
        Self { is, not: false }
    }

    /// It must not be so.
    pub const fn negated(is: T) -> Self {
        Self { is, not: true }
    }

    /// Whether an answer to what is asked is the wanted one.
    #[inline]
    pub(super) const fn wants(&self, answer: bool) -> bool {
        answer != self.not
    }
}

/// An address under a mask, which need not be a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Masked<A> {
    address: A,
    mask: A,
}

impl<A: Address> Masked<A> {
    /// The addresses that are as `address` where `mask` has ones.
    pub fn new(address: A, mask: A) -> Self {
        Self { address: A::of_number(address.to_number() & mask.to_number()), mask }
    }

    /// One address.
    pub fn one(address: A) -> Self {
        Self::prefix(address, A::BITS)
    }

    /// A network; a length beyond the address is the whole address.
    pub fn prefix(address: A, length: u32) -> Self {
        Self::new(address, mask_of(length))
    }

    /// The lowest of the addresses.
    pub const fn address(&self) -> A {
        self.address
    }

    /// The mask.
    pub const fn mask(&self) -> A {
        self.mask
    }

    /// Whether this is every address.
    pub fn is_any(&self) -> bool {
        self.mask == A::UNSPECIFIED
    }

    /// The highest of the addresses of a network.
    pub(super) fn last(&self) -> A {
        A::of_number(self.address.to_number() | !self.mask.to_number())
    }

    /// How long the prefix is, if the mask is one.
    pub fn length(&self) -> Option<u32> {
        let mask = self.mask.to_number();
        let length = mask.count_ones();
        (mask_of::<A>(length) == self.mask).then_some(length)
    }

    /// Whether `address` is one of these.
    #[inline]
    pub fn contains(&self, address: A) -> bool {
        (address.to_number() ^ self.address.to_number()) & self.mask.to_number() == 0
    }
}

/// The mask of a prefix.
fn mask_of<A: Address>(length: u32) -> A {
    let host = A::BITS.saturating_sub(length);
    A::of_number(u128::MAX.checked_shl(host).unwrap_or(0))
}

impl<A: Address> fmt::Display for Masked<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.length() {
            Some(length) => write!(f, "{}/{length}", self.address),
            None => write!(f, "{}/{}", self.address, self.mask),
        }
    }
}

/// Numbers from the first to the last one, inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Span<N> {
    /// The lowest.
    pub min: N,
    /// The highest.
    pub max: N,
}

impl<N: Copy + PartialOrd> Span<N> {
    /// One number.
    pub const fn one(number: N) -> Self {
        Self { min: number, max: number }
    }

    /// Whether `number` is one of these.
    #[inline]
    pub fn contains(&self, number: N) -> bool {
        self.min <= number && number <= self.max
    }
}

impl<N: Copy> From<RangeInclusive<N>> for Span<N> {
    fn from(range: RangeInclusive<N>) -> Self {
        Self { min: *range.start(), max: *range.end() }
    }
}

impl From<u16> for Span<u16> {
    fn from(number: u16) -> Self {
        Self::one(number)
    }
}

/// As iptables-save writes it: the last one only if it is another.
impl<N: fmt::Display + PartialEq> fmt::Display for Span<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { min, max } = self;
        if min == max { write!(f, "{min}") } else { write!(f, "{min}:{max}") }
    }
}

/// A mark under a mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MarkTest {
    /// What the bits must be.
    pub mark: u32,
    /// Which bits count.
    pub mask: u32,
}

impl MarkTest {
    /// The whole mark.
    pub const fn exactly(mark: u32) -> Self {
        Self { mark, mask: u32::MAX }
    }

    /// Whether `mark` is such a mark.
    #[inline]
    pub const fn contains(&self, mark: u32) -> bool {
        mark & self.mask == self.mark
    }
}

impl fmt::Display for MarkTest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.mark)?;
        if self.mask == u32::MAX { Ok(()) } else { write!(f, "/{:#x}", self.mask) }
    }
}

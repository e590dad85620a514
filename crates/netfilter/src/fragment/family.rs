//! What differs between the fragments of IPv4 and IPv6.

use core::fmt;
use core::time::Duration;

use super::cut::Piece;
use crate::headers::Headers;
use crate::tuple::Address;

/// What a fragment's headers say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// What fragments of one packet have in common.
    pub id: u32,
    /// The protocol, where identifications are per protocol: IPv4. Else zero.
    pub protocol: u8,
    /// Where its data belongs, in bytes.
    pub offset: usize,
    /// Whether more fragments follow.
    pub more: bool,
    /// How many bytes of headers the whole packet has from it: those before the fragment header.
    pub head: usize,
    /// Where its data begins, in bytes.
    pub body: usize,
    /// Which ECN codepoint it has: bit 0 not-ECT, 1 ECT(1), 2 ECT(0), 3 CE.
    pub ecn: u8,
    /// Whether routers must not fragment it.
    pub dont_fragment: bool,
    /// Whether it is the first but ends before the transport header does, which IPv6 does not allow.
    pub is_cut_short: bool,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let more = if self.more { " more" } else { "" };
        write!(f, "fragment id {} offset {}{more}", self.id, self.offset)
    }
}

/// What differs between the families.
pub trait Fragmented: Address {
    /// How long fragments wait for others.
    const LIFE: Duration;
    /// Whether data of a fragment that is not the last is cut to a multiple of 8 bytes; else such a fragment is not ours to
    /// judge.
    const CUTS_UNALIGNED: bool;

    /// Reads a fragment. None if the packet is whole. `headers` are those of the packet.
    fn part(packet: &[u8], headers: &Headers<Self>) -> Option<Part>;

    /// Whether the address means something else on every link.
    fn is_per_link(self) -> bool;

    /// Makes the headers of the first fragment those of the whole packet, whose `packet` begins with its `head` bytes.
    /// `first` is that fragment. `congested` if some fragment has met congestion. False if the packet is too long.
    fn join(packet: &mut [u8], first: &[u8], head: usize, congested: bool, dont_fragment: bool) -> bool;

    /// How many bytes of a packet are headers that every piece has, and what is added to them, in bytes.
    fn unfragmentable(packet: &[u8]) -> Option<(usize, usize)>;

    /// Writes the headers of a piece of `whole`. `packet` begins with the `head` bytes of headers that every piece has, then
    /// there is room for what is added to them, then come the data.
    fn cut(packet: &mut [u8], whole: &[u8], head: usize, piece: Piece);
}

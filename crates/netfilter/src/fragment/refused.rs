//! Why a fragment is refused.

use core::fmt;

use super::{Fragmented, Outcome};

/// Why a fragment is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refused {
    /// There is no room for more fragments.
    Full,
    /// The bytes that it brings are here already.
    Duplicate,
    /// It overlaps another one (RFC 5722 §4; Linux does so for IPv4 too). Its packet is given up.
    Overlap,
    /// It says that the packet ends elsewhere than another one says, or lies beyond the end. An IPv4 packet is given up.
    End,
    /// It carries nothing. An IPv4 packet is given up.
    Empty,
    /// It would make the packet longer than 65,535 bytes. An IPv4 packet is given up, once all of it is here.
    Oversize,
    /// Fragments of the packet contradict each other about congestion (RFC 3168 §5.3). The packet is given up.
    Congestion,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "there is no room for more fragments",
            Self::Duplicate => "what it brings is here already",
            Self::Overlap => "it overlaps another fragment, and its packet is given up",
            Self::End => "it says that the packet ends elsewhere than another one says",
            Self::Empty => "it carries nothing",
            Self::Oversize => "it would make the packet longer than 65,535 bytes",
            Self::Congestion => "fragments contradict each other about congestion, and the packet is given up",
        })
    }
}

/// How a fragment does not fit into its queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Misfit {
    Refused(Refused),
    /// It is not the last, and its length is no multiple of 8. IPv4 cuts it instead.
    Unaligned,
}

impl Misfit {
    /// Whether the packet is given up with it (`ip_frag_queue`, `nf_ct_frag6_queue`).
    pub(super) const fn ends_queue<A: Fragmented>(self) -> bool {
        match self {
            Self::Refused(Refused::Overlap) | Self::Unaligned => true,
            Self::Refused(Refused::End | Refused::Empty) => A::IS_V4,
            Self::Refused(Refused::Full | Refused::Duplicate | Refused::Oversize | Refused::Congestion) => false,
        }
    }

    /// What becomes of it.
    pub(super) const fn outcome(self) -> Outcome {
        match self {
            Self::Refused(refused) => Outcome::Refused(refused),
            Self::Unaligned => Outcome::AsIs,
        }
    }
}

//! What a rule allows a flow to be translated to (`struct nf_nat_range2`).

use crate::tuple::Address;

/// Which end of a flow is translated (`enum nf_nat_manip_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Manip {
    /// The source, in POST_ROUTING and LOCAL_IN.
    Source,
    /// The destination, in PRE_ROUTING and LOCAL_OUT.
    Destination,
}

impl core::fmt::Display for Manip {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Source => "source",
            Self::Destination => "destination",
        })
    }
}

/// How a port is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Which {
    /// The same as before if it is free (no flag).
    #[default]
    Same,
    /// `--random`: from a random start, even if the same were free.
    Random,
    /// `--random-fully`: at random.
    FullyRandom,
    /// DNAT `--to-destination a:min-max/base`: shifted by as much as the old port was from `base`.
    Shifted {
        /// The port that becomes `min`.
        base: u16,
    },
}

/// What a flow may be translated to. A port stands for an ICMP identifier where a protocol has that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Range<A> {
    /// The lowest and the highest address; none if the address is to stay.
    pub addresses: Option<(A, A)>,
    /// The lowest and the highest port; none if any of the old one's class will do.
    pub ports: Option<(u16, u16)>,
    /// How a port is chosen.
    pub which: Which,
    /// `--persistent`: a client gets the same address for every destination.
    pub persistent: bool,
    /// NETMAP: the host part of the address stays, the rest becomes that of the lowest address.
    pub netmap: bool,
}

impl<A: Address> Range<A> {
    /// One address, any port.
    pub const fn address(address: A) -> Self {
        Self { addresses: Some((address, address)), ports: None, which: Which::Same, persistent: false, netmap: false }
    }
}

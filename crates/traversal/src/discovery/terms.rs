//! The words for what NATs do: those of RFC 4787 and RFC 5382, and the older ones that users know.

use core::fmt;
use core::ops::RangeInclusive;

use pinhole_sansio::Duration;

/// On what of the remote endpoint a mapping or a filter depends (RFC 4787 §4.1, §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dependence {
    /// On nothing.
    EndpointIndependent,
    /// On its address.
    AddressDependent,
    /// On its address and port.
    AddressAndPortDependent,
}

impl Dependence {
    /// All three, the most open first.
    pub const ALL: [Self; 3] = [Self::EndpointIndependent, Self::AddressDependent, Self::AddressAndPortDependent];

    /// Its two to four letters.
    pub const fn short(self) -> &'static str {
        match self {
            Self::EndpointIndependent => "EI",
            Self::AddressDependent => "AD",
            Self::AddressAndPortDependent => "APD",
        }
    }
}

/// Whether the address that servers see is the host's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Translation {
    /// It is.
    None,
    /// It is not.
    Translated,
}

/// What happens to packets to a mapping of one's own (RFC 4787 §6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hairpin {
    /// They come back from the sender's external endpoint.
    ExternalSource,
    /// They come back from the sender's inside endpoint.
    InternalSource,
    /// They do not come back.
    None,
}

/// How the external port of a new mapping is chosen (RFC 4787 §4.2).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Allocation {
    /// The inside port, if it is free.
    Preserving,
    /// One after another.
    Sequential {
        /// How far apart.
        step: i32,
    },
    /// At random from a few runs that belong to the subscriber.
    Block {
        /// The runs, as far as they were seen.
        runs: Vec<RangeInclusive<u16>>,
    },
    /// At random from many.
    Random {
        /// The lowest and the highest that were seen.
        seen: RangeInclusive<u16>,
    },
}

/// Whether the subscriber has one external address (RFC 4787 §4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pooling {
    /// All mappings had the same.
    Paired,
    /// Mappings had different ones.
    Arbitrary,
}

/// How long a silent mapping lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// The longest silence that it has survived.
    pub survived: Duration,
    /// The shortest that it has not.
    pub died: Option<Duration>,
}

/// What a host is behind, in the words of RFC 3489 and of those who number them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Classic {
    /// No NAT and no filter.
    OpenInternet,
    /// No NAT; who was not sent to is not let in.
    SymmetricFirewall,
    /// NAT1.
    FullCone,
    /// NAT2.
    RestrictedCone,
    /// NAT3.
    PortRestrictedCone,
    /// NAT4.
    Symmetric,
    /// Nothing comes back by UDP.
    UdpBlocked,
}

impl Classic {
    /// The number that consoles and many programs give it.
    pub const fn number(self) -> Option<&'static str> {
        match self {
            Self::FullCone => Some("NAT1"),
            Self::RestrictedCone => Some("NAT2"),
            Self::PortRestrictedCone => Some("NAT3"),
            Self::Symmetric => Some("NAT4"),
            Self::OpenInternet | Self::SymmetricFirewall | Self::UdpBlocked => None,
        }
    }
}

impl fmt::Display for Dependence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EndpointIndependent => "endpoint-independent",
            Self::AddressDependent => "address-dependent",
            Self::AddressAndPortDependent => "address-and-port-dependent",
        })
    }
}

impl fmt::Display for Translation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Translated => "yes",
        })
    }
}

impl fmt::Display for Hairpin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ExternalSource => "yes, with the external source",
            Self::InternalSource => "with the inside source",
            Self::None => "no",
        })
    }
}

impl fmt::Display for Allocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Preserving => f.write_str("the inside port"),
            Self::Sequential { step } => write!(f, "sequential, {step:+} each"),
            Self::Block { runs } => {
                f.write_str("random in a block:")?;
                runs.iter().try_for_each(|run| write!(f, " {}-{}", run.start(), run.end()))
            }
            Self::Random { seen } => write!(f, "random, seen {}-{}", seen.start(), seen.end()),
        }
    }
}

impl fmt::Display for Pooling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Paired => "one external address",
            Self::Arbitrary => "several external addresses",
        })
    }
}

impl fmt::Display for Lifetime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |time: Duration| time.as_secs_f64();
        match self.died {
            Some(died) => write!(f, "{:.1} to {:.1} s", seconds(self.survived), seconds(died)),
            None => write!(f, "at least {:.0} s", seconds(self.survived)),
        }
    }
}

impl fmt::Display for Classic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OpenInternet => "open Internet",
            Self::SymmetricFirewall => "firewall only",
            Self::FullCone => "full cone",
            Self::RestrictedCone => "restricted cone",
            Self::PortRestrictedCone => "port-restricted cone",
            Self::Symmetric => "symmetric",
            Self::UdpBlocked => "UDP blocked",
        })
    }
}

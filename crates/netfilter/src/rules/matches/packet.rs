//! What the network layer says of a packet: its hop limit, and what its addresses are to this host.

use core::fmt;

use crate::rules::subject::{AddressKind, Host, Subject};
use crate::rules::value::Not;
use crate::tuple::Address;

/// `-m ttl`, `-m hl`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TtlTest {
    /// `--ttl-eq`.
    Is(Not<u8>),
    /// `--ttl-lt`.
    Below(u8),
    /// `--ttl-gt`.
    Above(u8),
}

impl TtlTest {
    pub(super) const fn test(self, ttl: u8) -> bool {
        match self {
            Self::Is(wanted) => wanted.wants(wanted.is == ttl),
            Self::Below(bound) => ttl < bound,
            Self::Above(bound) => ttl > bound,
        }
    }
}

/// A set of kinds of address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Kinds(u16);

impl Kinds {
    /// Every kind by name.
    pub(in crate::rules) const NAMES: [(AddressKind, &str); 9] = [
        (AddressKind::Unspec, "UNSPEC"),
        (AddressKind::Unicast, "UNICAST"),
        (AddressKind::Local, "LOCAL"),
        (AddressKind::Broadcast, "BROADCAST"),
        (AddressKind::Anycast, "ANYCAST"),
        (AddressKind::Multicast, "MULTICAST"),
        (AddressKind::Blackhole, "BLACKHOLE"),
        (AddressKind::Unreachable, "UNREACHABLE"),
        (AddressKind::Prohibit, "PROHIBIT"),
    ];

    /// These kinds.
    pub fn of(kinds: impl IntoIterator<Item = AddressKind>) -> Self {
        Self(kinds.into_iter().fold(0, |bits, kind| bits | 1 << kind as u16))
    }

    /// Whether `kind` is one of these.
    pub const fn contains(self, kind: AddressKind) -> bool {
        self.0 & 1 << kind as u16 != 0
    }
}

impl fmt::Display for Kinds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = Self::NAMES.iter().filter(|(kind, _)| self.contains(*kind));
        names.enumerate().try_for_each(|(n, (_, name))| write!(f, "{}{name}", if n == 0 { "" } else { "," }))
    }
}

/// What an address must be.
pub type KindTest = Not<Kinds>;

/// `-m addrtype`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Addrtype {
    /// What the source must be.
    pub source: Option<KindTest>,
    /// What the destination must be.
    pub destination: Option<KindTest>,
    /// Only as seen from the interface that the packet came in by, or goes out by.
    pub limit: Option<Side>,
}

/// One of a packet's two interfaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// `--limit-iface-in`.
    In,
    /// `--limit-iface-out`.
    Out,
}

impl Addrtype {
    pub(super) fn test<A: Address>(&self, subject: &Subject<'_, A>, host: &mut impl Host<A>) -> bool {
        let device = self.limit.map(|side| match side {
            Side::In => subject.input,
            Side::Out => subject.output,
        });
        let mut test = |kinds: Option<KindTest>, address| {
            kinds.is_none_or(|kinds| kinds.wants(kinds.is.contains(host.kind(address, device))))
        };
        test(self.source, subject.src) && test(self.destination, subject.dst)
    }
}

//! What becomes of a packet, and why.

use core::fmt;

use pinhole_wire::Malformed;

use crate::interface::InterfaceId;
use crate::nat::ErrorRefused;
use crate::rules::{Hook, TableName};

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It leaves by an interface.
    Forward(InterfaceId),
    /// It is for this host.
    Deliver,
    /// It is kept: a fragment, until the others are here.
    Hold,
    /// It is gone.
    Drop(Reason),
}

/// Why a packet is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// It is no packet.
    Malformed(Malformed),
    /// It is of a family that the router has no address of, or came by an interface that is not there.
    NotForUs,
    /// A rule drops it, or a chain's policy.
    Rule(TableName, Hook),
    /// A rule rejects it, and its sender is told.
    Rejected(TableName, Hook),
    /// There is no room for its flow.
    TableFull,
    /// Its tracker does not let it pass.
    Tracker,
    /// Another flow has the tuple that its flow would have.
    Clash,
    /// The helper of its flow does not let it pass.
    Helper,
    /// It is an ICMP error that cannot be translated.
    IcmpError(ErrorRefused),
    /// It is to be translated, and ends within its transport header.
    TooShort,
    /// It is to be masqueraded behind an interface that has no address.
    NoAddress,
    /// Its flow is masqueraded behind another interface than it leaves by.
    OtherInterface,
    /// There is no way to its destination.
    NoRoute,
    /// It has crossed too many routers.
    TimeExceeded,
    /// It is too long for the way out, and may not be fragmented.
    TooBig,
    /// It goes to, or comes from, an address that no single host has.
    NotUnicast,
    /// It comes in by an interface, from an address that is this host's own (`fib_validate_source`; IPv4).
    Martian,
    /// It is a fragment that does not fit the others, or one too many of them.
    Fragment,
}

impl Reason {
    /// A short name, for counters.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::NotForUs => "not-for-us",
            Self::Rule(..) => "rule",
            Self::Rejected(..) => "rejected",
            Self::TableFull => "table-full",
            Self::Tracker => "tracker",
            Self::Clash => "clash",
            Self::Helper => "helper",
            Self::IcmpError(_) => "icmp-error",
            Self::TooShort => "too-short",
            Self::NoAddress => "no-address",
            Self::OtherInterface => "other-interface",
            Self::NoRoute => "no-route",
            Self::TimeExceeded => "time-exceeded",
            Self::TooBig => "too-big",
            Self::NotUnicast => "not-unicast",
            Self::Martian => "martian",
            Self::Fragment => "fragment",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(malformed) => write!(f, "it is malformed: {malformed}"),
            Self::NotForUs => f.write_str("nobody here speaks its protocol"),
            Self::Rule(table, hook) => write!(f, "{table} {hook} drops it"),
            Self::Rejected(table, hook) => write!(f, "{table} {hook} rejects it"),
            Self::TableFull => f.write_str("the table of flows is full"),
            Self::Tracker => f.write_str("its tracker does not let it pass"),
            Self::Clash => f.write_str("another flow has the tuple that its flow would have"),
            Self::Helper => f.write_str("the helper of its flow does not let it pass"),
            Self::IcmpError(ErrorRefused::Checksum) => f.write_str("it is an ICMP error with a wrong checksum"),
            Self::IcmpError(ErrorRefused::Redirect) => f.write_str("it is an ICMP redirect about a translated flow"),
            Self::IcmpError(ErrorRefused::Quote) => f.write_str("it is an ICMP error that quotes nothing readable"),
            Self::TooShort => f.write_str("it is to be translated, and ends within its transport header"),
            Self::NoAddress => f.write_str("the interface that it leaves by has no address to masquerade it with"),
            Self::OtherInterface => f.write_str("its flow is masqueraded behind another interface"),
            Self::NoRoute => f.write_str("there is no way to its destination"),
            Self::TimeExceeded => f.write_str("it has crossed too many routers"),
            Self::TooBig => f.write_str("it is too long for the way out, and may not be fragmented"),
            Self::NotUnicast => f.write_str("its source or its destination is no single host's address"),
            Self::Martian => f.write_str("it comes from outside, and from this host's own address"),
            Self::Fragment => f.write_str("it is a fragment that does not fit the others"),
        }
    }
}

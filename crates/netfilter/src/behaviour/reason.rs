//! Why a packet was not forwarded, counted.

use core::fmt;

/// Why a packet was not forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// It is no IP packet, or its transport header is not one.
    Malformed,
    /// It is of the other address family.
    Family,
    /// NAT does not know its protocol, or this kind of ICMP message.
    Protocol,
    /// It came from outside, and is for none of the external addresses.
    NotOurs,
    /// Nobody inside has this external endpoint.
    NoMapping,
    /// Its sender may not send to this external endpoint.
    Filtered,
    /// It goes from inside to an external address, and there is no hairpinning.
    Hairpin,
    /// A TCP segment that does not begin a connection, of none that is known.
    NoConnection,
    /// No port is free.
    NoPort,
    /// The inside address has no run of ports, or there is no external address.
    NoAddress,
    /// The subscriber has as many ports as it may have.
    PortQuota,
    /// The subscriber has as many sessions as it may have.
    SessionQuota,
    /// The subscriber makes mappings too fast.
    RateLimit,
    /// There are as many sessions as there may be.
    TableFull,
    /// An unexpected SYN, which may be answered later.
    SynHeld,
    /// An unexpected SYN, when too many are held already.
    TooManySyns,
    /// An ICMP error with a wrong checksum, its own or that of the packet it quotes.
    Checksum,
    /// An ICMP error about no session that is known.
    UnrelatedError,
    /// An ICMP error, which are not wanted.
    UnwantedError,
    /// It is longer than the next link's MTU, and may not be fragmented.
    TooBig,
    /// A later fragment, when too many wait for their first one already.
    TooManyFragments,
    /// An ICMP message from inside, or the packet it quotes, has a source route, which would show inside addresses.
    SourceRoute,
}

impl Reason {
    /// All, in the order of their numbers.
    pub const ALL: [Self; 22] = [
        Self::Malformed,
        Self::Family,
        Self::Protocol,
        Self::NotOurs,
        Self::NoMapping,
        Self::Filtered,
        Self::Hairpin,
        Self::NoConnection,
        Self::NoPort,
        Self::NoAddress,
        Self::PortQuota,
        Self::SessionQuota,
        Self::RateLimit,
        Self::TableFull,
        Self::SynHeld,
        Self::TooManySyns,
        Self::Checksum,
        Self::UnrelatedError,
        Self::UnwantedError,
        Self::TooBig,
        Self::TooManyFragments,
        Self::SourceRoute,
    ];

    /// Whether an inside host was refused a session for want of something (RFC 5508 REQ-8, RFC 6888 REQ-11).
    pub(super) const fn is_refusal(self) -> bool {
        match self {
            Self::NoPort
            | Self::NoAddress
            | Self::PortQuota
            | Self::SessionQuota
            | Self::RateLimit
            | Self::TableFull => true,
            Self::Malformed
            | Self::Family
            | Self::Protocol
            | Self::NotOurs
            | Self::NoMapping
            | Self::Filtered
            | Self::Hairpin
            | Self::NoConnection
            | Self::SynHeld
            | Self::TooManySyns
            | Self::Checksum
            | Self::UnrelatedError
            | Self::UnwantedError
            | Self::TooBig
            | Self::TooManyFragments
            | Self::SourceRoute => false,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "the packet is malformed",
            Self::Family => "the packet is of the other address family",
            Self::Protocol => "this protocol is not translated",
            Self::NotOurs => "the destination is no external address",
            Self::NoMapping => "nobody inside has this external endpoint",
            Self::Filtered => "the sender may not send to this external endpoint",
            Self::Hairpin => "there is no hairpinning",
            Self::NoConnection => "the segment belongs to no known connection",
            Self::NoPort => "no port is free",
            Self::NoAddress => "there is no external address for this subscriber",
            Self::PortQuota => "the subscriber has as many ports as it may have",
            Self::SessionQuota => "the subscriber has as many sessions as it may have",
            Self::RateLimit => "the subscriber makes mappings too fast",
            Self::TableFull => "there are as many sessions as there may be",
            Self::SynHeld => "nobody waits for this connection yet",
            Self::TooManySyns => "too many unexpected connections wait already",
            Self::Checksum => "the ICMP error has a wrong checksum",
            Self::UnrelatedError => "the ICMP error is about no known session",
            Self::UnwantedError => "ICMP errors are not wanted",
            Self::TooBig => "the packet is longer than the MTU and may not be fragmented",
            Self::TooManyFragments => "too many fragments wait for their first one already",
            Self::SourceRoute => "the ICMP message has a source route",
        })
    }
}

/// How many packets went where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Forwarded, to either side.
    pub forwarded: u64,
    /// Answered by the NAT itself; they are among those with a reason too.
    pub answered: u64,
    /// Kept until more is known.
    pub kept: u64,
    reasons: [u64; Reason::ALL.len()],
}

impl Counters {
    /// How many packets were not forwarded for this reason.
    pub const fn of(&self, reason: Reason) -> u64 {
        self.reasons[reason as usize]
    }

    pub(super) const fn count(&mut self, reason: Reason) {
        self.reasons[reason as usize] += 1;
    }
}

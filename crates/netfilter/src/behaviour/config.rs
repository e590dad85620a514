//! What a NAT does, as data.

use pinhole_sansio::Duration;

use crate::ports::{HoldDown, Range};

/// On what of the remote endpoint a mapping or a filter depends (RFC 4787 §4.1 and §5).
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
}

/// How one protocol is mapped and filtered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pairing {
    /// When an inside endpoint gets another external endpoint.
    pub mapping: Dependence,
    /// Who may send to it. A remote endpoint may if the inside one has sent to it, to its address, or to anybody.
    pub filtering: Dependence,
}

impl Pairing {
    /// This mapping with this filtering.
    pub const fn new(mapping: Dependence, filtering: Dependence) -> Self {
        Self { mapping, filtering }
    }
}

/// How the external port of a new mapping is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Allocation {
    /// The inside port if it is free, else the next above.
    Preserving,
    /// The inside port if it is free, else a random one.
    PreservingOrRandom,
    /// A random one.
    Random,
    /// One after another, this far apart.
    Sequential {
        /// How far.
        step: u16,
    },
    /// At random from runs that belong to the subscriber, which gets another when they are used up.
    Blocks {
        /// Ports of a run.
        size: u16,
        /// Runs that a subscriber may have.
        most: u16,
    },
    /// At random from the one run that the subscriber's address determines (RFC 7422).
    Deterministic {
        /// Ports of a run.
        size: u16,
        /// How many of the lowest bits of the inside address tell subscribers apart, up to 32.
        bits: u8,
    },
}

/// Whether a subscriber has one external address (RFC 4787 §4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pooling {
    /// The same for all its mappings; if that has no port left, none is given.
    Paired,
    /// The same for all its mappings as long as that has a port left, else another (RFC 7857 §4).
    SoftlyPaired,
    /// Any for each mapping, in turn.
    Arbitrary,
}

/// What happens to packets between two inside hosts by way of an external address (RFC 4787 §6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hairpin {
    /// They are dropped.
    None,
    /// They arrive with the sender's inside endpoint as their source, so that most receivers do not know whose they are.
    InternalSource,
    /// They arrive with the sender's external endpoint as their source.
    ExternalSource,
}

/// Whose packets keep a session (RFC 4787 REQ-6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refresh {
    /// The inside's.
    Outbound,
    /// The outside's.
    Inbound,
    /// Both.
    Both,
}

/// How long a session lives after the packet that refreshed it last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Timers {
    /// UDP, as long as only one side has sent.
    pub udp: Duration,
    /// UDP, once both sides have sent.
    pub udp_stream: Duration,
    /// TCP, while a connection is open.
    pub tcp_established: Duration,
    /// TCP, while a connection opens (RFC 7857 §2.1 wants it apart from closing).
    pub tcp_opening: Duration,
    /// TCP, after both sides have closed it.
    pub tcp_closing: Duration,
    /// TCP, after a reset. Apart from closing, as many devices forget a reset connection at once.
    pub tcp_reset: Duration,
    /// ICMP queries.
    pub icmp: Duration,
}

/// What is done with a SYN from outside that nobody waits for (RFC 5382 REQ-4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unsolicited {
    /// It is answered with a reset, which ends a simultaneous open before it began.
    Reset,
    /// It is dropped.
    Silence,
    /// It is kept; if no SYN goes the other way in this time, it is answered with "port unreachable".
    HoldThenIcmp(Duration),
}

/// What an inside host hears when there is no session for it (RFC 5508 REQ-8, RFC 6888 REQ-11).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// Nothing.
    Silence,
    /// ICMP 3/1, "host unreachable" (RFC 6888 REQ-11 b).
    HostUnreachable,
    /// ICMP 3/13, "communication administratively prohibited" (RFC 5508 REQ-8).
    Prohibited,
}

/// What ICMP errors do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IcmpErrors {
    /// They are translated and passed on, and change nothing (RFC 5508 REQ-4 to REQ-6).
    Translated,
    /// They are dropped.
    Dropped,
    /// They are passed on and end the session they are about: a fault, against RFC 4787 REQ-12.
    EndSessions,
}

/// How much there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Limits {
    /// External ports of a subscriber, for each protocol.
    pub ports: u32,
    /// Sessions of a subscriber.
    pub sessions: u32,
    /// New mappings of a subscriber in a second.
    pub rate: u32,
    /// Sessions of all.
    pub total: u32,
    /// Leading bits of an inside address that name its subscriber. Longer than the address, they are the address.
    pub subscriber_bits: u8,
}

impl Limits {
    /// No limit but that of the machine: 16 million sessions take 1.6 GB.
    pub const NONE: Self =
        Self { ports: u32::MAX, sessions: u32::MAX, rate: u32::MAX, total: 1 << 24, subscriber_bits: 128 };
}

/// What a NAT does. Plain data: nothing in it depends on another part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Behaviour {
    /// Mapping and filtering of UDP.
    pub udp: Pairing,
    /// Mapping and filtering of TCP.
    pub tcp: Pairing,
    /// Mapping and filtering of ICMP queries, for which the remote port is zero.
    pub icmp: Pairing,
    /// How a port is chosen.
    pub allocation: Allocation,
    /// The ports to choose from. Zero is never chosen. ICMP identifiers are chosen from all, except in blocks.
    pub ports: Range,
    /// Whether ports below 1,024 are mapped to such (RFC 4787 REQ-3 a), whatever `ports` says.
    pub keep_class: bool,
    /// Whether even ports are mapped to even ones, as long as there are any (RFC 4787 REQ-4).
    pub keep_parity: bool,
    /// Whether the port above an even one that is mapped is mapped to the port above its external one, if that is free
    /// (RFC 4787 §4.2.3).
    pub contiguous: bool,
    /// Whether mappings share a port as long as they do not share a remote endpoint: against RFC 4787 REQ-3. Only where ports
    /// are preserved, as mappings that get any port get a free one.
    pub overloading: bool,
    /// How long a port rests.
    pub hold_down: HoldDown,
    /// Whose external address is whose.
    pub pooling: Pooling,
    /// What happens between inside hosts.
    pub hairpin: Hairpin,
    /// How long a session lives.
    pub timers: Timers,
    /// Whose packets keep it alive.
    pub refresh: Refresh,
    /// What an unexpected SYN gets.
    pub unsolicited: Unsolicited,
    /// What a refused inside host hears.
    pub refusal: Refusal,
    /// What ICMP errors do.
    pub icmp_errors: IcmpErrors,
    /// Whether a TCP session may begin in the middle of a connection, as after a restart of the NAT.
    pub pick_up: bool,
    /// A fault: an unexpected packet from outside takes its remote endpoint away from the external endpoint for the time
    /// of a UDP session, and whoever inside sends there later gets another port for it. Stock Linux masquerade has it.
    pub poisoning: bool,
    /// How much there may be.
    pub limits: Limits,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self::rfc4787()
    }
}

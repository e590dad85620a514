//! ICMP and ICMPv6 (`nf_conntrack_proto_icmp.c`, `nf_conntrack_proto_icmpv6.c`): only a query begins a flow, and every
//! packet of it refreshes it. Errors are about other flows, and what keeps IPv6 neighbours together is not tracked.

use core::time::Duration;

use pinhole_wire::{Protocol, icmp};

use super::{Change, Judgement, Upper};
use crate::tuple::Address;
use crate::watch::{Topic, Watch};

/// The highest type that ICMP for IPv4 knows (`NR_ICMP_TYPES`).
const HIGHEST_TYPE: u8 = 18;

/// What conntrack does with an ICMP message before it looks for a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A query or an answer: it has a flow of its own.
    Query,
    /// An error, or a redirect of ICMP for IPv4: its flow is that of the packet it quotes.
    Error,
    /// A redirect of ICMPv6: its flow is that of the packet in its "redirected header" option, if there is one.
    Redirect,
    /// It is not tracked.
    Untracked,
    /// It is INVALID.
    Invalid,
}

/// What conntrack does with an ICMP message of this family.
pub fn kind<A: Address>(upper: Upper<'_>) -> Kind {
    if upper.body.len() < icmp::HEADER_LEN {
        return Kind::Invalid;
    }
    let message_type = upper.body[0];
    if A::IS_V4 {
        match message_type {
            icmp::v4::UNREACHABLE
            | icmp::v4::SOURCE_QUENCH
            | icmp::v4::REDIRECT
            | icmp::v4::TIME_EXCEEDED
            | icmp::v4::PARAMETER_PROBLEM => Kind::Error,
            0..=HIGHEST_TYPE => Kind::Query,
            _ => Kind::Invalid,
        }
    } else {
        match message_type {
            0..=127 => Kind::Error,
            // MLD query, report and done; router and neighbour solicitation and advertisement; MLDv2 report; multicast
            // router advertisement and solicitation.
            130..=136 | 143 | 151 | 152 => Kind::Untracked,
            137 => Kind::Redirect,
            _ => Kind::Query,
        }
    }
}

/// Whether conntrack leaves the packet alone: the multicast and neighbour messages of ICMPv6.
pub fn untracked<A: Address>(upper: Upper<'_>) -> bool {
    Protocol::from(upper.protocol) == A::ICMP && kind::<A>(upper) == Kind::Untracked
}

/// Whether the message may begin a flow: a query for an echo, a timestamp, information or an address mask; in IPv6 for an
/// echo or node information.
pub(super) fn may_begin<A: Address>(upper: Upper<'_>, watch: &mut impl Watch) -> bool {
    if Protocol::from(upper.protocol) != A::ICMP || upper.body.len() < icmp::HEADER_LEN {
        watch.note(Topic::Track, || "INVALID: not a whole ICMP message of this address family");
        return false;
    }
    let message_type = upper.body[0];
    let begins = if A::IS_V4 {
        matches!(message_type, icmp::v4::ECHO_REQUEST | 13 | 15 | 17)
    } else {
        matches!(message_type, icmp::v6::ECHO_REQUEST | 139)
    };
    if !begins {
        watch.note(Topic::Track, || format!("INVALID: {} type {message_type} begins no flow", A::ICMP));
    }
    begins
}

pub(super) const fn next(timeout: Duration) -> Judgement {
    Judgement::Accept(Change::refresh(timeout))
}

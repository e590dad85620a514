//! What conntrack says of a packet (`net/netfilter/xt_conntrack.c`, `xt_state.c`, `xt_helper.c`).

use core::fmt;

use super::Seen;
use crate::rules::subject::{Flow, Tracking};
use crate::rules::value::{Masked, Not, Span};
use crate::status::{CtInfo, Direction, Status};
use crate::tuple::Address;

/// A set of states (`XT_CONNTRACK_STATE_*`).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct States(u8);

impl States {
    /// No flow, and not for want of tracking.
    pub const INVALID: Self = Self(0x01);
    /// A flow that was answered.
    pub const ESTABLISHED: Self = Self(0x02);
    /// An error about a flow, or the first packets of an expected one.
    pub const RELATED: Self = Self(0x04);
    /// A flow that was not answered yet.
    pub const NEW: Self = Self(0x08);
    /// The source of the flow is translated.
    pub const SNAT: Self = Self(0x10);
    /// The destination of the flow is translated.
    pub const DNAT: Self = Self(0x20);
    /// Not tracked.
    pub const UNTRACKED: Self = Self(0x40);

    /// The names, in the order in which `--ctstate` writes them.
    pub(in crate::rules) const NAMES: [(Self, &str); 7] = [
        (Self::INVALID, "INVALID"),
        (Self::NEW, "NEW"),
        (Self::RELATED, "RELATED"),
        (Self::ESTABLISHED, "ESTABLISHED"),
        (Self::UNTRACKED, "UNTRACKED"),
        (Self::SNAT, "SNAT"),
        (Self::DNAT, "DNAT"),
    ];

    /// No state.
    pub const NONE: Self = Self(0);

    /// The states of both sets.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether some state of `other` is in this set.
    #[inline]
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// The state of a packet, without what NAT did to it and what rules have said.
    #[inline]
    pub(in crate::rules) const fn of<A: Address>(tracking: &Tracking<'_, A>) -> Self {
        match tracking {
            Tracking::Flow(flow) => match flow.info {
                CtInfo::Established | CtInfo::EstablishedReply => Self::ESTABLISHED,
                CtInfo::Related | CtInfo::RelatedReply => Self::RELATED,
                CtInfo::New => Self::NEW,
                CtInfo::Untracked => Self::UNTRACKED,
            },
            Tracking::Untracked => Self::UNTRACKED,
            Tracking::Invalid => Self::INVALID,
        }
    }

    /// The state of a packet by now, without what NAT did to it. A template reads as NEW.
    #[inline]
    pub(super) const fn by_now<A: Address>(seen: &Seen<'_, A>) -> Self {
        if seen.is_untracked {
            Self::UNTRACKED
        } else if seen.has_template {
            Self::NEW
        } else {
            Self::of(&seen.subject.tracking)
        }
    }
}

impl fmt::Display for States {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = Self::NAMES.iter().filter(|(state, _)| self.intersects(*state));
        names.enumerate().try_for_each(|(n, (_, name))| write!(f, "{}{name}", if n == 0 { "" } else { "," }))
    }
}

impl fmt::Debug for States {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "States({self})")
    }
}

/// What `-m conntrack` asks, in the order in which iptables-save writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conntrack<A> {
    tests: Vec<CtTest<A>>,
}

/// One thing that `-m conntrack` asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CtTest<A> {
    /// `--ctstate`.
    State(Not<States>),
    /// `--ctproto`.
    Protocol(Not<u8>),
    /// `--ctorigsrc`.
    OriginalSource(Not<Masked<A>>),
    /// `--ctorigdst`.
    OriginalDestination(Not<Masked<A>>),
    /// `--ctreplsrc`.
    ReplySource(Not<Masked<A>>),
    /// `--ctrepldst`.
    ReplyDestination(Not<Masked<A>>),
    /// `--ctorigsrcport`.
    OriginalSourcePort(Not<Span<u16>>),
    /// `--ctorigdstport`.
    OriginalDestinationPort(Not<Span<u16>>),
    /// `--ctreplsrcport`.
    ReplySourcePort(Not<Span<u16>>),
    /// `--ctrepldstport`.
    ReplyDestinationPort(Not<Span<u16>>),
    /// `--ctstatus`: some of these bits. NONE is no bit, so that it never matches, as in Linux.
    Status(Not<Status>),
    /// `--ctexpire`: remaining whole seconds.
    Expire(Not<Span<u32>>),
    /// `--ctdir`.
    Direction(Direction),
}

impl<A: Address> CtTest<A> {
    /// The name of its option.
    pub(in crate::rules) const fn option(&self) -> &'static str {
        Self::OPTIONS[self.rank() as usize]
    }

    /// The options, in order.
    pub(in crate::rules) const OPTIONS: [&'static str; 13] = [
        "--ctstate",
        "--ctproto",
        "--ctorigsrc",
        "--ctorigdst",
        "--ctreplsrc",
        "--ctrepldst",
        "--ctorigsrcport",
        "--ctorigdstport",
        "--ctreplsrcport",
        "--ctrepldstport",
        "--ctstatus",
        "--ctexpire",
        "--ctdir",
    ];

    /// Its place in the order.
    const fn rank(&self) -> u8 {
        match self {
            Self::State(_) => 0,
            Self::Protocol(_) => 1,
            Self::OriginalSource(_) => 2,
            Self::OriginalDestination(_) => 3,
            Self::ReplySource(_) => 4,
            Self::ReplyDestination(_) => 5,
            Self::OriginalSourcePort(_) => 6,
            Self::OriginalDestinationPort(_) => 7,
            Self::ReplySourcePort(_) => 8,
            Self::ReplyDestinationPort(_) => 9,
            Self::Status(_) => 10,
            Self::Expire(_) => 11,
            Self::Direction(_) => 12,
        }
    }

    /// The addresses that it asks for.
    pub(in crate::rules) const fn network(&self) -> Option<&Masked<A>> {
        match self {
            Self::OriginalSource(net)
            | Self::OriginalDestination(net)
            | Self::ReplySource(net)
            | Self::ReplyDestination(net) => Some(&net.is),
            Self::State(_)
            | Self::Protocol(_)
            | Self::OriginalSourcePort(_)
            | Self::OriginalDestinationPort(_)
            | Self::ReplySourcePort(_)
            | Self::ReplyDestinationPort(_)
            | Self::Status(_)
            | Self::Expire(_)
            | Self::Direction(_) => None,
        }
    }

    /// What a flow answers; states were asked before.
    fn test(&self, flow: &Flow<'_, A>) -> bool {
        let Flow { original, reply, .. } = flow;
        match self {
            Self::State(_) => true,
            Self::Protocol(protocol) => protocol.wants(protocol.is == original.protocol),
            Self::OriginalSource(net) => net.wants(net.is.contains(original.src)),
            Self::OriginalDestination(net) => net.wants(net.is.contains(original.dst)),
            Self::ReplySource(net) => net.wants(net.is.contains(reply.src)),
            Self::ReplyDestination(net) => net.wants(net.is.contains(reply.dst)),
            Self::OriginalSourcePort(ports) => ports.wants(ports.is.contains(original.src_id)),
            Self::OriginalDestinationPort(ports) => ports.wants(ports.is.contains(original.dst_id)),
            Self::ReplySourcePort(ports) => ports.wants(ports.is.contains(reply.src_id)),
            Self::ReplyDestinationPort(ports) => ports.wants(ports.is.contains(reply.dst_id)),
            Self::Status(status) => status.wants(flow.status.intersects(status.is)),
            Self::Expire(seconds) => {
                let remaining = u32::try_from(flow.remaining.as_secs()).unwrap_or(u32::MAX);
                seconds.wants(seconds.is.contains(remaining))
            }
            Self::Direction(direction) => flow.info.direction() == *direction,
        }
    }
}

impl<A: Address> Conntrack<A> {
    /// All of `tests` must be so; of two that ask the same thing the later one counts.
    pub fn new(tests: impl IntoIterator<Item = CtTest<A>>) -> Self {
        let mut sorted: Vec<CtTest<A>> = Vec::new();
        for test in tests {
            match sorted.binary_search_by_key(&test.rank(), CtTest::rank) {
                Ok(at) => sorted[at] = test,
                Err(at) => sorted.insert(at, test),
            }
        }
        Self { tests: sorted }
    }

    /// Only the state.
    pub fn state(states: States) -> Self {
        Self::new([CtTest::State(Not::plain(states))])
    }

    /// The states that are asked for, if nothing else is.
    pub(in crate::rules) fn only_state(&self) -> Option<States> {
        match self.tests[..] {
            [CtTest::State(Not { is, not: false })] if !is.intersects(States::SNAT.and(States::DNAT)) => Some(is),
            [..] => None,
        }
    }

    /// What is asked.
    pub fn tests(&self) -> &[CtTest<A>] {
        &self.tests
    }

    /// Whether a packet is as asked. Without a flow only the state is asked, and if nothing asks it the answer is no.
    #[inline]
    pub(super) fn test(&self, seen: &Seen<'_, A>) -> bool {
        let flow = seen.flow();
        let (asks_state, others) = match self.tests.split_first() {
            Some((CtTest::State(states), others)) => {
                let nat = flow.map_or(States::NONE, |flow| nat_states(flow.status));
                if !states.wants(states.is.intersects(States::by_now(seen).and(nat))) {
                    return false;
                }
                (true, others)
            }
            Some(_) | None => (false, &self.tests[..]),
        };
        flow.map_or(asks_state, |flow| others.iter().all(|test| test.test(flow)))
    }
}

const fn nat_states(status: Status) -> States {
    let source = if status.contains(Status::SRC_NAT) { States::SNAT } else { States::NONE };
    let destination = if status.contains(Status::DST_NAT) { States::DNAT } else { States::NONE };
    source.and(destination)
}

/// Whether a helper whose name `asked` begins with expected the packet's flow; any helper, if nothing is asked.
pub(super) fn is_helped_by<A: Address>(asked: &str, flow: Option<&Flow<'_, A>>) -> bool {
    let helper = flow.and_then(|flow| flow.master_helper);
    helper.is_some_and(|helper| asked.is_empty() || asked.starts_with(helper))
}

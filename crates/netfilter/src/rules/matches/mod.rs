//! What a rule asks of a packet, one type per module of iptables (`-m NAME`).
//!
//! A criterion reads the packet and what has been done to it so far in this table ([`Seen`]); `limit` alone changes itself.
//! A packet too short for what is asked is dropped at once, as the kernel's `hotdrop` does.

mod conntrack;
mod limit;
mod packet;
mod transport;

pub use conntrack::{Conntrack, CtTest, States};
pub use limit::Limit;
pub use packet::{Addrtype, KindTest, Kinds, Side, TtlTest};
pub use transport::{Icmp, Multiport, Ports, Tcp, TcpFlags, Which};

use super::set::{self, Sets};
use super::subject::{Delivery, Host, Subject};
use super::value::{MarkTest, Not, Span};
use crate::tuple::Address;

/// What a rule asks of a packet beside its header.
#[derive(Clone, Debug, PartialEq)]
pub enum Match<A> {
    /// `-m tcp`.
    Tcp(Tcp),
    /// `-m udp`.
    Udp(Ports),
    /// `-m sctp`.
    Sctp(Ports),
    /// `-m dccp`.
    Dccp(Ports),
    /// `-m multiport`.
    Multiport(Not<Multiport>),
    /// `-m icmp`, `-m icmp6`.
    Icmp(Not<Icmp>),
    /// `-m conntrack`.
    Conntrack(Conntrack<A>),
    /// `-m state`.
    State(Not<States>),
    /// `-m mark`.
    Mark(Not<MarkTest>),
    /// `-m connmark`.
    Connmark(Not<MarkTest>),
    /// `-m limit`.
    Limit(Limit),
    /// `-m comment`.
    Comment(String),
    /// `-m addrtype`.
    Addrtype(Addrtype),
    /// `-m length`: the whole packet, in bytes.
    Length(Not<Span<u16>>),
    /// `-m ttl`, `-m hl`.
    Ttl(TtlTest),
    /// `-m helper`.
    Helper(Not<String>),
    /// `-m pkttype`.
    Pkttype(Not<Delivery>),
    /// `-m set`.
    Set(Not<set::Lookup>),
}

impl<A: Address> Match<A> {
    /// The name behind `-m`.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Tcp(_) => "tcp",
            Self::Udp(_) => "udp",
            Self::Sctp(_) => "sctp",
            Self::Dccp(_) => "dccp",
            Self::Multiport(_) => "multiport",
            Self::Icmp(_) => {
                if A::IS_V4 {
                    "icmp"
                } else {
                    "icmp6"
                }
            }
            Self::Conntrack(_) => "conntrack",
            Self::State(_) => "state",
            Self::Mark(_) => "mark",
            Self::Connmark(_) => "connmark",
            Self::Limit(_) => "limit",
            Self::Comment(_) => "comment",
            Self::Addrtype(_) => "addrtype",
            Self::Length(_) => "length",
            Self::Ttl(_) => {
                if A::IS_V4 {
                    "ttl"
                } else {
                    "hl"
                }
            }
            Self::Helper(_) => "helper",
            Self::Pkttype(_) => "pkttype",
            Self::Set(_) => "set",
        }
    }

    /// Whether a packet is as asked.
    #[inline]
    pub(super) fn test(&mut self, seen: &Seen<'_, A>, sets: &Sets<A>, host: &mut impl Host<A>) -> Answer {
        let subject = seen.subject;
        let yes = match self {
            Self::Conntrack(conntrack) => conntrack.test(seen),
            Self::State(states) => states.wants(states.is.intersects(States::by_now(seen))),
            Self::Tcp(tcp) => return tcp.test(subject),
            Self::Udp(ports) => return ports.test(subject, 8),
            Self::Sctp(ports) | Self::Dccp(ports) => return ports.test(subject, 12),
            Self::Multiport(multiport) => return multiport.is.test(subject, multiport.not),
            Self::Icmp(icmp) => return icmp.is.test::<A>(subject, icmp.not),
            Self::Mark(mark) => mark.wants(mark.is.contains(seen.mark)),
            Self::Connmark(mark) => seen.flow().is_some() && mark.wants(mark.is.contains(seen.flow_mark)),
            Self::Limit(limit) => limit.take(subject.now),
            Self::Comment(_) => true,
            Self::Addrtype(addrtype) => addrtype.test(subject, host),
            Self::Length(length) => {
                length.wants(u16::try_from(subject.length).is_ok_and(|len| length.is.contains(len)))
            }
            Self::Ttl(ttl) => ttl.test(subject.ttl),
            Self::Helper(helper) => helper.wants(conntrack::is_helped_by(&helper.is, seen.flow())),
            Self::Pkttype(delivery) => delivery.wants(delivery.is == subject.delivery),
            Self::Set(lookup) => lookup.wants(sets.contains(&lookup.is, subject)),
        };
        Answer::of(yes)
    }
}

/// A packet, and what rules of this table have done to it so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen<'a, A: Address> {
    /// The packet as it came.
    pub subject: &'a Subject<'a, A>,
    /// Its mark by now.
    pub mark: u32,
    /// The mark of its flow by now; zero without one.
    pub flow_mark: u32,
    /// Whether a rule has said that it is not tracked.
    pub is_untracked: bool,
    /// Whether a rule has given it a template, which reads as NEW and which no later rule replaces.
    pub has_template: bool,
}

/// What a criterion answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The packet is as asked.
    Yes,
    /// It is not.
    No,
    /// It is too short to say, and is dropped.
    Malformed,
}

impl Answer {
    const fn of(yes: bool) -> Self {
        if yes { Self::Yes } else { Self::No }
    }
}

//! One rule: what it asks of a packet, and what is done with one that answers.
//!
//! In Rust a rule reads as it does in iptables: `Rule::new().out_device("wan").masquerade()`.

use super::matches::{Conntrack, Limit, Match, Multiport, Ports, States, Tcp, TcpFlags, Which};
use super::target::{ConnmarkChange, Log, MarkChange, Reject, Target};
use super::value::{MarkTest, Masked, Not, Span};
use super::{Counters, Interface};
use crate::nat::{Range, Which as PortChoice};
use crate::tuple::Address;

/// One rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule<A> {
    /// What it asks of the packet's header.
    pub header: Header<A>,
    /// What it asks beside, in order.
    pub matches: Vec<Match<A>>,
    /// What is done with a packet that is as asked; nothing but counting, if absent.
    pub target: Option<Target<A>>,
    /// How many packets were as asked.
    pub counters: Counters,
}

/// What a rule asks of a packet's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<A> {
    /// `-s`.
    pub source: Option<Not<Masked<A>>>,
    /// `-d`.
    pub destination: Option<Not<Masked<A>>>,
    /// `-i`.
    pub input: Option<Not<Interface>>,
    /// `-o`.
    pub output: Option<Not<Interface>>,
    /// `-p`.
    pub protocol: Option<Not<u8>>,
    /// `-f`: a later fragment, or (`! -f`) none. IPv4 only.
    pub fragment: Option<bool>,
}

impl<A> Default for Header<A> {
    fn default() -> Self {
        Self { source: None, destination: None, input: None, output: None, protocol: None, fragment: None }
    }
}

impl<A> Default for Rule<A> {
    fn default() -> Self {
        Self { header: Header::default(), matches: Vec::new(), target: None, counters: Counters::default() }
    }
}

/// What a rule asks. Names that no interface can have are refused when the rules are loaded.
impl<A: Address> Rule<A> {
    /// A rule that every packet answers, and that does nothing but count.
    pub fn new() -> Self {
        Self::default()
    }

    /// From these addresses.
    #[must_use]
    pub fn from(mut self, source: Masked<A>) -> Self {
        self.header.source = Some(Not::plain(source));
        self
    }

    /// To these addresses.
    #[must_use]
    pub fn to(mut self, destination: Masked<A>) -> Self {
        self.header.destination = Some(Not::plain(destination));
        self
    }

    /// In by this interface, or by all whose names begin so (`lan+`).
    #[must_use]
    pub fn in_device(mut self, name: &str) -> Self {
        self.header.input = Some(Not::plain(Interface::new(name).unwrap_or(Interface::NOTHING)));
        self
    }

    /// Out by this interface, or by all whose names begin so.
    #[must_use]
    pub fn out_device(mut self, name: &str) -> Self {
        self.header.output = Some(Not::plain(Interface::new(name).unwrap_or(Interface::NOTHING)));
        self
    }

    /// Of this protocol.
    #[must_use]
    pub fn protocol(mut self, number: u8) -> Self {
        self.header.protocol = Some(Not::plain(number));
        self
    }

    /// TCP to these ports.
    #[must_use]
    pub fn tcp_to(self, ports: impl Into<Span<u16>>) -> Self {
        let ports = Ports { source: None, destination: Some(Not::plain(ports.into())) };
        self.protocol(6).matching(Match::Tcp(Tcp { ports, ..Tcp::default() }))
    }

    /// UDP to these ports.
    #[must_use]
    pub fn udp_to(self, ports: impl Into<Span<u16>>) -> Self {
        let ports = Ports { source: None, destination: Some(Not::plain(ports.into())) };
        self.protocol(17).matching(Match::Udp(ports))
    }

    /// The first segment of a TCP connection.
    #[must_use]
    pub fn tcp_syn(self) -> Self {
        self.protocol(6).matching(Match::Tcp(Tcp { flags: Some(Not::plain(TcpFlags::SYN)), ..Tcp::default() }))
    }

    /// To one of these ports, of the protocol that the rule has.
    #[must_use]
    pub fn to_ports(self, ports: impl Into<Vec<Span<u16>>>) -> Self {
        self.matching(Match::Multiport(Not::plain(Multiport { which: Which::Destination, ports: ports.into() })))
    }

    /// In one of these states.
    #[must_use]
    pub fn state(self, states: States) -> Self {
        self.matching(Match::Conntrack(Conntrack::state(states)))
    }

    /// With this mark.
    #[must_use]
    pub fn marked(self, mark: MarkTest) -> Self {
        self.matching(Match::Mark(Not::plain(mark)))
    }

    /// So often at most.
    #[must_use]
    pub fn limit(self, limit: Limit) -> Self {
        self.matching(Match::Limit(limit))
    }

    /// For people.
    #[must_use]
    pub fn comment(self, comment: impl Into<String>) -> Self {
        self.matching(Match::Comment(comment.into()))
    }

    /// As asked by any other criterion.
    #[must_use]
    pub fn matching(mut self, criterion: Match<A>) -> Self {
        self.matches.push(criterion);
        self
    }
}

/// What is done.
impl<A: Address> Rule<A> {
    /// The packet passes this table.
    #[must_use]
    pub fn accept(self) -> Self {
        self.then(Target::Accept)
    }

    /// The packet is gone.
    #[must_use]
    pub fn drop(self) -> Self {
        self.then(Target::Drop)
    }

    /// The packet is gone, and its sender is told that the port is unreachable.
    #[must_use]
    pub fn reject(self) -> Self {
        self.then(Target::Reject(Reject::port_unreachable::<A>()))
    }

    /// Through the chain of this name, and back.
    #[must_use]
    pub fn jump(self, chain: impl Into<String>) -> Self {
        self.then(Target::Jump(chain.into()))
    }

    /// The source becomes the address of the interface that it leaves by.
    #[must_use]
    pub fn masquerade(self) -> Self {
        self.then(Target::Masquerade(no_change()))
    }

    /// The source becomes one of these.
    #[must_use]
    pub fn snat(self, range: Range<A>) -> Self {
        self.then(Target::Snat(range))
    }

    /// The destination becomes one of these.
    #[must_use]
    pub fn dnat(self, range: Range<A>) -> Self {
        self.then(Target::Dnat(range))
    }

    /// The destination becomes this host's port.
    #[must_use]
    pub fn redirect(self, port: u16) -> Self {
        self.then(Target::Redirect(Range { ports: Some((port, port)), ..no_change() }))
    }

    /// The packet's mark becomes this.
    #[must_use]
    pub fn mark(self, mark: u32) -> Self {
        self.then(Target::Mark(MarkChange::set(mark)))
    }

    /// The flow's mark becomes this.
    #[must_use]
    pub fn connmark(self, mark: u32) -> Self {
        self.then(Target::Connmark(ConnmarkChange::Set(MarkChange::set(mark))))
    }

    /// The packet is not tracked.
    #[must_use]
    pub fn untrack(self) -> Self {
        self.then(Target::Untrack)
    }

    /// A line is written.
    #[must_use]
    pub fn log(self, prefix: impl Into<String>) -> Self {
        self.then(Target::Log(Log { prefix: prefix.into(), ..Log::default() }))
    }

    /// Whatever else is done.
    #[must_use]
    pub fn then(mut self, target: Target<A>) -> Self {
        self.target = Some(target);
        self
    }
}

/// A range that leaves address and port as they are, if that is possible.
pub(super) const fn no_change<A>() -> Range<A> {
    Range { addresses: None, ports: None, which: PortChoice::Same, persistent: false, netmap: false }
}

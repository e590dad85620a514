//! What is told of a packet's way through chains: which rule matched, what a policy says, and why a rule does not match.

use core::fmt;

use pinhole_wire::Protocol;

use super::matches::{Match, Seen};
use super::rule::Rule;
use super::run::Refusal;
use super::subject::Tracking;
use super::{Policy, TableName};
use crate::script::Info;
use crate::status::CtInfo;
use crate::tuple::Address;

/// A rule's place: `filter:FORWARD:3`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line<'a> {
    pub table: TableName,
    pub chain: &'a str,
    /// From 1 on.
    pub rule: usize,
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { table, chain, rule } = self;
        write!(f, "{table}:{chain}:{rule}")
    }
}

/// That a rule matches.
pub(super) struct Matched<'a, A> {
    pub line: Line<'a>,
    pub rule: &'a Rule<A>,
}

impl<A: Address> fmt::Display for Matched<'_, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} matches:{}", self.line, self.rule)?;
        if self.rule.target.is_none() { f.write_str(" (it only counts)") } else { Ok(()) }
    }
}

/// That a chain of the user has ended.
pub(super) struct Ended<'a> {
    pub line: Line<'a>,
    pub back: &'a str,
}

impl fmt::Display for Ended<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Line { table, chain, .. } = self.line;
        write!(f, "{table}:{chain} ends without a decision: back to {}", self.back)
    }
}

/// That no rule of a built-in chain decided.
pub(super) struct Undecided<'a> {
    pub line: Line<'a>,
    pub policy: Option<Policy>,
    pub is_empty: bool,
}

impl fmt::Display for Undecided<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Line { table, chain, .. } = self.line;
        let policy = match self.policy {
            Some(Policy::Drop) => "DROP",
            Some(Policy::Accept) | None => "ACCEPT",
        };
        let why = if self.is_empty { "it has no rules" } else { "no rule decided" };
        write!(f, "{table}:{chain}: {why}, the policy is {policy}")
    }
}

/// That a rule does not match, and for what.
pub(super) struct NoMatch<'a, A: Address> {
    pub line: Line<'a>,
    pub refusal: Refusal,
    pub of: &'a Rule<A>,
    pub seen: &'a Seen<'a, A>,
}

impl<A: Address> fmt::Display for NoMatch<'_, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, refusal, of, seen } = self;
        write!(f, "{line} ")?;
        let actual = match *refusal {
            Refusal::Header(option) => {
                write!(f, "does not match: {}", of.header.criterion(option))?;
                of_header(option, seen)
            }
            Refusal::Match(at) => {
                write!(f, "does not match: {}", of.matches[at])?;
                of_match(&of.matches[at], seen)
            }
            Refusal::Malformed => {
                f.write_str("drops the packet, which is too short for what it asks")?;
                None
            }
        };
        actual.map_or(Ok(()), |actual| write!(f, ", and {actual}"))?;
        write!(f, " (of{of})")
    }
}

/// What the packet has instead of what `option` asks.
fn of_header<A: Address>(option: &str, seen: &Seen<'_, A>) -> Option<String> {
    let subject = seen.subject;
    let device = |device: super::Device| if device == super::Device::NONE { "none".into() } else { device.to_string() };
    Some(match option {
        "-s" => format!("it comes from {}", subject.src),
        "-d" => format!("it goes to {}", subject.dst),
        "-i" => format!("its way in is {}", device(subject.input)),
        "-o" => format!("its way out is {}", device(subject.output)),
        "-p" => format!("its protocol is {}", Protocol::from(subject.protocol)),
        _ => return None,
    })
}

/// What the packet has instead of what a match asks, where that is a word.
fn of_match<A: Address>(criterion: &Match<A>, seen: &Seen<'_, A>) -> Option<String> {
    let subject = seen.subject;
    match criterion {
        Match::Tcp(_) | Match::Udp(_) | Match::Sctp(_) | Match::Dccp(_) | Match::Multiport(_) => {
            let [a, b, c, d] = *subject.body?.first_chunk::<4>()?;
            let [from, to] = [[a, b], [c, d]].map(u16::from_be_bytes);
            let flags = match (criterion, subject.body.and_then(|body| body.get(13))) {
                (Match::Tcp(_), Some(&flags)) => format!(", flags {}", pinhole_wire::tcp::Flags(flags)),
                _ => String::new(),
            };
            Some(format!("it goes from port {from} to {to}{flags}"))
        }
        Match::Icmp(_) => {
            let [kind, code] = *subject.body?.first_chunk::<2>()?;
            Some(format!("it is of type {kind}, code {code}"))
        }
        Match::Conntrack(_) | Match::State(_) => {
            let info = match &subject.tracking {
                Tracking::Untracked => Info::Tracked(CtInfo::Untracked),
                Tracking::Invalid => Info::Invalid,
                Tracking::Flow(flow) => Info::Tracked(flow.info),
            };
            Some(format!("it is {info}"))
        }
        Match::Mark(_) => Some(format!("its mark is {:#x}", seen.mark)),
        Match::Connmark(_) => Some(format!("its flow's mark is {:#x}", seen.flow_mark)),
        Match::Length(_) => Some(format!("it has {} bytes", subject.length)),
        Match::Ttl(_) => Some(format!("its time to live is {}", subject.ttl)),
        Match::Limit(_) => Some("the limit is used up".into()),
        Match::Comment(_) | Match::Addrtype(_) | Match::Helper(_) | Match::Pkttype(_) | Match::Set(_) => None,
    }
}

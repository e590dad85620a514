//! What is told of a packet's way through chains: the kernel's TRACE lines, and why a rule does not match.

use core::fmt;

use super::TableName;
use super::rule::Rule;
use super::run::Refusal;
use crate::tuple::Address;

/// A rule's place, as TRACE writes it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line<'a> {
    pub table: TableName,
    pub chain: &'a str,
    /// From 1 on.
    pub rule: usize,
}

/// A line of TRACE: `TRACE: raw:PREROUTING:rule:2`.
pub(super) struct Trace<'a> {
    pub line: Line<'a>,
    /// `rule`, `return` or `policy`.
    pub what: &'static str,
}

impl fmt::Display for Trace<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Line { table, chain, rule } = self.line;
        write!(f, "TRACE: {table}:{chain}:{}:{rule}", self.what)
    }
}

/// That a rule does not match, and for what.
pub(super) struct NoMatch<'a, A> {
    pub line: Line<'a>,
    pub refusal: Refusal,
    pub of: &'a Rule<A>,
}

impl<A: Address> fmt::Display for NoMatch<'_, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Line { table, chain, rule } = self.line;
        write!(f, "{table}:{chain}:rule:{rule} ")?;
        match self.refusal {
            Refusal::Header(option) => write!(f, "does not match: {}", self.of.header.criterion(option)),
            Refusal::Match(at) => write!(f, "does not match: {}", self.of.matches[at]),
            Refusal::Malformed => f.write_str("drops the packet, which is too short for what it asks"),
        }
    }
}

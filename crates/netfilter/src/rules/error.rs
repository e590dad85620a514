//! Why rules are refused, in words for whoever wrote them.

use core::fmt;

/// Why rules are refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RulesError {
    /// The line, from 1 on; none for rules that were not read from text.
    pub line: Option<usize>,
    /// What is wrong.
    pub problem: Problem,
}

/// What is wrong with rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// A line that is neither a table, a chain, a rule, a comment nor COMMIT; the text says what is expected.
    Line(String),
    /// A table that is not one of the four.
    Table(String),
    /// `-m` with a name that is not supported.
    Match(String),
    /// `-j` with a name that is neither a supported target nor a chain of the table.
    Target(String),
    /// An option that its match or target has not, or that is not supported.
    Option {
        /// The option.
        option: String,
        /// The match or target that was named last, or "a rule".
        of: String,
        /// What it has.
        supported: String,
    },
    /// A value that an option does not take.
    Value {
        /// The option.
        option: String,
        /// The value; empty if there is none.
        value: String,
        /// What it takes.
        wanted: String,
    },
    /// What the parts of a rule say together, or where it stands, makes no sense to iptables either.
    Sense(String),
    /// A jump into a chain from which a jump leads back.
    Loop(String),
    /// A set that does not exist.
    Set(String),
}

impl RulesError {
    pub(super) const fn at(line: usize, problem: Problem) -> Self {
        Self { line: Some(line), problem }
    }
}

impl Problem {
    /// Whether iptables may know what is not known here: a rule can be left out for it.
    pub(super) const fn is_unsupported(&self) -> bool {
        match self {
            Self::Match(_) | Self::Target(_) | Self::Option { .. } => true,
            Self::Line(_) | Self::Table(_) | Self::Value { .. } | Self::Sense(_) | Self::Loop(_) | Self::Set(_) => {
                false
            }
        }
    }
}

impl From<Problem> for RulesError {
    fn from(problem: Problem) -> Self {
        Self { line: None, problem }
    }
}

/// The matches that are supported, for people.
pub(super) const MATCHES: &str = "addrtype, comment, connmark, conntrack, dccp, helper, hl, icmp, icmp6, length, limit, \
                                  mark, multiport, pkttype, sctp, set, state, tcp, ttl, udp";

/// The targets that are supported, for people.
pub(super) const TARGETS: &str = "ACCEPT, DROP, REJECT, RETURN, SNAT, DNAT, MASQUERADE, REDIRECT, NETMAP, MARK, CONNMARK, \
                                  CT, NOTRACK, LOG, TRACE";

impl fmt::Display for RulesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        self.problem.fmt(f)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(expected) | Self::Sense(expected) => f.write_str(expected),
            Self::Table(name) => write!(f, "there is no table '{name}'; supported: raw, mangle, nat, filter"),
            Self::Match(name) => write!(f, "the match '{name}' is not supported; supported: {MATCHES}"),
            Self::Target(name) => {
                write!(f, "'{name}' is no chain of this table and no supported target; supported: {TARGETS}")
            }
            Self::Option { option, of, supported } if supported.is_empty() => {
                write!(f, "{of} has no supported option '{option}': it takes none")
            }
            Self::Option { option, of, supported } => {
                write!(f, "{of} has no supported option '{option}'; supported: {supported}")
            }
            Self::Value { option, value, wanted } if value.is_empty() => write!(f, "{option} needs {wanted}"),
            Self::Value { option, value, wanted } => write!(f, "{option} does not take '{value}': it wants {wanted}"),
            Self::Loop(chain) => write!(f, "chain '{chain}' can be reached from itself; remove one of the jumps"),
            Self::Set(name) => write!(f, "there is no set '{name}'; give its `ipset save` text with the rules"),
        }
    }
}

impl std::error::Error for RulesError {}

//! Rules: tables of chains, as `iptables-save` writes them, asked about a packet at a hook.
//!
//! The model, bottom to top:
//!
//! | file | what it is |
//! |---|---|
//! | `hook`, `device`, `value` | hooks and tables, names of interfaces, negation, masks and ranges |
//! | `subject` | a packet as rules see it, and what they ask of the engine around them |
//! | `matches`, `set`, `target`, `rule` | what a rule asks and does; in Rust, `Rule::new().out_device("wan").masquerade()` |
//! | `ruleset`, `load`, `check` | tables and chains, loaded: names resolved, nonsense refused |
//! | `run`, `trace` | the way of a packet through a table, and what is told of it |
//! | `parse`, `print`, `names` | the text of iptables-save and ipset save, read and written |
//!
//! Rules decide and say what is to be done; they change no packet, know no flow table, and do not translate. What is
//! supported is in [`RulesError`]'s words: everything else is refused by name and line, never skipped.

mod check;
mod device;
mod error;
mod hook;
mod load;
mod matches;
mod names;
mod parse;
mod print;
mod rule;
mod ruleset;
mod run;
mod set;
mod subject;
mod target;
mod trace;
mod value;

pub use device::{Device, Interface};
pub use error::{Problem, RulesError};
pub use hook::{Hook, TableName};
pub use matches::{
    Addrtype, Conntrack, CtTest, Icmp, KindTest, Kinds, Limit, Match, Multiport, Ports, Side, States, Tcp, TcpFlags,
    TtlTest, Which,
};
pub use rule::{Header, Rule};
pub use ruleset::{Builder, Chain, Counters, Policy, Ruleset, Table};
pub use run::Decision;
pub(crate) use run::Passes;
pub use set::{Element, End, Lookup, Part, Set, Sets};
pub use subject::{AddressKind, Delivery, Effect, Flow, Host, Subject, Tracking};
pub use target::{
    ConnmarkChange, Events, Log, LogDetails, MarkChange, Reject, Target, Template, Translation, Zone, ZoneId,
};
pub use value::{MarkTest, Masked, Not, Span};

#[cfg(test)]
mod tests;

//! Who wants to know why: everything the engine looks up, matches, makes or refuses can be told to a [`Watch`].
//!
//! The engine is compiled once for `()`, which wants to know nothing and costs nothing, and once for whoever collects
//! notes to explain a packet. Each module has notes of its own, which say in words what they are (`Display`).

use core::fmt;

use crate::explain::Ending;
use crate::rules::Hook;

/// Who is told what happens to a packet.
pub trait Watch {
    /// Whether anybody listens: if not, what only a note would say need not be found out.
    const LISTENS: bool = true;

    /// Is told one thing. `note` is only made if somebody listens.
    fn note<N: fmt::Display>(&mut self, topic: Topic, note: impl FnOnce() -> N);

    /// Is told that the packet has come to a hook.
    #[inline(always)]
    fn hook(&mut self, hook: Hook) {
        self.note(Topic::Hook, || hook.point());
    }

    /// Is told that the router begins to send a packet of its own meanwhile, or has done so: what comes between is told of
    /// that one.
    #[inline(always)]
    fn aside(&mut self, _begins: bool) {}

    /// Is told, last, what is known of the packet's flow. `ending` is only made if somebody listens.
    #[inline(always)]
    fn end(&mut self, _ending: impl FnOnce() -> Ending) {}
}

/// Nobody.
impl Watch for () {
    const LISTENS: bool = false;

    #[inline(always)]
    fn note<N: fmt::Display>(&mut self, _: Topic, _: impl FnOnce() -> N) {}
}

/// All notes, in order.
impl Watch for Vec<Note> {
    fn note<N: fmt::Display>(&mut self, topic: Topic, note: impl FnOnce() -> N) {
        self.push(Note { topic, text: note().to_string() });
    }
}

/// Which part of the engine speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Topic {
    /// The hook that the packet has come to.
    Hook,
    /// Fragments and their reassembly.
    Fragment,
    /// The table of flows: what was looked up, found, made, confirmed.
    Table,
    /// What the tracker of its protocol found.
    Track,
    /// Which rule matched, and what a chain's policy says.
    Rule,
    /// A rule that was tried and does not match, or a table without rules: the detail.
    Tried,
    /// How an address and a port were chosen, and what was rewritten.
    Nat,
    /// Helpers and what they expect.
    Helper,
    /// Where the packet goes.
    Route,
    /// What the router itself says to the packet's sender.
    Answer,
}

impl Topic {
    /// A short name, which stays as it is.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hook => "hook",
            Self::Fragment => "fragment",
            Self::Table => "table",
            Self::Track => "track",
            Self::Rule => "rule",
            Self::Tried => "tried",
            Self::Nat => "nat",
            Self::Helper => "helper",
            Self::Route => "route",
            Self::Answer => "answer",
        }
    }
}

/// One thing that happened to a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Which part of the engine speaks.
    pub topic: Topic,
    /// In a sentence.
    pub text: String,
}

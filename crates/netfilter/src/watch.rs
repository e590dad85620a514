//! Who wants to know why: everything the engine looks up, matches, makes or refuses can be told to a [`Watch`].
//!
//! The engine is compiled once for `()`, which wants to know nothing and costs nothing, and once for whoever collects
//! notes to explain a packet. Each module has notes of its own, which say in words what they are (`Display`).

use core::fmt;

/// Who is told what happens to a packet.
pub trait Watch {
    /// Is told one thing. `note` is only made if somebody listens.
    fn note<N: fmt::Display>(&mut self, topic: Topic, note: impl FnOnce() -> N);
}

/// Nobody.
impl Watch for () {
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
    /// What rules were tried and which matched.
    Rule,
    /// How an address and a port were chosen, and what was rewritten.
    Nat,
    /// Helpers and what they expect.
    Helper,
    /// Where the packet goes.
    Route,
}

/// One thing that happened to a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Which part of the engine speaks.
    pub topic: Topic,
    /// In a sentence.
    pub text: String,
}

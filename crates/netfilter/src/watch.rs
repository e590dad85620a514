//! Who wants to know why: everything the engine looks up, matches, makes or refuses can be told to a [`Watch`].
//!
//! The engine is compiled once for `()`, which wants to know nothing and costs nothing, and once for whoever collects
//! [`Note`]s to explain a packet.

use crate::track;

/// Who is told what happens to a packet.
pub trait Watch {
    /// Is told one thing. `note` is only made if somebody listens.
    fn note(&mut self, note: impl FnOnce() -> Note);
}

/// Nobody.
impl Watch for () {
    #[inline(always)]
    fn note(&mut self, _: impl FnOnce() -> Note) {}
}

/// All notes, in order.
impl Watch for Vec<Note> {
    fn note(&mut self, note: impl FnOnce() -> Note) {
        self.push(note());
    }
}

/// One thing that happened to a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Note {
    /// What the tracker of its protocol found.
    Track(track::Note),
}

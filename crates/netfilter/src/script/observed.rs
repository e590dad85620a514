//! What a router did with a packet, as plain data, and the seam that every router of a script has.

use core::fmt;
use core::time::Duration;

use super::{EntryView, Event, ExpectationView, Script, Setup, Side};
use crate::status::CtInfo;

/// A router that a script is run on.
pub trait Executor {
    /// Why it cannot go on.
    type Error;

    /// Becomes the router of `setup`, with an empty table and time zero.
    ///
    /// # Errors
    /// If it cannot be that router.
    fn load(&mut self, setup: &Setup) -> Result<(), Self::Error>;

    /// Takes a packet in at a side, `at` after [`load`](Self::load), and says all that comes of it.
    ///
    /// # Errors
    /// If the router itself fails; whatever happens to a packet is no error.
    fn step(&mut self, at: Duration, from: Side, packet: &[u8]) -> Result<Observed, Self::Error>;

    /// All entries that a listing shows, in order.
    ///
    /// # Errors
    /// If the router itself fails.
    fn table(&mut self) -> Result<Vec<EntryView>, Self::Error>;

    /// Forgets all entries.
    ///
    /// # Errors
    /// If the router itself fails.
    fn flush(&mut self) -> Result<(), Self::Error>;

    /// Takes so many seconds from what each entry has left; what had no more is over.
    ///
    /// # Errors
    /// If the router itself fails.
    fn age(&mut self, seconds: u32) -> Result<(), Self::Error>;
}

/// Runs a script; the outcomes are in the order of its packets.
///
/// # Errors
/// Those of the executor.
pub fn run<E: Executor>(script: &Script, executor: &mut E) -> Result<Vec<Observed>, E::Error> {
    executor.load(&script.setup())?;
    let mut all = Vec::new();
    for step in script.steps() {
        match step.event {
            Event::Packet(side, packet) => all.push(executor.step(step.at, side, packet)?),
            Event::Flush => executor.flush()?,
            Event::Age(seconds) => executor.age(seconds)?,
        }
    }
    Ok(all)
}

/// What a router did with a packet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// What came out, in order.
    pub outputs: Vec<Output>,
    /// Whether it reached the end of LOCAL_IN.
    pub delivered: bool,
    /// What conntrack said of it; nothing if it did not get that far.
    pub info: Option<Info>,
    /// The entry of its flow afterwards, as a lookup of the packet's tuple finds it (of the quoted packet, for an ICMP
    /// error).
    pub entry: Option<EntryView>,
    /// What is expected afterwards, in order; nothing where no rule attaches a helper.
    pub expectations: Vec<ExpectationView>,
}

/// A packet that came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// Where.
    pub side: Side,
    /// The IP packet.
    pub packet: Vec<u8>,
}

/// What became of a packet, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing came out.
    Dropped,
    /// The router kept it for itself and said nothing.
    Delivered,
    /// It went out at the other side.
    Forwarded,
    /// Something came back where it came from: an answer, or the packet itself.
    Answered,
}

impl Observed {
    /// What became of it, if it came in at `from`.
    pub fn verdict(&self, from: Side) -> Verdict {
        match self.outputs.first() {
            None if self.delivered => Verdict::Delivered,
            None => Verdict::Dropped,
            Some(output) if output.side == from => Verdict::Answered,
            Some(_) => Verdict::Forwarded,
        }
    }
}

/// What conntrack says of a packet, as rules see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Info {
    /// It has an entry.
    Tracked(CtInfo),
    /// It has none.
    Invalid,
}

impl Info {
    /// All, with their words.
    const WORDS: [(Self, &'static str); 7] = [
        (Self::Tracked(CtInfo::New), "NEW"),
        (Self::Tracked(CtInfo::Established), "ESTABLISHED"),
        (Self::Tracked(CtInfo::EstablishedReply), "ESTABLISHED reply"),
        (Self::Tracked(CtInfo::Related), "RELATED"),
        (Self::Tracked(CtInfo::RelatedReply), "RELATED reply"),
        (Self::Tracked(CtInfo::Untracked), "UNTRACKED"),
        (Self::Invalid, "INVALID"),
    ];

    /// The one of these words.
    pub fn named(words: &str) -> Option<Self> {
        Self::WORDS.into_iter().find(|(_, known)| *known == words).map(|(info, _)| info)
    }
}

impl From<Option<CtInfo>> for Info {
    fn from(info: Option<CtInfo>) -> Self {
        info.map_or(Self::Invalid, Self::Tracked)
    }
}

impl fmt::Display for Info {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = Self::WORDS.into_iter().find(|(info, _)| info == self).map_or("", |(_, words)| words);
        f.write_str(words)
    }
}

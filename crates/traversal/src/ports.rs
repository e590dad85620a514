//! Which port will a NAT give to the next mapping?
//!
//! A [`Guess`] says what is known of how a NAT chooses: made of the few [`Sample`]s that a host took of its own NAT, small
//! enough to be told to the peer in a message. From the peer's guess a prober takes the order in which it tries ports: a
//! [`Search`] for ports that are drawn at random.
//!
//! What no guess can say is which random port comes next. But which ports are likelier than others can be said even then, and
//! [`Search`] tries them first.

mod code;
mod search;

use core::ops::RangeInclusive;

use pinhole_sansio::{Duration, Instant};

pub use code::Unreadable;
pub use search::Search;

use crate::discovery::{Allocation, spread, step};

/// Runs of a [`Guess::Block`], at most: carriers give a subscriber few, and a guess must fit a message.
pub const MOST_RUNS: usize = 4;
/// Fewer samples than this are no sequence.
const FEWEST: usize = 4;

/// A mapping that a host has seen its NAT make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// When.
    pub at: Instant,
    /// The port of the host's socket.
    pub inside: u16,
    /// The port outside.
    pub external: u16,
}

/// What is known of how a NAT chooses the port of a mapping towards somebody new.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Guess {
    /// It does not: everybody meets the endpoint that is known. Endpoint-independent mapping, or no NAT.
    Fixed,
    /// It counts.
    Sequential(Sequence),
    /// At random from a few runs that belong to the subscriber: at most [`MOST_RUNS`], as far as they were seen.
    Block {
        /// The runs.
        runs: Vec<RangeInclusive<u16>>,
    },
    /// At random from many.
    Random {
        /// The lowest and the highest that were seen.
        seen: RangeInclusive<u16>,
        /// How many were seen.
        samples: u8,
    },
    /// Nothing is known but that mappings depend on the destination.
    Unknown,
}

/// A counter that gives out ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sequence {
    /// The port that would come next if nobody else had opened anything since.
    pub next: u16,
    /// How far apart two are; not zero.
    pub step: i16,
    /// Mappings that others open, per second.
    pub others: u16,
}

impl Guess {
    /// What `samples`, in the order in which they were taken, say of a NAT whose mappings depend on the destination.
    /// `known` is the external port of the host's WireGuard, which a NAT that preserves ports gives again, or the next
    /// above.
    pub fn of(samples: &[Sample], known: u16) -> Self {
        if samples.is_empty() {
            return Self::Unknown;
        }
        let kept = samples.iter().filter(|sample| sample.inside == sample.external).count();
        if kept * 4 >= samples.len() * 3 {
            return Self::Sequential(Sequence { next: known, step: 1, others: 0 });
        }
        let ports: Vec<u16> = samples.iter().map(|sample| sample.external).collect();
        if samples.len() >= FEWEST
            && let Some(step) = step(std::slice::from_ref(&ports)).and_then(|step| i16::try_from(step).ok())
        {
            return Self::Sequential(Sequence::of(samples, step));
        }
        match spread(&ports) {
            Allocation::Block { runs } if samples.len() >= FEWEST => Self::Block { runs },
            Allocation::Random { .. }
            | Allocation::Block { .. }
            | Allocation::Preserving
            | Allocation::Sequential { .. } => {
                let (low, high) =
                    ports.iter().fold((u16::MAX, 0), |(low, high), &port| (low.min(port), high.max(port)));
                Self::Random { seen: low..=high, samples: ports.len().min(255) as u8 }
            }
        }
    }

    /// The same guess, some time later: a counter has gone on.
    #[must_use]
    pub fn aged(self, by: Duration) -> Self {
        match self {
            Self::Sequential(sequence) => Self::Sequential(sequence.aged(by)),
            Self::Fixed | Self::Block { .. } | Self::Random { .. } | Self::Unknown => self,
        }
    }

    /// Whether mappings depend on the destination.
    pub const fn is_hard(&self) -> bool {
        match self {
            Self::Fixed => false,
            Self::Sequential(_) | Self::Block { .. } | Self::Random { .. } | Self::Unknown => true,
        }
    }

    /// How many sockets behind such a NAT are enough to be found: no more of its ports are used than is of use.
    pub const fn sockets(&self) -> u16 {
        match self {
            Self::Fixed => 0,
            Self::Sequential(_) => 8,
            // A run has a few hundred to a few thousand ports, and is all that the subscriber has.
            Self::Block { .. } => 64,
            Self::Random { .. } | Self::Unknown => 256,
        }
    }
}

impl Sequence {
    /// A counter with this step, as the samples have seen it.
    fn of(samples: &[Sample], step: i16) -> Self {
        let (first, last) = (samples[0], samples[samples.len() - 1]);
        let steps = |pair: &[Sample]| {
            let apart = i32::from(pair[1].external) - i32::from(pair[0].external);
            apart.checked_div(i32::from(step)).filter(|steps| (1..=256).contains(steps))
        };
        let all: i32 = samples.windows(2).filter_map(steps).sum();
        let pairs = samples.windows(2).filter_map(steps).count() as i32;
        let millis = last.at.since(first.at).as_millis().max(1) as i64;
        let others = (i64::from(all - pairs) * 1_000 / millis).clamp(0, i64::from(u16::MAX)) as u16;
        Self { next: last.external.wrapping_add_signed(step), step, others }
    }

    /// The port that is given after `count` more than [`next`](Self::next).
    pub const fn after(self, count: i32) -> u16 {
        self.next.wrapping_add((self.step as i32).wrapping_mul(count) as u16)
    }

    fn aged(self, by: Duration) -> Self {
        let count = by.as_millis().min(600_000) as i32 * i32::from(self.others) / 1_000;
        Self { next: self.after(count), ..self }
    }
}

#[cfg(test)]
mod tests;

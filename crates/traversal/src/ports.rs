//! Which port will a NAT give to the next mapping?
//!
//! A [`Guess`] says what is known of how a NAT chooses: made of the few [`Sample`]s that a host took of its own NAT, small
//! enough to be told to the peer in a message. From the peer's guess a prober takes the order in which it tries ports:
//!
//! | the peer's NAT | ours | order |
//! |---|---|---|
//! | draws at random, or from a block | keeps its port | [`Search`] |
//! | counts | keeps its port | [`Count`] |
//! | counts | counts | [`Meeting`] |
//!
//! What no guess can say is which random port comes next. But which ports are likelier than others can be said even then, and
//! [`Search`] tries them first.

mod code;
mod count;
mod meeting;
mod search;

use core::ops::RangeInclusive;

use pinhole_sansio::{Duration, Instant};

pub use code::Unreadable;
pub use count::Count;
pub use meeting::{Meeting, OPENED};
pub use search::Search;

use crate::discovery::{Allocation, spread, step};

/// Runs of a [`Guess::Block`], at most: carriers give a subscriber few, and a guess must fit a message.
pub const MOST_RUNS: usize = 4;
/// No port below is tried: NATs keep them for sockets with such ports, and servers of all kinds listen there.
pub const LOWEST: u16 = 1_024;
/// Mappings that a counter makes while it is sampled, at most; more and it is none that can be followed.
const MOST_STEPS: i32 = 2_048;
/// So many random ports in order are no chance: one in 10! tries.
const MOST_CHANCE: usize = 10;
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
    /// How old that is, in milliseconds.
    pub age_ms: u16,
}

impl Guess {
    /// What `samples`, in the order in which they were taken, say of a NAT whose mappings depend on the destination.
    /// `known` is the external port of the host's WireGuard, which a NAT that preserves ports gives again, or the next
    /// above. A counter is worth only as much as its last sample is fresh, and what others open is known the better the
    /// longer it was watched: two dozen samples once, and a few again right before the guess is told, are good.
    pub fn of(samples: &[Sample], known: u16) -> Self {
        if samples.is_empty() {
            return Self::Unknown;
        }
        let kept = samples.iter().filter(|sample| sample.inside == sample.external).count();
        if kept * 4 >= samples.len() * 3 {
            return Self::Sequential(Sequence { next: known, step: 1, others: 0, age_ms: 0 });
        }
        let ports: Vec<u16> = samples.iter().map(|sample| sample.external).collect();
        if samples.len() >= FEWEST
            && let Some(step) = step(std::slice::from_ref(&ports)).or_else(|| direction(&ports))
            && let Ok(step) = i16::try_from(step)
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

    /// The same guess, some time later: others have gone on.
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
    /// A counter with this step, as the samples have seen it. A late packet is not the last that was counted.
    fn of(samples: &[Sample], step: i16) -> Self {
        let (first, last) = (samples[0], samples[samples.len() - 1]);
        let all = Self { next: first.external, step, others: 0, age_ms: 0 };
        let furthest = samples.iter().filter_map(|sample| all.count_to(sample.external)).max().unwrap_or(0);
        let others = i64::from(furthest) + 1 - samples.len() as i64;
        let millis = last.at.since(first.at).as_millis().max(1) as i64;
        let others = (others * 1_000 / millis).clamp(0, i64::from(u16::MAX)) as u16;
        Self { next: all.after(furthest + 1), step, others, age_ms: 0 }
    }

    /// How many steps from [`next`](Self::next) it is to a port, if it is not too far.
    fn count_to(self, port: u16) -> Option<i32> {
        (0..=MOST_STEPS).find(|&count| self.after(count) == port)
    }

    /// The port that is given after `count` more than [`next`](Self::next). At the end of the ports a counter goes on with
    /// the lowest that is not well known, unless it gives those, too.
    pub const fn after(self, count: i32) -> u16 {
        let first = if self.next < LOWEST { 0 } else { LOWEST as i32 };
        let on = (self.next as i32 - first) as i64 + self.step as i64 * count as i64;
        (first as i64 + on.rem_euclid(65_536 - first as i64)) as u16
    }

    fn aged(self, by: Duration) -> Self {
        let by = u16::try_from(by.as_millis()).unwrap_or(u16::MAX);
        Self { age_ms: self.age_ms.saturating_add(by), ..self }
    }
}

/// The step of a counter that others use so much that few of our ports follow each other: nearly all go one way, and by
/// little. Random ports of however small a block do so never.
fn direction(ports: &[u16]) -> Option<i32> {
    let apart: Vec<i32> = ports.windows(2).map(|pair| i32::from(pair[1]) - i32::from(pair[0])).collect();
    [1, -1].into_iter().find_map(|way| {
        let follows = |apart: &&i32| (1..=MOST_STEPS).contains(&(*apart * way));
        let steps: Vec<i32> = apart.iter().filter(follows).copied().collect();
        let step = steps.iter().fold(0, |divisor, &apart| greatest_common_divisor(divisor, apart * way));
        (steps.len() * 10 >= apart.len() * 9 && apart.len() >= MOST_CHANCE).then_some(step * way)
    })
}

fn greatest_common_divisor(a: i32, b: i32) -> i32 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

#[cfg(test)]
mod tests;

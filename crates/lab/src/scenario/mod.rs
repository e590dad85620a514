//! A network, who does what in it, what happens to it, and what is expected to come of that.
//!
//! A [`Scenario`] is plain data; [`parse`](Scenario::parse) reads it from text that a person writes (docs/lab.md has the words).
//! It knows no more of its programs than who runs which.

mod parse;

use pinhole_sansio::{Duration, Instant};

use crate::network::{Network, PlaceId};
use crate::sim::Change;

pub use parse::ParseError;

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// What is where.
    pub network: Network,
    /// The host that runs the registry, if one does.
    pub registry: Option<PlaceId>,
    /// The hosts that run agents, all of which want to reach each other.
    pub agents: Vec<Starter>,
    /// What happens, in any order.
    pub changes: Vec<(Instant, Change)>,
    /// What is to come of it.
    pub expectations: Vec<Expectation>,
    /// When it ends.
    pub until: Instant,
    /// What loss, jitter, ports and keys are drawn from.
    pub seed: u64,
    /// The line of each place, counted from 1, where it was read from a text.
    pub lines: Vec<usize>,
    /// The lines of the changes.
    pub change_lines: Vec<usize>,
}

/// Somebody who begins at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Starter {
    /// Which host.
    pub place: PlaceId,
    /// When.
    pub at: Instant,
}

/// What is to become of a pair of agents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expectation {
    /// The two.
    pub pair: [PlaceId; 2],
    /// Whether they are to be directly connected.
    pub direct: bool,
    /// From when on it counts: what was before does not.
    pub after: Instant,
    /// How long it may take from then.
    pub within: Duration,
    /// The line, counted from 1, where it was read from a text.
    pub line: usize,
}

impl Scenario {
    /// How long a scenario lasts that does not say.
    pub const USUAL_LENGTH: Duration = Duration::from_secs(30);

    /// Nothing happens in this network for the usual time.
    pub fn new(network: Network, seed: u64) -> Self {
        Self {
            network,
            registry: None,
            agents: Vec::new(),
            changes: Vec::new(),
            expectations: Vec::new(),
            until: Instant::EPOCH + Self::USUAL_LENGTH,
            seed,
            lines: Vec::new(),
            change_lines: Vec::new(),
        }
    }

    /// Every pair of agents.
    pub fn pairs(&self) -> impl Iterator<Item = [PlaceId; 2]> {
        let places: Vec<PlaceId> = self.agents.iter().map(|starter| starter.place).collect();
        (0..places.len()).flat_map(move |a| {
            let pairs: Vec<[PlaceId; 2]> = places[a + 1..].iter().map(|&b| [places[a], b]).collect();
            pairs
        })
    }
}

#[cfg(test)]
mod tests;

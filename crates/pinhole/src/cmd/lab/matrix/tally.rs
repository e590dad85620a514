//! What came of a cell.

use std::time::Duration;

use pinhole_world::{Cell, Ruling};

use crate::cmd::lab::ladder::Ladder;

/// See the module.
#[derive(Debug)]
pub(super) struct Tally {
    /// Which.
    pub(super) cell: Cell,
    /// What must become of it.
    pub(super) ruling: Ruling,
    /// How many runs.
    pub(super) runs: u64,
    /// How long a direct path took, in the runs that had one, sorted.
    pub(super) direct: Vec<Duration>,
    /// Seeds of runs that contradict the oracle, and what is wrong with them.
    pub(super) contradictions: Vec<(u64, String)>,
    /// A run that shows what happens: the first that is not direct, or one that takes as long as most.
    pub(super) typical: u64,
    /// That run's packets, if somebody wants to see them.
    pub(super) ladder: Option<Ladder>,
}

impl Tally {
    /// How many of 100 runs were direct.
    pub(super) fn percent(&self) -> f64 {
        self.direct.len() as f64 * 100.0 / self.runs as f64
    }

    /// Whether every run was direct.
    pub(super) fn is_always(&self) -> bool {
        self.direct.len() as u64 == self.runs
    }

    pub(super) fn median(&self) -> Option<Duration> {
        quantile(&self.direct, 0.5)
    }

    pub(super) fn p99(&self) -> Option<Duration> {
        quantile(&self.direct, 0.99)
    }
}

/// The least of sorted times that a share of them does not exceed.
pub(super) fn quantile(sorted: &[Duration], share: f64) -> Option<Duration> {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_one_of_the_times() {
        let times: Vec<Duration> = (1..=100).map(Duration::from_millis).collect();
        assert_eq!(quantile(&times, 0.5), Some(Duration::from_millis(50)));
        assert_eq!(quantile(&times, 0.99), Some(Duration::from_millis(99)));
        assert_eq!(quantile(&times[..1], 0.99), Some(Duration::from_millis(1)));
        assert_eq!(quantile(&[], 0.5), None);
    }
}

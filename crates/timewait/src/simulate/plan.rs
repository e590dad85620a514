//! What is simulated.

use std::fmt;

use crate::{Generation, Hz};

/// A load on a kernel.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The kernel's timer.
    pub generation: Generation,
    /// Its jiffies.
    pub hz: Hz,
    /// How many connections close a second, one phase after the other.
    pub phases: Vec<Phase>,
    /// More that close all at once.
    pub bursts: Vec<Burst>,
    /// Evenly spaced, as a load generator closes them, rather than at random.
    pub even: bool,
    /// How late the worker of a death row runs, jiffies; 1 on a machine with nothing else to do.
    pub worker_delay_j: u64,
    /// So many ports to one destination, each taken until its socket dies; `None` for as many as it takes.
    pub ports: Option<u32>,
    /// `net.ipv4.tcp_max_tw_buckets`: with so many there, the next connection closes without TIME_WAIT; `None` for no limit.
    pub buckets: Option<u64>,
    /// Sockets that come before this, seconds, are not counted in the distribution.
    pub warm_up_s: f64,
    /// Of the arrivals.
    pub seed: u64,
}

/// So many connections a second, for a time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Phase {
    /// Connections that close a second.
    pub rate_per_s: f64,
    /// How long.
    pub length_s: f64,
}

/// Many at once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Burst {
    /// When the first may come, seconds from the beginning.
    pub at_s: f64,
    /// How many.
    pub count: u64,
    /// Within how many seconds.
    pub within_s: f64,
}

/// What in a plan cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// A number that is negative, infinite or none.
    NotANumber(&'static str),
    /// Nothing comes.
    Empty,
    /// More than [`Plan::MOST_SOCKETS`].
    TooMany,
    /// Longer than [`Plan::LONGEST_S`].
    TooLong,
    /// A worker later than [`Plan::LATEST_WORKER_S`].
    WorkerTooLate,
}

impl Plan {
    /// Half an hour of work for a processor.
    pub const MOST_SOCKETS: f64 = 1e11;
    /// Thirty years.
    pub const LONGEST_S: f64 = 1e9;
    /// An hour.
    pub const LATEST_WORKER_S: u64 = 3600;

    /// `rate_per_s` for `length_s` seconds, on a host that does nothing else.
    pub fn steady(generation: Generation, hz: Hz, rate_per_s: f64, length_s: f64) -> Self {
        Self {
            generation,
            hz,
            phases: vec![Phase { rate_per_s, length_s }],
            bursts: Vec::new(),
            even: false,
            worker_delay_j: 1,
            ports: None,
            buckets: None,
            warm_up_s: 0.0,
            seed: 1,
        }
    }

    /// How many sockets it takes, about.
    pub fn expected_sockets(&self) -> f64 {
        let steady: f64 = self.phases.iter().map(|phase| phase.rate_per_s * phase.length_s).sum();
        steady + self.bursts.iter().map(|burst| burst.count as f64).sum::<f64>()
    }

    pub(super) fn check(&self) -> Result<(), Refused> {
        let is_amount = |number: f64| number.is_finite() && number >= 0.0;
        if !self.phases.iter().all(|phase| is_amount(phase.rate_per_s)) {
            return Err(Refused::NotANumber("rate"));
        }
        let lengths = self.phases.iter().map(|phase| phase.length_s);
        let bursts = self.bursts.iter().flat_map(|burst| [burst.at_s, burst.within_s]);
        if !lengths.clone().chain(bursts).chain([self.warm_up_s]).all(is_amount) {
            return Err(Refused::NotANumber("time"));
        }
        let burst_end = self.bursts.iter().map(|burst| burst.at_s + burst.within_s).fold(0.0, f64::max);
        if lengths.sum::<f64>().max(burst_end) > Self::LONGEST_S {
            return Err(Refused::TooLong);
        }
        if self.worker_delay_j > self.hz.from_s(Self::LATEST_WORKER_S) {
            return Err(Refused::WorkerTooLate);
        }
        match self.expected_sockets() {
            sockets if sockets <= 0.0 => Err(Refused::Empty),
            sockets if sockets > Self::MOST_SOCKETS => Err(Refused::TooMany),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotANumber(what) => write!(f, "a {what} must be a number that is not negative"),
            Self::Empty => f.write_str("nothing to simulate: no connection ever closes"),
            Self::TooMany => write!(f, "more than {:.0} billion sockets: simulate less time", Plan::MOST_SOCKETS / 1e9),
            Self::TooLong => f.write_str("more than thirty years"),
            Self::WorkerTooLate => f.write_str("a worker more than an hour late"),
        }
    }
}

impl std::error::Error for Refused {}

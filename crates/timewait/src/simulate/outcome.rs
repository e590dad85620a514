//! What came of a simulation, and how it is written down on the way.

use super::{Distribution, Plan};
use crate::Hz;
use crate::death_row::Ticks;

/// What came of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// How long sockets lasted that came after the warm-up.
    pub lifetimes: Distribution,
    /// How often the hand of a death row was to move, and stayed; zero elsewhere.
    pub ticks: Ticks,
    /// Sockets that were there, over time: at most a few thousand samples.
    pub population: Vec<Sample>,
    /// The most that were there at once.
    pub most: u64,
    /// How many got a port.
    pub served: u64,
    /// How many of these closed without TIME_WAIT, for want of a bucket.
    pub overflowed: u64,
    /// How many got none.
    pub refused: u64,
    /// When ports were out.
    pub outages: Vec<Outage>,
    /// The time at its end, seconds.
    pub end_s: f64,
}

/// How many sockets were there at a time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// Seconds from the beginning.
    pub at_s: f64,
    /// So many.
    pub sockets: u64,
}

/// A time in which nobody got a port.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outage {
    /// The first that was refused, seconds from the beginning.
    pub from_s: f64,
    /// The next that was served.
    pub until_s: f64,
    /// How many were refused.
    pub refused: u64,
}

impl Outage {
    /// How long, seconds.
    pub fn length_s(&self) -> f64 {
        self.until_s - self.from_s
    }
}

#[derive(Clone, Debug)]
pub(super) struct Recorder {
    hz: Hz,
    warm_up_j: u64,
    lifetimes: Distribution,
    population: Vec<Sample>,
    next_sample: f64,
    sample_period: f64,
    most: u64,
    served: u64,
    overflowed: u64,
    refused: u64,
    outages: Vec<Outage>,
    /// The outage that goes on.
    current: Option<Outage>,
}

/// A plot is not wider.
const SAMPLES: f64 = 2000.0;
/// Outages that are kept; more are counted in `refused` only.
const MOST_OUTAGES: usize = 100_000;

impl Recorder {
    pub(super) fn new(plan: &Plan) -> Self {
        let hz = plan.hz.get() as f64;
        let length_s: f64 = plan.phases.iter().map(|phase| phase.length_s).sum();
        let bursts_s = plan.bursts.iter().map(|burst| burst.at_s + burst.within_s).fold(0.0, f64::max);
        Self {
            hz: plan.hz,
            warm_up_j: (plan.warm_up_s * hz) as u64,
            lifetimes: Distribution::new(plan.hz),
            population: Vec::new(),
            next_sample: 0.0,
            // The last die two minutes after the end.
            sample_period: (length_s.max(bursts_s) + 120.0) * hz / SAMPLES,
            most: 0,
            served: 0,
            overflowed: 0,
            refused: 0,
            outages: Vec::new(),
            current: None,
        }
    }

    /// A socket that came at `born_j` dies.
    pub(super) fn died(&mut self, born_j: u64, died_j: u64) {
        if born_j >= self.warm_up_j {
            self.lifetimes.add(died_j.saturating_sub(born_j), 1);
        }
    }

    /// `count` sockets that came from `born_j` on had all the same life.
    pub(super) fn died_alike(&mut self, born_j: u64, life_j: u64, count: u64) {
        if born_j >= self.warm_up_j {
            self.lifetimes.add(life_j, count);
        }
    }

    pub(super) fn sample(&mut self, now: f64, sockets: u64) {
        self.most = self.most.max(sockets);
        if now >= self.next_sample {
            self.population.push(Sample { at_s: now / self.hz.get() as f64, sockets });
            self.next_sample = now + self.sample_period;
        }
    }

    pub(super) fn served(&mut self, at: f64, count: u64) {
        self.served += count;
        self.close(at);
    }

    pub(super) fn overflowed(&mut self, at: f64, count: u64) {
        self.overflowed += count;
        self.served(at, count);
    }

    pub(super) fn refused(&mut self, at: f64, count: u64) {
        self.refused += count;
        let at_s = at / self.hz.get() as f64;
        let current = self.current.get_or_insert(Outage { from_s: at_s, until_s: at_s, refused: 0 });
        current.refused += count;
    }

    /// At `now`, when the last could come at `last`.
    pub(super) fn outcome(mut self, now: f64, last: f64, ticks: Ticks) -> Outcome {
        self.close(last);
        Outcome {
            lifetimes: self.lifetimes,
            ticks,
            population: self.population,
            most: self.most,
            served: self.served,
            overflowed: self.overflowed,
            refused: self.refused,
            outages: self.outages,
            end_s: now / self.hz.get() as f64,
        }
    }

    fn close(&mut self, at: f64) {
        let Some(mut outage) = self.current.take() else { return };
        outage.until_s = at / self.hz.get() as f64;
        if self.outages.len() < MOST_OUTAGES {
            self.outages.push(outage);
        }
    }
}

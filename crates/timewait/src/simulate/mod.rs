//! Days of TIME_WAIT in virtual time: a load, a kernel, and how long each of a hundred million sockets lasted.
//!
//! The model: sockets that come between two events of the kernel's timer and go into the same list are one cohort: how many, from
//! when to when, and nothing more. That is enough, as the arrivals of a Poisson process are uniform once their number is known.
//! A cohort lives and dies as a whole, in one of three engines (death row, timer per socket, wheel); only when it dies is each of
//! its sockets drawn, to be counted in the [`Distribution`]. So a socket costs a few nanoseconds, and the same seed gives the same
//! run. The exact machine for single sockets is [`DeathRow`](crate::DeathRow); a test holds one to the other.
//!
//! With [`Plan::ports`] every socket takes a port of one destination, and an arrival that finds none is refused.

mod arrivals;
mod cohort;
mod distribution;
mod draw;
mod engine;
mod outcome;
mod plan;
mod row;

pub use distribution::Distribution;
pub use outcome::{Outage, Outcome, Sample};
pub use plan::{Burst, Phase, Plan, Refused};

use arrivals::Arrivals;
use cohort::Cohort;
use draw::Draw;
use engine::Engine;
use outcome::Recorder;

/// A run that goes on step by step, so that somebody who waits can be told how far it is.
#[derive(Debug)]
pub struct Simulation {
    ports: Option<u32>,
    buckets: Option<u64>,
    arrivals: Arrivals,
    engine: Engine,
    draw: Draw,
    recorder: Recorder,
    /// Jiffies since the beginning; between two events it may stand between two jiffies.
    now: f64,
}

impl Simulation {
    /// A run of `plan`, from an empty host on.
    ///
    /// # Errors
    /// What in the plan cannot be.
    pub fn new(plan: &Plan) -> Result<Self, Refused> {
        plan.check()?;
        Ok(Self {
            ports: plan.ports,
            buckets: plan.buckets,
            arrivals: Arrivals::new(plan),
            engine: Engine::new(plan),
            draw: Draw::from_seed(plan.seed),
            recorder: Recorder::new(plan),
            now: 0.0,
        })
    }

    /// Runs it to its end.
    pub fn run(mut self) -> Outcome {
        while self.step() {}
        self.outcome()
    }

    /// Goes to the next event; false when all have come and all are dead.
    pub fn step(&mut self) -> bool {
        let change = self.arrivals.next_change(self.now);
        // While nobody comes, the boundaries between cohorts do not matter.
        let boundary = change.map(|_| self.engine.boundary(self.now));
        let event_j = self.engine.event_j();
        let Some(next) = [event_j.map(|j| j as f64), change, boundary].into_iter().flatten().reduce(f64::min) else {
            return false;
        };
        let next = next.max(self.now);
        // The first into an empty death row sets its clock, so its moment matters.
        if self.engine.is_set_by_the_first() {
            let Some(first) = self.arrivals.first(self.now, next, &mut self.draw) else { return self.pass(next) };
            self.now = first.from;
            self.admit(first);
            return true;
        }
        for cohort in self.arrivals.all(self.now, next, &mut self.draw).into_iter().flatten() {
            self.admit(cohort);
        }
        self.pass(next)
    }

    /// How far it is, 0 to 1.
    pub fn progress(&self) -> f64 {
        (self.now / self.arrivals.end().max(1.0)).min(1.0)
    }

    /// What came of it so far.
    pub fn outcome(self) -> Outcome {
        let last = self.now.min(self.arrivals.end());
        self.recorder.outcome(self.now, last, self.engine.ticks())
    }

    fn pass(&mut self, next: f64) -> bool {
        self.now = next;
        self.engine.advance(next as u64, &mut self.draw, &mut self.recorder);
        self.recorder.sample(next, self.engine.len());
        true
    }

    /// Takes in as many as there are ports and buckets for. Who has a port and no bucket gives the port back at once.
    fn admit(&mut self, cohort: Cohort) {
        let left = |most: Option<u64>| most.map_or(u64::MAX, |most| most.saturating_sub(self.engine.len()));
        let (free, room) = (left(self.ports.map(u64::from)), left(self.buckets));
        let (taken, rest) = cohort.split_after(free.min(room), &mut self.draw);
        if taken.count > 0 {
            self.recorder.served(taken.from, taken.count);
            self.engine.take(taken);
        }
        match rest.count {
            0 => {}
            count if room < free => self.recorder.overflowed(rest.from, count),
            count => self.recorder.refused(rest.from, count),
        }
    }
}

#[cfg(test)]
mod tests;

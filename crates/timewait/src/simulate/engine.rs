//! The timers of the three generations, for cohorts.

use std::collections::VecDeque;

use super::Plan;
use super::cohort::Cohort;
use super::draw::Draw;
use super::outcome::Recorder;
use super::row::Row;
use crate::death_row::Ticks;
use crate::{Generation, TIMEWAIT_S, timer_wheel};

#[derive(Clone, Debug)]
pub(super) enum Engine {
    Row(Box<Row>),
    /// Since 4.1 sockets die in the order in which they came.
    Timers(Timers),
}

/// A timer a socket, that goes off with its granule: of one jiffy until 4.7.
#[derive(Clone, Debug)]
pub(super) struct Timers {
    timeout_j: u64,
    exact: bool,
    /// Sockets that come within one of these die together; where timers are exact, nearly.
    granule_j: u64,
    /// With the jiffy of their death.
    queue: VecDeque<(u64, Cohort)>,
    len: u64,
}

impl Engine {
    pub(super) fn new(plan: &Plan) -> Self {
        let timeout_j = plan.hz.from_s(TIMEWAIT_S);
        let granule_j = match plan.generation {
            Generation::DeathRow => return Self::Row(Box::new(Row::new(plan.hz, plan.worker_delay_j))),
            // Ten milliseconds where each release counts.
            Generation::TimerPerSocket if plan.ports.is_some() => (plan.hz.get() / 100).max(1),
            Generation::TimerPerSocket => plan.hz.get(),
            Generation::Quantised => timer_wheel::granule_of(plan.hz, timeout_j),
        };
        let exact = plan.generation == Generation::TimerPerSocket;
        Self::Timers(Timers { timeout_j, exact, granule_j, queue: VecDeque::new(), len: 0 })
    }

    /// Whether the next to come sets the clock.
    pub(super) fn is_set_by_the_first(&self) -> bool {
        match self {
            Self::Row(row) => row.len() == 0,
            Self::Timers(_) => false,
        }
    }

    /// Where a cohort must end that begins at `now`.
    pub(super) fn boundary(&self, now: f64) -> f64 {
        match self {
            // The hand moves with events only.
            Self::Row(_) => f64::INFINITY,
            Self::Timers(timers) => timers.boundary(now),
        }
    }

    /// When something happens next.
    pub(super) fn event_j(&self) -> Option<u64> {
        match self {
            Self::Row(row) => row.event_j(),
            Self::Timers(timers) => timers.queue.front().map(|(died_j, _)| *died_j),
        }
    }

    /// Does what is due by `now_j`.
    pub(super) fn advance(&mut self, now_j: u64, draw: &mut Draw, recorder: &mut Recorder) {
        match self {
            Self::Row(row) => row.advance(now_j, draw, recorder),
            Self::Timers(timers) => timers.advance(now_j, draw, recorder),
        }
    }

    pub(super) fn take(&mut self, cohort: Cohort) {
        match self {
            Self::Row(row) => row.take(cohort),
            Self::Timers(timers) => timers.take(cohort),
        }
    }

    pub(super) fn len(&self) -> u64 {
        match self {
            Self::Row(row) => row.len(),
            Self::Timers(timers) => timers.len,
        }
    }

    pub(super) fn ticks(&self) -> Ticks {
        match self {
            Self::Row(row) => row.ticks(),
            Self::Timers(_) => Ticks::default(),
        }
    }
}

impl Timers {
    /// The jiffy after `now` at which births go to another bucket.
    fn boundary(&self, now: f64) -> f64 {
        let shift = self.timeout_j % self.granule_j;
        let granule = self.granule_j as f64;
        (((now + shift as f64) / granule).floor() + 1.0) * granule - shift as f64
    }

    fn take(&mut self, cohort: Cohort) {
        let granules = (cohort.from as u64 + self.timeout_j) / self.granule_j + 1;
        self.len += cohort.count;
        self.queue.push_back((granules * self.granule_j, cohort));
    }

    fn advance(&mut self, now_j: u64, draw: &mut Draw, recorder: &mut Recorder) {
        while let Some(&(died_j, mut cohort)) = self.queue.front().filter(|(died_j, _)| *died_j <= now_j) {
            self.queue.pop_front();
            self.len -= cohort.count;
            if self.exact {
                recorder.died_alike(cohort.from as u64, self.timeout_j, cohort.count);
            } else {
                cohort.take_newest(cohort.count, draw, |born_j| recorder.died(born_j, died_j));
            }
        }
    }
}

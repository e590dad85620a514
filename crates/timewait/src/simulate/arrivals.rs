//! When sockets come: phases one after the other, and bursts on top.

use super::Plan;
use super::cohort::Cohort;
use super::draw::Draw;

/// Times are jiffies since the beginning.
#[derive(Clone, Debug)]
pub(super) struct Arrivals {
    phases: Vec<Phase>,
    bursts: Vec<Burst>,
    even: bool,
}

#[derive(Clone, Copy, Debug)]
struct Phase {
    from: f64,
    until: f64,
    /// In a jiffy.
    rate: f64,
}

#[derive(Clone, Copy, Debug)]
struct Burst {
    from: f64,
    until: f64,
    /// How many are still to come.
    left: u64,
}

impl Arrivals {
    pub(super) fn new(plan: &Plan) -> Self {
        let hz = plan.hz.get() as f64;
        let mut end = 0.0;
        let phases = plan.phases.iter().map(|phase| {
            let from = end;
            end += phase.length_s * hz;
            Phase { from, until: end, rate: phase.rate_per_s / hz }
        });
        let bursts = plan.bursts.iter().map(|burst| {
            let from = burst.at_s * hz;
            // A moment is a jiffy at least.
            Burst { from, until: from + (burst.within_s * hz).max(1.0), left: burst.count }
        });
        Self { phases: phases.collect(), bursts: bursts.collect(), even: plan.even }
    }

    /// When the last has come.
    pub(super) fn end(&self) -> f64 {
        let phases = self.phases.iter().map(|phase| phase.until);
        phases.chain(self.bursts.iter().map(|burst| burst.until)).fold(0.0, f64::max)
    }

    /// When the rate changes next after `now`; `None` when nothing comes any more.
    pub(super) fn next_change(&self, now: f64) -> Option<f64> {
        let phases = self.phases.iter().flat_map(|phase| [phase.from, phase.until]);
        let bursts = self.bursts.iter().flat_map(|burst| [burst.from, burst.until]);
        phases.chain(bursts).filter(|&at| at > now).reduce(f64::min)
    }

    /// The first that comes from `from` until `until`, between which no rate changes.
    pub(super) fn first(&mut self, from: f64, until: f64, draw: &mut Draw) -> Option<Cohort> {
        let rate = self.rate(from);
        let by_rate = match (rate > 0.0, self.even) {
            (false, _) => f64::INFINITY,
            (true, true) => self.next_even(from),
            (true, false) => from + draw.gap(rate),
        };
        let mut first = by_rate;
        let mut burst = None;
        for (at, active) in self.bursts.iter().enumerate().filter(|(_, burst)| burst.is_active(from)) {
            let moment = from + (active.until - from) * draw.least(active.left);
            if moment < first {
                (first, burst) = (moment, Some(at));
            }
        }
        if first >= until {
            return None;
        }
        if let Some(at) = burst {
            self.bursts[at].left -= 1;
        }
        // An even one is at a moment of its own, which must not come twice.
        let from = if self.even && burst.is_none() { first.next_up() } else { first };
        Some(Cohort { count: 1, from, until: from, even: self.even })
    }

    /// All that come from `from` until `until`, between which no rate changes.
    pub(super) fn all(&mut self, from: f64, until: f64, draw: &mut Draw) -> [Option<Cohort>; 2] {
        let length = until - from;
        let cohort = |count, even| (count > 0).then_some(Cohort { count, from, until, even });
        let steady = match self.even {
            true => self.evenly(from, until),
            false => draw.poisson(self.rate(from) * length),
        };
        let mut at_once = 0;
        for burst in self.bursts.iter_mut().filter(|burst| burst.is_active(from)) {
            let count = draw.binomial(burst.left, length / (burst.until - from));
            burst.left -= count;
            at_once += count;
        }
        [cohort(steady, self.even), cohort(at_once, false)]
    }

    fn phase(&self, now: f64) -> Option<&Phase> {
        self.phases.iter().find(|phase| phase.from <= now && now < phase.until)
    }

    fn rate(&self, now: f64) -> f64 {
        self.phase(now).map_or(0.0, |phase| phase.rate)
    }

    /// How many of the evenly spaced come from `from` until `until`; the first of a phase comes with its beginning.
    fn evenly(&self, from: f64, until: f64) -> u64 {
        let Some(phase) = self.phase(from) else { return 0 };
        let before = |at: f64| ((at - phase.from) * phase.rate).ceil().max(0.0);
        (before(until) - before(from)) as u64
    }

    fn next_even(&self, from: f64) -> f64 {
        let Some(phase) = self.phase(from) else { return f64::INFINITY };
        phase.from + ((from - phase.from) * phase.rate).ceil() / phase.rate
    }
}

impl Burst {
    fn is_active(&self, now: f64) -> bool {
        self.left > 0 && self.from <= now && now < self.until
    }
}

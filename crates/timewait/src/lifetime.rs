//! How long one TIME_WAIT socket lasts: bounds and mean, for each generation of kernels.
//!
//! | kernel | quiet | busy (more than 100 sockets a slot) |
//! |---|---|---|
//! | to 4.0 | (52.5, 60] s, mean 56.25 | (97.5, 112.5] s, mean 105 |
//! | 4.1 to 4.7 | 60 s | the same |
//! | since 4.8 | (60, 60 + granule] s | the same |
//!
//! All are uniform in between, because arrivals know nothing of the wheel. A segment that starts the time anew, and whatever
//! ends a socket early, is not in it.

use crate::death_row::{CELLS, period_j};
use crate::{Generation, Hz, TIMEWAIT_S, timer_wheel};

/// How busy a death row is: one for the whole machine, all namespaces and both families.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Heat {
    /// No slot has more than 100 sockets.
    Cold,
    /// Every slot has.
    Hot,
}

/// Above this many sockets a second a quiet row turns hot for sure: 101 in each slot of 7.5 s.
pub const TURNS_HOT_PER_S: f64 = 101.0 / 7.5;
/// Below this a hot row turns cold: the slots that are filled while the hand stays collect for two periods.
pub const STAYS_HOT_PER_S: f64 = 101.0 / 15.0;

/// A uniform distribution: more than the least, at most the most. All in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lifetime {
    /// Every socket lasts longer than this.
    pub above_s: f64,
    /// None lasts longer than this, but for the jiffy in which the timer runs.
    pub most_s: f64,
}

impl Lifetime {
    /// What a TIME_WAIT socket has; `heat` matters to a death row only.
    pub fn of(generation: Generation, hz: Hz, heat: Heat) -> Self {
        let minute = TIMEWAIT_S as f64;
        match generation {
            Generation::DeathRow => {
                let period_s = hz.to_s(period_j(hz));
                let cells = CELLS - 1;
                let (slots, length) = match heat {
                    Heat::Cold => (cells, 1),
                    // Each full cell ahead costs a second period; a socket that comes while the hand stays has one such less.
                    Heat::Hot => (2 * cells - 1, 2),
                };
                Self { above_s: slots as f64 * period_s, most_s: (slots + length) as f64 * period_s }
            }
            Generation::TimerPerSocket => Self { above_s: minute, most_s: minute },
            Generation::Quantised => Self { above_s: minute, most_s: minute + granule_s(hz) },
        }
    }

    /// The mean, seconds.
    pub fn mean_s(self) -> f64 {
        f64::midpoint(self.above_s, self.most_s)
    }

    /// The lifetime that `share` of the sockets (0 to 1) do not outlive, seconds.
    pub fn quantile_s(self, share: f64) -> f64 {
        self.above_s + (self.most_s - self.above_s) * share.clamp(0.0, 1.0)
    }
}

/// The granule of sixty seconds on the timer wheel since 4.8, in seconds.
pub fn granule_s(hz: Hz) -> f64 {
    hz.to_s(timer_wheel::granule_of(hz, hz.from_s(TIMEWAIT_S)))
}

/// The bounds of a socket that asked for `timeout_j` jiffies, in jiffies: longer than the first, at most the second.
pub fn bounds_j(generation: Generation, hz: Hz, timeout_j: u64) -> (u64, u64) {
    match generation {
        Generation::DeathRow => {
            let period_j = period_j(hz);
            if crate::death_row::is_short(hz, timeout_j) {
                // The slot that is nearest may be due at once.
                let slot_j = 1 << crate::death_row::short_shift(hz);
                return (0, timeout_j.next_multiple_of(slot_j));
            }
            let cells = crate::death_row::offset(hz, timeout_j) as u64;
            (cells * period_j, (cells + 1) * period_j)
        }
        Generation::TimerPerSocket => (timeout_j.saturating_sub(1), timeout_j),
        Generation::Quantised => (timeout_j, timeout_j + timer_wheel::granule_of(hz, timeout_j)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(generation: Generation, hz: Hz, heat: Heat, expected: (f64, f64, f64)) {
        let lifetime = Lifetime::of(generation, hz, heat);
        let (above, most, mean) = expected;
        for (found, expected) in [(lifetime.above_s, above), (lifetime.most_s, most), (lifetime.mean_s(), mean)] {
            assert!((found - expected).abs() < 0.006, "{hz}: {lifetime:?}, expected {expected}");
        }
    }

    #[test]
    fn lifetimes_are_those_of_the_table() {
        for hz in Hz::ALL {
            check(Generation::DeathRow, hz, Heat::Cold, (52.5, 60.0, 56.25));
            check(Generation::DeathRow, hz, Heat::Hot, (97.5, 112.5, 105.0));
            check(Generation::TimerPerSocket, hz, Heat::Hot, (60.0, 60.0, 60.0));
        }
        check(Generation::Quantised, Hz::HZ_100, Heat::Cold, (60.0, 65.120, 62.56));
        check(Generation::Quantised, Hz::HZ_250, Heat::Cold, (60.0, 62.048, 61.02));
        check(Generation::Quantised, Hz::HZ_300, Heat::Cold, (60.0, 61.707, 60.85));
        check(Generation::Quantised, Hz::HZ_1000, Heat::Cold, (60.0, 64.096, 62.05));
    }

    #[test]
    fn other_timeouts_end_within_their_own_granule() {
        let upper = |hz: Hz, seconds| hz.to_s(bounds_j(Generation::Quantised, hz, hz.from_s(seconds)).1);
        let cases = [
            (1, 1.032, 1.064),
            (5, 5.256, 5.512),
            (20, 22.048, 20.512),
            (30, 32.048, 30.512),
            (60, 62.048, 64.096),
            (120, 122.048, 124.096),
            (240, 256.384, 244.096),
        ];
        for (seconds, at_250, at_1000) in cases {
            assert_eq!((upper(Hz::HZ_250, seconds), upper(Hz::HZ_1000, seconds)), (at_250, at_1000), "{seconds} s");
        }
        let row = |ms| bounds_j(Generation::DeathRow, Hz::HZ_1000, ms);
        assert_eq!((row(700), row(10_000), row(60_000)), ((0, 768), (15_000, 22_500), (52_500, 60_000)));
    }

    #[test]
    fn a_row_turns_hot_at_thirteen_and_stays_so_above_seven() {
        assert!((TURNS_HOT_PER_S - 13.47).abs() < 0.01 && (STAYS_HOT_PER_S - 6.73).abs() < 0.01);
        let lifetime = Lifetime::of(Generation::Quantised, Hz::HZ_250, Heat::Cold);
        assert_eq!((lifetime.quantile_s(0.0), lifetime.quantile_s(2.0)), (60.0, 62.048));
    }
}

//! A host's clock, which need not run as the world's does.

use pinhole_sansio::{Duration, Instant};

/// A clock that is ahead by an offset and drifts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clock {
    /// What it shows when the world begins.
    pub ahead: Duration,
    /// How much faster it runs, in millionths; crystals are within 100. Slower, if negative.
    pub drift_ppm: i32,
}

impl Clock {
    /// What it shows at a moment of the world.
    pub fn shows(&self, world: Instant) -> Instant {
        let nanos = i128::from(world.as_nanos());
        let gained = nanos * i128::from(self.drift_ppm) / 1_000_000;
        Instant::from_nanos(u64::try_from(nanos + gained).unwrap_or_default()) + self.ahead
    }

    /// The first moment of the world at which it shows this much, or more.
    pub fn when(&self, shown: Instant) -> Instant {
        let nanos = i128::try_from(shown.since(Instant::EPOCH + self.ahead).as_nanos()).unwrap_or(i128::MAX);
        let speed = i128::from(1_000_000 + self.drift_ppm).max(1);
        let mut world = Instant::from_nanos(u64::try_from(nanos * 1_000_000 / speed).unwrap_or(u64::MAX));
        while self.shows(world) < shown {
            world += Duration::from_nanos(1);
        }
        world
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_right_shows_the_worlds_time() {
        let moment = Instant::from_nanos(1_234_567_891_011);
        assert_eq!(Clock::default().shows(moment), moment);
        assert_eq!(Clock::default().when(moment), moment);
    }

    #[test]
    fn when_is_the_first_moment_that_shows_it() {
        for drift_ppm in [-300, -1, 0, 7, 300] {
            let clock = Clock { ahead: Duration::from_millis(1_500), drift_ppm };
            for millis in [1_500, 1_501, 2_000, 90_000, 86_400_000] {
                let shown = Instant::from_millis(millis);
                let world = clock.when(shown);
                assert!(clock.shows(world) >= shown, "{drift_ppm} ppm, {millis} ms");
                let before = Instant::from_nanos(world.as_nanos().saturating_sub(1));
                assert!(world == Instant::EPOCH || clock.shows(before) < shown, "{drift_ppm} ppm, {millis} ms");
            }
        }
    }

    #[test]
    fn a_hundred_millionths_are_a_tenth_of_a_second_in_a_thousand() {
        let fast = Clock { ahead: Duration::ZERO, drift_ppm: 100 };
        assert_eq!(fast.shows(Instant::from_millis(1_000_000)), Instant::from_millis(1_000_100));
    }
}

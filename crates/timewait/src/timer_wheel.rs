//! The timer wheel since 4.8 (kernel/time/timer.c): nine levels of 64 buckets, each eight times coarser than the one below.
//!
//! A timer goes into the bucket after its time on the level that its distance chooses, and stays there: nothing cascades to
//! a finer level later. So it is late by up to a granule of that level, and never early. All that a timer's end depends on is
//! its expiry and the wheel's clock when it was queued, so a single look at a socket tells when it dies.

use crate::Hz;

/// `LVL_CLK_SHIFT`: each level is eight times coarser.
const LEVEL_SHIFT: u32 = 3;
/// A level takes what is nearer than 63 of its granules: the 64th bucket is the one that is being emptied.
const LEVEL_REACH: u64 = 63;
/// `LVL_DEPTH` for `HZ` above 100.
const LEVELS: u32 = 9;
/// `LVL_DEPTH` otherwise.
const LEVELS_SLOW: u32 = 8;

/// The level, from zero, of a timer `distance_j` jiffies away.
pub const fn level(hz: Hz, distance_j: u64) -> u32 {
    let last = if hz.get() > 100 { LEVELS - 1 } else { LEVELS_SLOW - 1 };
    let mut level = 0;
    while level < last && distance_j >= LEVEL_REACH << (LEVEL_SHIFT * level) {
        level += 1;
    }
    level
}

/// Jiffies from one bucket to the next on `level`.
pub const fn granule_j(level: u32) -> u64 {
    1 << (LEVEL_SHIFT * level)
}

/// The granule of a timer that is set `timeout_j` jiffies ahead.
pub const fn granule_of(hz: Hz, timeout_j: u64) -> u64 {
    granule_j(level(hz, timeout_j))
}

/// When a timer for `expires_j` goes off that is queued while the wheel's clock stands at `clock_j`; it may be one jiffy
/// later, when the tick comes.
pub const fn bucket_j(hz: Hz, clock_j: u64, expires_j: u64) -> u64 {
    if expires_j < clock_j {
        return clock_j;
    }
    end_of_granule(granule_of(hz, expires_j - clock_j), expires_j)
}

/// When a timer for `expires_j` goes off that was queued `timeout_j` before: for a timer that is looked at later, when its
/// distance no longer says the level.
pub const fn death_j(hz: Hz, timeout_j: u64, expires_j: u64) -> u64 {
    end_of_granule(granule_of(hz, timeout_j), expires_j)
}

const fn end_of_granule(granule_j: u64, expires_j: u64) -> u64 {
    (expires_j / granule_j).saturating_add(1).saturating_mul(granule_j)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_go_off_when_the_kernels_do() {
        let cases = [
            (250, 4_295_573_000, 60, 4_295_588_352, 61_408),
            (250, 359, 60, 15_360, 60_004),
            (250, 360, 60, 15_872, 62_048),
            (1000, 1_000_000, 60, 1_060_864, 60_864),
            (100, 1_000_000, 60, 1_006_080, 60_800),
            (250, 4_295_573_000, 120, 4_295_603_200, 120_800),
            (250, 4_295_573_000, 240, 4_295_634_944, 247_776),
        ];
        for (hz, clock_j, timeout_s, bucket, life_ms) in cases {
            let hz = Hz::new(hz).expect("a kernel's");
            let found = bucket_j(hz, clock_j, clock_j + hz.from_s(timeout_s));
            assert_eq!((found, hz.to_ms(found - clock_j)), (bucket, life_ms), "{hz} {clock_j} {timeout_s} s");
        }
    }

    #[test]
    fn a_level_reaches_63_granules() {
        let cases = [(62, 0), (63, 1), (503, 1), (504, 2), (4031, 2), (4032, 3), (32_255, 3), (32_256, 4)];
        for (distance_j, expected) in cases {
            assert_eq!(level(Hz::HZ_250, distance_j), expected, "{distance_j}");
        }
        assert_eq!((level(Hz::HZ_100, u64::MAX), level(Hz::HZ_250, u64::MAX)), (7, 8));
    }

    #[test]
    fn no_timer_is_early_and_none_is_later_than_a_granule() {
        let mut rng = pinhole_sansio::Rng::from_seed(1);
        for _ in 0..20_000 {
            let hz = Hz::ALL[rng.below(4) as usize];
            let clock_j = rng.below(1 << 33);
            let timeout_j = 1 + rng.below(hz.from_s(300));
            let late = bucket_j(hz, clock_j, clock_j + timeout_j) - clock_j - timeout_j;
            assert!((1..=granule_of(hz, timeout_j)).contains(&late), "{hz} {clock_j} {timeout_j}: {late}");
            let seen_later = death_j(hz, timeout_j, clock_j + timeout_j);
            assert_eq!(seen_later, bucket_j(hz, clock_j, clock_j + timeout_j));
        }
    }

    #[test]
    fn a_timer_of_the_past_goes_off_now_and_one_of_the_far_future_does_not_overflow() {
        assert_eq!(bucket_j(Hz::HZ_250, 100, 50), 100);
        assert_eq!(bucket_j(Hz::HZ_250, 0, u64::MAX), u64::MAX);
    }
}

//! Jiffies: the unit in which a kernel counts time, `CONFIG_HZ` of them a second.

use std::fmt;

/// Jiffies per second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hz(u64);

impl Hz {
    /// What distributions of today's 6.x choose for desktops, and this crate's measurements were made with.
    pub const HZ_250: Self = Self(250);
    /// The oldest choice, and that of many servers.
    pub const HZ_100: Self = Self(100);
    /// Chosen for its even division of video frames.
    pub const HZ_300: Self = Self(300);
    /// The finest choice.
    pub const HZ_1000: Self = Self(1000);
    /// The four that Kconfig.hz offers.
    pub const ALL: [Self; 4] = [Self::HZ_100, Self::HZ_250, Self::HZ_300, Self::HZ_1000];

    /// A kernel of `hz` jiffies a second; `None` outside 12 to 1536, the bounds of the kernel's own arithmetic
    /// (include/linux/jiffies.h).
    pub const fn new(hz: u64) -> Option<Self> {
        if hz >= 12 && hz <= 1536 { Some(Self(hz)) } else { None }
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// `seconds` in jiffies.
    pub const fn from_s(self, seconds: u64) -> u64 {
        seconds.saturating_mul(self.0)
    }

    /// `ms` milliseconds in jiffies, rounded up as `msecs_to_jiffies` does.
    pub const fn from_ms(self, ms: u64) -> u64 {
        ms.saturating_mul(self.0).div_ceil(1000)
    }

    /// `jiffies` in whole milliseconds, rounded down as `jiffies_to_msecs` does.
    pub const fn to_ms(self, jiffies: u64) -> u64 {
        jiffies.saturating_mul(1000) / self.0
    }

    /// `jiffies` in seconds.
    pub fn to_s(self, jiffies: u64) -> f64 {
        jiffies as f64 / self.0 as f64
    }

    /// What the counter stands at when the kernel starts: five minutes before 32 bits overflow (`INITIAL_JIFFIES`).
    pub const fn initial_j(self) -> u64 {
        (1 << 32) - 300 * self.0
    }

    /// The `HZ` of which all of `remaining_ms` are whole jiffies, if exactly one of [`ALL`](Self::ALL) comes into question;
    /// 1000 only when enough values say so, as it fits everything.
    ///
    /// What inet_diag says of a timer is whole jiffies in milliseconds, which gives the kernel's `HZ` away.
    pub fn from_samples(remaining_ms: impl IntoIterator<Item = u64>) -> Option<Self> {
        const ENOUGH: usize = 16;
        let samples: Vec<u64> = remaining_ms.into_iter().filter(|&ms| ms > 0).take(4096).collect();
        if samples.len() < ENOUGH {
            return None;
        }
        let fits = |hz: &Self| samples.iter().all(|&ms| hz.to_ms(hz.from_ms(ms)) == ms);
        Self::ALL.into_iter().find(fits)
    }
}

impl fmt::Display for Hz {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HZ={}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_go_up_and_jiffies_go_down() {
        let hz = Hz::HZ_300;
        assert_eq!((hz.from_ms(1), hz.from_ms(10), hz.from_ms(11)), (1, 3, 4));
        assert_eq!((hz.to_ms(1), hz.to_ms(2), hz.to_ms(3)), (3, 6, 10));
        for hz in Hz::ALL {
            assert!((0..5000).all(|j| hz.from_ms(hz.to_ms(j)) == j), "{hz}: what inet_diag says can be taken back");
        }
    }

    #[test]
    fn the_quantum_of_the_samples_reveals_hz() {
        for hz in Hz::ALL {
            let samples = (1..4000).map(|n| hz.to_ms(n * 7 % 15_000 + 1));
            assert_eq!(Hz::from_samples(samples), Some(hz));
        }
        assert_eq!(Hz::from_samples([100, 200, 300]), None, "three values say nothing");
    }

    #[test]
    fn the_counter_starts_five_minutes_before_it_overflows() {
        assert_eq!(Hz::HZ_250.initial_j(), 4_294_892_296);
        assert_eq!((Hz::new(0), Hz::new(u64::MAX), Hz::new(1000)), (None, None, Some(Hz::HZ_1000)));
    }
}

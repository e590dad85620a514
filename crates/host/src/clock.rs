//! The kernel's clocks: the monotonic one, and jiffies, in which its timers count.
//!
//! The model: since the kernel runs timers from the monotonic clock, jiffy `n` begins at `origin + n x tick`, and the origin stays
//! the same until the next boot. A [`Jiffies`] knows `HZ` and the origin, and where it has it from: `/proc/timer_list` (root)
//! to a fraction of a jiffy, `/proc/schedstat` (where it is compiled in) to one, or a guess from how kernels boot, good for about
//! half a second. Whoever sees a timer go off can correct a guess ([`Jiffies::learn`]).

use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::time::{ClockId, clock_getres, clock_gettime};

/// Nanoseconds of CLOCK_MONOTONIC, which begin when the machine does.
pub fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Jiffies a second, by the resolution of the coarse clock, which is that of the tick.
pub fn hz() -> Option<u64> {
    let tick = clock_getres(ClockId::MonotonicCoarse);
    let tick_ns = (tick.tv_sec == 0).then_some(tick.tv_nsec as u64).filter(|&ns| ns > 0)?;
    Some((1_000_000_000 + tick_ns / 2) / tick_ns)
}

/// Where the origin of jiffies is known from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// `/proc/timer_list`, which only root may read.
    TimerList,
    /// `/proc/schedstat`.
    SchedStat,
    /// A timer that was seen to go off.
    Observed,
    /// Nothing but the time since boot.
    Guess,
}

/// How jiffies and the monotonic clock belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Jiffies {
    /// Jiffies a second.
    pub hz: u64,
    /// Where the origin is known from.
    pub source: Source,
    /// Nanoseconds of the monotonic clock at which the kernel's counter was [`initial`](Self::initial_j).
    origin_ns: i64,
}

/// Between two reads: the least delay after the beginning of a jiffy counts, so there are reads all over one.
const BETWEEN: Duration = Duration::from_micros(570);
/// Reads beside those that fill a jiffy: the first may be slow.
const MORE_READS: u64 = 3;

impl Jiffies {
    /// Finds them out; takes a few jiffies with privilege. `hz` where the clock does not tell.
    pub fn find(hz: u64) -> Self {
        let timer_list = || read(hz, Path::new("/proc/timer_list"), timer_list);
        let sched_stat = || read(hz, Path::new("/proc/schedstat"), sched_stat);
        let (source, origin_ns) = timer_list()
            .map(|origin| (Source::TimerList, origin))
            .or_else(|| sched_stat().map(|origin| (Source::SchedStat, origin)))
            .unwrap_or((Source::Guess, GUESS_NS));
        Self { hz, source, origin_ns }
    }

    /// The counter at a time of the monotonic clock.
    pub fn at(&self, ns: u64) -> u64 {
        let since_ns = i128::from(ns) - i128::from(self.origin_ns);
        let jiffies = since_ns * i128::from(self.hz) / 1_000_000_000;
        u64::try_from(i128::from(self.initial_j()) + jiffies).unwrap_or_default()
    }

    /// The time of the monotonic clock at which the counter comes to `jiffies`.
    pub fn ns_of(&self, jiffies: u64) -> u64 {
        let since_j = i128::from(jiffies) - i128::from(self.initial_j());
        u64::try_from(since_j * 1_000_000_000 / i128::from(self.hz) + i128::from(self.origin_ns)).unwrap_or_default()
    }

    /// How far off it may be, nanoseconds.
    pub fn uncertainty_ns(&self) -> u64 {
        match self.source {
            Source::TimerList => 1_000_000_000 / self.hz,
            Source::SchedStat => 2_000_000_000 / self.hz,
            Source::Observed => 100_000_000,
            Source::Guess => 500_000_000,
        }
    }

    /// A timer on a wheel of `granule_j` jiffies was seen to go off at `ns`: the origin is moved, by no more than half a granule,
    /// so that it went off at a granule's end.
    pub fn learn(&mut self, granule_j: u64, ns: u64) {
        let granule_ns = (granule_j * 1_000_000_000 / self.hz).max(1) as i64;
        let boundary_ns = self.ns_of(self.at(ns) / granule_j * granule_j) as i64;
        let late_ns = (ns as i64 - boundary_ns).rem_euclid(granule_ns);
        let shift_ns = if late_ns > granule_ns / 2 { late_ns - granule_ns } else { late_ns };
        self.origin_ns += shift_ns;
        self.source = Source::Observed;
    }

    /// `INITIAL_JIFFIES`: five minutes before 32 bits overflow.
    fn initial_j(&self) -> u64 {
        (1 << 32) - 300 * self.hz
    }
}

/// Between the monotonic clock's zero and the first tick a kernel sets itself up.
const GUESS_NS: i64 = 150_000_000;

/// The origin, by the least that the counter was behind a read.
fn read(hz: u64, path: &Path, counter: fn(&str) -> Option<u64>) -> Option<i64> {
    let initial_j = (1u64 << 32) - 300 * hz;
    let mut least_ns: Option<i64> = None;
    let reads = 1_000_000_000 / hz / BETWEEN.as_nanos() as u64 + MORE_READS;
    for _ in 0..reads {
        let before_ns = now_ns() as i64;
        let text = fs::read_to_string(path).ok()?;
        let jiffies = counter(&text)?;
        let since_ns = i64::try_from(i128::from(jiffies) - i128::from(initial_j)).ok()? * (1_000_000_000 / hz as i64);
        least_ns = Some(least_ns.unwrap_or(i64::MAX).min(before_ns - since_ns));
        std::thread::sleep(BETWEEN);
    }
    least_ns
}

/// The line of the first processor.
fn timer_list(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("jiffies: "))?.trim().parse().ok()
}

fn sched_stat(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("timestamp "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hz_is_one_that_kernels_have() {
        assert!(hz().is_some_and(|hz| (12..=1536).contains(&hz)), "{:?}", hz());
    }

    #[test]
    fn times_go_there_and_back() {
        let jiffies = Jiffies { hz: 250, source: Source::Guess, origin_ns: 251_000_000 };
        assert_eq!(jiffies.at(251_000_000), 4_294_892_296);
        assert_eq!(jiffies.ns_of(jiffies.at(9_000_000_000)), 8_999_000_000);
        assert_eq!(jiffies.at(0), 4_294_892_296 - 62);
    }

    #[test]
    fn a_timer_that_goes_off_corrects_a_guess() {
        let truth = Jiffies { hz: 250, source: Source::TimerList, origin_ns: 251_000_000 };
        let mut guess = Jiffies { source: Source::Guess, origin_ns: 0, ..truth };
        let boundary_j = 4_294_900_224;
        assert_eq!(boundary_j % 512, 0);
        guess.learn(512, truth.ns_of(boundary_j));
        assert!(guess.origin_ns.abs_diff(truth.origin_ns) <= 4_000_000, "{guess:?}");
        assert_eq!(guess.source, Source::Observed);
    }

    #[test]
    fn the_sources_are_read_as_the_kernel_writes_them() {
        let text = "Timer List Version: v0.10\nnow at 12 nsecs\ncpu: 0\n  .last_jiffies   : 1\njiffies: 4298445374\n\njiffies: 5\n";
        assert_eq!(timer_list(text), Some(4_298_445_374));
        assert_eq!(sched_stat("version 17\ntimestamp 4298445374\ncpu0 0\n"), Some(4_298_445_374));
        assert_eq!((timer_list(""), sched_stat("timestamp x")), (None, None));
    }

    #[test]
    fn the_kernels_counter_is_as_it_says() {
        let Some(hz) = hz() else { return };
        let found = Jiffies::find(hz);
        if found.source != Source::TimerList {
            eprintln!("SKIP: only root may read /proc/timer_list");
            return;
        }
        let text = fs::read_to_string("/proc/timer_list").expect("it was read");
        let says = timer_list(&text).expect("a counter");
        assert!(found.at(now_ns()).abs_diff(says) <= 25, "{} {says}", found.at(now_ns()));
    }
}

//! A point in time that no clock produced here, and a point in time with its reason.

use core::fmt;
use core::ops::{Add, AddAssign, Sub};
use core::time::Duration;

/// Nanoseconds since an epoch that the driver chose: the process start in production, zero in a simulation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Instant {
    nanos: u64,
}

impl Instant {
    /// The driver's epoch.
    pub const EPOCH: Self = Self { nanos: 0 };

    /// The instant `nanos` nanoseconds after the epoch.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self { nanos }
    }

    /// The instant `millis` milliseconds after the epoch.
    pub const fn from_millis(millis: u64) -> Self {
        Self { nanos: millis * 1_000_000 }
    }

    /// Nanoseconds since the epoch.
    pub const fn as_nanos(self) -> u64 {
        self.nanos
    }

    /// How long ago `earlier` was; zero if it is still to come.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.nanos.saturating_sub(earlier.nanos))
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    #[inline]
    fn add(self, after: Duration) -> Self {
        Self { nanos: self.nanos.saturating_add(nanos(after)) }
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, after: Duration) {
        *self = *self + after;
    }
}

impl Sub<Duration> for Instant {
    type Output = Self;

    #[inline]
    fn sub(self, before: Duration) -> Self {
        Self { nanos: self.nanos.saturating_sub(nanos(before)) }
    }
}

/// A duration in nanoseconds, as far as they fit.
#[inline]
const fn nanos(duration: Duration) -> u64 {
    duration.as_secs().saturating_mul(1_000_000_000).saturating_add(duration.subsec_nanos() as u64)
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}s", self.nanos / 1_000_000_000, self.nanos / 1_000 % 1_000_000)
    }
}

/// When a machine wants to be woken, and what for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline<Why> {
    /// The earliest moment at which waking it makes a difference.
    pub at: Instant,
    /// Which of its timers that is.
    pub why: Why,
}

impl<Why> Deadline<Why> {
    /// A deadline at `at` because of `why`.
    pub const fn new(at: Instant, why: Why) -> Self {
        Self { at, why }
    }

    /// The earlier of two deadlines, either of which may be absent; the first one on a tie.
    pub fn earlier(a: Option<Self>, b: Option<Self>) -> Option<Self> {
        match (a, b) {
            (Some(a), Some(b)) if b.at < a.at => Some(b),
            (Some(a), _) => Some(a),
            (None, b) => b,
        }
    }

    /// The same deadline, seen by the parent of the machine that set it.
    pub fn map<Outer>(self, why: impl FnOnce(Why) -> Outer) -> Deadline<Outer> {
        Deadline { at: self.at, why: why(self.why) }
    }
}

//! `-m limit`: a token bucket in credits, as the kernel counts them (`net/netfilter/xt_limit.c`).

use core::fmt;

use pinhole_sansio::Instant;

/// Ticks of the kernel per second (`CONFIG_HZ`): Debian's and Ubuntu's kernels have 250.
const HZ: u64 = 250;
/// A rate of one per second (`XT_LIMIT_SCALE`).
const SCALE: u32 = 10_000;
/// Credits that a tick gives: the highest power of two that a day's ticks do not carry past 32 bits.
const CREDITS_PER_TICK: u64 = (u32::MAX as u64 / (HZ * 60 * 60 * 24) + 1).next_power_of_two() / 2;

/// Matches so often at most: `burst` times at once, then at a rate.
#[derive(Clone, Debug)]
pub struct Limit {
    /// How far apart matches are on average, in 1/10,000 s.
    interval: u32,
    burst: u32,
    bucket: Option<Bucket>,
}

/// How often it may match still. It is full before it is first asked.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    credit: u64,
    /// The tick of the last question.
    tick: u64,
}

/// The units of a rate, with how many times [`SCALE`] they are.
const UNITS: [(&str, u32); 4] = [("day", 24 * 60 * 60), ("hour", 60 * 60), ("min", 60), ("sec", 1)];

impl Limit {
    /// The burst that is not written (`XT_LIMIT_BURST`).
    pub const BURST: u32 = 5;
    /// The rate if none is given.
    pub const RATE: &str = "3/hour";

    /// What `--limit` takes, such as `3/min` or `100/second`, and how many at once. Nothing if the first is no rate or above
    /// 10,000 per second, if the second is not from 1 to 10,000, or if both together overflow the kernel's arithmetic, so
    /// that it refuses them.
    pub fn new(rate: &str, burst: u32) -> Option<Self> {
        let (number, unit) = rate.split_once('/').unwrap_or((rate, "second"));
        let number: u32 = number.parse().ok().filter(|&number| number != 0)?;
        let unit = unit.to_ascii_lowercase();
        let names = [("second", 1), ("minute", 60), ("hour", 60 * 60), ("day", 24 * 60 * 60)];
        let (_, seconds) = names.into_iter().find(|(name, _)| !unit.is_empty() && name.starts_with(&unit))?;
        let limit = Self { interval: SCALE * seconds / number, burst, bucket: None };
        let fits = limit.interval != 0 && (1..=10_000).contains(&burst) && limit.full() >= credits(limit.interval);
        fits.then_some(limit)
    }

    /// The credits of the whole burst, in 32 bits as in the kernel.
    const fn full(&self) -> u32 {
        credits(self.interval.wrapping_mul(self.burst))
    }

    /// Takes one match, if there is one.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        let tick = u64::try_from(u128::from(now.as_nanos()) * u128::from(HZ) / 1_000_000_000).unwrap_or(u64::MAX);
        let full = u64::from(self.full());
        let cost = u64::from(credits(self.interval));
        let bucket = self.bucket.get_or_insert(Bucket { credit: full, tick });
        let earned = tick.saturating_sub(bucket.tick).saturating_mul(CREDITS_PER_TICK);
        bucket.credit = bucket.credit.saturating_add(earned).min(full);
        bucket.tick = tick.max(bucket.tick);
        let enough = bucket.credit >= cost;
        if enough {
            bucket.credit -= cost;
        }
        enough
    }
}

/// What an interval costs (`user2credits`).
const fn credits(interval: u32) -> u32 {
    const PER_SECOND: u32 = (HZ * CREDITS_PER_TICK) as u32;
    if interval > u32::MAX / PER_SECOND {
        (interval / SCALE).wrapping_mul(PER_SECOND)
    } else {
        interval * PER_SECOND / SCALE
    }
}

/// The same limit, however much of it is left.
impl PartialEq for Limit {
    fn eq(&self, other: &Self) -> bool {
        (self.interval, self.burst) == (other.interval, other.burst)
    }
}

impl Eq for Limit {}

/// As iptables-save writes it: in the smallest unit that keeps the number (`print_rate` of libxt_limit).
impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let interval = self.interval;
        let too_small = |&(_, seconds): &(&str, u32)| {
            let unit = seconds * SCALE;
            interval > unit || unit / interval < unit % interval
        };
        let (name, seconds) = UNITS[UNITS.iter().skip(1).position(too_small).unwrap_or(UNITS.len() - 1)];
        write!(f, "--limit {}/{name}", seconds * SCALE / interval)?;
        if self.burst == Self::BURST { Ok(()) } else { write!(f, " --limit-burst {}", self.burst) }
    }
}

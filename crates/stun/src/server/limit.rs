//! How often a source may ask: a bucket of tokens for each, in a table of fixed size.
//!
//! A source is an IPv4 address or an IPv6 /64, which is what one subscriber has at least. Where more sources ask than the table
//! holds, the fullest bucket of a set is forgotten: it costs its source nothing but a fresh start.

use core::net::IpAddr;

use pinhole_sansio::{Duration, Instant};

/// How many of something a source may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// In the long run, per minute. Zero: no limit.
    pub per_minute: u32,
    /// At once after a pause.
    pub burst: u32,
}

impl RateLimit {
    /// Of requests: ten a second, 500 at once. Behaviour discovery takes some hundred, and many may sit behind a carrier's
    /// address.
    pub const REQUESTS: Self = Self { per_minute: 600, burst: 500 };
    /// Of calls: one every ten seconds, six at once.
    pub const CALLS: Self = Self { per_minute: 6, burst: 6 };
    /// No limit at all: for measurements, and behind something else that limits.
    pub const NONE: Self = Self { per_minute: 0, burst: 0 };
}

/// Ways of a set: where a source's bucket may lie. A set is one cache line.
const WAYS: usize = 4;
/// Sets of the table: with [`WAYS`] and 16 bytes a bucket 512 KiB for 32,768 sources.
const SETS: usize = 8_192;
/// Tokens are counted in thousandths.
const TOKEN: u32 = 1_000;
/// The longest pause that is reckoned with: it fills any bucket that matters and keeps products in range.
const LONGEST_PAUSE_MS: u32 = 3_600_000;

/// Token buckets per source.
#[derive(Debug)]
pub struct RateLimiter {
    limit: RateLimit,
    seed: u64,
    sets: Box<[Set]>,
}

#[derive(Clone, Copy, Debug, Default)]
#[repr(align(64))]
struct Set([Bucket; WAYS]);

#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    /// Which source; 0 is an unused bucket.
    source: u64,
    /// When `tokens` was true: milliseconds, modulo 2^32.
    at_ms: u32,
    /// In thousandths.
    tokens: u32,
}

impl RateLimiter {
    /// A limiter in which nobody has asked yet. `seed` hides which sources share a set.
    pub fn new(limit: RateLimit, seed: u64) -> Self {
        let sets = if limit.per_minute == 0 { 0 } else { SETS };
        Self { limit, seed, sets: vec![Set::default(); sets].into_boxed_slice() }
    }

    /// Takes a token of `source`. False if it has none.
    #[inline]
    pub fn take(&mut self, now: Instant, source: IpAddr) -> bool {
        if self.sets.is_empty() {
            return true;
        }
        let source = key(source);
        let now_ms = (now.as_nanos() / 1_000_000) as u32;
        let limit = self.limit;
        let bucket = self.bucket(now_ms, source);
        let tokens = refilled(limit, bucket, now_ms);
        if tokens > bucket.tokens {
            // Otherwise time goes on adding up: one who asks all the time is not to lose every fraction.
            (bucket.tokens, bucket.at_ms) = (tokens, now_ms);
        }
        match bucket.tokens.checked_sub(TOKEN) {
            Some(left) => {
                bucket.tokens = left;
                true
            }
            None => false,
        }
    }

    /// The bucket of `source`: its own, else an unused one, else the fullest of its set.
    #[inline]
    fn bucket(&mut self, now_ms: u32, source: u64) -> &mut Bucket {
        let hash = (source ^ self.seed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let limit = self.limit;
        let Set(set) = &mut self.sets[(hash >> 32) as usize % SETS];
        if let Some(way) = set.iter().position(|bucket| bucket.source == source) {
            return &mut set[way];
        }
        let rank = |bucket: &Bucket| match bucket.source {
            0 => u64::MAX,
            _ => u64::from(refilled(limit, bucket, now_ms)),
        };
        let way = (0..WAYS).max_by_key(|&way| rank(&set[way])).unwrap_or(0);
        set[way] = Bucket { source, at_ms: now_ms, tokens: full(limit) };
        &mut set[way]
    }
}

/// A full bucket, in thousandths of tokens.
#[inline]
fn full(limit: RateLimit) -> u32 {
    limit.burst.max(1).saturating_mul(TOKEN)
}

/// The bucket's tokens at `now_ms`, in thousandths.
#[inline]
fn refilled(limit: RateLimit, bucket: &Bucket, now_ms: u32) -> u32 {
    let elapsed = now_ms.wrapping_sub(bucket.at_ms).min(LONGEST_PAUSE_MS);
    let gained = u64::from(elapsed) * u64::from(limit.per_minute) * u64::from(TOKEN) / MINUTE_MS;
    u32::try_from(u64::from(bucket.tokens) + gained).unwrap_or(u32::MAX).min(full(limit))
}

const MINUTE_MS: u64 = Duration::from_secs(60).as_millis() as u64;

/// What is limited together, never 0: an IPv4 address, or the upper half of an IPv6 one.
#[inline]
fn key(source: IpAddr) -> u64 {
    match source.to_canonical() {
        IpAddr::V4(address) => 1 << 32 | u64::from(address.to_bits()),
        // An upper half of all zeros shares the place of one that is not in use, ::/64 with its lowest bit.
        IpAddr::V6(address) => ((address.to_bits() >> 64) as u64).max(1),
    }
}

#[cfg(test)]
mod tests;

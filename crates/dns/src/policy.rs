//! Who may ask, and how often: access lists and response rate limiting. Pure; the clock comes in.

use core::net::IpAddr;

use ipnet::IpNet;
use pinhole_sansio::{Duration, Instant};

/// What a source may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Answers.
    Allow,
    /// The answer REFUSED.
    Refuse,
    /// Silence.
    Drop,
}

/// Prefixes and what they may have; the first that holds the source decides.
#[derive(Clone, Debug)]
pub struct AccessList {
    /// In order of precedence.
    pub rules: Vec<(IpNet, Access)>,
    /// For sources that no rule names.
    pub otherwise: Access,
}

impl Default for AccessList {
    fn default() -> Self {
        Self { rules: Vec::new(), otherwise: Access::Allow }
    }
}

impl AccessList {
    /// What `source` may have; a v4 address mapped into v6 counts as v4.
    pub fn access(&self, source: IpAddr) -> Access {
        let source = source.to_canonical();
        let rule = self.rules.iter().find(|(prefix, _)| prefix.contains(&source));
        rule.map_or(self.otherwise, |(_, access)| *access)
    }
}

/// How many answers unverified sources get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// Answers per second for a network (IPv4 /24, IPv6 /56), in the long run.
    pub per_second: u32,
    /// Answers it may have at once after a pause.
    pub burst: u32,
    /// Every `slip`-th query over the limit is answered "truncated", so that a real client whose address is abused gets its
    /// answer by TCP; 0 for never.
    pub slip: u32,
}

impl Default for RateLimit {
    /// 200 per second and network: knot's and bind's documentation start at 20 to 200; a home's peers ask a handful.
    fn default() -> Self {
        Self { per_second: 200, burst: 400, slip: 2 }
    }
}

/// What to do with a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Answer it.
    Pass,
    /// Answer "truncated" without records.
    Slip,
    /// Say nothing.
    Drop,
}

/// Ways of a set: where a network's bucket may lie.
const WAYS: usize = 4;
/// Sets of the table. With [`WAYS`] and 24 bytes a bucket the table takes 384 KiB and holds 16,384 networks; beyond that the
/// fullest bucket of a set is forgotten, which costs its network nothing but a fresh start.
const SETS: usize = 4096;
/// Tokens are counted in thousandths.
const TOKEN: u64 = 1_000;

/// Token buckets per source network in a table of fixed size.
#[derive(Debug)]
pub struct RateLimiter {
    limit: RateLimit,
    seed: u64,
    buckets: Box<[Bucket]>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    /// The network; 0 is an unused bucket.
    network: u64,
    /// When `tokens` was true.
    at: Instant,
    /// In thousandths.
    tokens: u32,
    /// Queries over the limit so far.
    over: u32,
}

impl RateLimiter {
    /// A limiter in which nobody has asked yet. `seed` hides which networks share a set.
    pub fn new(limit: RateLimit, seed: u64) -> Self {
        Self { limit, seed, buckets: vec![Bucket::default(); SETS * WAYS].into_boxed_slice() }
    }

    /// Takes a token for a query from `source`. For unverified sources only; the others need no limit.
    pub fn check(&mut self, now: Instant, source: IpAddr) -> Verdict {
        let limit = self.limit;
        let network = network(source);
        let bucket = self.bucket(now, network);
        bucket.tokens = refilled(&limit, bucket, now);
        bucket.at = now;
        if let Some(left) = bucket.tokens.checked_sub(TOKEN as u32) {
            bucket.tokens = left;
            return Verdict::Pass;
        }
        bucket.over = bucket.over.wrapping_add(1);
        if limit.slip > 0 && bucket.over.is_multiple_of(limit.slip) { Verdict::Slip } else { Verdict::Drop }
    }

    /// The bucket of `network`: its own, else an unused one, else the fullest of its set.
    fn bucket(&mut self, now: Instant, network: u64) -> &mut Bucket {
        let hash = (network ^ self.seed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let first = (hash >> 32) as usize % SETS * WAYS;
        let limit = self.limit;
        let set = &mut self.buckets[first..first + WAYS];
        let rank = |bucket: &Bucket| match bucket.network {
            known if known == network => u64::MAX,
            0 => u64::MAX - 1,
            _ => u64::from(refilled(&limit, bucket, now)),
        };
        let best = (0..WAYS).max_by_key(|&way| rank(&set[way])).unwrap_or(0);
        let bucket = &mut set[best];
        if bucket.network != network {
            *bucket = Bucket { network, at: now, tokens: full(&limit), over: 0 };
        }
        bucket
    }
}

/// A full bucket, in thousandths of tokens.
fn full(limit: &RateLimit) -> u32 {
    u32::try_from(u64::from(limit.burst.max(1)) * TOKEN).unwrap_or(u32::MAX)
}

/// The bucket's tokens at `now`, in thousandths.
fn refilled(limit: &RateLimit, bucket: &Bucket, now: Instant) -> u32 {
    // One hour fills any bucket that matters and keeps the product in range.
    let elapsed = now.since(bucket.at).min(Duration::from_secs(3_600)).as_micros() as u64;
    let gained = elapsed * u64::from(limit.per_second) / (1_000_000 / TOKEN);
    let tokens = u64::from(bucket.tokens) + gained;
    u32::try_from(tokens).unwrap_or(u32::MAX).min(full(limit))
}

/// The network that is limited together: IPv4 /24, IPv6 /56. Never 0.
fn network(source: IpAddr) -> u64 {
    match source.to_canonical() {
        IpAddr::V4(address) => 1 << 32 | u64::from(u32::from(address) >> 8),
        IpAddr::V6(address) => 1 << 63 | (u128::from(address) >> 72) as u64,
    }
}

#[cfg(test)]
mod tests;

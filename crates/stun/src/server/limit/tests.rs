//! How many get through, and that nobody is in another's way.

use core::net::IpAddr;

use pinhole_sansio::{Duration, Instant};

use super::{RateLimit, RateLimiter, SETS, WAYS};

const LIMIT: RateLimit = RateLimit { per_minute: 60, burst: 5 };

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// How many of `count` requests, one every `apart`, get through.
fn passed(limiter: &mut RateLimiter, source: &str, from: Instant, count: u32, apart: Duration) -> usize {
    (0..count).filter(|n| limiter.take(from + apart * *n, ip(source))).count()
}

#[test]
fn a_burst_and_then_the_rate() {
    let start = Instant::from_millis(1_000_000);
    // One token a second: what ten seconds give, however often one asks.
    for (apart, count, expected) in [(1, 10_000, 5 + 10), (7, 1_428, 5 + 10), (100, 100, 5 + 10), (2_000, 30, 30)] {
        let mut limiter = RateLimiter::new(LIMIT, 1);
        let passed = passed(&mut limiter, "192.0.2.1", start, count, Duration::from_millis(apart));
        assert!(passed.abs_diff(expected) <= 1, "{apart} ms apart: {passed}, not {expected}");
    }
}

#[test]
fn an_address_and_a_64_have_a_bucket_each() {
    let mut limiter = RateLimiter::new(LIMIT, 1);
    let now = Instant::from_millis(5);
    let mut drained = |source: &str| passed(&mut limiter, source, now, 10, Duration::ZERO);
    assert_eq!(drained("192.0.2.1"), 5);
    assert_eq!(drained("192.0.2.2"), 5);
    assert_eq!(drained("::ffff:192.0.2.1"), 0, "the same address in disguise");
    assert_eq!(drained("2001:db8::1"), 5);
    assert_eq!(drained("2001:db8::ffff:1:2"), 0, "the same /64");
    assert_eq!(drained("2001:db8:0:1::1"), 5);
}

#[test]
fn more_sources_than_the_table_holds_cost_nobody_his_answer() {
    let mut limiter = RateLimiter::new(LIMIT, 1);
    let now = Instant::from_millis(5);
    for source in 0..(4 * SETS * WAYS) as u32 {
        assert!(limiter.take(now, IpAddr::from(source.to_be_bytes())));
    }
}

#[test]
fn no_limit_lets_everything_through() {
    let mut limiter = RateLimiter::new(RateLimit::NONE, 1);
    assert_eq!(passed(&mut limiter, "192.0.2.1", Instant::EPOCH, 10_000, Duration::ZERO), 10_000);
}

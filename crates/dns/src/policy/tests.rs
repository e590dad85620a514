//! Access by prefix and token buckets in virtual time.

use core::net::IpAddr;

use pinhole_sansio::{Duration, Instant};

use super::{Access, AccessList, RateLimit, RateLimiter, Verdict};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn the_first_prefix_that_holds_the_source_decides() {
    let rule = |prefix: &str, access| (prefix.parse().unwrap(), access);
    let list = AccessList {
        rules: vec![
            rule("10.0.0.5/32", Access::Drop),
            rule("10.0.0.0/8", Access::Allow),
            rule("2001:db8::/32", Access::Allow),
        ],
        otherwise: Access::Refuse,
    };
    for (source, access) in [
        ("10.0.0.5", Access::Drop),
        ("10.9.9.9", Access::Allow),
        ("::ffff:10.9.9.9", Access::Allow),
        ("192.0.2.1", Access::Refuse),
        ("2001:db8::1", Access::Allow),
        ("2001:db9::1", Access::Refuse),
    ] {
        assert_eq!(list.access(ip(source)), access, "{source}");
    }
    assert_eq!(AccessList::default().access(ip("192.0.2.1")), Access::Allow);
}

/// Asks `count` times at `now` and counts (passed, slipped, dropped).
fn ask(limiter: &mut RateLimiter, now: Instant, source: &str, count: usize) -> [usize; 3] {
    let mut seen = [0; 3];
    for _ in 0..count {
        match limiter.check(now, ip(source)) {
            Verdict::Pass => seen[0] += 1,
            Verdict::Slip => seen[1] += 1,
            Verdict::Drop => seen[2] += 1,
        }
    }
    seen
}

#[test]
fn a_network_gets_its_burst_then_its_rate_and_every_second_query_above_slips() {
    let mut limiter = RateLimiter::new(RateLimit { per_second: 10, burst: 20, slip: 2 }, 1);
    let start = Instant::from_millis(1_000);
    assert_eq!(ask(&mut limiter, start, "192.0.2.1", 40), [20, 10, 10]);
    assert_eq!(ask(&mut limiter, start, "192.0.2.200", 2), [0, 1, 1], "the same /24");
    assert_eq!(ask(&mut limiter, start, "192.0.3.1", 2), [2, 0, 0], "another /24");
    assert_eq!(ask(&mut limiter, start + Duration::from_secs(1), "192.0.2.1", 20), [10, 5, 5]);
    assert_eq!(ask(&mut limiter, start + Duration::from_secs(3_600), "192.0.2.1", 30), [20, 5, 5]);
}

#[test]
fn ipv6_is_limited_by_56_bits() {
    let mut limiter = RateLimiter::new(RateLimit { per_second: 1, burst: 1, slip: 0 }, 1);
    assert_eq!(ask(&mut limiter, Instant::EPOCH, "2001:db8:0:12::1", 1), [1, 0, 0]);
    assert_eq!(ask(&mut limiter, Instant::EPOCH, "2001:db8:0:34::1", 1), [0, 0, 1]);
    assert_eq!(ask(&mut limiter, Instant::EPOCH, "2001:db8:0:112::1", 1), [1, 0, 0]);
}

#[test]
fn many_small_steps_refill_as_much_as_one_long_one() {
    let mut limiter = RateLimiter::new(RateLimit { per_second: 100, burst: 1, slip: 0 }, 1);
    let passed: usize = (0..10_000).map(|ms| ask(&mut limiter, Instant::from_millis(ms), "192.0.2.1", 1)[0]).sum();
    assert_eq!(passed, 1_000);
}

#[test]
fn a_flood_of_networks_does_not_free_the_one_that_is_limited() {
    let mut limiter = RateLimiter::new(RateLimit { per_second: 1, burst: 10, slip: 0 }, 99);
    ask(&mut limiter, Instant::EPOCH, "192.0.2.1", 100);
    for index in 0..200_000u32 {
        limiter.check(Instant::EPOCH, IpAddr::from((0x0a00_0000 + (index << 8)).to_be_bytes()));
    }
    assert_eq!(ask(&mut limiter, Instant::EPOCH, "192.0.2.1", 10), [0, 0, 10]);
}

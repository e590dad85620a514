//! When sockets die, and when it was said that they would.
//!
//! TIME_WAIT takes a minute, so what runs always is FIN_WAIT_2, whose buckets have the same timer and may be as short as seconds.
//! `PINHOLE_TIMEWAIT_SOCKETS=10000` adds that many TIME_WAIT sockets, for the 65 seconds that it takes.

use std::collections::HashMap;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use pinhole_host::clock::{self, Jiffies, Source};
use pinhole_host::netlink::sock_diag::{States, TcpSocket, sockets};
use pinhole_timewait::claim::Options;
use pinhole_timewait::{Generation, Hz, Version, timer_wheel};

use super::{Stage, close_client, closed, connect};
use crate::support::ready::ready;

/// Between two looks.
const POLL: Duration = Duration::from_millis(25);
/// How many sockets the long test has; it is not run without.
pub(super) const LONG: &str = "PINHOLE_TIMEWAIT_SOCKETS";

/// The kernel's jiffies, if this kernel rounds timers up and they may be read.
fn jiffies() -> Option<(Hz, Jiffies)> {
    let version: Version = rustix::system::uname().release().to_string_lossy().parse().expect("a version");
    let hz = clock::hz().and_then(Hz::new).expect("a clock");
    let jiffies = Jiffies::find(hz.get());
    let is_known = matches!(jiffies.source, Source::TimerList | Source::SchedStat);
    if !is_known {
        eprintln!("SKIP: only root may read the kernel's jiffies (/proc/timer_list); run the tests with sudo");
    }
    (is_known && version.generation() == Generation::Quantised).then_some((hz, jiffies))
}

/// How far the deaths of all sockets that are there now are from `timeout_s` seconds' predictions: seconds each, earliest first.
fn misses(stage: &Stage, (hz, jiffies): (Hz, Jiffies), timeout_s: u64) -> Vec<f64> {
    let death_ns = |socket: &TcpSocket| {
        let expires_j = jiffies.at(socket.read_ns) + hz.from_ms(socket.expires_ms.into());
        jiffies.ns_of(timer_wheel::death_j(hz, hz.from_s(timeout_s), expires_j))
    };
    stage.run(|| {
        let first = sockets(States::DEAD).expect("a list");
        let mut predicted: HashMap<u64, u64> = first.iter().map(|s| (s.cookie, death_ns(s))).collect();
        let mut before_ns = clock::now_ns();
        let mut misses = Vec::new();
        let end = Instant::now() + Duration::from_secs(timeout_s + 6);
        while !predicted.is_empty() {
            assert!(Instant::now() < end, "{} are still there", predicted.len());
            std::thread::sleep(POLL);
            let started_ns = clock::now_ns();
            let there: std::collections::HashSet<u64> =
                sockets(States::DEAD).expect("a list").iter().map(|s| s.cookie).collect();
            let now_ns = clock::now_ns();
            predicted.retain(|cookie, death_ns| {
                let is_there = there.contains(cookie);
                if !is_there {
                    // It died between the two looks: a prediction within is no miss.
                    let early = before_ns.saturating_sub(*death_ns) as f64;
                    let late = death_ns.saturating_sub(now_ns) as f64;
                    misses.push((early - late) / 1e9);
                }
                is_there
            });
            before_ns = started_ns;
        }
        misses
    })
}

/// A tick may be late where other tests have the processors; a timer that is not rounded up would be off by 128 ms on average.
const BUSY_S: f64 = 0.05;
/// What a tick is late on a machine that does little else; a jiffy comes on top.
const QUIET_S: f64 = 0.008;

fn hits(misses: &[f64], within_s: f64) -> usize {
    misses.iter().filter(|miss| miss.abs() <= within_s).count()
}

fn worst(misses: &[f64]) -> f64 {
    misses.iter().fold(0.0, |worst, miss| worst.max(miss.abs()))
}

/// Of a thousand. Emulation takes a jiffy or two to tell of a socket, and of those near a granule's end that decides: at HZ=100 five
/// seconds have a granule of eight jiffies.
const EMULATED: usize = 700;

/// Of five seconds, at every HZ no more than this.
const GRANULE_S: f64 = 0.64;

#[test]
pub(super) fn fin_wait_2_dies_when_it_was_predicted() {
    if !ready(&[]) {
        return;
    }
    let Some(clock) = jiffies() else { return };
    let stage = Stage::new("tw-deaths");
    stage.set("tcp_fin_timeout", "5");
    let held: Vec<_> = stage.run(|| {
        let listener = TcpListener::bind("127.0.0.1:9000").expect("a port");
        let one = |_| {
            // Over more than two of the wheel's granules of a quarter of a second.
            std::thread::sleep(Duration::from_millis(2));
            let client = connect(Options::default(), None, listener.local_addr().expect("bound")).expect("it listens");
            close_client(&listener, client).1
        };
        (0..300).map(one).collect()
    });
    // Acknowledgements may be delayed.
    std::thread::sleep(Duration::from_millis(100));
    let misses = misses(&stage, clock, 5);
    let hits = hits(&misses, BUSY_S);
    let worst = worst(&misses);
    println!("{hits} of {} died when it was predicted, the worst {worst:.3} s off", misses.len());
    assert!(misses.len() * 2 > held.len(), "on a machine so busy that they were dead at once: {}", misses.len());
    let least = if pinhole_guest::is_inside() { EMULATED } else { 985 };
    assert!(hits * 1000 >= misses.len() * least, "{hits} of {}: {misses:?}", misses.len());
    assert!(worst < GRANULE_S + BUSY_S, "within one granule: {worst}");
}

#[test]
pub(super) fn time_wait_dies_when_it_was_predicted() {
    let Some(count) = std::env::var(LONG).ok().and_then(|text| text.parse().ok()) else {
        eprintln!("SKIP: a minute long; {LONG}=10000 runs it");
        return;
    };
    if !ready(&[]) {
        return;
    }
    let Some(clock) = jiffies() else { return };
    let stage = Stage::new("tw-minute");
    stage.set("tcp_tw_reuse", "0");
    let begun = Instant::now();
    stage.run(|| {
        let listener = TcpListener::bind("127.0.0.1:9000").expect("a port");
        for at in 0..count {
            closed(&listener, Options::default(), None).expect("a port");
            // Over several granules.
            let due = Duration::from_millis(at * 10_000 / count);
            std::thread::sleep(due.saturating_sub(begun.elapsed()));
        }
    });
    let misses = misses(&stage, clock, 60);
    let (hz, _) = clock;
    let hits = hits(&misses, QUIET_S + hz.to_s(1));
    let worst = worst(&misses);
    println!("{hits} of {} died when it was predicted, the worst {worst:.3} s off", misses.len());
    assert_eq!(misses.len() as u64, count);
    let granule_s = hz.to_s(timer_wheel::granule_of(hz, hz.from_s(60)));
    assert!(worst < granule_s + BUSY_S, "within one granule: {worst}");
    let least = if pinhole_guest::is_inside() { EMULATED } else { 997 };
    assert!(hits * 1000 >= misses.len() * least, "{hits} of {}", misses.len());
}

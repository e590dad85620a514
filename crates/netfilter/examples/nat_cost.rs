//! What a NAT costs: new mappings, established packets, memory, and the last free ports.
//!
//! ```text
//! cargo run --release -p pinhole-netfilter --example nat_cost
//! ```
//!
//! Every figure is the mean of one run on one core, the packet's parsing, rewriting and checksums included; the time that the
//! loop itself takes to write addresses and ports into a packet is measured alone and taken off. What a read of memory takes
//! that no cache has is measured first: it differs fivefold between a machine at rest and one that others use, and a flow that
//! no cache has costs two of them, a new one about as much.

use std::hint::black_box;
use std::net::Ipv4Addr;
use std::time::Instant as Clock;

use pinhole_netfilter::behaviour::{Behaviour, Nat, Side, Verdict};
use pinhole_sansio::{Duration, Instant, Rng};
use pinhole_wire::build;

/// Flows of a subscriber.
const OF_ONE: u32 = 50;

fn main() {
    println!("a read that no cache has: {:.0} ns", memory_latency());
    for text in ["rfc4787", "cgn_rfc6888 rate=none", "rfc4787 udp=apd/apd alloc=random", "rfc4787 udp=ei/ad"] {
        for flows in [1_000, 100_000, 1_000_000] {
            measure(text, flows);
        }
    }
    exhaust("rfc4787");
    exhaust("cgn_rfc6888 rate=none port-quota=none hold-down=0x0");
}

/// A packet whose inside endpoint is the `n`th.
struct Packets {
    bytes: Vec<u8>,
}

impl Packets {
    fn new() -> Self {
        let mut bytes = vec![0; 60];
        let (src, dst) = (([10, 0, 0, 1], 5_000).into(), ([198, 51, 100, 1], 53).into());
        let len = build::udp(src, dst, 64, &[0; 32], &mut bytes).expect("a packet");
        bytes.truncate(len);
        Self { bytes }
    }

    fn nth(&mut self, n: u32) -> &mut [u8] {
        let address = 0x0a00_0001 + n / OF_ONE;
        self.bytes[12..16].copy_from_slice(&address.to_be_bytes());
        self.bytes[20..22].copy_from_slice(&(10_000 + (n % OF_ONE) as u16 * 7).to_be_bytes());
        &mut self.bytes
    }
}

fn pool(flows: u32) -> impl Iterator<Item = Ipv4Addr> {
    let first = u32::from(Ipv4Addr::new(203, 0, 113, 0));
    // As full as a carrier would have them: three quarters.
    (0..flows.div_ceil(48_000)).map(move |n| (first + n).into())
}

fn measure(text: &str, flows: u32) {
    let behaviour: Behaviour = text.parse().expect("a behaviour");
    let mut nat = Nat::new(behaviour, pool(flows), Ipv4Addr::new(10, 0, 0, 0), 1);
    let mut packets = Packets::new();
    let now = Instant::EPOCH + Duration::from_secs(1);
    let loop_alone = per(flows, |n| {
        black_box(packets.nth(n));
    });
    let mut refused = 0;
    let new = per(flows, |n| {
        let verdict = nat.process(now, Side::Inside, packets.nth(n));
        refused += u32::from(verdict != Verdict::Forward(Side::Outside));
    });
    // Every flow once, in an order that no cache guesses.
    let step = 7_919 * 13;
    let established = per(flows, |n| {
        let n = (u64::from(n) * step % u64::from(flows)) as u32;
        black_box(nat.process(now, Side::Inside, packets.nth(n)));
    });
    // All of them end, and come anew: nothing grows any more.
    let later = now + Duration::from_secs(1_000);
    let ended = per(1, |_| nat.handle_timeout(later)) / f64::from(flows);
    let again = per(flows, |n| {
        let verdict = nat.process(later, Side::Inside, packets.nth(n));
        refused += u32::from(verdict != Verdict::Forward(Side::Outside));
    });
    let memory = nat.memory() / nat.mappings().max(1);
    println!(
        "{text:36} {flows:>9} flows: new {:>4.0} ns, again {:>4.0} ns ({:.1} M/s), established {:>4.0} ns, end {ended:>4.0} ns, \
         {memory} B a flow, {refused} refused",
        new - loop_alone,
        again - loop_alone,
        1e3 / (again - loop_alone),
        established - loop_alone,
    );
}

/// Takes every port of an address, and says what the last ones cost.
fn exhaust(text: &str) {
    let behaviour: Behaviour = text.parse().expect("a behaviour");
    let mut nat = Nat::new(behaviour, pool(1), Ipv4Addr::new(10, 0, 0, 0), 1);
    let mut packets = Packets::new();
    let now = Instant::EPOCH + Duration::from_secs(1);
    let mut refused = 0;
    let mut take = |n| {
        let verdict = nat.process(now, Side::Inside, packets.nth(n));
        refused += u32::from(verdict != Verdict::Forward(Side::Outside));
    };
    let first = per(60_000, &mut take);
    let last = per(4_512, |n| take(60_000 + n));
    println!(
        "{text:36} one address: first 60,000 ports {first:.0} ns each, last 4,512 {last:.0} ns, {refused} refused"
    );
}

/// Nanoseconds of a read that depends on the one before it, all over 64 MiB.
fn memory_latency() -> f64 {
    let mut rng = Rng::from_seed(1);
    let mut next: Vec<u32> = (0..16 << 20).collect();
    // One circle through all of it (Sattolo).
    for at in (1..next.len()).rev() {
        next.swap(at, rng.below(at as u64) as usize);
    }
    let mut at = 0;
    per(2_000_000, |_| at = black_box(next[at as usize]))
}

/// Nanoseconds of each of `count` calls.
fn per(count: u32, mut call: impl FnMut(u32)) -> f64 {
    let start = Clock::now();
    (0..count).for_each(&mut call);
    start.elapsed().as_nanos() as f64 / f64::from(count)
}

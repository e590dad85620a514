//! What the engine costs: established packets one at a time and in batches, new flows, memory.
//!
//! ```text
//! cargo run --release -p pinhole-netfilter --example engine_cost [udp] [tcp] [FLOWS …]
//! ```
//!
//! A masquerading router with two interfaces; every packet is parsed, its checksums are verified, its flow found, judged by
//! its tracker (for TCP, the window check), translated, and its time to live taken down. What the loop itself takes to write
//! addresses, ports and checksums into a packet is measured alone and taken off. Flows come in an order that no cache
//! guesses.

use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Instant as Clock;

use pinhole_netfilter::rules::{Rule, Ruleset, TableName};
use pinhole_netfilter::settings::Settings;
use pinhole_netfilter::{Interface, InterfaceId, Packet, Router, Verdict};
use pinhole_sansio::{Duration, Instant};
use pinhole_wire::tcp::Flags;
use pinhole_wire::{build, checksum};

const PROTOCOLS: [&str; 2] = ["udp", "tcp"];
/// Packets of a batch.
const BATCH: usize = 32;
/// Flows to one destination: below what an address has ports for.
const TO_ONE: u32 = 40_000;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let sizes: Vec<u32> = arguments.iter().filter_map(|argument| argument.parse().ok()).collect();
    let sizes = if sizes.is_empty() { vec![1_000, 100_000, 1_000_000] } else { sizes };
    let named = |protocol: &&str| arguments.iter().any(|argument| argument == protocol);
    let protocols =
        if PROTOCOLS.iter().any(named) { PROTOCOLS.into_iter().filter(named).collect() } else { PROTOCOLS.to_vec() };
    for flows in sizes {
        protocols.iter().for_each(|protocol| measure(protocol, flows));
    }
}

struct World {
    router: Router,
    lan: InterfaceId,
    wan: InterfaceId,
}

impl World {
    fn new(flows: u32) -> Self {
        let settings = Settings { max: u32::MAX, ..Settings::default() };
        let mut router = Router::with_capacity(settings, 1, flows as usize);
        let lan = router.add_interface(Interface::new("lan", ["10.0.0.1/8".parse().expect("a network")]));
        let wan = router.add_interface(Interface::new("wan", ["203.0.113.1/24".parse().expect("a network")]));
        router.add_route("0.0.0.0/0".parse().expect("a network"), wan);
        let rules = Ruleset::builder().rule(TableName::Nat, "POSTROUTING", Rule::new().out_device("wan").masquerade());
        router.set_rules_v4(rules.build().expect("rules"));
        Self { router, lan, wan }
    }
}

/// Packets that differ in their ends.
struct Template {
    bytes: Vec<u8>,
    checksum_at: usize,
}

impl Template {
    fn udp() -> Self {
        let mut bytes = vec![0; 60];
        let [src, dst] = ends();
        let length = build::udp(src, dst, 64, &[0; 32], &mut bytes).expect("a packet");
        bytes.truncate(length);
        Self { bytes, checksum_at: 26 }
    }

    fn tcp(reply: bool, flags: Flags, seq: u32, ack: u32) -> Self {
        let mut bytes = vec![0; 60];
        let [src, dst] = ends();
        let (src, dst) = if reply { (dst, src) } else { (src, dst) };
        let segment = build::Segment { flags, seq, ack, window: 60_000 };
        let length = build::tcp(src, dst, 64, segment, &[], &mut bytes).expect("a packet");
        bytes.truncate(length);
        Self { bytes, checksum_at: 36 }
    }

    /// Writes the packet of the `n`th flow, from inside.
    fn write(&self, n: u32, packet: &mut Packet) {
        packet.bytes.clear();
        packet.bytes.extend_from_slice(&self.bytes);
        let (host, port, to) = flow(n);
        let bytes = &mut packet.bytes;
        put(bytes, self.checksum_at, 12, host);
        put(bytes, self.checksum_at, 16, to);
        put_port(bytes, self.checksum_at, 20, port);
    }

    /// Writes the answer of the `n`th flow, from outside.
    fn write_reply(&self, n: u32, packet: &mut Packet) {
        packet.bytes.clear();
        packet.bytes.extend_from_slice(&self.bytes);
        let (_, port, to) = flow(n);
        let bytes = &mut packet.bytes;
        put(bytes, self.checksum_at, 12, to);
        put(bytes, self.checksum_at, 16, u32::from(Ipv4Addr::new(203, 0, 113, 1)));
        put_port(bytes, self.checksum_at, 22, port);
    }
}

fn ends() -> [SocketAddr; 2] {
    [(Ipv4Addr::new(10, 0, 0, 2), 20_000), (Ipv4Addr::new(198, 18, 0, 0), 80)].map(SocketAddr::from)
}

/// Inside host and port, and the destination, of the `n`th flow.
fn flow(n: u32) -> (u32, u16, u32) {
    let (group, member) = (n / TO_ONE, n % TO_ONE);
    let host = u32::from(Ipv4Addr::new(10, 1, 0, 0)) + member / 50;
    (host, 20_000 + member as u16, u32::from(Ipv4Addr::new(198, 18, 0, 0)) + group)
}

fn put(bytes: &mut [u8], checksum_at: usize, at: usize, new: u32) {
    let old = u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    bytes[at..at + 4].copy_from_slice(&new.to_be_bytes());
    for sum in [10, checksum_at] {
        let corrected = checksum::adjust_u32(u16::from_be_bytes([bytes[sum], bytes[sum + 1]]), old, new);
        bytes[sum..sum + 2].copy_from_slice(&corrected.to_be_bytes());
    }
}

fn put_port(bytes: &mut [u8], checksum_at: usize, at: usize, new: u16) {
    let old = u16::from_be_bytes([bytes[at], bytes[at + 1]]);
    bytes[at..at + 2].copy_from_slice(&new.to_be_bytes());
    let corrected = checksum::adjust(u16::from_be_bytes([bytes[checksum_at], bytes[checksum_at + 1]]), old, new);
    bytes[checksum_at..checksum_at + 2].copy_from_slice(&corrected.to_be_bytes());
}

fn measure(protocol: &str, flows: u32) {
    let World { mut router, lan, wan } = World::new(flows);
    let mut packet = Packet::default();
    let mut now = Instant::EPOCH + Duration::from_secs(1);
    let (first, out) = if protocol == "udp" {
        (Template::udp(), Template::udp())
    } else {
        (Template::tcp(false, Flags::SYN, 1_000, 0), Template::tcp(false, Flags::ACK, 1_001, 5_001))
    };
    let write = per(flows, |n| {
        first.write(n, &mut packet);
        black_box(&packet);
    });
    let mut refused = 0;
    let new = per(flows, |n| {
        first.write(n, &mut packet);
        refused += u32::from(router.process(now, lan, &mut packet) != Verdict::Forward(wan));
    });
    if protocol == "tcp" {
        let answer = Template::tcp(true, Flags::SYN | Flags::ACK, 5_000, 1_001);
        for n in 0..flows {
            answer.write_reply(n, &mut packet);
            refused += u32::from(router.process(now, wan, &mut packet) != Verdict::Forward(lan));
            out.write(n, &mut packet);
            refused += u32::from(router.process(now, lan, &mut packet) != Verdict::Forward(wan));
        }
    }
    now += Duration::from_secs(1);
    let step = u64::from(flows / 2 + 1) | 0x10001;
    let shuffled = |n: u32| (u64::from(n) * step % u64::from(flows)) as u32;
    let rounds = (2_000_000 / flows).clamp(1, 400);
    let alone = per(flows, |n| {
        out.write(shuffled(n), &mut packet);
        black_box(&packet);
    });
    let single = per(flows * rounds, |n| {
        out.write(shuffled(n % flows), &mut packet);
        refused += u32::from(router.process(now, lan, &mut packet) != Verdict::Forward(wan));
    });
    let mut batch = vec![Packet::default(); BATCH];
    let mut verdicts = [Verdict::Hold; BATCH];
    let batches = flows * rounds / BATCH as u32;
    let batched = per(batches, |b| {
        for (n, packet) in batch.iter_mut().enumerate() {
            out.write(shuffled((b * BATCH as u32 + n as u32) % flows), packet);
        }
        router.process_batch(now, lan, &mut batch, &mut verdicts);
        refused += verdicts.iter().filter(|&&verdict| verdict != Verdict::Forward(wan)).count() as u32;
    });
    let memory = router.v4().table.bytes() as u64 / u64::from(flows);
    // All of them end, and come anew.
    now += Duration::from_secs(1_000_000);
    router.handle_timeout(now);
    let anew = per(flows / BATCH as u32, |b| {
        for (n, packet) in batch.iter_mut().enumerate() {
            first.write(b * BATCH as u32 + n as u32, packet);
        }
        router.process_batch(now, lan, &mut batch, &mut verdicts);
        refused += verdicts.iter().filter(|&&verdict| verdict != Verdict::Forward(wan)).count() as u32;
    });
    let anew = anew / BATCH as f64 - write;
    println!(
        "{protocol} {flows:>9} flows: new {:>5.0} ns, in batches {anew:>5.0} ns ({:.1} M/s), one at a time {:>5.1} ns, in batches of {BATCH} {:>5.1} ns, \
         {memory} B a flow, {refused} refused",
        new - write,
        1e3 / anew,
        single - alone,
        batched / BATCH as f64 - alone,
    );
}

/// Nanoseconds of each of `count` calls.
fn per(count: u32, mut call: impl FnMut(u32)) -> f64 {
    let start = Clock::now();
    (0..count).for_each(&mut call);
    start.elapsed().as_nanos() as f64 / f64::from(count)
}

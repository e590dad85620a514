//! What the engine costs: established packets one at a time and in batches, new flows, memory.
//!
//! ```text
//! cargo run --release -p pinhole-netfilter --example engine_cost [udp] [tcp] [vouched] [FLOWS …]
//! ```
//!
//! A masquerading router with two interfaces; every packet is parsed, its checksums are verified, its flow found, judged by
//! its tracker (for TCP, the window check), translated, and its time to live taken down. Flows come in an order that no cache
//! guesses. With `vouched` somebody vouches for the transport checksums, as a network card does.
//!
//! Packets are written 32 at a time, and only what the router does with them is timed, 32 by 32. Printed are the median of all
//! these times and, behind a slash, the lowest tenth: the two are one on a machine at rest, and on one that others use the
//! second is what it costs while they leave it alone.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Instant as Clock;
use std::{fmt, hint};

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
/// Packets of established flows that are timed either way, about.
const PACKETS: u32 = 2_000_000;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let sizes: Vec<u32> = arguments.iter().filter_map(|argument| argument.parse().ok()).collect();
    let sizes = if sizes.is_empty() { vec![1_000, 100_000, 1_000_000] } else { sizes };
    let named = |protocol: &&str| arguments.iter().any(|argument| argument == protocol);
    let protocols =
        if PROTOCOLS.iter().any(named) { PROTOCOLS.into_iter().filter(named).collect() } else { PROTOCOLS.to_vec() };
    for flows in sizes {
        protocols
            .iter()
            .for_each(|protocol| measure(protocol, flows.next_multiple_of(BATCH as u32), named(&"vouched")));
    }
}

fn measure(protocol: &str, flows: u32, vouched: bool) {
    let mut world = World::new(flows);
    world.batch.iter_mut().for_each(|packet| packet.is_vouched_for = vouched);
    let (first, out) = if protocol == "udp" {
        (Template::udp(), Template::udp())
    } else {
        (Template::tcp(false, Flags::SYN, 1_000, 0), Template::tcp(false, Flags::ACK, 1_001, 5_001))
    };
    let begin = |world: &mut World, how| {
        let mut costs = Costs::default();
        for start in (0..flows).step_by(BATCH) {
            world.write(start, |n, packet| first.write(n, packet));
            costs.add(world.process(how, Way::Out));
        }
        costs
    };
    let new = begin(&mut world, How::Alone);
    if protocol == "tcp" {
        let answer = Template::tcp(true, Flags::SYN | Flags::ACK, 5_000, 1_001);
        for start in (0..flows).step_by(BATCH) {
            world.write(start, |n, packet| answer.write_reply(n, packet));
            world.process(How::Alone, Way::In);
            world.write(start, |n, packet| out.write(n, packet));
            world.process(How::Alone, Way::Out);
        }
    }
    world.now += Duration::from_secs(1);
    let step = u64::from(flows / 2 + 1) | 0x10001;
    let shuffled = |n: u32| (u64::from(n) * step % u64::from(flows)) as u32;
    let (mut alone, mut together) = (Costs::default(), Costs::default());
    for round in 0..(PACKETS / flows).clamp(1, 200) as u16 {
        for (how, costs) in [(How::Alone, &mut alone), (How::Together, &mut together)] {
            for start in (0..flows).step_by(BATCH) {
                world.write(start, |n, packet| {
                    out.write(shuffled(n), packet);
                    if protocol == "tcp" {
                        // Another window each time, for the same acknowledgment again were a retransmission.
                        put_u16(&mut packet.bytes, out.checksum_at, 34, 60_000 + 2 * round + how as u16);
                    }
                });
                costs.add(world.process(how, Way::Out));
            }
        }
    }
    let memory = world.router.v4().table.bytes() as u64 / u64::from(flows);
    // All of them end, and come anew.
    world.now += Duration::from_secs(1_000_000);
    let now = world.now;
    world.router.handle_timeout(now);
    let anew = begin(&mut world, How::Together);
    println!(
        "{protocol} {flows:>9} flows: in batches of {BATCH} {together} ns, one at a time {alone} ns; new {new} ns, in batches {anew} ns; \
         {memory} B a flow, {} refused",
        world.refused,
    );
}

/// How packets are given to the router.
#[derive(Clone, Copy)]
enum How {
    Alone,
    Together,
}

/// Where they go.
#[derive(Clone, Copy)]
enum Way {
    Out,
    In,
}

struct World {
    router: Router,
    lan: InterfaceId,
    wan: InterfaceId,
    now: Instant,
    batch: Vec<Packet>,
    verdicts: [Verdict; BATCH],
    /// Packets that did not go through.
    refused: usize,
    /// What it takes to look at the clock.
    clock: u64,
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
        let clock = (0..1_000).map(|_| Clock::now().elapsed().as_nanos() as u64).min().unwrap_or(0);
        let now = Instant::EPOCH + Duration::from_secs(1);
        Self {
            router,
            lan,
            wan,
            now,
            batch: vec![Packet::default(); BATCH],
            verdicts: [Verdict::Hold; BATCH],
            refused: 0,
            clock,
        }
    }

    /// Writes a batch, of packets from the `start`th on.
    fn write(&mut self, start: u32, write: impl Fn(u32, &mut Packet)) {
        self.batch.iter_mut().zip(start..).for_each(|(packet, n)| write(n, packet));
        hint::black_box(&self.batch);
    }

    /// Lets the router work on the batch, and says how many nanoseconds it took.
    fn process(&mut self, how: How, way: Way) -> u64 {
        let (from, to) = match way {
            Way::Out => (self.lan, self.wan),
            Way::In => (self.wan, self.lan),
        };
        let start = Clock::now();
        match how {
            How::Alone => {
                for (packet, verdict) in self.batch.iter_mut().zip(&mut self.verdicts) {
                    *verdict = self.router.process(self.now, from, packet);
                }
            }
            How::Together => self.router.process_batch(self.now, from, &mut self.batch, &mut self.verdicts),
        }
        let took = start.elapsed().as_nanos() as u64;
        self.refused += self.verdicts.iter().filter(|&&verdict| verdict != Verdict::Forward(to)).count();
        took.saturating_sub(self.clock)
    }
}

/// What batches have cost, in nanoseconds each.
#[derive(Default)]
struct Costs(Vec<u64>);

impl Costs {
    fn add(&mut self, nanos: u64) {
        self.0.push(nanos);
    }

    /// Nanoseconds a packet, of the batch below which this share of all is.
    fn quantile(&self, share: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let at = (sorted.len() as f64 * share) as usize;
        sorted.get(at).map_or(0.0, |&nanos| nanos as f64 / BATCH as f64)
    }
}

impl fmt::Display for Costs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1}/{:.1}", self.quantile(0.5), self.quantile(0.1))
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
        put_u16(bytes, self.checksum_at, 20, port);
    }

    /// Writes the answer of the `n`th flow, from outside.
    fn write_reply(&self, n: u32, packet: &mut Packet) {
        packet.bytes.clear();
        packet.bytes.extend_from_slice(&self.bytes);
        let (_, port, to) = flow(n);
        let bytes = &mut packet.bytes;
        put(bytes, self.checksum_at, 12, to);
        put(bytes, self.checksum_at, 16, u32::from(Ipv4Addr::new(203, 0, 113, 1)));
        put_u16(bytes, self.checksum_at, 22, port);
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

fn put_u16(bytes: &mut [u8], checksum_at: usize, at: usize, new: u16) {
    let old = u16::from_be_bytes([bytes[at], bytes[at + 1]]);
    bytes[at..at + 2].copy_from_slice(&new.to_be_bytes());
    let corrected = checksum::adjust(u16::from_be_bytes([bytes[checksum_at], bytes[checksum_at + 1]]), old, new);
    bytes[checksum_at..checksum_at + 2].copy_from_slice(&corrected.to_be_bytes());
}

//! What it costs to read a Binding request and to write its answer.
//!
//! ```text
//! cargo run --release -p pinhole-stun --example answer_cost
//! ```
//!
//! Requests lie in a ring of receive buffers, each with another transaction and source, as a batch of datagrams does. What the
//! loop takes to choose a buffer is measured alone and taken off. Each figure is the best of nine rounds.

use std::hint::black_box;
use std::net::SocketAddr;
use std::time::Instant as Clock;

use pinhole_sansio::Instant;
use pinhole_stun::binding::{MAX_ANSWER, PlainAnswers};
use pinhole_stun::server::limit::RateLimit;
use pinhole_stun::server::{self, Config, Layout, Local, Second, Server};
use pinhole_stun::{AttributeType, Class, Message, Method, TransactionId, Writer};

/// Datagrams of a batch.
const BATCH: usize = 64;
const ROUNDS: usize = 9;
const PER_ROUND: usize = 2_000_000;

struct Datagram {
    bytes: Vec<u8>,
    source: SocketAddr,
}

fn main() {
    let plain = batch("203.0.113", |_| {});
    let long = batch("203.0.113", |writer| {
        writer.attribute(AttributeType::SOFTWARE, b"some client").fingerprint();
    });
    let v6 = batch("2001:db8:", |_| {});
    let (a, b): (SocketAddr, SocketAddr) =
        ("192.0.2.1:3478".parse().expect("an address"), "192.0.2.2:3479".parse().expect("an address"));
    let answers = PlainAnswers::new();
    let behaviour = PlainAnswers::with_behaviour(a, b);
    measure("plain answer, IPv4", &plain, |datagram, out| answers.answer(&datagram.bytes, datagram.source, out));
    measure("plain answer, IPv6", &v6, |datagram, out| answers.answer(&datagram.bytes, datagram.source, out));
    measure("with behaviour, IPv4", &plain, |datagram, out| behaviour.answer(&datagram.bytes, datagram.source, out));
    measure("reader and writer, IPv4", &plain, |datagram, out| {
        let message = Message::read(&datagram.bytes).ok()?;
        let mut writer = Writer::new(out, Class::Success, Method::BINDING, message.transaction_id());
        writer.xor_address(AttributeType::XOR_MAPPED_ADDRESS, datagram.source).finish().ok()
    });
    let layout = Layout { ip: a.ip(), port: 3478, second_port: Some(3479), second: Second::Here(b.ip()) };
    for (name, limit) in
        [("without limit", RateLimit::NONE), ("with limit", RateLimit { per_minute: 1 << 20, burst: 1 << 20 })]
    {
        let config = Config { limit, ..Config::new(layout) };
        let clock = server::Clock { at: Instant::EPOCH, unix_ms: 0 };
        let mut server = Server::new(config, [1; 32], 1, clock);
        let mut now = 0;
        for (kind, batch) in [("plain", &plain), ("SOFTWARE and FINGERPRINT", &long)] {
            measure(&format!("whole server, {name}, {kind}"), batch, |datagram, out| {
                now += 1_000;
                let now = Instant::from_nanos(now);
                match server.datagram(now, Local::FIRST, datagram.source, &datagram.bytes, out) {
                    server::Reaction::Send { len, .. } => Some(len),
                    server::Reaction::Silence(_) => None,
                }
            });
        }
    }
}

fn batch(network: &str, fill: impl Fn(&mut Writer<'_>)) -> Vec<Datagram> {
    (0..BATCH)
        .map(|n| {
            let mut bytes = vec![0; 200];
            let id = TransactionId::new([n as u8 ^ 0x5a; 12]);
            let mut writer = Writer::new(&mut bytes, Class::Request, Method::BINDING, id);
            fill(&mut writer);
            let len = writer.finish().expect("it fits");
            bytes.truncate(len);
            let source =
                if network.contains(':') { format!("[{network}:{n}]:4000") } else { format!("{network}.{n}:4000") };
            Datagram { bytes, source: source.parse().expect("an address") }
        })
        .collect()
}

/// Prints nanoseconds for one datagram.
fn measure(name: &str, batch: &[Datagram], mut answer: impl FnMut(&Datagram, &mut [u8; MAX_ANSWER]) -> Option<usize>) {
    let mut out = [[0; MAX_ANSWER]; BATCH];
    let mut best = f64::MAX;
    let mut empty = f64::MAX;
    for _ in 0..ROUNDS {
        let start = Clock::now();
        for n in 0..PER_ROUND {
            let at = n % BATCH;
            let len = answer(black_box(&batch[at]), &mut out[at]);
            assert!(black_box(len).is_some(), "{name}: answered");
            black_box(&out[at]);
        }
        best = best.min(start.elapsed().as_secs_f64());
        let start = Clock::now();
        for n in 0..PER_ROUND {
            let at = n % BATCH;
            black_box(&batch[at]);
            black_box(&mut out[at]);
        }
        empty = empty.min(start.elapsed().as_secs_f64());
    }
    println!("{name:50} {:6.1} ns", (best - empty) / PER_ROUND as f64 * 1e9);
}

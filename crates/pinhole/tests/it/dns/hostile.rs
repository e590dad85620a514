//! Damaged, looping and random messages: an answer or silence, and the registry lives on in the same memory.

use std::time::Duration;

use super::golden::{ONE, readme};
use super::stage::{Stage, stage};
use super::wire::*;

/// Random messages; with the seed, always the same.
const RANDOM: u32 = 100_000;
/// As many are sent before the server is waited for.
const BATCH: u32 = 250;

/// splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}

#[test]
fn malformed_questions_get_a_format_error_or_silence() {
    let Some(stage) = stage() else { return };
    let _device = stage.device("wg0", &readme());
    let (_registry, client) = stage.public_registry(&["--rate-limit", "0"]);
    let good = Query::new(&format!("{ONE}._wireguard._udp.example.com."), SRV).bytes();
    let header = |questions: u16| [&good[..4], &questions.to_be_bytes(), &[0; 6]].concat();
    let name = |wire: &[u8]| [&header(1), wire, &[0, 33, 0, 1]].concat();
    let mut cases = vec![header(0), header(1), header(2), header(0xffff), [&good[..], b"tail"].concat()];
    cases.extend((12..good.len()).map(|length| good[..length].to_vec()));
    cases.extend([
        name(&[0xc0, 12]),
        name(&[1, b'x', 0xc0, 12]),
        name(&[0xc0, 14, 0xc0, 12]),
        name(&[0xff, 0xff]),
        name(&[0x40]),
        name(&[0x80, 0]),
        name(&[63]),
        name(&[[1, b'a'].repeat(128), vec![0]].concat()),
        name(&[[63; 64].repeat(4), vec![0]].concat()),
    ]);
    for case in cases {
        let answer = client.try_exchange(&case, super::stage::PATIENCE).unwrap_or_else(|| panic!("{case:02x?}"));
        assert_eq!((answer[3] & 0xf, answer.len()), (FORMERR as u8, 12), "{case:02x?}");
    }
    assert_eq!(client.ask(&Query::new("example.com.", SOA)).rcode(), NOERROR);
}

#[test]
fn random_messages_leave_the_registry_as_it_was() {
    let Some(stage) = stage() else { return };
    let _device = stage.device("wg0", &readme());
    let args = ["--zone", "example.com.", "--device", "wg0", "--listen", "127.0.0.1"];
    let registry = stage.registry(&args, 1);
    let client = stage.ask_from(&stage.server, "127.0.0.1");
    let mut random = Random(0x70_69_6e);
    bombard(&client, &mut random, RANDOM / 10);
    let warm = registry.resident_kib();
    bombard(&client, &mut random, RANDOM);
    let grown = registry.resident_kib().saturating_sub(warm);
    println!("measured: {warm} KiB, {grown} KiB more after {RANDOM} messages");
    assert!(grown < 4_096, "{grown} KiB more after {RANDOM} messages");
    assert!(registry.is_running(), "{}", registry.errors());
    random_streams(&stage, &mut random);
    let good = client.ask(&Query::new(&format!("{ONE}._wireguard._udp.example.com."), SRV));
    assert_eq!(good.rcode(), NOERROR);
}

/// Sends messages; what comes back must be readable and no response to a response.
fn bombard(client: &Client, random: &mut Random, count: u32) {
    for batch in 0..count / BATCH {
        for _ in 0..BATCH {
            client.send(&message(random));
        }
        let marker = Query::new("version.bind.", TXT).class(3).id(batch as u16).bytes();
        while let Some(answer) = client.receive(Duration::ZERO.max(Duration::from_micros(1))) {
            check(&answer);
        }
        // The receive buffer may have been full: the marker is sent until it is answered.
        super::stage::until("the registry answers", || client.try_exchange(&marker, Duration::from_millis(200)));
    }
}

fn check(answer: &[u8]) {
    assert!(answer.len() >= 12 && answer[2] & 0x80 != 0, "{answer:02x?}");
    // A header alone is the answer to what could not be read.
    if answer.len() > 12 {
        Answer::read(answer);
    }
}

/// Some noise, but mostly good questions with some damage, which get further.
fn message(random: &mut Random) -> Vec<u8> {
    if random.below(8) == 0 {
        let length = random.below(600);
        return (0..length).map(|_| random.next() as u8).collect();
    }
    let names = ["_wireguard._udp.example.com.", "x.example.com.", "example.com.", "example.org."];
    let name = match random.below(5) {
        4 => format!("{ONE}._wireguard._udp.example.com."),
        other => names[other].to_owned(),
    };
    let types = [A, NS, SOA, PTR, TXT, AAAA, SRV, 41, 251, AXFR, ANY, random.next() as u16];
    let query = Query::new(&name, types[random.below(types.len())]).id(random.next() as u16);
    let data: Vec<u8> = (0..random.below(40)).map(|_| random.next() as u8).collect();
    let codes = [3, 10, 65_001, 65_280, random.next() as u16];
    let query = match random.below(3) {
        0 => query,
        1 => query.edns(random.next() as u16),
        _ => query.edns(random.next() as u16).option(codes[random.below(codes.len())], &data),
    };
    let mut bytes = query.bytes();
    for _ in 0..random.below(4) {
        match random.below(3) {
            0 => {
                let at = random.below(bytes.len().max(1)).min(bytes.len().saturating_sub(1));
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << random.below(8);
                }
            }
            1 => bytes.truncate(random.below(bytes.len() + 1)),
            _ => bytes.extend((0..random.below(20)).map(|_| random.next() as u8).collect::<Vec<_>>()),
        }
    }
    bytes
}

fn random_streams(stage: &Stage, random: &mut Random) {
    let connect = || std::net::TcpStream::connect("127.0.0.1:53");
    for _ in 0..100 {
        let stream = stage.server.run(connect).expect("a thread").expect("a connection");
        for _ in 0..random.below(20) {
            if write_framed(&stream, &message(random)).is_err() {
                break;
            }
        }
    }
}

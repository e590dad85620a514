//! What segments do to dead sockets: the model's answer against this kernel's, for every combination of what decides.
//!
//! The peer is this test, behind a TUN device: it answers the kernel's SYN and FIN by hand, and then sends each of its sockets one
//! segment. A segment is judged by what comes back and by what sock_diag says of the socket afterwards.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use pinhole_host::clock;
use pinhole_host::netlink::route::{self, address, link};
use pinhole_host::netlink::sock_diag::{States, TcpSocket, TcpState, sockets};
use pinhole_host::tun::{READ_LEN, Tun};
use pinhole_timewait::claim::Options;
use pinhole_timewait::segment::{Bucket, Fate, Host, Reply, Segment, State, Timestamp, meet};
use pinhole_wire::{ipv4, tcp};
use rustix::net;

use super::{Stage, end, segment, socket};
use crate::support::ready::ready;
use crate::support::until;

const KERNEL: &str = "10.9.0.1";
const PEER: &str = "10.9.0.2:443";
/// The peer's first sequence number and its timestamp.
const ISN: u32 = 5000;
const TIMESTAMP: u32 = 1000;
const BOTH: Options = Options { reuse_addr: true, reuse_port: true };

/// What the kernel sent.
#[derive(Clone, Copy, Debug)]
struct Received {
    from: SocketAddr,
    flags: tcp::Flags,
    seq: u32,
}

/// A dead socket and the segment that it is to meet.
#[derive(Clone, Copy, Debug)]
struct Case {
    local: SocketAddr,
    bucket: Bucket,
    segment: Segment,
}

struct Peer {
    tun: Tun,
    /// Packets that nobody has asked for yet.
    waiting: Vec<Received>,
}

impl Peer {
    fn start() -> Self {
        let tun = Tun::create_plain("tun0", 1500).expect("a TUN device");
        let mut socket = route::open().expect("netlink");
        address::add(&mut socket, tun.index(), format!("{KERNEL}/24").parse().expect("a prefix")).expect("an address");
        let up = link::Change { up: Some(true), ..Default::default() };
        link::set(&mut socket, tun.index(), &up).expect("the link");
        Self { tun, waiting: Vec::new() }
    }

    fn send(&self, to: SocketAddr, flags: tcp::Flags, numbers: (u32, u32), timestamp: Option<u32>, data: usize) {
        let packet = segment(end(PEER), to, flags, numbers, timestamp, data);
        self.tun.write_packet(&packet).expect("it is up");
    }

    /// Takes all that is there.
    fn drain(&mut self) {
        let mut buffer = vec![0; READ_LEN];
        while let Some((_, packet)) = self.tun.read(&mut buffer).expect("it is up") {
            let Ok(ip) = ipv4::Packet::new_checked(packet) else { continue };
            let Ok(tcp) = tcp::Packet::new_checked(ip.payload()) else { continue };
            let from = SocketAddr::new(ip.src().into(), tcp.src_port());
            self.waiting.push(Received { from, flags: tcp.flags(), seq: tcp.seq() });
        }
    }

    /// Waits for a packet of `from` with `flags`.
    fn expect(&mut self, from: SocketAddr, flags: tcp::Flags) -> Received {
        until("a packet", || {
            self.drain();
            let at = self.waiting.iter().position(|packet| packet.from == from && packet.flags.contains(flags))?;
            Some(self.waiting.swap_remove(at))
        })
    }

    /// Opens and closes a connection of the kernel's, from `local`.
    fn dead(&mut self, local: SocketAddr, state: State, timestamps: bool) -> Bucket {
        let timestamp = timestamps.then_some(TIMESTAMP);
        let client: OwnedFd = socket(local, BOTH);
        rustix::io::ioctl_fionbio(&client, true).expect("a socket");
        net::bind(&client, &local).expect("a free port");
        assert_eq!(net::connect(&client, &end(PEER)), Err(rustix::io::Errno::INPROGRESS));
        let syn = self.expect(local, tcp::Flags::SYN);
        let syn_ack = tcp::Flags(tcp::Flags::SYN.0 | tcp::Flags::ACK.0);
        self.send(local, syn_ack, (ISN, syn.seq + 1), timestamp, 0);
        self.expect(local, tcp::Flags::ACK);
        drop(client);
        let fin = self.expect(local, tcp::Flags::FIN);
        let snd_nxt = fin.seq.wrapping_add(1);
        self.send(local, tcp::Flags::ACK, (ISN + 1, snd_nxt), timestamp, 0);
        let mut rcv_nxt = ISN + 1;
        if state == State::TimeWait {
            let fin_ack = tcp::Flags(tcp::Flags::FIN.0 | tcp::Flags::ACK.0);
            self.send(local, fin_ack, (rcv_nxt, snd_nxt), timestamp, 0);
            self.expect(local, tcp::Flags::ACK);
            rcv_nxt += 1;
        }
        let timestamp = timestamp.map(|value| Timestamp { value, age_s: 0 });
        Bucket { state, rcv_nxt, rcv_wnd: 60_000, snd_nxt, timestamp }
    }
}

/// Every combination of flags, place and timestamp.
fn segments(bucket: &Bucket) -> Vec<Segment> {
    let flags = [
        Segment { ack: true, ..Segment::default() },
        Segment { ack: true, len: 10, ..Segment::default() },
        Segment { ack: true, fin: true, ..Segment::default() },
        Segment { syn: true, ..Segment::default() },
        Segment { rst: true, ..Segment::default() },
        Segment { rst: true, ack: true, ..Segment::default() },
    ];
    let places = [-20_i32, -1, 0, 1, 50];
    let timestamps: &[Option<u32>] = match bucket.timestamp {
        Some(_) => &[None, Some(TIMESTAMP - 1), Some(TIMESTAMP), Some(TIMESTAMP + 1)],
        None => &[None, Some(TIMESTAMP)],
    };
    let mut all = Vec::new();
    for flags in flags {
        for place in places {
            for &timestamp in timestamps {
                all.push(Segment { seq: bucket.rcv_nxt.wrapping_add_signed(place), timestamp, ..flags });
            }
        }
    }
    all
}

fn flags(segment: &Segment) -> tcp::Flags {
    let bits = [
        (segment.fin, tcp::Flags::FIN),
        (segment.syn, tcp::Flags::SYN),
        (segment.rst, tcp::Flags::RST),
        (segment.ack, tcp::Flags::ACK),
    ];
    tcp::Flags(bits.iter().filter(|(is_set, _)| *is_set).map(|(_, flag)| flag.0).sum())
}

/// What the kernel answered, as the model says it.
fn reply(packet: Option<&Received>) -> Reply {
    match packet {
        None => Reply::None,
        Some(packet) if packet.flags.contains(tcp::Flags::RST) => Reply::Reset,
        Some(packet) if packet.flags.contains(tcp::Flags::SYN) => Reply::SynAck { isn: Some(packet.seq) },
        Some(_) => Reply::Ack,
    }
}

/// What has become of a socket that met its segment at `met_ns`.
fn fate(case: &Case, after: Option<&TcpSocket>, replaced: bool, met_ns: u64) -> Fate {
    let Some(socket) = after else { return if replaced { Fate::Replaced } else { Fate::Killed } };
    let since_ns = socket.read_ns.saturating_sub(60_000_000_000 - u64::from(socket.expires_ms) * 1_000_000);
    let was_two = case.bucket.state == State::FinWait2;
    // Half of what was waited before it met the segment.
    let is_anew = since_ns + WAIT.as_nanos() as u64 / 2 > met_ns;
    if is_anew || (was_two && socket.state == TcpState::TimeWait) { Fate::Restarted } else { Fate::Unchanged }
}

/// Between a socket's death and its segment: many jiffies.
const WAIT: Duration = Duration::from_millis(200);
/// After the last segment nothing more comes.
const QUIET: Duration = Duration::from_millis(100);

/// Runs all combinations on one kind of host; how many there were.
fn check(state: State, timestamps: bool, listens: bool, rfc1337: bool) -> usize {
    let stage = Stage::new("tw-segments");
    stage.set("tcp_rfc1337", if rfc1337 { "1" } else { "0" });
    let version = rustix::system::uname().release().to_string_lossy().parse().expect("a version");
    let host = Host { listens, rfc1337, version };
    stage.run(|| {
        let mut peer = Peer::start();
        let probe = Bucket {
            state,
            rcv_nxt: 0,
            rcv_wnd: 0,
            snd_nxt: 0,
            timestamp: timestamps.then_some(Timestamp { value: TIMESTAMP, age_s: 0 }),
        };
        let count = segments(&probe).len();
        let mut listeners = Vec::new();
        let cases: Vec<Case> = (0..count)
            .map(|at| {
                let local = end(&format!("{KERNEL}:{}", 20_000 + at));
                let bucket = peer.dead(local, state, timestamps);
                if listens {
                    let listener = socket(local, BOTH);
                    net::bind(&listener, &local).expect("both have the options");
                    net::listen(&listener, 8).expect("bound");
                    listeners.push(listener);
                }
                Case { local, bucket, segment: segments(&bucket)[at] }
            })
            .collect();
        std::thread::sleep(WAIT);
        peer.drain();
        peer.waiting.clear();
        let met_ns = clock::now_ns();
        for case in &cases {
            let ack = if case.segment.ack { case.bucket.snd_nxt } else { 0 };
            let Segment { seq, timestamp, len, .. } = case.segment;
            peer.send(case.local, flags(&case.segment), (seq, ack), timestamp, len as usize);
            peer.drain();
        }
        let end = Instant::now() + QUIET;
        while Instant::now() < end {
            peer.drain();
            std::thread::sleep(Duration::from_millis(2));
        }
        let after: HashMap<SocketAddr, TcpSocket> =
            sockets(States::DEAD).expect("a list").into_iter().map(|socket| (socket.local, socket)).collect();
        let mut wrong = Vec::new();
        for case in &cases {
            let answer = reply(peer.waiting.iter().find(|packet| packet.from == case.local));
            let replaced = matches!(answer, Reply::SynAck { .. });
            let found = (answer, fate(case, after.get(&case.local), replaced, met_ns));
            let outcome = meet(&case.bucket, &case.segment, &host);
            // An ordinary number may be any.
            let reply = match (outcome.reply, answer) {
                (Reply::SynAck { isn: None }, Reply::SynAck { .. }) => answer,
                (reply, _) => reply,
            };
            if found != (reply, outcome.fate) {
                wrong.push(format!("{:?}\n  kernel {found:?}, model {outcome:?}", case.segment));
            }
        }
        let place = format!("{state:?}, timestamps {timestamps}, {host:?}");
        assert!(wrong.is_empty(), "{} of {count} differ: {place}\n{}", wrong.len(), wrong.join("\n"));
        count
    })
}

#[test]
pub(super) fn segments_do_to_time_wait_what_the_model_says() {
    if !ready(&[]) {
        return;
    }
    let mut count = 0;
    for timestamps in [true, false] {
        for listens in [true, false] {
            for rfc1337 in [false, true] {
                count += check(State::TimeWait, timestamps, listens, rfc1337);
            }
        }
    }
    assert_eq!(count, 4 * (120 + 60));
}

#[test]
pub(super) fn segments_do_to_fin_wait_2_what_the_model_says() {
    if !ready(&[]) {
        return;
    }
    for timestamps in [true, false] {
        check(State::FinWait2, timestamps, false, false);
    }
}

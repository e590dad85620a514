//! The program as the kernel runs it, held to the server that it stands in front of: frames from a seed, whole and damaged.

use std::io;
use std::net::{IpAddr, SocketAddr};

use pinhole_sansio::{Instant, Rng};
use pinhole_stun::binding::PLAIN_HEAD;
use pinhole_stun::server::limit::RateLimit;
use pinhole_stun::server::{Clock, Config, Layout, Local, Reaction, Second, Server};
use pinhole_wire::{build, ipv4, ipv6, udp};

use super::super::memory;
use super::{Memory, Place, Plan, assemble};
use crate::bpf::{Program, action};

const OURS: [u8; 6] = [0x02, 0, 0, 0, 0, 0x01];
const THEIRS: [u8; 6] = [0x02, 0, 0, 0, 0, 0x02];
/// Frames that are compared.
const FRAMES: usize = 20_000;

/// The tables; `None`, said loudly, where this process may not have any.
fn tables() -> Option<Memory> {
    match memory() {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            eprintln!("SKIP: eBPF maps need root (or CAP_BPF and CAP_NET_ADMIN); run the tests with sudo");
            None
        }
        memory => Some(memory.expect("maps")),
    }
}

fn program(places: &[Place], limit: RateLimit, memory: &Memory) -> Program {
    let plan = Plan { ethernet: OURS, places, limit, seed: 0x0123_4567_89ab_cdef, memory };
    Program::load("test", &assemble(&plan)).unwrap_or_else(|error| panic!("{error}\n{}", error.log))
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

/// A site of the server, where each of its sockets is, and the server itself.
struct Oracle {
    sockets: Vec<(SocketAddr, Local)>,
    server: Server,
}

impl Oracle {
    fn new(layout: Layout) -> Self {
        let here = |local: &Local| match layout.second {
            Second::Here(_) => true,
            Second::Missing | Second::Partner(_) => !local.second_ip,
        };
        let locals = Local::ALL.into_iter().filter(here);
        let locals = locals.filter(|local| layout.second_port.is_some() || !local.second_port);
        let sockets = locals.map(|local| (layout.address(local), local)).collect();
        let config = Config { limit: RateLimit::NONE, ..Config::new(layout) };
        Self { sockets, server: Server::new(config, [7; 32], 1, Clock { at: Instant::EPOCH, unix_ms: 0 }) }
    }

    fn places(&self, layout: &Layout) -> Vec<Place> {
        self.sockets.iter().map(|&(at, local)| Place { at, answers: layout.plain_answers(local) }).collect()
    }
}

/// One address with both families, two addresses and ports of one, and a partner that has the second.
fn layouts() -> Vec<Layout> {
    let two =
        |first: &str, second: Second| Layout { second_port: Some(3_479), second, ..Layout::single(address(first)) };
    vec![
        Layout::single(address("198.51.100.9:3478")),
        Layout::single(address("[2001:db8::9]:3478")),
        two("198.51.100.1:3478", Second::Here("198.51.100.2".parse().expect("an address"))),
        two("[2001:db8::1]:3478", Second::Here("2001:db8::2".parse().expect("an address"))),
        two("198.51.100.7:3478", Second::Partner("203.0.113.7".parse().expect("an address"))),
    ]
}

/// What came of a frame, or what should.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    /// Not ours: untouched.
    Passed,
    Answered {
        from: SocketAddr,
        to: SocketAddr,
        message: Vec<u8>,
    },
}

/// A UDP datagram in a frame, if all of it is right as the kernel would see it: where from and to, and what is in it.
fn datagram(frame: &[u8]) -> Option<(SocketAddr, SocketAddr, Vec<u8>)> {
    let body = frame.get(14..)?;
    let (source, destination, segment) = match frame[12..14] {
        [0x08, 0x00] => {
            let packet = ipv4::Packet::new_checked(body).ok()?;
            let whole = !packet.more_fragments() && packet.fragment_offset() == 0 && packet.total_len() == body.len();
            if !whole || packet.header_len() != 20 || !packet.verify_checksum() || packet.header()[9] != 17 {
                return None;
            }
            (IpAddr::from(packet.src()), IpAddr::from(packet.dst()), packet.payload().to_vec())
        }
        [0x86, 0xdd] => {
            let packet = ipv6::Packet::new_checked(body).ok()?;
            if packet.total_len() != body.len() || packet.next_header() != 17 {
                return None;
            }
            (packet.src().into(), packet.dst().into(), packet.payload().to_vec())
        }
        _ => return None,
    };
    let packet = udp::Packet::new_checked(&segment[..]).ok()?;
    let unchecked = packet.checksum() == 0;
    let right = if unchecked { source.is_ipv4() } else { packet.verify_checksum(source, destination) };
    if !right || packet.total_len() != segment.len() {
        return None;
    }
    let [from, to] = [(source, packet.src_port()), (destination, packet.dst_port())].map(SocketAddr::from);
    Some((from, to, packet.payload().to_vec()))
}

/// What the server says to a plain request in a frame; everything else is to be passed.
fn fate(oracles: &mut [Oracle], frame: &[u8]) -> Fate {
    let from_neighbour = frame.get(..6) == Some(&OURS) && frame.get(6).is_some_and(|byte| byte & 1 == 0);
    let Some((from, to, request)) = datagram(frame).filter(|_| from_neighbour) else { return Fate::Passed };
    let possible = match from.ip() {
        IpAddr::V4(ip) => !ip.is_loopback() && ip.octets()[0] != 0 && ip.octets()[0] < 224,
        IpAddr::V6(ip) => !ip.is_multicast() && ip.segments()[..2] != [0, 0],
    };
    if !possible || from.ip() == to.ip() || request.len() != 20 || request[..8] != PLAIN_HEAD {
        return Fate::Passed;
    }
    let mut out = [0; 2_048];
    for Oracle { sockets, server } in oracles {
        let Some((_, local)) = sockets.iter().find(|(at, _)| *at == to) else { continue };
        return match server.datagram(Instant::EPOCH, *local, from, &request, &mut out) {
            Reaction::Send { len, .. } => Fate::Answered { from: to, to: from, message: out[..len].to_vec() },
            Reaction::Silence(_) => Fate::Passed,
        };
    }
    Fate::Passed
}

/// What the program did with a frame.
fn ran(program: &Program, frame: &[u8]) -> Fate {
    let ran = program.run(frame).expect("it runs");
    if ran.action == action::PASS {
        assert_eq!(ran.packet, frame, "what is passed is not touched");
        return Fate::Passed;
    }
    assert_eq!(ran.action, action::SEND);
    assert_eq!((&ran.packet[..6], &ran.packet[6..12]), (&frame[6..12], &OURS[..]), "it goes to who asked");
    let (from, to, message) = datagram(&ran.packet).unwrap_or_else(|| panic!("a right packet: {:02x?}", ran.packet));
    match from {
        SocketAddr::V4(_) => {
            let ip = ipv4::Packet::new_checked(&ran.packet[14..]).expect("it was right");
            assert_eq!((ip.ttl(), ip.dont_fragment(), ip.traffic_class()), (64, true, 0));
        }
        SocketAddr::V6(_) => {
            let ip = ipv6::Packet::new_checked(&ran.packet[14..]).expect("it was right");
            assert_eq!((ip.hop_limit(), ip.traffic_class(), ip.flow_label()), (64, 0, 0));
        }
    }
    Fate::Answered { from, to, message }
}

/// A frame from one of many to one of ours, with a right request or nearly one.
fn frame(rng: &mut Rng, sockets: &[SocketAddr]) -> Vec<u8> {
    let to = sockets[rng.below(sockets.len() as u64) as usize];
    let special_v4: [IpAddr; 5] =
        [[0, 0, 0, 0], [127, 0, 0, 1], [224, 0, 0, 1], [255; 4], [10, 0, 0, 1]].map(IpAddr::from);
    let special_v6 = ["::", "::1", "::ffff:10.0.0.1", "ff02::1", "fe80::1"].map(|text| text.parse().expect("one"));
    let source = match (to.ip(), rng.chance(0.1)) {
        (IpAddr::V4(_), true) => special_v4[rng.below(5) as usize],
        (IpAddr::V6(_), true) => special_v6[rng.below(5) as usize],
        (IpAddr::V4(_), false) => IpAddr::from((rng.next_u64() as u32).to_be_bytes()),
        (IpAddr::V6(_), false) => {
            let [high, low] = [0x2001_0db8 << 32 | rng.next_u64() >> 32, rng.next_u64()];
            IpAddr::from((u128::from(high) << 64 | u128::from(low)).to_be_bytes())
        }
    };
    let source = if rng.chance(0.02) { to.ip() } else { source };
    let source = SocketAddr::new(source, if rng.chance(0.02) { 0 } else { rng.next_u64() as u16 });
    let to = SocketAddr::new(to.ip(), to.port() ^ u16::from(rng.chance(0.05)));

    let mut message = PLAIN_HEAD.to_vec();
    message.extend((0..12).map(|_| rng.next_u64() as u8));
    match rng.below(12) {
        0 => message.push(0),
        1 => {
            // An attribute: SOFTWARE with four bytes.
            message[3] = 8;
            message.extend([0x80, 0x22, 0, 4, 1, 2, 3, 4]);
        }
        2 => message[rng.below(20) as usize] ^= 1 << rng.below(8),
        3 => message.truncate(rng.below(21) as usize),
        _ => {}
    }
    let mut bytes = vec![0; 256];
    bytes[..6].copy_from_slice(&OURS);
    bytes[6..12].copy_from_slice(&THEIRS);
    bytes[12..14].copy_from_slice(if to.is_ipv4() { &[0x08, 0x00] } else { &[0x86, 0xdd] });
    let hops = rng.next_u64() as u8;
    let length = build::udp(source, to, hops, &message, &mut bytes[14..]).expect("it fits");
    bytes.truncate(14 + length);
    damage(rng, &mut bytes, to.is_ipv4());
    bytes
}

/// In one of three frames something is wrong, or at least unusual.
fn damage(rng: &mut Rng, bytes: &mut Vec<u8>, is_v4: bool) {
    let udp = if is_v4 { 34 } else { 54 };
    let refill = |bytes: &mut Vec<u8>| {
        if is_v4 {
            bytes[24..26].fill(0);
            let header = pinhole_wire::checksum::Sum::new().bytes(&bytes[14..34]).finish();
            bytes[24..26].copy_from_slice(&header.to_be_bytes());
        }
    };
    match rng.below(30) {
        0 | 1 => {
            let at = rng.below(bytes.len() as u64) as usize;
            bytes[at] ^= 1 << rng.below(8);
        }
        // No checksum.
        2 => bytes[udp + 6..udp + 8].fill(0),
        // A byte too many, and too few.
        3 => bytes.push(0),
        4 => drop(bytes.pop()),
        // A VLAN tag.
        5 => drop(bytes.splice(12..12, [0x81, 0, 0, 5])),
        // A fragment, or one whose reserved or "don't fragment" bit is set; in IPv6 another traffic class or flow label.
        6 | 7 => {
            bytes[if is_v4 { 20 } else { 15 }] ^= 1 << rng.below(8);
            refill(bytes);
        }
        // Options, and an extension header.
        8 if is_v4 => {
            bytes[14] = 0x46;
            bytes[17] += 4;
            bytes.splice(34..34, [1, 1, 1, 0]);
            refill(bytes);
        }
        8 => {
            bytes[20] = 60;
            bytes[19] += 8;
            bytes.splice(54..54, [17, 0, 1, 4, 0, 0, 0, 0]);
        }
        // Another protocol.
        9 => {
            bytes[if is_v4 { 23 } else { 20 }] = 136;
            refill(bytes);
        }
        _ => {}
    }
}

#[test]
fn it_answers_what_the_server_answers_and_passes_everything_else() {
    let Some(memory) = tables() else { return };
    let layouts = layouts();
    let mut oracles: Vec<Oracle> = layouts.iter().copied().map(Oracle::new).collect();
    let places: Vec<Place> = oracles.iter().zip(&layouts).flat_map(|(oracle, layout)| oracle.places(layout)).collect();
    let sockets: Vec<SocketAddr> = places.iter().map(|place| place.at).collect();
    // A limit that nobody meets: its part of the program runs too.
    for limit in [RateLimit::NONE, RateLimit { per_minute: 60_000, burst: 60_000 }] {
        let program = program(&places, limit, &memory);
        let mut rng = Rng::from_seed(4);
        let [before, _, _] = memory.counters.sum().expect("the counts");
        let (mut answered, mut passed, mut longest) = (0, 0, 0);
        for number in 0..FRAMES {
            let frame = frame(&mut rng, &sockets);
            let expected = fate(&mut oracles, &frame);
            assert_eq!(ran(&program, &frame), expected, "frame {number}: {frame:02x?}");
            match expected {
                Fate::Passed => passed += 1,
                Fate::Answered { message, .. } => {
                    answered += 1;
                    longest = longest.max(message.len());
                }
            }
        }
        assert!(answered > FRAMES as u64 / 4 && passed > FRAMES / 4, "{answered} answered, {passed} passed");
        assert_eq!(longest, 116, "the longest answer: four addresses of IPv6, less than 128 bytes");
        let [after, _, limited] = memory.counters.sum().expect("the counts");
        assert_eq!((after - before, limited), (answered, 0));
    }
}

/// A plain request.
fn request(from: SocketAddr, to: SocketAddr) -> Vec<u8> {
    let mut bytes = vec![0; 14 + 40 + 8 + 20];
    bytes[..6].copy_from_slice(&OURS);
    bytes[6..12].copy_from_slice(&THEIRS);
    bytes[12..14].copy_from_slice(if to.is_ipv4() { &[0x08, 0x00] } else { &[0x86, 0xdd] });
    let message = [&PLAIN_HEAD[..], b"transaction!"].concat();
    let length = build::udp(from, to, 64, &message, &mut bytes[14..]).expect("it fits");
    bytes.truncate(14 + length);
    bytes
}

#[test]
fn a_source_gets_its_burst_and_no_more_and_others_theirs() {
    let Some(memory) = tables() else { return };
    let [v4, v6] = [address("198.51.100.9:3478"), address("[2001:db8::9]:3478")];
    let places = [v4, v6].map(|at| Place { at, answers: Layout::single(at).plain_answers(Local::FIRST) });
    let program = program(&places, RateLimit { per_minute: 1, burst: 5 }, &memory);
    let answers = |from: &str, to| {
        let frame = request(address(from), to);
        let run = || program.run(&frame).expect("it runs").action;
        let actions: Vec<i32> = (0..8).map(|_| run()).collect();
        assert!(actions.iter().all(|&done| done == action::SEND || done == action::DROP), "{actions:?}");
        actions.iter().filter(|&&done| done == action::SEND).count()
    };
    assert_eq!(answers("192.0.2.1:1000", v4), 5);
    assert_eq!(answers("192.0.2.1:2000", v4), 0, "another port is the same source");
    assert_eq!(answers("192.0.2.2:1000", v4), 5);
    assert_eq!(answers("[2001:db8:1::1]:1000", v6), 5);
    assert_eq!(answers("[2001:db8:1::2]:1000", v6), 0, "a /64 is one source");
    assert_eq!(answers("[2001:db8:1:1::1]:1000", v6), 5);
    assert_eq!(memory.counters.sum().expect("the counts"), [20, 10 * 32 + 10 * 44, 28]);
}

#[test]
fn tokens_come_back_with_time() {
    let Some(memory) = tables() else { return };
    let at = address("198.51.100.9:3478");
    let places = [Place { at, answers: Layout::single(at).plain_answers(Local::FIRST) }];
    // One token in 100 ms: far more than a tick of the clock, far less than the patience.
    let program = program(&places, RateLimit { per_minute: 600, burst: 1 }, &memory);
    let frame = request(address("192.0.2.1:1000"), at);
    let run = || program.run(&frame).expect("it runs").action;
    let begun = std::time::Instant::now();
    let mut answered = 0;
    while answered < 4 {
        answered += u32::from(run() == action::SEND);
        assert!(begun.elapsed().as_secs() < 20, "{answered} answers");
    }
    let took = begun.elapsed();
    assert!(took.as_millis() >= 290, "the first at once and three more after 100 ms each, not after {took:?}");
}

#[test]
fn a_source_that_asks_too_often_is_not_forgotten_for_those_that_do_not() {
    let Some(memory) = tables() else { return };
    let at = address("198.51.100.9:3478");
    let places = [Place { at, answers: Layout::single(at).plain_answers(Local::FIRST) }];
    let program = program(&places, RateLimit { per_minute: 1, burst: 4 }, &memory);
    let frame = request(address("192.0.2.1:1000"), at);
    let run = |frame: &[u8]| program.run(frame).expect("it runs").action;
    while run(&frame) == action::SEND {}
    // Twice as many as there is room for, one question each.
    for source in 0..65_536_u32 {
        let ip = std::net::Ipv4Addr::from(0x0a00_0000 + source);
        assert_eq!(run(&request(SocketAddr::new(ip.into(), 1_000), at)), action::SEND);
    }
    assert_eq!(run(&frame), action::DROP);
}

#[test]
fn the_most_places_there_may_be_are_served() {
    let Some(memory) = tables() else { return };
    let layout = Layout {
        second_port: Some(3_479),
        second: Second::Here("2001:db8::2".parse().expect("an address")),
        ..Layout::single(address("[2001:db8::1]:3478"))
    };
    let place = |at| Place { at, answers: layout.plain_answers(Local::FIRST) };
    let places: Vec<Place> = (1..=super::super::PLACES as u16)
        .map(|number| place(SocketAddr::new(IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, number]), 3_478)))
        .collect();
    let program = program(&places, RateLimit::REQUESTS, &memory);
    let last = places.last().expect("there is one").at;
    assert_eq!(program.run(&request(address("[2001:db8:1::1]:9"), last)).expect("it runs").action, action::SEND);
}

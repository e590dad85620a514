//! The codec against what Linux 6.18 sent, against bytes written by hand for what that kernel no longer sends, and against
//! arbitrary bytes; the requests against the running kernel.

use std::net::{SocketAddr, UdpSocket};

use super::expectation::Expectation;
use super::*;
use crate::namespace::{Namespace, privilege};
use crate::netlink::Reply;

const DUMP: &str = include_str!("golden/dump.hex");
const EVENTS: &str = include_str!("golden/events.hex");
const EXPECTATION: &str = include_str!("golden/expectation.hex");
const STATISTICS: &str = include_str!("golden/statistics.hex");

/// One message per line: kind and flags if it is an event, and the payload.
fn golden(lines: &str) -> Vec<Reply> {
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    let reply = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |at: usize| u16::from_str_radix(words[at], 16).unwrap();
        let (kind, flags) = if words.len() == 3 { (number(0), number(1)) } else { (NEW, 2) };
        let payload = words[words.len() - 1].as_bytes().chunks(2).map(byte).collect();
        Reply { kind, flags, sequence: 1, payload }
    };
    lines.lines().map(reply).collect()
}

#[cfg(target_endian = "little")]
fn entries() -> Vec<Entry> {
    golden(DUMP).iter().map(|reply| Entry::parse(reply).expect("the kernel's own")).collect()
}

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn counted(packets: u64, bytes: u64) -> Option<Counters> {
    Some(Counters { packets, bytes })
}

/// An attribute, written apart from the builder under test.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = (value.len() as u16 + 4).to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// A flow from 10.0.0.1:1 to 10.0.0.2:2 with `more` attributes.
fn entry_with(protocol: u8, more: &[Vec<u8>]) -> Option<Entry> {
    let tuple = |kind: u16, source: u8, destination: u8| {
        let ips = [attribute(1, &[10, 0, 0, source]), attribute(2, &[10, 0, 0, destination])].concat();
        let proto = [attribute(1, &[protocol]), attribute(2, &[0, source]), attribute(3, &[0, destination])].concat();
        attribute(kind, &[attribute(1, &ips), attribute(2, &proto)].concat())
    };
    let payload = [vec![2, 0, 0, 0], tuple(1, 1, 2), tuple(2, 2, 1), more.concat()].concat();
    Entry::parse(&Reply { kind: NEW, flags: 2, sequence: 1, payload })
}

#[test]
#[cfg(target_endian = "little")]
fn tcp_is_read_with_both_sides_its_helper_and_its_labels() {
    let entries = entries();
    let ftp = entries.iter().find(|e| e.helper.is_some()).expect("a flow with a helper");
    assert_eq!(ftp.helper.as_deref(), Some("ftp"));
    assert_eq!((ftp.original.source, ftp.original.destination), (at("127.0.0.1:40194"), at("127.0.0.1:21")));
    let side = |flags| Some(TcpSide { scale: 10, flags });
    assert_eq!(ftp.state, Some(State::Tcp { state: TcpState::Established, sides: [side(0x23), side(0x33)] }));
    assert_eq!((ftp.sent, ftp.received), (counted(4, 222), counted(4, 270)));
    assert_eq!((ftp.timeout_s, ftp.uses, ftp.id, ftp.mark), (Some(299), Some(2), 72_622_299, Some(42)));
    assert_eq!(ftp.began_ns, Some(1_795_578_270_978_882_986));
    assert!(ftp.status & status::HELPER != 0 && ftp.is_answered(), "{:x}", ftp.status);

    let translated = entries.iter().find(|e| e.is_destination_translated()).expect("a redirected flow");
    assert_eq!((translated.original.destination, translated.reply.source), (at("127.0.0.9:80"), at("127.0.0.1:8080")));
    assert!(translated.status & status::DST_NAT != 0 && !translated.is_source_translated());
    assert_eq!((translated.labels, translated.state.map(|s| s.name())), (Some(1 << 5), Some("TIME_WAIT")));
    assert_eq!(translated.total(), counted(8, 368 + 164));
}

#[test]
#[cfg(target_endian = "little")]
fn an_expected_flow_names_its_master() {
    let entries = entries();
    let data = entries.iter().find(|e| e.status & status::EXPECTED != 0).expect("the data connection");
    let control = entries.iter().find(|e| e.helper.is_some()).expect("the control connection");
    assert_eq!((data.master, data.original.destination.port()), (Some(control.original), 50_000));
    let [expectation] = &golden(EXPECTATION)[..] else { panic!("one was captured") };
    let expectation = Expectation::parse(expectation).expect("the kernel's own");
    assert_eq!(expectation.tuple, Tuple::new(6, at("127.0.0.1:0"), at("127.0.0.1:50000")));
    assert_eq!(expectation.mask, Tuple::new(6, at("255.255.255.255:0"), at("255.255.255.255:65535")));
    assert_eq!((expectation.master, expectation.timeout_s), (control.original, Some(300)));
    assert_eq!((expectation.helper.as_deref(), expectation.class, expectation.flags), (Some("ftp"), 0, 0));
}

#[test]
#[cfg(target_endian = "little")]
fn every_protocol_has_what_names_its_flows() {
    let entries = entries();
    let of = |protocol: u8| entries.iter().find(|e| e.original.protocol == protocol).expect("it was captured");
    let ping = |kind, id| Some(Icmp { kind, code: 0, id });
    assert_eq!((of(1).original.icmp, of(1).reply.icmp), (ping(8, 21_850), ping(0, 21_850)));
    assert_eq!((of(58).original.icmp, of(58).reply.icmp), (ping(128, 21_851), ping(129, 21_851)));
    assert_eq!((of(1).sent, of(58).sent), (counted(1, 84), counted(1, 104)));
    assert_eq!(of(58).original.source, at("[::1]:0"));
    let udp = entries.iter().find(|e| e.original.destination == at("[::1]:5353")).expect("UDP over IPv6");
    assert_eq!((udp.sent, udp.received, udp.is_answered()), (counted(1, 53), counted(0, 0), false));
    // GRE has keys for ports.
    assert_eq!((of(47).original.source, of(47).original.destination), (at("10.0.0.2:5"), at("10.0.0.10:6")));
    // conntrack(8), which made the entry with tags 1 and 2, gives them to the kernel in host order.
    let tags = [Some(1 << 24), Some(2 << 24)];
    assert_eq!(of(132).state, Some(State::Sctp { state: SctpState::Established, tags }));
}

#[test]
#[cfg(target_endian = "little")]
fn a_zone_is_that_of_both_directions_or_of_one() {
    let entries = entries();
    let both = entries.iter().find(|e| e.zone.is_some()).expect("an entry in a zone");
    assert_eq!((both.zone, both.original.zone, both.original.protocol), (Some(5), None, 17));
    let one = entries.iter().find(|e| e.original.zone.is_some()).expect("an entry in a zone for one direction");
    assert_eq!((one.zone, one.original.zone, one.reply.zone, one.original.protocol), (None, Some(9), None, 47));
}

#[test]
#[cfg(target_endian = "little")]
fn events_say_whether_an_entry_is_new_changed_or_gone() {
    let events: Vec<Event> = golden(EVENTS).iter().map(|reply| Event::parse(reply).expect("an event")).collect();
    let [Event::New(new), Event::Updated(updated), Event::Ended(ended)] = &events[..] else { panic!("{events:?}") };
    assert_eq!((new.id, new.state.map(|s| s.name()), new.timeout_s), (updated.id, Some("SYN_SENT"), Some(120)));
    assert_eq!((updated.state.map(|s| s.name()), updated.is_answered()), (Some("SYN_RECV"), true));
    assert_eq!((ended.sent, ended.ended_ns), (counted(0, 0), Some(1_795_578_271_051_855_879)));
    assert!(ended.event_ns > ended.ended_ns && ended.status & status::DYING != 0, "{ended:?}");
}

#[test]
fn each_processor_has_its_counters_and_they_add_up() {
    let all: Vec<_> = golden(STATISTICS).iter().map(|r| CpuStatistics::parse(r).expect("the kernel's own")).collect();
    assert_eq!(all[1], CpuStatistics { cpu: 1, insert: 3, ..CpuStatistics::default() });
    let mut payload = vec![0, 0, 0, 7];
    payload.extend((1..=15).flat_map(|kind: u16| attribute(kind, &u32::from(kind).to_be_bytes())));
    let each = CpuStatistics::parse(&Reply { kind: 0, flags: 2, sequence: 1, payload }).expect("well formed");
    let expected = CpuStatistics {
        cpu: 7,
        found: 2,
        invalid: 4,
        insert: 8,
        insert_failed: 9,
        drop: 10,
        early_drop: 11,
        error: 12,
        search_restart: 13,
        clash_resolve: 14,
        chain_too_long: 15,
    };
    assert_eq!(each, expected);
    let twice = CpuStatistics::sum(&[each, each]);
    assert_eq!((twice.found, twice.drop, twice.chain_too_long), (4, 20, 30));
}

#[test]
fn what_this_kernel_does_not_send_is_read_too() {
    let nested = |kind: u16, values: &[Vec<u8>]| attribute(kind | 1 << 15, &values.concat());
    let be = |kind: u16, value: u32| attribute(kind, &value.to_be_bytes());
    let dccp = nested(2, &[attribute(1, &[4]), attribute(2, &[1]), attribute(3, &7u64.to_be_bytes())]);
    let entry = entry_with(33, &[nested(4, &[dccp])]).expect("well formed");
    assert_eq!(entry.state, Some(State::Dccp { state: DccpState::Open, client: false, handshake: Some(7) }));
    let more = [
        nested(15, &[be(1, 100), be(2, 0), be(3, 0xffff_fffe)]),
        nested(24, &[be(1, 1), be(2, 2), be(3, 3)]),
        be(17, 9),
        nested(19, &[attribute(1, b"system_u:\x1b[31m\0")]),
    ];
    let entry = entry_with(6, &more).expect("well formed");
    let shift = SeqAdj { position: 100, before: 0, after: -2 };
    assert_eq!(entry.seq_adj.as_deref(), Some(&[Some(shift), None]));
    assert_eq!(entry.synproxy.as_deref(), Some(&SynProxy { isn: 1, its: 2, timestamp_offset: 3 }));
    assert_eq!((entry.secmark, entry.security_context.as_deref()), (Some(9), Some("system_u:\u{fffd}[31m")));
}

#[test]
fn an_unknown_state_is_none_and_the_rest_is_read() {
    let tcp = attribute(4, &attribute(1, &attribute(1, &[200])));
    let entry = entry_with(6, &[tcp, attribute(999, &[1])]).expect("well formed");
    assert_eq!((entry.state, entry.original), (None, Tuple::new(6, at("10.0.0.1:1"), at("10.0.0.2:2"))));
    assert_eq!(entry_with(6, &[attribute(7, &[1])]), None, "a timeout has four bytes");
}

#[test]
fn a_tuple_is_written_as_it_is_read() {
    for reply in golden(DUMP) {
        let Some(entry) = Entry::parse(&reply) else { continue };
        for tuple in [entry.original, entry.reply] {
            let bytes = tuple.write(Message::new(0, 0)).finish(0, 0);
            assert_eq!(Tuple::parse(&bytes[16..]), Some(tuple));
        }
    }
}

#[test]
fn no_bytes_make_the_reader_panic() {
    let mut rng = pinhole_sansio::Rng::from_seed(1);
    let all: Vec<Reply> = [DUMP, EVENTS, EXPECTATION, STATISTICS].into_iter().flat_map(golden).collect();
    let read = |reply: &Reply| {
        let _ = (Entry::parse(reply), Event::parse(reply), Expectation::parse(reply));
        let _ = (CpuStatistics::parse(reply), Fill::parse(reply));
    };
    for reply in &all {
        for cut in 0..reply.payload.len() {
            read(&Reply { payload: reply.payload[..cut].to_vec(), ..reply.clone() });
        }
    }
    for _ in 0..50_000 {
        let mut reply = all[rng.below(all.len() as u64) as usize].clone();
        for _ in 0..=rng.below(8) {
            let at = rng.below(reply.payload.len() as u64) as usize;
            reply.payload[at] = rng.below(256) as u8;
        }
        read(&reply);
    }
}

#[test]
fn the_kernel_finds_counts_filters_and_deletes() {
    if !privilege::can_make_namespaces() {
        eprintln!("SKIP: making namespaces needs root (or CAP_SYS_ADMIN and CAP_NET_ADMIN); run the tests with sudo");
        return;
    }
    let ns = Namespace::create("ct-live").expect("a namespace");
    let ruleset = crate::nft::Ruleset::home_router("t", "nowhere", crate::nft::Ports::Kept, crate::nft::Policy::Accept);
    let _tracking = ns.run(|| ruleset.install()).expect("a thread").expect("nf_tables works in a namespace");
    ns.run(|| {
        let mut events = Events::open_for(Topics::ALL).expect("events");
        let (one, other) =
            (UdpSocket::bind("127.0.0.1:0").expect("a port"), UdpSocket::bind("127.0.0.1:0").expect("a port"));
        let (from, to) = (one.local_addr().expect("bound"), other.local_addr().expect("bound"));
        one.send_to(b"x", to).expect("loopback");
        let tuple = Tuple::new(17, from, to);
        let Some(Event::New(new)) = events.receive().expect("an event").into_iter().next() else { panic!("it is new") };
        assert_eq!(new.original, tuple);
        let entry = get(&tuple).expect("it is there");
        assert_eq!((entry.id, entry.mark, entry.is_answered()), (new.id, Some(0), false));
        assert_eq!(fill().expect("counts").entries, 1);
        assert!(fill().expect("counts").maximum.is_some_and(|maximum| maximum > 0));
        assert!(!statistics().expect("counters").is_empty());
        assert_eq!(expectations().expect("a list"), []);
        let cases = [
            (Select { family: Some(Family::V6), ..Select::default() }, 0),
            (Select { family: Some(Family::V4), ..Select::default() }, 1),
            (Select { mark: Some((1, 1)), ..Select::default() }, 0),
            (Select { status: Some((status::ASSURED, status::ASSURED)), ..Select::default() }, 0),
            (Select { status: Some((0, status::ASSURED)), ..Select::default() }, 1),
        ];
        for (select, count) in cases {
            let entries = dump(&select).expect("a list");
            // A kernel without the criterion sends all.
            assert!(entries.len() == count || entries.len() == 1, "{select:?}: {entries:?}");
        }
        delete(&tuple).expect("it is there");
        assert!(get(&tuple).expect_err("it is gone").is_not_found());
        let Some(Event::Ended(ended)) = events.receive().expect("an event").into_iter().next() else {
            panic!("it ended")
        };
        assert_eq!(ended.id, new.id);
        assert_eq!(events.lost().ok(), Some(0));
    })
    .expect("a thread");
}

#[test]
fn lost_events_are_counted() {
    if !privilege::can_make_namespaces() {
        eprintln!("SKIP: making namespaces needs root (or CAP_SYS_ADMIN and CAP_NET_ADMIN); run the tests with sudo");
        return;
    }
    let ns = Namespace::create("ct-lost").expect("a namespace");
    let ruleset = crate::nft::Ruleset::home_router("t", "nowhere", crate::nft::Ports::Kept, crate::nft::Policy::Accept);
    let _tracking = ns.run(|| ruleset.install()).expect("a thread").expect("nf_tables works in a namespace");
    ns.run(|| {
        let mut events = Events::open_for(Topics { new: true, updated: false, ended: false }).expect("events");
        events.set_buffer(4096).expect("a small buffer");
        rustix::io::ioctl_fionbio(&events, true).expect("a socket");
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        const FLOWS: u16 = 100;
        for port in 0..FLOWS {
            socket.send_to(b"x", ("127.0.0.1", 20_000 + port)).ok();
        }
        let (mut received, mut overruns) = (0, 0);
        loop {
            match events.receive() {
                Ok(some) => received += some.len(),
                Err(Error::Overrun) => overruns += 1,
                Err(_) => break,
            }
        }
        // The refusals of closed ports are flows' errors, not flows.
        assert!(received > 0 && overruns == 1, "{received} received, {overruns} overruns");
        assert_eq!(received + events.lost().expect("a count") as usize, usize::from(FLOWS));
    })
    .expect("a thread");
}

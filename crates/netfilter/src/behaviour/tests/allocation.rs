//! Ports, addresses and quotas: RFC 4787 §4, RFC 6888, RFC 7857.

use core::net::Ipv4Addr;

use pinhole_wire::{Protocol, text::Line};

use super::world::{EXTERNAL, Outcome, World, socket};
use crate::behaviour::{Behaviour, Reason, Side};

const PEER: &str = "198.51.100.1:3478";
const POOL: [Ipv4Addr; 3] =
    [Ipv4Addr::new(203, 0, 113, 1), Ipv4Addr::new(203, 0, 113, 2), Ipv4Addr::new(203, 0, 113, 9)];

fn behaviour(text: &str) -> Behaviour {
    text.parse().expect("a behaviour")
}

fn host(n: u32) -> String {
    format!("10.0.{}.{}", n / 250, n % 250 + 1)
}

#[test]
fn each_allocation_chooses_as_its_name_says() {
    let ports = |alloc: &str| {
        let mut world = World::of(&format!("rfc4787 parity=no alloc={alloc}"));
        (0..3).map(|n| world.mapped(&format!("{}:5000", host(n)), PEER).port()).collect::<Vec<_>>()
    };
    assert_eq!(ports("preserving"), [5_000, 5_001, 5_002]);
    let [same, other, _] = ports("preserving-or-random")[..] else { panic!("three") };
    assert!(same == 5_000 && other.abs_diff(5_000) > 1, "{other}");
    assert!(!ports("random").contains(&5_000));
    assert_eq!(ports("sequential:1"), [1_024, 1_025, 1_026]);
    assert_eq!(ports("sequential:4"), [1_024, 1_028, 1_032]);
}

#[test]
fn every_port_is_of_the_range() {
    for preset in Behaviour::NAMES {
        for contiguous in ["yes", "no"] {
            let mut world = World::of(&format!("{preset} ports=61000-61234 class=no contiguous={contiguous}"));
            for n in 0..200 {
                for port in [53, 4_000, 4_001, 61_234, 61_235] {
                    let sent = world.udp(Side::Inside, &format!("{}:{port}", host(n)), PEER);
                    if sent.has_arrived() {
                        let mapped = sent.flow().src;
                        assert!((61_000..=61_234).contains(&mapped.port()), "{preset}: {port} became {mapped}");
                    }
                }
            }
        }
    }
}

#[test]
fn no_port_is_refused_while_any_is_free() {
    for alloc in ["preserving", "preserving-or-random", "random", "sequential:3"] {
        for parity in ["yes", "no"] {
            let mut world = World::of(&format!("rfc4787 alloc={alloc} parity={parity}"));
            for n in 0..64_512 {
                let src = format!("{}:{}", host(n / 200), 2_000 + n % 200);
                assert!(world.udp(Side::Inside, &src, PEER).has_arrived(), "{alloc}: {n} of 64,512");
            }
            let Outcome::Answered(_) = world.udp(Side::Inside, "10.9.9.9:5000", PEER) else { panic!("{alloc}: full") };
            assert_eq!(world.nat.counters().of(Reason::NoPort), 1);
        }
    }
}

#[test]
fn a_subscriber_has_one_address_where_they_are_paired() {
    for (pool, paired) in [("paired", true), ("softly-paired", true), ("arbitrary", false)] {
        let mut world = World::with_pool(behaviour(&format!("rfc4787 pool={pool}")), &POOL);
        let mut addresses = |n: u32| {
            let mut all: Vec<_> =
                (0..20).map(|port| world.mapped(&format!("{}:{}", host(n), 5_000 + port), PEER).ip()).collect();
            all.sort_unstable();
            all.dedup();
            all
        };
        let all: Vec<_> = (0..6).map(&mut addresses).collect();
        assert!(all.iter().all(|addresses| addresses.len() == if paired { 1 } else { 3 }), "{pool}: {all:?}");
        assert!(all.iter().flatten().any(|&address| address == POOL[2]), "{pool}: every address is used");
    }
}

#[test]
fn a_subscriber_whose_address_is_full_gets_another_only_where_pairing_is_soft() {
    for (pool, gets_another) in [("paired", false), ("softly-paired", true)] {
        let text = format!("rfc4787 pool={pool} ports=2000-2003 refusal=silence");
        let mut world = World::with_pool(behaviour(&text), &POOL);
        let all: Vec<_> = (0..5).map(|n| world.udp(Side::Inside, &format!("10.0.0.1:{}", 5_000 + n), PEER)).collect();
        assert_eq!(all[4].has_arrived(), gets_another, "{pool}");
        assert!(world.udp(Side::Inside, "10.0.0.2:5000", PEER).has_arrived(), "others are not concerned");
    }
}

#[test]
fn a_port_rests_for_two_minutes_unless_the_connection_was_seen_to_end() {
    let text = "cgn_rfc6888 ports=2000-2000 parity=no udp-timeout=100 tcp-closing=240";
    let mut world = World::of(text);
    assert!(world.udp(Side::Inside, "10.0.0.1:5000", PEER).has_arrived());
    world.wait(100.1);
    assert_eq!(world.nat.mappings(), 0);
    world.wait(119.8);
    assert!(!world.udp(Side::Inside, "10.0.0.2:5000", PEER).has_arrived(), "REQ-8: it rests");
    world.wait(0.3);
    assert!(world.udp(Side::Inside, "10.0.0.2:5000", PEER).has_arrived());
    // REQ-8 a: a TCP port may be used again at once.
    let mut world = World::of(text);
    for (side, flags) in [(Side::Inside, "S"), (Side::Outside, "S."), (Side::Inside, "F."), (Side::Outside, "F.")] {
        let (src, dst) = match side {
            Side::Inside => ("10.0.0.1:5000", PEER),
            Side::Outside => (PEER, "203.0.113.1:2000"),
        };
        assert!(world.tcp(side, src, dst, flags).has_arrived(), "{flags}");
    }
    world.wait(240.1);
    assert!(world.tcp(Side::Inside, "10.0.0.2:5000", PEER, "S").has_arrived());
}

#[test]
fn quotas_are_the_subscribers_own_and_count_what_it_has() {
    let mut world = World::of("cgn_rfc6888 port-quota=2 hold-down=0x0");
    for port in [5_000, 5_001] {
        assert!(world.udp(Side::Inside, &format!("10.0.0.1:{port}"), PEER).has_arrived());
    }
    let refused = world.udp(Side::Inside, "10.0.0.1:5002", PEER);
    let line = Line::of(refused.answer()).expect("a packet").to_string();
    assert_eq!(
        line,
        r#"192.168.1.1 > 10.0.0.1 icmp host-unreachable (10.0.0.1:5002 > 198.51.100.1:3478 udp "payload")"#
    );
    assert!(world.tcp(Side::Inside, "10.0.0.1:5002", PEER, "S").has_arrived(), "for each protocol");
    assert!(world.udp(Side::Inside, "10.0.0.2:5002", PEER).has_arrived(), "for each subscriber");
    // REQ-11 d: nothing was thrown out for it.
    assert!(world.nat.list().iter().any(|listed| listed.inside == socket("10.0.0.1:5000")));
    world.wait(200.0);
    assert!(world.udp(Side::Inside, "10.0.0.1:5001", PEER).has_arrived());
    world.wait(101.0);
    assert!(world.udp(Side::Inside, "10.0.0.1:5002", PEER).has_arrived(), "one of them was given back");
    assert!(!world.udp(Side::Inside, "10.0.0.1:5003", PEER).has_arrived(), "and the other was not");
    assert_eq!(world.nat.counters().of(Reason::PortQuota), 2);
}

#[test]
fn sessions_and_the_rate_of_new_mappings_are_limited_too() {
    let mut world = World::of("cgn_rfc6888 session-quota=3 refusal=silence");
    let mut send = |n| world.udp(Side::Inside, "10.0.0.1:5000", &format!("198.51.100.{n}:9"));
    assert!((1..4).all(|n| send(n).has_arrived()));
    assert_eq!(send(4), Outcome::Lost(Reason::SessionQuota));
    assert!(send(2).has_arrived(), "what there is goes on");
    let mut world = World::of("cgn_rfc6888 rate=10 refusal=silence");
    let send = |world: &mut World, n| world.udp(Side::Inside, &format!("10.0.0.1:{n}"), PEER);
    assert!((0..10).all(|n| send(&mut world, 5_000 + n).has_arrived()));
    assert_eq!(send(&mut world, 6_000), Outcome::Lost(Reason::RateLimit));
    world.wait(1.0);
    assert!(send(&mut world, 6_000).has_arrived());
    let mut world = World::of("rfc4787 total=2 refusal=silence");
    assert!((0..2).all(|n| send(&mut world, 5_000 + n).has_arrived()));
    assert_eq!(send(&mut world, 6_000), Outcome::Lost(Reason::TableFull));
}

#[test]
fn a_subscriber_may_be_a_network() {
    let mut world = World::of("cgn_rfc6888 port-quota=1 refusal=silence subscriber-bits=24");
    assert!(world.udp(Side::Inside, "10.0.0.1:5000", PEER).has_arrived());
    assert_eq!(world.udp(Side::Inside, "10.0.0.2:5000", PEER), Outcome::Lost(Reason::PortQuota));
    assert!(world.udp(Side::Inside, "10.0.1.2:5000", PEER).has_arrived());
}

#[test]
fn a_subscriber_gets_its_ports_from_blocks_of_its_own() {
    let mut world = World::of("cgn_rfc6888 alloc=blocks:100x2 parity=no refusal=silence rate=none hold-down=0x0");
    let mut blocks = |n: u32, count: u32| {
        let mut blocks: Vec<_> = (0..count)
            .map(|port| (world.mapped(&format!("{}:{}", host(n), 5_000 + port), PEER).port() - 1_024) / 100)
            .collect();
        blocks.sort_unstable();
        blocks.dedup();
        blocks
    };
    let (first, second) = (blocks(1, 200), blocks(2, 100));
    assert_eq!((first.len(), second.len()), (2, 1));
    assert!(!first.contains(&second[0]));
    assert_eq!(world.udp(Side::Inside, &format!("{}:9000", host(1)), PEER), Outcome::Lost(Reason::PortQuota));
    world.wait(400.0);
    assert_eq!(world.nat.free_ports(Protocol::Udp, EXTERNAL), Some(65_536));
    // The blocks are back as well: all 645 can be had by others.
    let all = (0..645).all(|n| world.udp(Side::Inside, &format!("{}:5000", host(1_000 + n)), PEER).has_arrived());
    assert!(all);
    assert_eq!(world.udp(Side::Inside, "10.200.0.1:5000", PEER), Outcome::Lost(Reason::NoPort));
}

#[test]
fn deterministic_blocks_follow_from_the_address() {
    let text = "cgn_rfc6888 alloc=deterministic:1000/8 parity=no refusal=silence";
    let mut world = World::with_pool(behaviour(text), &POOL);
    let mapped = world.mapped("10.0.0.3:5000", PEER);
    assert_eq!((mapped.ip(), (mapped.port() - 1_024) / 1_000), (POOL[0].into(), 3));
    // 64 blocks of an address: the 70th is the 6th of the second.
    let mapped = world.mapped("10.0.0.70:5000", PEER);
    assert_eq!((mapped.ip(), (mapped.port() - 1_024) / 1_000), (POOL[1].into(), 6));
    assert_eq!(world.udp(Side::Inside, "10.0.0.200:5000", PEER), Outcome::Lost(Reason::NoAddress));
}

#[test]
fn ports_of_a_carrier_cannot_be_guessed_from_each_other() {
    let mut world = World::of("cgn_rfc6888 parity=no");
    let ports: Vec<_> = (0..200).map(|n| world.mapped(&format!("10.0.0.1:{}", 5_000 + n), PEER).port()).collect();
    let mut steps: Vec<_> = ports.windows(2).map(|pair| pair[1].wrapping_sub(pair[0])).collect();
    steps.sort_unstable();
    steps.dedup();
    assert!(steps.len() > 190, "{} different steps of 199", steps.len());
}

#[test]
fn a_nat_without_an_address_refuses_everything() {
    let mut world = World::with_pool(behaviour("rfc4787 refusal=silence"), &[]);
    assert_eq!(world.udp(Side::Inside, "10.0.0.1:5000", PEER), Outcome::Lost(Reason::NoAddress));
    assert_eq!(world.udp(Side::Outside, PEER, "203.0.113.1:5000"), Outcome::Lost(Reason::NotOurs));
}

#[test]
fn zero_is_nobodys_port() {
    for alloc in ["preserving", "random", "sequential:1"] {
        let mut world = World::of(&format!("rfc4787 alloc={alloc} ports=0-3 class=no parity=no refusal=silence"));
        let ports: Vec<_> = (0..4).map(|n| world.udp(Side::Inside, &format!("10.0.0.1:{n}"), PEER)).collect();
        assert!(ports[..3].iter().all(|outcome| outcome.flow().src.port() != 0), "{alloc}: {ports:?}");
        assert_eq!(ports[3], Outcome::Lost(Reason::NoPort), "{alloc}");
        let query = super::world::echo("10.0.0.1", "198.51.100.1", false, 0);
        assert_ne!(world.send(Side::Inside, query).flow().src.port(), 0);
        let from_outside = super::world::echo("198.51.100.1", "203.0.113.1", false, 0);
        assert_eq!(world.send(Side::Outside, from_outside), Outcome::Lost(Reason::NoMapping), "{alloc}");
    }
}

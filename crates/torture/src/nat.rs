//! NATs of other kinds than Linux, under arbitrary packets, requests and waits.

use std::collections::BTreeMap;

use core::net::Ipv4Addr;
use core::time::Duration;

use pinhole_netfilter::behaviour::{Behaviour, Nat, Side, Verdict};
use pinhole_sansio::Instant;
use pinhole_wire::answer::{self, Trouble};
use pinhole_wire::{Protocol, text};

use crate::{Choices, intact};

const POOL: [Ipv4Addr; 2] = [Ipv4Addr::new(203, 0, 113, 1), Ipv4Addr::new(203, 0, 113, 2)];
const GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 1);
const FLAGS: [&str; 8] = ["S", "S.", ".", "P.", "F.", "R", "R.", "-"];
const BEHAVIOURS: [&str; 12] = [
    "rfc4787",
    "home_router",
    "full_cone_router",
    "linux_masquerade",
    "cgn_rfc6888",
    "mobile_carrier",
    "cloud_nat",
    "corporate_firewall",
    "rfc4787 udp=ad/ad tcp=ad/ad alloc=sequential:1 ports=2000-2040 pool=arbitrary",
    "rfc4787 udp=apd/ei tcp=apd/ei alloc=blocks:16x2 ports=2000-2100 hold-down=5x8",
    "linux_masquerade udp=ad/ei tcp=ad/ad ports=2000-2040 port-quota=20 session-quota=30",
    "rfc4787 udp=apd/ad tcp=ei/ei ports=2000-2040 total=100 refresh=in hairpin=internal pool=softly-paired",
];

/// One NAT, and whatever the bytes say.
pub(crate) fn run(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    let behaviour: Behaviour = choices.one_of(&BEHAVIOURS).parse().expect("a behaviour");
    let overloading = behaviour.overloading;
    let mut nat = Nat::new(behaviour, POOL, GATEWAY, choices.byte().into());
    let (mut now, mut seen) = (Instant::EPOCH, Vec::new());
    while !choices.is_over() {
        match choices.below(16) {
            0 => {
                now += Duration::from_millis(u64::from(choices.word()) * 10);
                nat.handle_timeout(now);
            }
            1 => {
                let inside = (Ipv4Addr::new(192, 168, 1, 3), 2_000 + u16::from(choices.byte()) % 10);
                let wished = Some((*choices.one_of(&POOL), 2_000 + u16::from(choices.byte()) % 50));
                let _ = nat.open(now, Protocol::Udp, inside, wished, Some(Duration::from_secs(20)));
            }
            2 => {
                nat.close(now, Protocol::Udp, (Ipv4Addr::new(192, 168, 1, 3), 2_000));
            }
            _ => {
                let (side, packet) = packet(&mut choices, &seen);
                pass(&mut nat, now, side, packet, &mut seen);
            }
        }
        while nat.poll_output().is_some() {}
        owners(&nat, overloading);
    }
    nat.handle_timeout(now + Duration::from_secs(100_000_000));
    assert!(nat.list().is_empty() && nat.mappings() == 0, "in the end everything is given back");
}

fn packet(choices: &mut Choices<'_>, seen: &[Vec<u8>]) -> (Side, Vec<u8>) {
    let side = *choices.one_of(&[Side::Inside, Side::Outside]);
    let inside = format!("192.168.1.{}:{}", 2 + choices.below(6), 2_000 + choices.below(30));
    let remote = format!("198.51.100.{}:{}", 1 + choices.below(4), 1 + choices.below(4));
    let external = format!("{}:{}", choices.one_of(&POOL), 2_000 + choices.below(110));
    let (src, dst) = match side {
        Side::Inside if choices.rarely(5) => (inside, external),
        Side::Inside => (inside, remote),
        Side::Outside => (remote, external),
    };
    let alone = |end: &str| end.split(':').next().unwrap_or_default().to_owned();
    let mut packet = match choices.below(8) {
        0..3 => line(&format!("{src} > {dst} udp 8")),
        3..6 => line(&format!("{src} > {dst} tcp {} seq 1 ack 1 win 9 0", choices.one_of(&FLAGS))),
        6 => {
            let kind = choices.one_of(&["echo-request", "echo-reply"]);
            line(&format!("{} > {} icmp {kind} id {} seq 1 8", alone(&src), alone(&dst), choices.below(20)))
        }
        _ => match seen.len() {
            0 => line(&format!("{} > {} proto 17 16 frag id 7 offset 8", alone(&src), alone(&dst))),
            len => {
                let mut out = [0; answer::MAX_ERROR_V6];
                let about = &seen[choices.below(len)];
                let length = answer::error(about, Trouble::TimeExceeded, [192, 0, 2, 9].into(), &mut out);
                out[..length.unwrap_or(0)].to_vec()
            }
        },
    };
    if choices.rarely(6) {
        choices.mutate(&mut packet);
    }
    (side, packet)
}

fn line(text: &str) -> Vec<u8> {
    text::read(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn pass(nat: &mut Nat<Ipv4Addr>, now: Instant, side: Side, mut packet: Vec<u8>, seen: &mut Vec<Vec<u8>>) {
    let before = (intact(&packet), packet.clone());
    match nat.process(now, side, &mut packet) {
        Verdict::Forward(_) => {
            if before.0 == Some(true) {
                assert_eq!(intact(&packet), Some(true), "{}", text::write(&before.1));
            }
            seen.truncate(15);
            seen.insert(0, packet);
        }
        Verdict::Answer(answer) => assert_ne!(intact(&answer), Some(false), "{}", text::write(&answer)),
        Verdict::Kept | Verdict::Drop(_) => {}
    }
}

/// A tuple has one owner, and so has a port, unless ports are overloaded.
fn owners(nat: &Nat<Ipv4Addr>, overloading: bool) {
    let (mut ports, mut tuples) = (BTreeMap::new(), BTreeMap::new());
    for session in nat.list() {
        if session.sent {
            let other = tuples.insert((session.protocol, session.external, session.remote), session.inside);
            assert_eq!(other, None, "a tuple has one owner: {session:?}");
        }
        let owner = *ports.entry((session.protocol, session.external)).or_insert(session.inside);
        assert!(overloading || owner == session.inside, "a port has one owner: {session:?}");
    }
}

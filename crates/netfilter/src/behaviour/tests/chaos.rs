//! Whatever comes, and in whatever order: nothing panics, and what must always hold does.

use std::collections::BTreeMap;

use core::net::{Ipv4Addr, Ipv6Addr};

use pinhole_sansio::{Duration, Instant, Rng};
use pinhole_wire::Protocol;
use pinhole_wire::answer::{self, Trouble};

use super::world::{echo, tcp, udp};
use crate::behaviour::{Behaviour, Nat, Reason, Side, Verdict};

const POOL: [Ipv4Addr; 2] = [Ipv4Addr::new(203, 0, 113, 1), Ipv4Addr::new(203, 0, 113, 2)];
const GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 1);
const FLAGS: [&str; 8] = ["S", "S.", ".", "P.", "F.", "R", "R.", "-"];

const TEXTS: [&str; 14] = [
    "rfc4787",
    "home_router",
    "full_cone_router",
    "openwrt",
    "linux_masquerade",
    "cgn_rfc6888",
    "mobile_carrier",
    "cloud_nat",
    "corporate_firewall",
    "rfc4787 udp=ad/ad tcp=ad/ad alloc=sequential:1 ports=2000-2040 pool=arbitrary",
    "rfc4787 udp=apd/ei tcp=apd/ei alloc=blocks:16x2 ports=2000-2100 hold-down=5x8",
    "rfc4787 udp=ei/ad tcp=ei/ad alloc=deterministic:16/3 ports=2000-2100 contiguous=yes errors=end-sessions",
    "linux_masquerade udp=ad/ei tcp=ad/ad ports=2000-2040 port-quota=20 session-quota=30",
    "rfc4787 udp=apd/ad tcp=ei/ei ports=2000-2040 total=100 refresh=in hairpin=internal pool=softly-paired",
];

struct Chaos {
    nat: Nat<Ipv4Addr>,
    rng: Rng,
    now: Instant,
    /// Packets that were forwarded, for errors about them and answers to them.
    seen: Vec<Vec<u8>>,
}

impl Chaos {
    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.rng.below(all.len() as u64) as usize]
    }

    fn inside(&mut self) -> String {
        format!("192.168.1.{}:{}", 2 + self.rng.below(6), 2_000 + self.rng.below(30))
    }

    fn remote(&mut self) -> String {
        format!("198.51.100.{}:{}", 1 + self.rng.below(4), 1 + self.rng.below(4))
    }

    fn external(&mut self) -> String {
        format!("{}:{}", self.one_of(&POOL), 2_000 + self.rng.below(110))
    }

    fn step(&mut self) {
        match self.rng.below(12) {
            0 => {
                let far = self.one_of(&[1, 10, 100, 1_000]);
                self.now += Duration::from_millis(self.rng.below(far * 100));
                self.nat.handle_timeout(self.now);
            }
            1 => {
                let inside = ("192.168.1.3".parse().expect("an address"), 2_000 + self.rng.below(10) as u16);
                let protocol = self.one_of(&[Protocol::Udp, Protocol::Tcp]);
                let wished = Some((self.one_of(&POOL), 2_000 + self.rng.below(50) as u16));
                let _ = self.nat.open(self.now, protocol, inside, wished, Some(Duration::from_secs(20)));
            }
            2 => {
                let inside = ("192.168.1.3".parse().expect("an address"), 2_000 + self.rng.below(10) as u16);
                self.nat.close(self.now, Protocol::Udp, inside);
            }
            _ => {
                let (side, packet) = self.packet();
                self.send(side, packet);
            }
        }
        while self.nat.poll_output().is_some() {}
    }

    fn packet(&mut self) -> (Side, Vec<u8>) {
        let side = self.one_of(&[Side::Inside, Side::Outside]);
        let (src, dst) = match side {
            Side::Inside if self.rng.chance(0.2) => (self.inside(), self.external()),
            Side::Inside => (self.inside(), self.remote()),
            Side::Outside => (self.remote(), self.external()),
        };
        let (src_address, dst_address) = (src.split(':').next().expect("it"), dst.split(':').next().expect("it"));
        let flags = self.one_of(&FLAGS);
        let packet = match self.rng.below(8) {
            0..3 => udp(&src, &dst),
            3..6 => tcp(&src, &dst, flags),
            6 => echo(src_address, dst_address, side == Side::Outside, self.rng.below(20) as u16),
            _ => {
                let trouble = self.one_of(&[Trouble::TimeExceeded, Trouble::PortUnreachable]);
                let about = match self.seen.len() {
                    0 => udp(&dst, &src),
                    len => self.seen[self.rng.below(len as u64) as usize].clone(),
                };
                let from = self.one_of(&["192.168.1.3", "192.0.2.9"]).parse().expect("an address");
                let mut out = vec![0; 600];
                let len = answer::error(&about, trouble, from, &mut out).unwrap_or(0);
                out.truncate(len);
                out
            }
        };
        (side, packet)
    }

    fn send(&mut self, side: Side, mut packet: Vec<u8>) {
        if self.nat.process(self.now, side, &mut packet) == Verdict::Forward(Side::Outside) || self.rng.chance(0.1) {
            self.seen.truncate(30);
            self.seen.insert(0, packet);
        }
    }

    /// What must hold after every step.
    fn check(&self, text: &str) {
        let behaviour = self.nat.behaviour();
        let mut owners = BTreeMap::new();
        let mut tuples = BTreeMap::new();
        let listed = self.nat.list();
        for session in &listed {
            let tuple = (session.protocol, session.external, session.remote);
            if session.sent {
                let other = tuples.insert(tuple, session.inside);
                assert_eq!(other, None, "{text}: a tuple has one owner: {session:?}");
            }
            let owner = *owners.entry((session.protocol, session.external)).or_insert(session.inside);
            assert!(owner == session.inside || behaviour.overloading, "{text}: a port has one owner: {session:?}");
        }
        // Ports that are taken are those of a mapping, or rest.
        for protocol in [Protocol::Udp, Protocol::Tcp, Protocol::Icmp] {
            for address in POOL {
                let used = owners.keys().filter(|(p, external)| *p == protocol && external.ip() == address).count();
                let free = self.nat.free_ports(protocol, address).expect("an address of the pool") as usize;
                let resting = 65_536 - free - used;
                let most = behaviour.hold_down.ports as usize;
                assert!(resting <= most, "{text}: {used} used, {free} free, at most {most} rest");
            }
        }
        let all = Reason::ALL.map(|reason| self.nat.counters().of(reason));
        assert!(all.iter().sum::<u64>() + self.nat.counters().forwarded > 0);
        assert!(self.nat.poll_timeout().is_some() || listed.is_empty(), "{text}: who lives has a deadline");
    }
}

#[test]
fn random_operations_keep_what_must_always_hold() {
    for text in TEXTS {
        for seed in 0..4 {
            let behaviour: Behaviour = text.parse().expect("a behaviour");
            let nat = Nat::new(behaviour, POOL, GATEWAY, seed);
            let mut chaos = Chaos { nat, rng: Rng::from_seed(seed), now: Instant::EPOCH, seen: Vec::new() };
            for n in 0..1_500 {
                chaos.step();
                if n % 10 == 9 {
                    chaos.check(text);
                }
            }
            // In the end everything is given back.
            chaos.now += Duration::from_secs(10_000_000);
            chaos.nat.handle_timeout(chaos.now);
            assert!(chaos.nat.list().is_empty() && chaos.nat.mappings() == 0, "{text} {seed}");
            assert_eq!(chaos.nat.bindings.flows.sessions(), 0, "{text} {seed}: permissions too");
            assert_eq!(chaos.nat.bindings.pool.subscribers(), 0, "{text} {seed}");
            chaos.nat.handle_timeout(chaos.now + Duration::from_secs(1));
            assert_eq!(chaos.nat.poll_timeout(), None, "{text} {seed}: nothing is left to do");
        }
    }
}

#[test]
fn no_bytes_make_a_nat_panic() {
    let mut rng = Rng::from_seed(5);
    let mut v4 = Nat::new(Behaviour::linux_masquerade(), POOL, GATEWAY, 1).with_mtu(60);
    let mut v6 = Nat::new(Behaviour::rfc4787(), ["2001:db8::1".parse().expect("an address")], Ipv6Addr::LOCALHOST, 1);
    let templates = [
        udp("192.168.1.2:5000", "198.51.100.1:53"),
        tcp("192.168.1.2:5000", "198.51.100.1:53", "S"),
        tcp("198.51.100.1:53", "203.0.113.1:5000", "S."),
        echo("192.168.1.2", "198.51.100.1", false, 5),
        udp("[fd00::2]:5000", "[2001:db8::9]:53"),
        tcp("[2001:db8::9]:53", "[2001:db8::1]:5000", "."),
        echo("fd00::2", "2001:db8::9", false, 5),
    ];
    for n in 0..200_000u64 {
        let mut packet = templates[rng.below(templates.len() as u64) as usize].clone();
        for _ in 0..rng.below(6) {
            let at = rng.below(packet.len() as u64) as usize;
            packet[at] = rng.next_u64() as u8;
        }
        if rng.chance(0.2) {
            let mut out = vec![0; 600];
            let from = if packet[0] >> 4 == 6 { "2001:db8::5" } else { "192.0.2.9" }.parse().expect("an address");
            let len = answer::error(&packet, Trouble::TimeExceeded, from, &mut out).unwrap_or(0);
            out.truncate(len);
            packet = out;
        }
        if rng.chance(0.1) {
            packet.truncate(rng.below(packet.len() as u64 + 1) as usize);
        }
        let side = if rng.chance(0.5) { Side::Inside } else { Side::Outside };
        let now = Instant::from_millis(n * 3);
        v4.process(now, side, &mut packet.clone());
        v6.process(now, side, &mut packet);
        while v4.poll_output().is_some() || v6.poll_output().is_some() {}
    }
    assert!(v4.counters().forwarded > 1_000 && v6.counters().forwarded > 1_000);
}

#[test]
fn ipv6_is_translated_like_ipv4() {
    let external: Ipv6Addr = "2001:db8::1".parse().expect("an address");
    let mut nat = Nat::new(Behaviour::rfc4787(), [external], Ipv6Addr::LOCALHOST, 1);
    for packet in [
        udp("[fd00::2]:5000", "[2001:db8::9]:53"),
        tcp("[fd00::2]:5000", "[2001:db8::9]:53", "S"),
        echo("fd00::2", "2001:db8::9", false, 5_000),
    ] {
        let mut out = packet.clone();
        assert_eq!(nat.process(Instant::EPOCH, Side::Inside, &mut out), Verdict::Forward(Side::Outside));
        super::world::assert_intact(&out);
        let mut error = vec![0; 600];
        let router = "2001:db8::77".parse().expect("an address");
        let len = answer::error(&out, Trouble::TimeExceeded, router, &mut error).expect("an error");
        error.truncate(len);
        assert_eq!(nat.process(Instant::EPOCH, Side::Outside, &mut error), Verdict::Forward(Side::Inside));
        super::world::assert_intact(&error);
        assert_eq!(error[48..], packet, "the quoted packet is as the host had sent it");
    }
}

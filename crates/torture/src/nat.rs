//! NATs of every kind that is not the kernel's, under arbitrary packets, requests and waits.

use std::collections::BTreeMap;

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::time::Duration;

use pinhole_netfilter::behaviour::{Behaviour, Nat, Side, Verdict};
use pinhole_netfilter::tuple::Address;
use pinhole_sansio::Instant;
use pinhole_wire::answer::{self, Trouble};
use pinhole_wire::{Protocol, text};

use crate::{Choices, intact};

/// The kinds: the first byte of a run says which.
pub const KINDS: [&str; 14] = [
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

const FLAGS: [&str; 8] = ["S", "S.", ".", "P.", "F.", "R", "R.", "-"];
/// Packets that came out and are remembered, at most.
const MOST_SEEN: usize = 16;

/// The addresses around a NAT of one family.
struct Places<A> {
    pool: [A; 2],
    gateway: A,
    /// What inside hosts and remote ones begin with.
    inside: &'static str,
    remote: &'static str,
    /// Who sends ICMP errors.
    routers: [&'static str; 2],
}

/// One NAT, and whatever the bytes say.
pub(crate) fn run(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    let behaviour = choices.one_of(&KINDS).parse().expect("a behaviour");
    if choices.rarely(4) {
        let address = |last| Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last);
        let (inside, remote, routers) = ("fd00::", "2001:db8:9::", ["fd00::3", "2001:db8:5::9"]);
        let (pool, gateway) = ([1, 2].map(address), Ipv6Addr::LOCALHOST);
        World::new(choices, behaviour, Places { pool, gateway, inside, remote, routers }).play();
    } else {
        let address = |last| Ipv4Addr::new(203, 0, 113, last);
        let (inside, remote, routers) = ("192.168.1.", "198.51.100.", ["192.168.1.3", "192.0.2.9"]);
        let (pool, gateway) = ([1, 2].map(address), Ipv4Addr::new(192, 168, 1, 1));
        World::new(choices, behaviour, Places { pool, gateway, inside, remote, routers }).play();
    }
}

struct World<'a, A> {
    choices: Choices<'a>,
    places: Places<A>,
    nat: Nat<A>,
    now: Instant,
    seen: Vec<Vec<u8>>,
}

impl<'a, A: Address> World<'a, A> {
    fn new(mut choices: Choices<'a>, behaviour: Behaviour, places: Places<A>) -> Self {
        let nat = Nat::new(behaviour, places.pool, places.gateway, choices.byte().into());
        let nat = if choices.rarely(4) { nat.with_mtu(60) } else { nat };
        Self { choices, places, nat, now: Instant::EPOCH, seen: Vec::new() }
    }

    fn play(mut self) {
        while !self.choices.is_over() {
            self.step();
            while self.nat.poll_output().is_some() {}
            self.check();
        }
        self.nat.handle_timeout(self.now + Duration::from_secs(100_000_000));
        assert!(self.nat.is_empty() && self.nat.list().is_empty(), "in the end everything is given back");
        self.nat.handle_timeout(self.now + Duration::from_secs(100_000_001));
        assert_eq!(self.nat.poll_timeout(), None, "nothing is left to do");
    }

    fn step(&mut self) {
        match self.choices.below(16) {
            0 => {
                let tens = *self.choices.one_of(&[0, 1, 10, 100]);
                self.now += Duration::from_millis(u64::from(self.choices.word()) * tens);
                self.nat.handle_timeout(self.now);
            }
            1 => {
                let (protocol, inside) = self.request();
                let wished = Some((*self.choices.one_of(&self.places.pool), 2_000 + self.choices.below(50) as u16));
                let _ = self.nat.open(self.now, protocol, inside, wished, Some(Duration::from_secs(20)));
            }
            2 => {
                let (protocol, inside) = self.request();
                self.nat.close(self.now, protocol, inside);
            }
            _ => {
                let (side, packet) = self.packet();
                self.pass(side, packet);
            }
        }
    }

    /// For whom a mapping is asked.
    fn request(&mut self) -> (Protocol, (A, u16)) {
        let protocol = *self.choices.one_of(&[Protocol::Udp, Protocol::Tcp]);
        let host: IpAddr = format!("{}3", self.places.inside).parse().expect("an address");
        (protocol, (A::of(host).expect("of the family"), 2_000 + self.choices.below(10) as u16))
    }

    fn packet(&mut self) -> (Side, Vec<u8>) {
        let Self { choices, places, seen, .. } = self;
        let side = *choices.one_of(&[Side::Inside, Side::Outside]);
        let inside = (format!("{}{}", places.inside, 2 + choices.below(6)), 2_000 + choices.below(30));
        let remote = (format!("{}{}", places.remote, 1 + choices.below(4)), 1 + choices.below(4));
        let external = (choices.one_of(&places.pool).to_string(), 2_000 + choices.below(110));
        let (src, dst) = match side {
            Side::Inside if choices.rarely(5) => (inside, external),
            Side::Inside => (inside, remote),
            Side::Outside => (remote, external),
        };
        let end = |(address, port): &(String, usize)| match address.contains(':') {
            true => format!("[{address}]:{port}"),
            false => format!("{address}:{port}"),
        };
        let (ends, pair) = (format!("{} > {}", end(&src), end(&dst)), format!("{} > {}", src.0, dst.0));
        let mut packet = match choices.below(9) {
            0..3 => line(&format!("{ends} udp {}", choices.one_of(&[8, 8, 100]))),
            3..6 => line(&format!("{ends} tcp {} seq 1 ack 1 win 9 0", choices.one_of(&FLAGS))),
            6 => {
                let kind = choices.one_of(&["echo-request", "echo-reply"]);
                let icmp = if A::IS_V4 { "icmp" } else { "icmp6" };
                line(&format!("{pair} {icmp} {kind} id {} seq 1 8", choices.below(20)))
            }
            7 => {
                let (id, offset) = (choices.below(3), choices.one_of(&[0, 8, 16]));
                let more = if *offset == 0 || choices.rarely(2) { " more" } else { "" };
                line(&format!("{pair} proto {} 8 frag id {id} offset {offset}{more}", choices.one_of(&[17, 6, 1])))
            }
            _ => {
                let about = match seen.len() {
                    0 => line(&format!("{ends} udp 8")),
                    len => seen[choices.below(len)].clone(),
                };
                let trouble = *choices.one_of(&[Trouble::TimeExceeded, Trouble::PortUnreachable]);
                let router = choices.one_of(&places.routers).parse().expect("an address");
                let mut out = [0; answer::MAX_ERROR_V6];
                let length = answer::error(&about, trouble, router, &mut out);
                out[..length.unwrap_or(0)].to_vec()
            }
        };
        if choices.rarely(6) {
            choices.mutate(&mut packet);
        }
        (side, packet)
    }

    fn pass(&mut self, side: Side, mut packet: Vec<u8>) {
        let before = packet.clone();
        match self.nat.process(self.now, side, &mut packet) {
            Verdict::Forward(_) => {
                if intact(&before) == Some(true) {
                    assert_eq!(intact(&packet), Some(true), "{}", text::write(&before));
                }
                self.seen.truncate(MOST_SEEN - 1);
                self.seen.insert(0, packet);
            }
            Verdict::Answer(answer) => assert_ne!(intact(&answer), Some(false), "{}", text::write(&answer)),
            Verdict::Kept | Verdict::Drop(_) => {}
        }
    }

    /// A tuple has one owner, and so has a port, unless ports are overloaded; no port is lost; who lives has a deadline.
    fn check(&self) {
        let behaviour = self.nat.behaviour();
        let (mut owners, mut tuples) = (BTreeMap::new(), BTreeMap::new());
        let listed = self.nat.list();
        for session in &listed {
            if session.sent {
                let other = tuples.insert((session.protocol, session.external, session.remote), session.inside);
                assert_eq!(other, None, "a tuple has one owner: {session:?}");
            }
            let owner = *owners.entry((session.protocol, session.external)).or_insert(session.inside);
            assert!(behaviour.overloading || owner == session.inside, "a port has one owner: {session:?}");
        }
        for protocol in [Protocol::Udp, Protocol::Tcp, A::ICMP] {
            for address in self.places.pool {
                let used = owners.keys().filter(|(p, external)| *p == protocol && external.ip() == address.into());
                let (used, free) = (used.count(), self.nat.free_ports(protocol, address).expect("of the pool"));
                let resting = 65_536 - free as usize - used;
                assert!(resting <= behaviour.hold_down.ports as usize, "{used} used, {free} free, {resting} rest");
            }
        }
        assert!(self.nat.poll_timeout().is_some() || listed.is_empty(), "who lives has a deadline");
    }
}

fn line(text: &str) -> Vec<u8> {
    text::read(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

//! A router under arbitrary packets and operations.
//!
//! Everything is played twice, once with somebody watching: both must say and send the same, so a watch changes nothing and
//! the same seed gives the same bytes.

mod check;
mod make;
mod places;
mod rules;
mod talk;

use core::net::{Ipv4Addr, Ipv6Addr};
use core::time::Duration;

use ipnet::IpNet;
use pinhole_netfilter::settings::{Personality, Settings, Timeouts};
use pinhole_netfilter::{Interface, InterfaceId, Note, Packet, Reason, Router, Verdict};
use pinhole_sansio::Instant;
use pinhole_wire::answer::{self, Trouble};
use pinhole_wire::text;

use crate::{Choices, intact};
use talk::Talk;

/// Any operations.
///
/// # Panics
/// If something is not as it must be.
pub fn run(bytes: &[u8]) {
    twice(bytes, Mix::All);
}

/// Mostly conversations that helpers listen to.
///
/// # Panics
/// If something is not as it must be.
pub fn run_helpers(bytes: &[u8]) {
    twice(bytes, Mix::Helpers);
}

/// Which operations there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mix {
    All,
    Helpers,
}

fn twice(bytes: &[u8], mix: Mix) {
    let alone = World::new(bytes, mix, false).play();
    let watched = World::new(bytes, mix, true).play();
    for (alone, watched) in alone.iter().zip(&watched) {
        assert_eq!(alone, watched, "played alone (left) and watched (right)");
    }
    assert_eq!(alone.len(), watched.len());
}

/// What the router has said or sent.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    Verdict(Verdict, Packet),
    Sent(InterfaceId, Packet),
    Logged(pinhole_netfilter::router::Logged),
    Event(String),
    Left(String),
}

/// A packet that went in, and what came out.
struct Seen {
    input: InterfaceId,
    sent: Vec<u8>,
    output: Option<(InterfaceId, Vec<u8>)>,
}

struct World<'a> {
    choices: Choices<'a>,
    mix: Mix,
    watched: bool,
    router: Router,
    sides: [InterfaceId; 3],
    now: Instant,
    seen: Vec<Seen>,
    talks: Vec<Talk>,
    orders: [check::Order; 2],
    said: Vec<Said>,
}

/// Packets that are remembered, and conversations that go on, at most.
const MOST_SEEN: usize = 24;
const MOST_TALKS: usize = 4;

impl<'a> World<'a> {
    fn new(bytes: &'a [u8], mix: Mix, watched: bool) -> Self {
        let mut choices = Choices::new(bytes);
        let personality = *choices.one_of(&Personality::ALL);
        let mut router = Router::new(Settings::of(personality), choices.byte().into());
        let net = |text: &str| -> IpNet { text.parse().expect("a network") };
        let lan = router.add_interface(Interface::new("lan", [net("10.0.0.254/24"), net("fd00::fe/64")]));
        let wan = router.add_interface(Interface::new("wan", [net("203.0.113.1/24"), net("2001:db8::1/64")]));
        let dmz = router.add_interface(Interface::new("dmz", [net("192.168.9.254/24")]).with_mtu(600));
        router.add_route(net("0.0.0.0/0"), wan);
        router.add_route(net("2000::/3"), wan);
        router.add_route(net("2001:db8:9::/64"), dmz);
        let short = Timeouts { udp: Duration::from_secs(1), udp_stream: Duration::from_secs(3), ..Timeouts::default() };
        router.v4().policies.insert("short".into(), short.clone());
        router.v6().policies.insert("short".into(), short);
        let (sides, orders) = ([lan, wan, dmz], Default::default());
        let now = Instant::from_millis(1_000);
        let (seen, talks, said) = (Vec::new(), Vec::new(), Vec::new());
        let mut world = Self { choices, mix, watched, router, sides, now, seen, talks, orders, said };
        world.rule();
        world
    }

    fn play(mut self) -> Vec<Said> {
        while !self.choices.is_over() {
            self.step();
            check::always(self.router.v4(), &mut self.orders[0]);
            check::always(self.router.v6(), &mut self.orders[1]);
        }
        let left = format!("{:?}", self.router.v4().table.iter().collect::<Vec<_>>());
        self.said.push(Said::Left(left));
        self.now += Duration::from_secs(1 << 31);
        self.sweep();
        assert!(self.router.v4().table.is_empty() && self.router.v6().table.is_empty(), "in the end nothing is left");
        assert!(self.router.v4().expectations.is_empty() && self.router.v6().expectations.is_empty());
        self.said
    }

    fn step(&mut self) {
        let operation = match self.mix {
            Mix::All => self.choices.below(64),
            Mix::Helpers => *self.choices.one_of(&[24, 27, 28, 30, 30, 30, 30, 31, 31, 32, 40, 44, 45, 46]),
        };
        match operation {
            0..16 => {
                let (family, side) = (self.family(), self.choices.below(3));
                let packet = make::packet(&mut self.choices, family, side);
                self.inject(self.sides[side], packet);
            }
            16..22 => self.answer(),
            22..24 => self.repeat(),
            24..27 => self.error(),
            27..30 => self.greet(),
            30..40 => self.say(),
            40 => self.set(),
            41 => self.rule(),
            42 => self.delete(),
            43 => self.listen(),
            44 => self.meet(),
            45..48 => self.wait(),
            48 => self.send(),
            49..51 => self.raw(),
            _ => {
                let (family, side) = (self.family(), self.choices.below(2));
                let mut packet = make::packet(&mut self.choices, family, side);
                self.choices.mutate(&mut packet);
                self.inject(self.sides[side], packet);
            }
        }
        self.drain();
    }

    /// IPv4 three times of four.
    fn family(&mut self) -> usize {
        usize::from(self.choices.rarely(4))
    }

    /// A packet comes in; what comes out is as it must be.
    fn inject(&mut self, input: InterfaceId, sent: Vec<u8>) -> Option<(InterfaceId, Vec<u8>)> {
        let before = (check::before(self.router.v4()), check::before(self.router.v6()));
        let mut packet = Packet { bytes: sent.clone(), mark: 0 };
        let verdict = if self.watched {
            let mut notes: Vec<Note> = Vec::new();
            let verdict = self.router.explain(self.now, input, &mut packet, &mut notes);
            assert!(notes.iter().all(|note| !note.text.is_empty()));
            verdict
        } else {
            self.router.process(self.now, input, &mut packet)
        };
        let output = match verdict {
            Verdict::Forward(output) => {
                // What comes whole goes whole; a fragment may come out with all others.
                if intact(&sent) == Some(true) {
                    assert_ne!(intact(&packet.bytes), Some(false), "{}", text::write(&sent));
                }
                match packet.bytes[0] >> 4 {
                    4 => check::passed(self.router.v4(), &before.0, &sent, &packet.bytes),
                    _ => check::passed(self.router.v6(), &before.1, &sent, &packet.bytes),
                }
                Some((output, packet.bytes.clone()))
            }
            Verdict::Drop(_) => {
                check::dropped(self.router.v4(), &before.0, &sent);
                check::dropped(self.router.v6(), &before.1, &sent);
                None
            }
            Verdict::Deliver | Verdict::Hold => None,
        };
        self.said.push(Said::Verdict(verdict, packet));
        check::always(self.router.v4(), &mut self.orders[0]);
        check::always(self.router.v6(), &mut self.orders[1]);
        self.seen.truncate(MOST_SEEN - 1);
        self.seen.insert(0, Seen { input, sent, output: output.clone() });
        output
    }

    /// An answer to a packet that came out, from where it went.
    fn answer(&mut self) {
        let Some(at) = self.recent() else { return };
        let Some((by, packet)) = self.seen[at].output.clone() else { return };
        if let Some(answer) = make::answer(&mut self.choices, &packet) {
            self.inject(by, answer);
        }
    }

    /// The same packet again, or almost the same.
    fn repeat(&mut self) {
        let Some(at) = self.recent() else { return };
        let (input, mut packet) = (self.seen[at].input, self.seen[at].sent.clone());
        if self.choices.rarely(2) {
            self.choices.mutate(&mut packet);
        }
        self.inject(input, packet);
    }

    /// An ICMP error about a packet that came out, from there.
    fn error(&mut self) {
        let Some(at) = self.recent() else { return };
        let Some((by, about)) = self.seen[at].output.clone() else { return };
        let trouble =
            *self.choices.one_of(&[Trouble::TimeExceeded, Trouble::PortUnreachable, Trouble::HostUnreachable]);
        let from = if about[0] >> 4 == 4 { "192.0.2.9" } else { "2001:db8:5::9" };
        let mut error = vec![0; answer::MAX_ERROR_V6];
        let length = answer::error(&about, trouble, from.parse().expect("an address"), &mut error);
        error.truncate(length.unwrap_or(0));
        if self.choices.rarely(6) {
            self.choices.mutate(&mut error);
        }
        self.inject(by, error);
    }

    fn recent(&mut self) -> Option<usize> {
        let at = self.choices.below(MOST_SEEN);
        (!self.seen.is_empty()).then(|| at % self.seen.len())
    }

    /// A conversation begins, with TCP's handshake if need be.
    fn greet(&mut self) {
        let family = self.family();
        let talk = Talk::begin(&mut self.choices, family, self.sides);
        let is_tcp = talk.is_tcp;
        self.talks.truncate(MOST_TALKS - 1);
        self.talks.insert(0, talk);
        if is_tcp {
            self.utter(0, 0, "S", &[]);
            self.utter(0, 1, "S.", &[]);
            self.utter(0, 0, ".", &[]);
        }
    }

    /// Somebody says something.
    fn say(&mut self) {
        if self.talks.is_empty() {
            return self.greet();
        }
        let (at, side) = (self.choices.below(self.talks.len()), self.choices.below(2));
        let text = self.talks[at].text(&mut self.choices, side);
        let flags = if self.choices.rarely(12) { "F." } else { "P." };
        self.utter(at, side, flags, &text);
    }

    fn utter(&mut self, at: usize, side: usize, flags: &str, payload: &[u8]) {
        let (by, packet) = self.talks[at].packet(side, flags, payload);
        if let Some((output, packet)) = self.inject(by, packet) {
            self.talks[at].arrived(side, output, payload.len(), flags, &packet);
        }
    }

    fn set(&mut self) {
        let (name, values) = *self.choices.one_of(&rules::SETTINGS);
        let value = *self.choices.one_of(values);
        self.router.set(name, value).expect("a setting");
    }

    fn rule(&mut self) {
        let helpers = self.mix == Mix::Helpers;
        let v4 = if helpers { rules::helpers(&mut self.choices, 0) } else { rules::some(&mut self.choices, 0) };
        self.router.set_rules_v4(v4);
        let v6 = if helpers { rules::helpers(&mut self.choices, 1) } else { rules::some(&mut self.choices, 1) };
        self.router.set_rules_v6(v6);
    }

    fn delete(&mut self) {
        let (now, which) = (self.now, self.choices.below(8));
        let victim = self.router.v4().table.iter().nth(which).map(|(id, _)| id);
        match self.choices.below(4) {
            0 => self.router.v4().delete_all(now, |_| true),
            1 => self.router.v6().delete_all(now, |flow| flow.protocol() == 17),
            _ => {
                if let Some(at) = victim.and_then(|id| self.router.v4().table.place(id)) {
                    self.router.v4().delete(now, at);
                }
            }
        }
    }

    fn listen(&mut self) {
        let listening = self.choices.rarely(2);
        self.router.v4().listen(listening);
        self.router.v6().listen(listening);
    }

    /// A packet that somebody expects.
    fn meet(&mut self) {
        let which = self.choices.below(8);
        let expected = match self.choices.below(4) {
            0..3 => self.router.v4().expectations.iter().nth(which).map(|(_, e)| {
                let src =
                    if e.mask.src == Ipv4Addr::UNSPECIFIED { Ipv4Addr::new(198, 51, 100, 8) } else { e.tuple.src };
                (
                    src.to_string(),
                    e.tuple.dst.to_string(),
                    e.mask.src_id,
                    e.tuple.src_id,
                    e.tuple.dst_id,
                    e.tuple.protocol,
                )
            }),
            _ => self.router.v6().expectations.iter().nth(which).map(|(_, e)| {
                let far = Ipv6Addr::new(0x2001, 0xdb8, 7, 0, 0, 0, 0, 8);
                let src = if e.mask.src == Ipv6Addr::UNSPECIFIED { far } else { e.tuple.src };
                (
                    src.to_string(),
                    e.tuple.dst.to_string(),
                    e.mask.src_id,
                    e.tuple.src_id,
                    e.tuple.dst_id,
                    e.tuple.protocol,
                )
            }),
        };
        let Some((src, dst, mask, port, to, protocol)) = expected else { return };
        let from = if mask == 0 { 20 } else { port };
        let side = self.choices.below(2);
        let (src_end, dst_end) = (make::end(&src, from), make::end(&dst, to));
        let line = match protocol {
            6 => format!("{src_end} > {dst_end} tcp S seq 7 ack 0 win 64000 0"),
            17 => format!("{src_end} > {dst_end} udp 20"),
            _ => format!("{src} > {dst} gre pptp call {to} seq 1 10"),
        };
        self.inject(self.sides[side], make::line(&line));
    }

    fn wait(&mut self) {
        let wait = *self.choices.one_of(&[0, 1, 100, 1_000, 2_500, 31_000, 130_000, 301_000, 432_001_000]);
        self.now += Duration::from_millis(wait);
        if self.choices.rarely(2) {
            self.sweep();
        }
    }

    fn sweep(&mut self) {
        if let Some(at) = self.router.poll_timeout() {
            self.now = self.now.max(at);
            self.router.handle_timeout(self.now);
            check::swept(self.router.v4(), self.now);
            check::swept(self.router.v6(), self.now);
        }
    }

    /// The host itself sends something.
    fn send(&mut self) {
        let family = self.family();
        let packet = make::packet(&mut self.choices, family, 0);
        let mut packet = Packet::from(packet);
        let before = (check::before(self.router.v4()), check::before(self.router.v6()));
        let sent = packet.bytes.clone();
        let verdict = if self.watched {
            self.router.send(self.now, &mut packet, &mut Vec::new())
        } else {
            self.router.send(self.now, &mut packet, &mut ())
        };
        match verdict {
            // Whether it is too long for its way is asked last, when its flow is there already.
            Verdict::Drop(Reason::TooBig) => {}
            Verdict::Drop(_) => {
                check::dropped(self.router.v4(), &before.0, &sent);
                check::dropped(self.router.v6(), &before.1, &sent);
            }
            Verdict::Forward(_) if intact(&sent) == Some(true) => {
                assert_ne!(intact(&packet.bytes), Some(false), "{}", text::write(&sent));
            }
            Verdict::Forward(_) | Verdict::Deliver | Verdict::Hold => {}
        }
        self.said.push(Said::Verdict(verdict, packet));
    }

    /// Bytes as they are.
    fn raw(&mut self) {
        let (side, length) = (self.choices.below(3), self.choices.below(64));
        let mut packet = self.choices.bytes(length).to_vec();
        if self.choices.rarely(2) && !packet.is_empty() {
            packet[0] = *self.choices.one_of(&[0x45, 0x46, 0x4f, 0x60]);
        }
        self.inject(self.sides[side], packet);
    }

    fn drain(&mut self) {
        while let Some((by, packet)) = self.router.poll_transmit() {
            assert_ne!(intact(&packet.bytes), Some(false), "{}", text::write(&packet.bytes));
            self.said.push(Said::Sent(by, packet));
        }
        while let Some(logged) = self.router.poll_log() {
            self.said.push(Said::Logged(logged));
        }
        while let Some(event) = self.router.v4().poll_event() {
            self.said.push(Said::Event(format!("{event:?}")));
        }
        while self.router.v6().poll_event().is_some() {}
        while self.router.v4().expectations.poll_event().is_some() {}
    }
}

//! One router, and all that can happen to it.

use std::collections::BTreeMap;

use core::time::Duration;

use ipnet::IpNet;
use pinhole_netfilter::conntrack::Conntrack;
use pinhole_netfilter::settings::{Personality, Settings, Timeouts};
use pinhole_netfilter::{Family, Interface, InterfaceId, Note, Packet, Reason, Router, Verdict};
use pinhole_sansio::Instant;
use pinhole_wire::{Protocol, ip, text};

use super::past::{By, Past};
use super::talk::Talk;
use super::{Mix, Said, Way, check, make, rules};
use crate::{Choices, intact};

/// Words of notes that are counted.
pub const WORDS: [&str; 16] = [
    "was expected",
    "the text is rewritten",
    "dropped early",
    "nearby all are ASSURED",
    "would be taken for",
    "from a random start",
    "given up",
    "so does this one",
    "RELATED: an ICMP error",
    "the ICMP error goes from",
    "the old flow goes",
    "the flow goes when",
    "INVALID",
    "UNTRACKED",
    "pieces",
    "zone 1",
];

/// Conversations that go on, at most.
const MOST_TALKS: usize = 4;
/// Packets that come in together, at most: two of the router's own batches.
const MOST_TOGETHER: usize = 64;

pub(super) struct World<'a> {
    choices: Choices<'a>,
    mix: Mix,
    way: Way,
    router: Router,
    sides: [InterfaceId; 3],
    now: Instant,
    past: Past,
    talks: Vec<Talk>,
    orders: [check::Order; 2],
    said: Vec<Said>,
    heard: [u64; WORDS.len()],
}

impl<'a> World<'a> {
    pub(super) fn new(bytes: &'a [u8], mix: Mix, way: Way) -> Self {
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
        let (past, talks, said, orders) = Default::default();
        let (sides, now, heard) = ([lan, wan, dmz], Instant::from_millis(1_000), [0; WORDS.len()]);
        let mut world = Self { choices, mix, way, router, sides, now, past, talks, orders, said, heard };
        world.rule();
        world
    }

    /// To the end of the bytes; says what was said.
    pub(super) fn play(mut self) -> Vec<Said> {
        while !self.choices.is_over() {
            self.step();
            self.check();
        }
        self.look_back();
        self.now += Duration::from_secs(1 << 31);
        self.sweep();
        assert!(self.router.v4().table.is_empty() && self.router.v6().table.is_empty(), "in the end nothing is left");
        assert!(self.router.v4().expectations.is_empty() && self.router.v6().expectations.is_empty());
        self.said
    }

    /// To the end of the bytes; says how often each of the words was heard.
    pub(super) fn hear(mut self) -> [u64; WORDS.len()] {
        while !self.choices.is_over() {
            self.step();
        }
        self.heard
    }

    fn step(&mut self) {
        let operation = match self.mix {
            Mix::All => self.choices.below(64),
            Mix::Helpers => *self.choices.one_of(&[24, 27, 28, 29, 30, 30, 30, 30, 31, 31, 32, 40, 44, 45, 46]),
            Mix::Batches => {
                *self.choices.one_of(&[64, 64, 64, 64, 64, 64, 0, 16, 27, 29, 30, 40, 41, 42, 43, 44, 45, 48])
            }
        };
        match operation {
            0..16 => {
                let (family, side) = (self.family(), self.choices.below(3));
                let packet = make::packet(&mut self.choices, family, side);
                self.inject(self.sides[side], packet);
            }
            16..22 => {
                let answer = self.past.answer(&mut self.choices);
                self.inject_some(answer);
            }
            22..24 => {
                let again = self.past.again(&mut self.choices);
                self.inject_some(again);
            }
            24..27 => {
                let error = self.past.error(&mut self.choices);
                self.inject_some(error);
            }
            27..29 => self.greet(),
            29 => self.meet_again(),
            30..40 => self.say(),
            40 => self.set(),
            41 => self.rule(),
            42 => self.delete(),
            43 => self.listen(),
            44 => self.meet(),
            45..48 => self.wait(),
            48 => self.send(),
            49 => self.raw(),
            50..52 => self.fragments(),
            64 => self.together(),
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

    fn inject(&mut self, input: InterfaceId, sent: Vec<u8>) -> Option<By> {
        self.pass(input, vec![sent]).pop().flatten()
    }

    fn inject_some(&mut self, packet: Option<By>) {
        if let Some((input, packet)) = packet {
            self.inject(input, packet);
        }
    }

    /// Packets come in together; says what comes out for each of them.
    fn pass(&mut self, input: InterfaceId, sent: Vec<Vec<u8>>) -> Vec<Option<By>> {
        let mut packets: Vec<_> = sent.iter().cloned().map(Packet::from).collect();
        let mut verdicts = vec![Verdict::Hold; packets.len()];
        match self.way {
            Way::Alone | Way::Watched => {
                for ((sent, packet), verdict) in sent.iter().zip(&mut packets).zip(&mut verdicts) {
                    *verdict = self.process(input, sent, packet);
                }
            }
            Way::Together => self.router.process_batch(self.now, input, &mut packets, &mut verdicts),
        }
        let mut outputs = Vec::new();
        for ((sent, packet), verdict) in sent.into_iter().zip(packets).zip(verdicts) {
            let output = match verdict {
                Verdict::Forward(by) => Some((by, packet.bytes.clone())),
                Verdict::Drop(_) | Verdict::Deliver | Verdict::Hold => None,
            };
            self.said.push(Said::Verdict(verdict, packet));
            self.past.remember((input, sent), output.clone());
            outputs.push(output);
        }
        outputs
    }

    /// A packet comes in alone; what becomes of it is as it must be.
    fn process(&mut self, input: InterfaceId, sent: &[u8], packet: &mut Packet) -> Verdict {
        let before = (check::before(self.router.v4()), check::before(self.router.v6()));
        let verdict = match self.way {
            Way::Alone | Way::Together => self.router.process(self.now, input, packet),
            Way::Watched => {
                let mut notes: Vec<Note> = Vec::new();
                let verdict = self.router.explain(self.now, input, packet, &mut notes);
                assert!(notes.iter().all(|note| !note.text.is_empty()));
                for (word, count) in WORDS.iter().zip(&mut self.heard) {
                    *count += notes.iter().filter(|note| note.text.contains(word)).count() as u64;
                }
                verdict
            }
        };
        match verdict {
            Verdict::Forward(_) => {
                // What comes whole goes whole; a fragment may come out with all others.
                if intact(sent) == Some(true) && !is_spoilt_by_linux(sent) {
                    assert_ne!(intact(&packet.bytes), Some(false), "{}", text::write(sent));
                }
                match packet.bytes[0] >> 4 {
                    4 => check::passed(self.router.v4(), &before.0, sent, &packet.bytes),
                    _ => check::passed(self.router.v6(), &before.1, sent, &packet.bytes),
                }
            }
            Verdict::Drop(_) => {
                check::dropped(self.router.v4(), &before.0, sent);
                check::dropped(self.router.v6(), &before.1, sent);
            }
            Verdict::Deliver | Verdict::Hold => {}
        }
        self.check();
        verdict
    }

    /// Together it is enough that all is as it was alone: in which order flows came there, only a look at each packet says.
    fn check(&mut self) {
        if self.way == Way::Together {
            return;
        }
        check::always(self.router.v4(), &mut self.orders[0]);
        check::always(self.router.v6(), &mut self.orders[1]);
    }

    /// Packets of every kind come in together by one interface.
    fn together(&mut self) {
        let side = *self.choices.one_of(&[0, 1, 0, 1, 2]);
        let (input, count) = (self.sides[side], 1 + self.choices.below(MOST_TOGETHER));
        let mut packets = Vec::new();
        // A choice may have no packet for this interface: so many are enough.
        for _ in 0..count {
            packets.extend(self.some(side).into_iter().filter(|(by, _)| *by == input).map(|(_, packet)| packet));
        }
        packets.truncate(MOST_TOGETHER);
        self.pass(input, packets);
        self.look_back();
    }

    /// A few packets that may come in by an interface.
    fn some(&mut self, side: usize) -> Vec<By> {
        let input = self.sides[side];
        match self.choices.below(10) {
            0..2 => {
                let family = self.family();
                vec![(input, make::packet(&mut self.choices, family, side))]
            }
            2 => {
                let family = self.family();
                let packet = make::packet(&mut self.choices, family, side);
                make::pieces(&mut self.choices, &packet).into_iter().map(|piece| (input, piece)).collect()
            }
            3..5 => self.past.again(&mut self.choices).into_iter().collect(),
            5..7 => self.past.answer(&mut self.choices).into_iter().collect(),
            7 => self.past.error(&mut self.choices).into_iter().collect(),
            _ => {
                let at = self.choices.below(MOST_TALKS);
                let Some(talk) = self.talks.get_mut(at) else { return Vec::new() };
                talk.burst(&mut self.choices, input).into_iter().map(|packet| (input, packet)).collect()
            }
        }
    }

    /// What there is now, and what has become of all packets.
    fn look_back(&mut self) {
        let drops: BTreeMap<_, _> = self.router.drops().map(|(reason, n)| (format!("{reason:?}"), n)).collect();
        let rules = format!("{}{}", self.router.rules_v4(), self.router.rules_v6());
        let left = format!("{}\n{}\n{drops:?}\n{rules}", of(self.router.v4()), of(self.router.v6()));
        self.said.push(Said::Left(left));
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

    /// A connection ends, and begins anew with the same ends.
    fn meet_again(&mut self) {
        if self.talks.first().is_none_or(|talk| !talk.is_tcp) {
            return self.greet();
        }
        let [first, second] = if self.choices.rarely(2) { [0, 1] } else { [1, 0] };
        self.utter(0, first, "F.", &[]);
        self.utter(0, second, "F.", &[]);
        self.utter(0, first, ".", &[]);
        self.talks[0].sides[0].seq = self.talks[0].sides[0].seq.wrapping_add(100_000);
        self.utter(0, 0, "S", &[]);
        self.utter(0, 1, "S.", &[]);
        self.utter(0, 0, ".", &[]);
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
        let v4 = rules::of(self.mix, &mut self.choices, 0);
        self.router.set_rules_v4(v4);
        let v6 = rules::of(self.mix, &mut self.choices, 1);
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
        let packet = match self.choices.below(4) {
            0..3 => self.router.v4().expectations.iter().nth(which).map(|(_, expected)| make::expected(expected)),
            _ => self.router.v6().expectations.iter().nth(which).map(|(_, expected)| make::expected(expected)),
        };
        let Some(packet) = packet else { return };
        let side = self.choices.below(2);
        self.inject(self.sides[side], packet);
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
        let verdict = match self.way {
            Way::Watched => self.router.send(self.now, &mut packet, &mut Vec::new()),
            Way::Alone | Way::Together => self.router.send(self.now, &mut packet, &mut ()),
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

    /// A packet in pieces.
    fn fragments(&mut self) {
        let (family, side) = (self.family(), self.choices.below(3));
        let packet = make::packet(&mut self.choices, family, side);
        for piece in make::pieces(&mut self.choices, &packet) {
            self.inject(self.sides[side], piece);
        }
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

/// What there is of a family.
fn of<A: Family>(conntrack: &Conntrack<A>) -> String {
    let flows: Vec<_> = conntrack.table.iter().collect();
    let expectations: Vec<_> = conntrack.expectations.iter().collect();
    format!("{flows:?}\n{expectations:?}\n{:?}", conntrack.statistics)
}

/// Linux shows its SIP helper an ICMP error as if it were a datagram: what is rewritten in the text that the error quotes
/// spoils the error's own header. The engine does the same (`pinhole conntrack diff` has shown it).
fn is_spoilt_by_linux(sent: &[u8]) -> bool {
    let is_error = || {
        let upper = ip::Packet::new_checked(sent).ok()?.upper().ok()?;
        Some(matches!(upper.protocol, Protocol::Icmp | Protocol::Icmpv6))
    };
    is_error() == Some(true) && sent.windows(4).any(|word| word == b"SIP/")
}

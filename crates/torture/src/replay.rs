//! Captured packets through a home router that masquerades, through a NAT of another kind, and through every parser.
//!
//! Whoever sends first of two hosts is inside. What the other side sends to an inside host, it sends to what it was told
//! instead: the address and port that the router has given to the flow, if there is one.
//!
//! There are three such routers: one is given each packet alone, one is watched, and one gets those together that come by
//! one interface in the same ten milliseconds. All must say and send the same.

use std::collections::{HashMap, HashSet};

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::time::Duration;

use ipnet::IpNet;
use pinhole_netfilter::behaviour::{self, Behaviour, Nat};
use pinhole_netfilter::rules::Ruleset;
use pinhole_netfilter::settings::{Personality, Settings};
use pinhole_netfilter::{Interface, InterfaceId, Note, Packet, Router, Verdict};
use pinhole_sansio::Instant;
use pinhole_wire::{Flow, Protocol, edit, ip, text, udp};

use crate::{intact, messages, packets};

/// Masquerading towards `wan`, with every helper.
const RULES: &str = "*raw\n\
    -A PREROUTING -p tcp -m tcp --dport 21 -j CT --helper ftp\n\
    -A PREROUTING -p tcp -m tcp --dport 6667 -j CT --helper irc\n\
    -A PREROUTING -p tcp -m tcp --dport 1723 -j CT --helper pptp\n\
    -A PREROUTING -p udp -m udp --dport 69 -j CT --helper tftp\n\
    -A PREROUTING -p udp -m udp --dport 5060 -j CT --helper sip\n\
    -A PREROUTING -p tcp -m tcp --dport 5060 -j CT --helper sip\n\
    COMMIT\n\
    *nat\n\
    -A POSTROUTING -o wan -j MASQUERADE\n\
    COMMIT\n";

/// What comes in so long comes in at the same time.
const TICK_MS: u64 = 10;
/// Packets that come in together, at most: two of the router's own batches.
const MOST_TOGETHER: usize = 64;
/// The contradictions of tables are looked for once in so many packets.
const AUDIT_EVERY: u64 = 64;

/// When the first packet comes.
const BEGIN: Instant = Instant::from_millis(1_000);

/// What became of packets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Packets that were put in.
    pub packets: u64,
    /// Packets that came out, and of those, packets that were translated.
    pub forwarded: u64,
    /// Packets that came out with another source or destination.
    pub translated: u64,
    /// Packets that the router took for itself.
    pub delivered: u64,
    /// Fragments that were kept.
    pub held: u64,
    /// Packets that were dropped, by reason.
    pub dropped: HashMap<&'static str, u64>,
    /// Flows that were made.
    pub flows: u64,
    /// Expectations that were there when a packet had passed, at most.
    pub expected: u64,
    /// How many packets were given together, at most.
    pub together: u64,
}

/// A home that a capture is replayed to.
#[derive(Debug)]
pub struct Replay {
    /// One is given each packet alone, one is watched, and one is given packets together.
    routers: [Router; 3],
    now: Instant,
    /// By which interface the packets come that wait to be given to the third router together.
    input: InterfaceId,
    waiting: Vec<Packet>,
    /// What the first router has said of them, and what it has sent beside.
    verdicts: Vec<(Verdict, Packet)>,
    sent: Vec<(InterfaceId, Packet)>,
    nats: (Nat<Ipv4Addr>, Nat<Ipv6Addr>),
    lan: InterfaceId,
    wan: InterfaceId,
    inside: HashSet<IpAddr>,
    /// By flow as the inside sends it: from where it seems to come outside.
    outside: HashMap<Flow, SocketAddr>,
    /// What has become of the packets so far.
    pub totals: Totals,
}

impl Replay {
    /// A home whose router is of one kernel version.
    ///
    /// # Panics
    /// Never: its rules are good.
    pub fn new(personality: Personality) -> Self {
        let net = |text: &str| -> IpNet { text.parse().expect("a network") };
        let router = || {
            let mut router = Router::new(Settings::of(personality), 1);
            let lan = router.add_interface(Interface::new("lan", [net("192.168.254.254/32"), net("fd00:fe::fe/128")]));
            let wan = router.add_interface(Interface::new("wan", [net("203.0.113.1/32"), net("2001:db8::1/128")]));
            router.add_route(net("0.0.0.0/0"), wan);
            router.add_route(net("::/0"), wan);
            router.set_rules_v4(Ruleset::parse(RULES).expect("rules"));
            router.set_rules_v6(Ruleset::parse(RULES).expect("rules"));
            (router, lan, wan)
        };
        let ((one, lan, wan), (other, ..), (third, ..)) = (router(), router(), router());
        let nats = (
            Nat::new(Behaviour::rfc4787(), [Ipv4Addr::new(203, 0, 113, 1)], Ipv4Addr::new(192, 168, 254, 254), 1),
            Nat::new(Behaviour::rfc4787(), [Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)], Ipv6Addr::LOCALHOST, 1),
        );
        let (inside, outside, totals) = Default::default();
        let (now, waiting, verdicts, sent) = (BEGIN, Vec::new(), Vec::new(), Vec::new());
        let routers = [one, other, third];
        Self { routers, now, input: lan, waiting, verdicts, sent, nats, lan, wan, inside, outside, totals }
    }

    /// A packet was captured so long after the first one; never earlier than the one before it.
    ///
    /// # Panics
    /// If something is not as it must be.
    pub fn packet(&mut self, at: Duration, bytes: &[u8]) {
        packets::views(bytes);
        packets::lines(bytes);
        self.payload(bytes);
        self.wait(at);
        let mut bytes = bytes.to_vec();
        let is_inside = self.is_inside(&bytes);
        if !is_inside {
            self.aim(&mut bytes);
        }
        self.behave(is_inside, bytes.clone());
        self.route(is_inside, bytes);
        self.totals.packets += 1;
        if self.totals.packets.is_multiple_of(AUDIT_EVERY) {
            self.audit();
        }
    }

    /// All is over: what is left must be in order, and go.
    ///
    /// # Panics
    /// If it is not.
    pub fn finish(mut self) -> Totals {
        self.give_waiting();
        self.audit();
        for router in &mut self.routers {
            router.handle_timeout(self.now + Duration::from_secs(1 << 31));
            assert!(router.v4().table.is_empty() && router.v6().table.is_empty(), "in the end nothing is left");
            assert!(router.v4().expectations.is_empty() && router.v6().expectations.is_empty());
        }
        self.totals
    }

    /// What a datagram carries may be a message that others parse.
    fn payload(&self, bytes: &[u8]) {
        let Ok(ip) = ip::Packet::new_checked(bytes) else { return };
        let Ok(upper) = ip.upper() else { return };
        let body = &bytes[upper.offset..ip.total_len()];
        if upper.protocol == Protocol::Udp
            && let Ok(datagram) = udp::Packet::new_checked(body)
        {
            messages::dns(datagram.payload());
        }
    }

    /// Whether a packet comes from inside. A host of which nothing is known is there if it sends first.
    fn is_inside(&mut self, bytes: &[u8]) -> bool {
        let Ok(ip) = ip::Packet::new_checked(bytes) else { return true };
        let (src, dst) = (ip.src(), ip.dst());
        if !self.inside.contains(&src) && self.inside.contains(&dst) {
            return false;
        }
        // Not more routes than a home has hosts.
        if self.inside.len() < 256 && self.inside.insert(src) {
            self.give_waiting();
            for router in &mut self.routers {
                router.add_route(IpNet::from(src), self.lan);
            }
        }
        self.inside.contains(&src)
    }

    /// Sends an outside host's packet to where its receiver seems to be.
    fn aim(&self, bytes: &mut [u8]) {
        let Ok(flow) = Flow::of(bytes) else { return };
        if let Some(&there) = self.outside.get(&flow.reversed()) {
            let _ = edit::rewrite(bytes, edit::End::Destination, there);
        }
    }

    /// It is so long after the first packet.
    fn wait(&mut self, at: Duration) {
        let now = BEGIN + Duration::from_millis(at.as_millis() as u64 / TICK_MS * TICK_MS);
        if now <= self.now {
            return;
        }
        self.give_waiting();
        self.now = now;
        for router in &mut self.routers {
            if router.poll_timeout().is_some_and(|at| at <= now) {
                router.handle_timeout(now);
            }
        }
        self.send();
    }

    /// Through all routers, for one of them later.
    fn route(&mut self, is_inside: bool, bytes: Vec<u8>) {
        let input = if is_inside { self.lan } else { self.wan };
        if input != self.input || self.waiting.len() == MOST_TOGETHER {
            self.give_waiting();
        }
        self.input = input;
        let [mut packet, mut watched, waiting] = [(); 3].map(|()| Packet::from(bytes.clone()));
        let [router, other, _] = &mut self.routers;
        let before = router.v4().statistics.insert + router.v6().statistics.insert;
        let verdict = router.process(self.now, input, &mut packet);
        let mut notes: Vec<Note> = Vec::new();
        assert_eq!(other.explain(self.now, input, &mut watched, &mut notes), verdict, "{}", text::write(&bytes));
        assert_eq!(packet, watched, "{}", text::write(&bytes));
        self.totals.flows += router.v4().statistics.insert + router.v6().statistics.insert - before;
        let expected = (router.v4().expectations.len() + router.v6().expectations.len()) as u64;
        self.totals.expected = self.totals.expected.max(expected);
        match verdict {
            Verdict::Forward(_) => {
                if intact(&bytes) == Some(true) {
                    assert_ne!(intact(&packet.bytes), Some(false), "{}", text::write(&bytes));
                }
                self.totals.forwarded += 1;
                self.learn(is_inside, &bytes, &packet.bytes);
            }
            Verdict::Deliver => self.totals.delivered += 1,
            Verdict::Hold => self.totals.held += 1,
            Verdict::Drop(reason) => *self.totals.dropped.entry(reason.name()).or_default() += 1,
        }
        self.waiting.push(waiting);
        self.verdicts.push((verdict, packet));
        self.send();
    }

    /// What the first two routers send beside must be the same; what the third one sends is asked for later.
    fn send(&mut self) {
        let [router, other, _] = &mut self.routers;
        while let Some((by, packet)) = router.poll_transmit() {
            assert_ne!(intact(&packet.bytes), Some(false), "{}", text::write(&packet.bytes));
            assert_eq!(other.poll_transmit().as_ref(), Some(&(by, packet.clone())));
            self.sent.push((by, packet));
        }
        assert_eq!(other.poll_transmit(), None);
    }

    /// The third router gets what has come in together.
    fn give_waiting(&mut self) {
        let mut packets = core::mem::take(&mut self.waiting);
        let before: Vec<_> = packets.iter().map(|packet| packet.bytes.clone()).collect();
        let mut verdicts = vec![Verdict::Hold; packets.len()];
        let [.., third] = &mut self.routers;
        third.process_batch(self.now, self.input, &mut packets, &mut verdicts);
        self.totals.together = self.totals.together.max(packets.len() as u64);
        let given = verdicts.into_iter().zip(packets);
        for ((given, alone), before) in given.zip(self.verdicts.drain(..)).zip(before) {
            assert_eq!(given, alone, "{}, with others", text::write(&before));
        }
        let sent: Vec<_> = core::iter::from_fn(|| third.poll_transmit()).collect();
        assert_eq!(sent, core::mem::take(&mut self.sent));
    }

    fn learn(&mut self, is_inside: bool, sent: &[u8], became: &[u8]) {
        let (Ok(old), Ok(new)) = (Flow::of(sent), Flow::of(became)) else { return };
        self.totals.translated += u64::from((old.src, old.dst) != (new.src, new.dst));
        if is_inside {
            self.outside.insert(old, new.src);
        }
    }

    /// Through a NAT of another kind.
    fn behave(&mut self, is_inside: bool, mut bytes: Vec<u8>) {
        let now = self.now;
        let side = if is_inside { behaviour::Side::Inside } else { behaviour::Side::Outside };
        let before = intact(&bytes);
        let verdict = match bytes.first().map(|first| first >> 4) {
            Some(6) => self.nats.1.process(now, side, &mut bytes),
            _ => self.nats.0.process(now, side, &mut bytes),
        };
        if matches!(verdict, behaviour::Verdict::Forward(_)) && before == Some(true) {
            assert_ne!(intact(&bytes), Some(false), "{}", text::write(&bytes));
        }
        while self.nats.0.poll_output().is_some() || self.nats.1.poll_output().is_some() {}
    }

    fn audit(&mut self) {
        for router in &mut self.routers {
            router.v4().table.audit().unwrap_or_else(|wrong| panic!("the table of IPv4: {wrong}"));
            router.v6().table.audit().unwrap_or_else(|wrong| panic!("the table of IPv6: {wrong}"));
        }
    }
}

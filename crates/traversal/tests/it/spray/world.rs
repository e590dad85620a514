//! Two hosts behind a NAT each, a link to the Internet each, other people behind the NATs, and a WireGuard whose port the
//! machines borrow: in virtual time, from a seed.
//!
//! NATs are those of `netfilter`: behaviours as data, or Linux itself. Links are the laboratory's: they delay and lose, take
//! from the TTL, and have a tap. A hand-over is what nf_tables does on a real host: what WireGuard's port sends to the peer
//! leaves by the port that won, and the other way round. What counts in the end is that two WireGuards hear each other.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use pinhole_lab::{Core, Link, Port};
use pinhole_netfilter::behaviour::{Behaviour, Nat, Side, Verdict};
use pinhole_netfilter::rules::Ruleset;
use pinhole_netfilter::settings::Settings as Conntrack;
use pinhole_netfilter::{Interface, InterfaceId, Packet, Router};
use pinhole_sansio::{Duration, Instant, Machine, Rng};
use pinhole_traversal::ports::{Guess, Sample};
use pinhole_traversal::spray::{
    Counters, Input, Limits, Output, Reason, Remote, Role, Secret, Session, Settings, Spray, Via,
};
use pinhole_wire::{Flow, Protocol, build, ip, udp};

/// WireGuard's port on both hosts.
pub const OWN: u16 = 51_820;
/// Routers between the two NATs: more than an opener's TTL.
const HOPS: u8 = 8;
const INSIDE: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 2);
/// Somebody else in the same network.
const NEIGHBOUR: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 77);
/// Where both ask how their NAT maps.
const SERVER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(203, 0, 113, 9), 3_478);
const OTHER_SERVER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(203, 0, 113, 10), 3_478);
/// The first four bytes of a WireGuard packet with data, and some.
const WIREGUARD: [u8; 32] =
    [4, 0, 0, 0, 9, 9, 9, 9, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1];
/// How long a rewrite takes to be installed.
const HAND_OVER: Duration = Duration::from_millis(15);

/// What a host is behind.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// A NAT as data.
    Behaviour(Behaviour),
    /// Linux with `masquerade random-fully`, which lets nothing in from outside.
    LinuxFullyRandom,
    /// Linux with `masquerade`, which lets everything in that is for itself: it can be poisoned.
    LinuxOpen,
}

/// A world before it begins.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The prober's side, then the opener's.
    pub nats: [Kind; 2],
    /// Flows that others open, per second, on each side.
    pub others: [u32; 2],
    /// One way between a NAT and the middle of the Internet.
    pub delay: Duration,
    /// That each link loses a packet.
    pub loss: f64,
    /// Between the last sample and the start, which is when the registry tells the two.
    pub told_after: Duration,
    /// The opener starts so much later.
    pub skew: Duration,
    /// That mappings depend on the destination is all that is told of a NAT.
    pub blind: bool,
    pub limits: Limits,
}

impl Plan {
    pub fn new(prober: Kind, opener: Kind) -> Self {
        Self {
            nats: [prober, opener],
            others: [0, 0],
            delay: Duration::from_millis(20),
            loss: 0.0,
            told_after: Duration::from_millis(150),
            skew: Duration::ZERO,
            blind: false,
            limits: Limits::default(),
        }
    }
}

/// How an attempt ended.
#[derive(Clone, Debug)]
pub struct End {
    /// From the start until both knew of the way.
    pub direct: Option<Duration>,
    pub reasons: [Option<Reason>; 2],
    pub counters: [Counters; 2],
    /// By which of the opener's sockets.
    pub via: Option<Via>,
    /// WireGuard's packets went both ways afterwards.
    pub carries: bool,
}

enum Translator {
    Behaviour(Box<Nat<Ipv4Addr>>),
    Linux { router: Box<Router>, lan: InterfaceId, wan: InterfaceId },
}

struct Host {
    nat: Translator,
    public: Ipv4Addr,
    link: Port,
    machine: Option<Spray>,
    starts: Instant,
    settings: Settings,
    /// Ports of the extra sockets.
    extras: Vec<u16>,
    /// A hand-over that is under way.
    installing: Option<(Instant, u16, SocketAddr)>,
    /// The port that WireGuard's packets to this peer leave by.
    rewrite: Option<(u16, SocketAddr)>,
    direct: Option<(Instant, Via, SocketAddr)>,
    reason: Option<Reason>,
    /// Where WireGuard's packets came from.
    heard: Option<SocketAddr>,
    others: u32,
    next_other: Instant,
}

/// What the tap saw of a packet that a host sent.
#[derive(Clone, Debug)]
pub struct Sent {
    pub at: Instant,
    /// 0 for the prober.
    pub host: usize,
    /// The port that its NAT gave it; `None` if the NAT did not let it out.
    pub seen: Option<u16>,
    pub to: SocketAddr,
    pub bytes: Vec<u8>,
}

pub struct World {
    pub now: Instant,
    core: Core,
    hosts: [Host; 2],
    rng: Rng,
    /// Every packet to a host that the Internet was given.
    pub sent: Vec<Sent>,
    began: Instant,
}

impl World {
    pub fn new(plan: &Plan, seed: u64) -> Self {
        let mut rng = Rng::from_seed(seed);
        let mut core = Core::new(Ipv4Addr::new(203, 0, 113, 1), HOPS, rng.next_u64());
        let (secret, session) = ([rng.next_u64() as u8; 32], Session(rng.next_u64().to_be_bytes()));
        let mut host = |at: usize| {
            let public = Ipv4Addr::new(198, 51, 100, 1 + at as u8);
            let link = core.attach(Link { loss: plan.loss, ..Link::with_delay(plan.delay) });
            core.route(format!("{public}/32").parse().expect("a network"), link);
            Host {
                nat: Translator::new(plan.nats[at], public, rng.next_u64()),
                public,
                link,
                machine: None,
                starts: Instant::EPOCH,
                settings: Settings {
                    role: if at == 0 { Role::Prober } else { Role::Opener },
                    secret: Secret(secret),
                    session,
                    local: Guess::Unknown,
                    remote: Remote { endpoint: SocketAddr::new(public.into(), 0), ports: Guess::Unknown },
                    limits: plan.limits,
                    seed: rng.next_u64(),
                },
                extras: Vec::new(),
                installing: None,
                rewrite: None,
                direct: None,
                reason: None,
                heard: None,
                others: plan.others[at],
                next_other: Instant::EPOCH,
            }
        };
        let hosts = [host(0), host(1)];
        let mut world =
            Self { now: Instant::from_millis(1_000), core, hosts, rng, sent: Vec::new(), began: Instant::EPOCH };
        world.introduce(plan);
        world
    }

    /// Changes what a host believes before it starts.
    pub fn settings_mut(&mut self, host: usize) -> &mut Settings {
        &mut self.hosts[host].settings
    }

    pub fn public(&self, host: usize) -> Ipv4Addr {
        self.hosts[host].public
    }

    /// Where the peer's own WireGuard is seen by the registry, and how its ports are chosen: as its own samples tell.
    fn introduce(&mut self, plan: &Plan) {
        let mut samples = [Vec::new(), Vec::new()];
        for number in 0..28 {
            // As a discovery does, and a few more when there is a reason to ask for the peer.
            self.pass(if number == 24 { Duration::from_secs(1) } else { Duration::from_millis(8) });
            for at in [0, 1] {
                let inside = 20_000 + self.rng.below(12_000) as u16;
                if let Some(external) = self.map(at, inside, SERVER) {
                    samples[at].push(Sample { at: self.now, inside, external: external.port() });
                }
            }
        }
        let seen = [0, 1].map(|at| {
            let endpoint = self.map(at, OWN, SERVER).expect("the NAT maps");
            // Towards another server: is the endpoint the same?
            let again = self.map(at, OWN, OTHER_SERVER).expect("the NAT maps");
            let guess = match endpoint == again {
                true => Guess::Fixed,
                false if plan.blind => Guess::Unknown,
                false => Guess::of(&samples[at], again.port()),
            };
            (SocketAddr::V4(endpoint), guess)
        });
        let sampled = self.now;
        self.pass(plan.told_after);
        for at in [0, 1] {
            let guess = |(_, guess): &(_, Guess)| guess.clone().aged(self.now.since(sampled));
            let (local, remote) = (guess(&seen[at]), guess(&seen[1 - at]));
            let settings = &mut self.hosts[at].settings;
            settings.local = local;
            settings.remote = Remote { endpoint: seen[1 - at].0, ports: remote };
        }
        self.began = self.now;
        self.hosts[0].starts = self.now;
        self.hosts[1].starts = self.now + plan.skew;
    }

    /// The external endpoint of a port towards somebody.
    fn map(&mut self, at: usize, inside: u16, to: SocketAddrV4) -> Option<SocketAddrV4> {
        let packet = datagram(SocketAddrV4::new(INSIDE, inside), to, 64, &[0; 20]);
        let packet = self.hosts[at].nat.out(self.now, packet)?;
        match Flow::of(&packet).ok()?.src {
            SocketAddr::V4(v4) => Some(v4),
            SocketAddr::V6(_) => None,
        }
    }

    /// Lets time go by, in which only the others do anything.
    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        for at in [0, 1] {
            while self.hosts[at].others > 0 && self.hosts[at].next_other <= until {
                self.disturb(at);
            }
        }
        self.now = until;
    }

    /// Somebody else opens a flow.
    fn disturb(&mut self, at: usize) {
        let host = &mut self.hosts[at];
        let when = host.next_other.max(Instant::from_millis(1));
        let to = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, self.rng.below(250) as u8), 443);
        let from = SocketAddrV4::new(NEIGHBOUR, 10_000 + self.rng.below(50_000) as u16);
        let _ = host.nat.out(when, datagram(from, to, 64, &[0; 20]));
        // Poisson: exponential gaps.
        let gap = -(1.0 - self.rng.unit()).ln() / f64::from(host.others);
        host.next_other = when + Duration::from_secs_f64(gap);
    }

    /// Runs until both have ended or `limit` has passed, then lets the WireGuards speak.
    pub fn run(&mut self) -> End {
        self.run_until(self.began + Duration::from_secs(20));
        let carries = self.hosts.iter().all(|host| host.direct.is_some()) && self.speak();
        let when = self.hosts.each_ref().map(|host| host.direct.map(|(at, ..)| at));
        End {
            direct: when[0].zip(when[1]).map(|(a, b)| a.max(b).since(self.began)),
            reasons: self.hosts.each_ref().map(|host| host.reason),
            counters: self.counters(),
            via: self.hosts[1].direct.map(|(_, via, _)| via),
            carries,
        }
    }

    pub fn counters(&self) -> [Counters; 2] {
        self.hosts.each_ref().map(|host| host.machine.as_ref().map(Spray::counters).unwrap_or_default())
    }

    pub fn run_until(&mut self, end: Instant) {
        loop {
            let next = self.next();
            if self.is_over() || next > end {
                return;
            }
            self.now = self.now.max(next);
            self.step();
        }
    }

    fn is_over(&self) -> bool {
        self.hosts.iter().all(|host| host.direct.is_some() || host.reason.is_some())
    }

    fn next(&self) -> Instant {
        let of = |host: &Host| {
            let machine = match &host.machine {
                Some(machine) => machine.poll_timeout().map(|deadline| deadline.at),
                None => Some(host.starts),
            };
            let other = (host.others > 0).then_some(host.next_other);
            [machine, other, host.installing.map(|(at, ..)| at)].into_iter().flatten().min()
        };
        let core = self.core.poll_timeout().map(|deadline| deadline.at);
        let all = [of(&self.hosts[0]), of(&self.hosts[1]), core].into_iter().flatten();
        all.min().unwrap_or(Instant::from_nanos(u64::MAX))
    }

    fn step(&mut self) {
        for at in [0, 1] {
            while self.hosts[at].others > 0 && self.hosts[at].next_other <= self.now {
                self.disturb(at);
            }
            let now = self.now;
            let host = &mut self.hosts[at];
            if let Some((_, port, remote)) = host.installing.filter(|(due, ..)| *due <= now) {
                (host.installing, host.rewrite) = (None, Some((port, remote)));
                self.tell(at, Input::HandedOver);
            }
            match &self.hosts[at].machine {
                None if self.hosts[at].starts <= now => {
                    let settings = self.hosts[at].settings.clone();
                    self.hosts[at].machine = Some(Spray::new(now, settings));
                    self.drain(at);
                }
                Some(machine) if machine.poll_timeout().is_some_and(|deadline| deadline.at <= now) => {
                    self.tell(at, Input::Timeout);
                }
                Some(_) | None => {}
            }
        }
        self.core.handle_input(self.now, pinhole_lab::Input::Timeout);
        self.deliver();
    }

    fn tell(&mut self, at: usize, input: Input) {
        let now = self.now;
        let Some(machine) = &mut self.hosts[at].machine else { return };
        machine.handle_input(now, input);
        self.drain(at);
        if let Some(machine) = &mut self.hosts[at].machine {
            pinhole_sansio::conformance::spurious_timeout_does_nothing(machine, now);
        }
    }

    fn drain(&mut self, at: usize) {
        while let Some(output) = self.hosts[at].machine.as_mut().and_then(Spray::poll_output) {
            match output {
                Output::Open { sockets } => {
                    let port = |_| 32_768 + self.rng.below(28_000) as u16;
                    self.hosts[at].extras = (0..sockets).map(port).collect();
                    self.tell(at, Input::Opened { sockets });
                }
                Output::Transmit { via, to, ttl, bytes } => self.leave(at, via, to, ttl.unwrap_or(64), &bytes),
                Output::HandOver { via, remote } => {
                    let Via::Extra(number) = via else { panic!("WireGuard's own port needs no hand-over") };
                    let port = self.hosts[at].extras[usize::from(number)];
                    self.hosts[at].installing = Some((self.now + HAND_OVER, port, remote));
                }
                Output::Direct { via, remote } => {
                    assert!(self.hosts[at].direct.is_none(), "it is said once");
                    self.hosts[at].direct = Some((self.now, via, remote));
                }
                Output::GaveUp(reason) => self.hosts[at].reason = Some(reason),
            }
        }
    }

    fn leave(&mut self, at: usize, via: Via, to: SocketAddr, ttl: u8, bytes: &[u8]) {
        let SocketAddr::V4(remote) = to else { panic!("this world has IPv4 only") };
        let host = &self.hosts[at];
        let port = match via {
            Via::Own => host.rewrite.filter(|(_, peer)| *peer == to).map_or(OWN, |(port, _)| port),
            Via::Extra(number) => host.extras[usize::from(number)],
        };
        let packet = datagram(SocketAddrV4::new(INSIDE, port), remote, ttl, bytes);
        let (now, link) = (self.now, self.hosts[at].link);
        let packet = self.hosts[at].nat.out(now, packet);
        let seen = packet.as_deref().and_then(|packet| Flow::of(packet).ok()).map(|flow| flow.src.port());
        self.sent.push(Sent { at: now, host: at, seen, to, bytes: bytes.to_vec() });
        if let Some(packet) = packet {
            self.core.handle_input(now, pinhole_lab::Input::Packet(link, packet));
            self.deliver();
        }
    }

    /// Somebody sends something to a host's NAT, as if it came from anywhere.
    pub fn forge(&mut self, from: SocketAddrV4, host: usize, port: u16, bytes: &[u8]) {
        let to = SocketAddrV4::new(self.hosts[host].public, port);
        self.arrive(host, datagram(from, to, 64, bytes));
    }

    /// The ports of a host's NAT towards its peer, as an eavesdropper knows them.
    pub fn ports(&self, host: usize) -> Vec<u16> {
        self.sent.iter().filter(|sent| sent.host == host).filter_map(|sent| sent.seen).collect()
    }

    fn deliver(&mut self) {
        while let Some(output) = self.core.poll_output() {
            match output {
                pinhole_lab::Output::Packet(link, packet) => self.arrive(link.index(), packet),
                pinhole_lab::Output::Seen(_) => {}
            }
        }
    }

    fn arrive(&mut self, at: usize, packet: Vec<u8>) {
        let Some(packet) = self.hosts[at].nat.back(self.now, packet) else { return };
        let Some((flow, payload)) = read(&packet) else { return };
        let host = &mut self.hosts[at];
        let port = flow.dst.port();
        let via = match host.extras.iter().position(|extra| *extra == port) {
            _ if port == OWN || host.rewrite == Some((port, flow.src)) => Via::Own,
            Some(number) => Via::Extra(number as u16),
            None => return,
        };
        if payload == WIREGUARD {
            host.heard = (via == Via::Own).then_some(flow.src);
            return;
        }
        let input = Input::Received { via, from: flow.src, bytes: payload.to_vec() };
        self.tell(at, input);
    }

    /// Whether WireGuard's packets go both ways: the prober knocks where it was told, the opener answers where it hears it.
    fn speak(&mut self) -> bool {
        for host in &mut self.hosts {
            // As a kernel's link would: three knocks are enough with any loss that is tested.
            host.heard = None;
        }
        for (speaker, listener) in [(0, 1), (1, 0)] {
            let to = match (speaker, self.hosts[speaker].heard, self.hosts[speaker].direct) {
                (0, _, Some((_, _, remote))) | (_, Some(remote), _) => remote,
                (_, _, _) => return false,
            };
            for _ in 0..8 {
                self.leave(speaker, Via::Own, to, 64, &WIREGUARD);
            }
            let until = self.now + Duration::from_secs(1);
            while self.hosts[listener].heard.is_none() && self.now < until {
                self.now = self.next().max(self.now).min(until);
                self.step();
            }
        }
        self.hosts.iter().all(|host| host.heard.is_some())
    }
}

impl Translator {
    fn new(kind: Kind, public: Ipv4Addr, seed: u64) -> Self {
        let rules = match kind {
            Kind::Behaviour(behaviour) => {
                let inside = Ipv4Addr::new(192, 168, 1, 1);
                return Self::Behaviour(Box::new(Nat::new(behaviour, [public], inside, seed)));
            }
            Kind::LinuxFullyRandom => {
                "*filter\n:INPUT ACCEPT\n-A INPUT -i wan -j DROP\nCOMMIT\n\
                 *nat\n:POSTROUTING ACCEPT\n-A POSTROUTING -o wan -j MASQUERADE --random-fully\nCOMMIT\n"
            }
            Kind::LinuxOpen => "*nat\n:POSTROUTING ACCEPT\n-A POSTROUTING -o wan -j MASQUERADE\nCOMMIT\n",
        };
        let mut router = Box::new(Router::new(Conntrack::default(), seed));
        let lan = router.add_interface(Interface::new("lan", ["192.168.1.1/24".parse().expect("a network")]));
        let wan = router.add_interface(Interface::new("wan", [format!("{public}/24").parse().expect("a network")]));
        router.add_route("0.0.0.0/0".parse().expect("a network"), wan);
        router.set_rules_v4(Ruleset::parse(rules).expect("rules"));
        Self::Linux { router, lan, wan }
    }

    /// A packet from inside, as it leaves.
    fn out(&mut self, now: Instant, packet: Vec<u8>) -> Option<Vec<u8>> {
        self.process(now, Side::Inside, packet)
    }

    /// A packet from outside, as it comes in.
    fn back(&mut self, now: Instant, packet: Vec<u8>) -> Option<Vec<u8>> {
        self.process(now, Side::Outside, packet)
    }

    fn process(&mut self, now: Instant, side: Side, mut packet: Vec<u8>) -> Option<Vec<u8>> {
        match self {
            Self::Behaviour(nat) => {
                (nat.process(now, side, &mut packet) == Verdict::Forward(other(side))).then_some(packet)
            }
            Self::Linux { router, lan, wan } => {
                let (from, to) = if side == Side::Inside { (*lan, *wan) } else { (*wan, *lan) };
                let mut packet = Packet::from(packet);
                let forwarded = router.process(now, from, &mut packet) == pinhole_netfilter::Verdict::Forward(to);
                while router.poll_transmit().is_some() {}
                forwarded.then_some(packet.bytes)
            }
        }
    }
}

fn other(side: Side) -> Side {
    match side {
        Side::Inside => Side::Outside,
        Side::Outside => Side::Inside,
    }
}

fn datagram(from: SocketAddrV4, to: SocketAddrV4, ttl: u8, bytes: &[u8]) -> Vec<u8> {
    let mut packet = vec![0; 28 + bytes.len()];
    build::udp(from.into(), to.into(), ttl, bytes, &mut packet).expect("IPv4 that fits");
    packet
}

/// A UDP packet; ICMP errors are nobody's business here.
fn read(packet: &[u8]) -> Option<(Flow, &[u8])> {
    let flow = Flow::of(packet).ok().filter(|flow| flow.protocol == Protocol::Udp)?;
    let upper = ip::Packet::new_checked(packet).ok()?.upper().ok()?;
    let len = udp::Packet::new_checked(&packet[upper.offset..upper.end]).ok()?.payload().len();
    Some((flow, &packet[upper.end - len..upper.end]))
}

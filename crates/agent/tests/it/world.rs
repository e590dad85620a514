//! A public registry and two homes behind NATs, joined by links with delay and loss, driven event by event.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use pinhole_agent::endpoint::{self, Agent, Config};
use pinhole_agent::event::Event;
use pinhole_agent::registry::{self, Query, Registry, ZoneConfig};
use pinhole_dns::answers::Transport;
use pinhole_dns::client;
use pinhole_sansio::{Duration, Instant, Machine, Rng};
use pinhole_wg::Key;

use crate::nat::Nat;
use crate::wgsd::{self, Dialect};
use crate::wireguard::{Inner, Message, Sent, WALL, WireGuard};

/// A home's link has this delay one way; the registry sits where the links meet.
const LINK: Duration = Duration::from_millis(20);
/// Packets with a TTL below this do not reach the other home.
const FAR: u8 = 8;
/// The user's packets leave this often.
const USER_EVERY: Duration = Duration::from_millis(5);
/// When copies of handshake messages leave, after the message (`tunnel`, copies.rs).
const COPIES_AFTER: [Duration; 2] = [Duration::from_millis(15), Duration::from_millis(45)];
const WIREGUARD_PORT: u16 = 51_820;

pub const REGISTRY: usize = 0;
pub const ALICE: usize = 1;
pub const BOB: usize = 2;

#[derive(Clone)]
pub struct Settings {
    pub seed: u64,
    pub loss: f64,
    pub accepts_input: bool,
    /// The devices send copies of handshake messages, as the embedded one does.
    pub copies: bool,
    /// A server other than our registry.
    pub wgsd: Option<Dialect>,
    /// The homes do not know each other's keys, and add peers that the zone announces.
    pub strangers: bool,
    /// When each home's agent starts.
    pub starts: [Duration; 2],
}

pub struct World {
    pub now: Instant,
    settings: Settings,
    rng: Rng,
    queue: BTreeMap<(Instant, u64), Happening>,
    sequence: u64,
    pub hosts: Vec<Host>,
    registry: Registry,
    /// Who asked a question that is not answered yet.
    askers: BTreeMap<u64, SocketAddr>,
    next_query: u64,
    pub registry_is_up: bool,
    /// Every packet between the homes that arrived: (when, from, to, message).
    pub user_packets: Vec<(Instant, usize, u64)>,
    pub events: Vec<(Instant, usize, Event)>,
}

pub struct Host {
    pub wireguard: WireGuard,
    pub nat: Option<Nat>,
    pub agent: Option<Agent>,
    tunnel: IpAddr,
}

enum Happening {
    /// A packet reaches the network side of a host.
    Arrival {
        from: usize,
        source: SocketAddr,
        to: SocketAddr,
        message: Message,
    },
    /// A copy of a handshake message leaves a host.
    Copy {
        from: usize,
        to: SocketAddr,
        message: Message,
    },
    StartAgent(usize),
    Wake,
    User(u64),
}

/// A Binding success response with XOR-MAPPED-ADDRESS (RFC 8489 §14.2).
fn stun_answer(request: &[u8], source: SocketAddr) -> Vec<u8> {
    const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
    let IpAddr::V4(ip) = source.ip() else { unreachable!("this world has IPv4 only") };
    let [p0, p1] = source.port().to_be_bytes();
    let mut answer = vec![0x01, 0x01, 0, 12];
    answer.extend(&request[4..20]);
    answer.extend([0, 0x20, 0, 8, 0, 1, p0 ^ COOKIE[0], p1 ^ COOKIE[1]]);
    answer.extend(ip.octets().iter().zip(COOKIE).map(|(octet, key)| octet ^ key));
    answer
}

fn key(host: usize) -> Key {
    Key::from_bytes([host as u8 + 1; 32])
}

impl World {
    pub fn new(settings: Settings) -> Self {
        let mut rng = Rng::from_seed(settings.seed);
        let outside = |host: usize| IpAddr::from([203, 0, 113, host as u8]);
        let tunnel = |host: usize| IpAddr::from([10, 0, 0, if host == REGISTRY { 254 } else { host as u8 }]);
        let mut hosts: Vec<Host> = (0..3)
            .map(|host| Host {
                wireguard: WireGuard::new(key(host), host as u64 + 1),
                nat: (host != REGISTRY).then(|| Nat::new(outside(host), settings.accepts_input)),
                agent: None,
                tunnel: tunnel(host),
            })
            .collect();
        let server = SocketAddr::new(outside(REGISTRY), WIREGUARD_PORT);
        for home in [ALICE, BOB] {
            hosts[REGISTRY].wireguard.add(key(home), None, &format!("10.0.0.{home}/32"), 0);
            hosts[home].wireguard.add(key(REGISTRY), Some(server), "10.0.0.254/32", 25);
            if !settings.strangers {
                hosts[home].wireguard.add(key(3 - home), None, &format!("10.0.0.{}/32", 3 - home), 0);
            }
        }
        let zone = ZoneConfig {
            origin: "example.com.".parse().expect("a name"),
            device: "wg0".to_owned(),
            itself: None,
            name_servers: Vec::new(),
            addresses: Vec::new(),
        };
        let config = registry::Config { zones: vec![zone], listen: vec![tunnel(REGISTRY)], relay: None };
        let mut world = Self {
            now: Instant::EPOCH,
            queue: BTreeMap::new(),
            sequence: 0,
            registry: Registry::new(Instant::EPOCH, config),
            askers: BTreeMap::new(),
            next_query: 0,
            registry_is_up: true,
            user_packets: Vec::new(),
            events: Vec::new(),
            hosts,
            rng: rng.fork(),
            settings,
        };
        for home in [ALICE, BOB] {
            world.at(Instant::EPOCH + world.settings.starts[home - 1], Happening::StartAgent(home));
        }
        world.at(Instant::EPOCH, Happening::User(0));
        world.at(Instant::EPOCH, Happening::Wake);
        world
    }

    /// Runs until `until` or until `done` says so; true if it did.
    pub fn run(&mut self, until: Instant, mut done: impl FnMut(&Self) -> bool) -> bool {
        while let Some(entry) = self.queue.first_entry() {
            if entry.key().0 > until {
                break;
            }
            let ((now, _), happening) = entry.remove_entry();
            self.now = now;
            self.happen(happening);
            if done(self) {
                return true;
            }
        }
        self.now = until;
        false
    }

    /// Starts an agent anew, as after a crash.
    pub fn start_agent(&mut self, home: usize) {
        let config = Config {
            device: "wg0".to_owned(),
            zone: "example.com.".parse().expect("a name"),
            server: SocketAddr::new(self.hosts[REGISTRY].tunnel, 53),
            accept: if self.settings.strangers { vec!["10.0.0.0/24".parse().expect("a prefix")] } else { Vec::new() },
            keepalive: 25,
            can_open: true,
            stun: Vec::new(),
            owned: Vec::new(),
            seed: self.rng.next_u64(),
        };
        self.hosts[home].agent = Some(Agent::new(self.now, config));
        self.drive();
    }

    /// Stops an agent cleanly.
    pub fn stop_agent(&mut self, home: usize) {
        if let Some(agent) = &mut self.hosts[home].agent {
            agent.handle_input(self.now, endpoint::Input::Stop);
        }
        self.drive();
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::StartAgent(home) => self.start_agent(home),
            Happening::Arrival { from, source, to, message } => self.arrive(from, source, to, message),
            Happening::Copy { from, to, message } => self.send_one(from, to, message, 64),
            Happening::User(number) => {
                let sent = self.hosts[ALICE].wireguard.send(self.now, key(BOB), Inner::User(number));
                self.transmit(ALICE, sent);
                self.at(self.now + USER_EVERY, Happening::User(number + 1));
            }
            Happening::Wake => {
                for host in 0..self.hosts.len() {
                    let sent = self.hosts[host].wireguard.tick(self.now);
                    self.transmit(host, sent);
                }
                self.at(self.now + Duration::from_millis(1), Happening::Wake);
            }
        }
        self.drive();
    }

    fn arrive(&mut self, from: usize, source: SocketAddr, to: SocketAddr, message: Message) {
        let outside = |host: &Host| host.nat.as_ref().map_or(IpAddr::from([203, 0, 113, 0]), |nat| nat.outside);
        let Some(host) = self.hosts.iter().position(|host| outside(host) == to.ip()) else { return };
        if let Some(nat) = &mut self.hosts[host].nat
            && !nat.admits(source, to.port())
        {
            return;
        }
        if let Message::Stun(bytes) = message {
            return self.stun_arrives(host, source, to, bytes);
        }
        let (sent, inner) = self.hosts[host].wireguard.receive(self.now, key(from), source, message);
        self.transmit(host, sent);
        match inner {
            Some(Inner::Dns(bytes)) => self.dns_arrives(host, from, bytes),
            Some(Inner::Echo) => {
                let sent = self.hosts[host].wireguard.send(self.now, key(from), Inner::EchoReply);
                self.transmit(host, sent);
            }
            Some(Inner::User(number)) => self.user_packets.push((self.now, host, number)),
            Some(Inner::Keepalive | Inner::EchoReply) | None => {}
        }
    }

    /// The registry's host tells where a request came from; a home's agent hears what the WireGuard port gets.
    fn stun_arrives(&mut self, host: usize, source: SocketAddr, to: SocketAddr, bytes: Vec<u8>) {
        if host == REGISTRY {
            if !self.rng.chance(self.settings.loss) {
                let message = Message::Stun(stun_answer(&bytes, source));
                self.at(self.now + LINK, Happening::Arrival { from: REGISTRY, source: to, to: source, message });
            }
        } else if let Some(agent) = &mut self.hosts[host].agent {
            agent.handle_input(self.now, endpoint::Input::Received { from: source, bytes });
        }
    }

    fn dns_arrives(&mut self, host: usize, from: usize, bytes: Vec<u8>) {
        if host != REGISTRY {
            let server = SocketAddr::new(self.hosts[REGISTRY].tunnel, 53);
            if let Some(agent) = &mut self.hosts[host].agent {
                agent.handle_input(self.now, endpoint::Input::Dns(client::Input::Datagram { server, bytes }));
            }
            return;
        }
        if !self.registry_is_up {
            return;
        }
        if let Some(dialect) = self.settings.wgsd {
            let device = self.hosts[REGISTRY].wireguard.device();
            if let Some(answer) = wgsd::answer(dialect, &device, &bytes) {
                let sent = self.hosts[REGISTRY].wireguard.send(self.now, key(from), Inner::Dns(answer));
                self.transmit(REGISTRY, sent);
            }
            return;
        }
        self.next_query += 1;
        let source = SocketAddr::new(self.hosts[from].tunnel, 40_000);
        self.askers.insert(self.next_query, source);
        let local = self.hosts[REGISTRY].tunnel;
        let query = Query {
            id: self.next_query,
            source,
            local,
            transport: Transport::Udp,
            verified: true,
            bytes,
            cookie: None,
        };
        self.registry.handle_input(self.now, registry::Input::Query(query));
    }

    /// Lets every machine do what is due, until all are at rest.
    fn drive(&mut self) {
        loop {
            let mut rested = true;
            for home in [ALICE, BOB] {
                let Some(mut agent) = self.hosts[home].agent.take() else { continue };
                if agent.poll_timeout().is_some_and(|deadline| deadline.at <= self.now) {
                    agent.handle_input(self.now, endpoint::Input::Timeout);
                }
                while let Some(output) = agent.poll_output() {
                    rested = false;
                    self.agent_wants(home, &mut agent, output);
                }
                self.hosts[home].agent = Some(agent);
            }
            if self.registry.poll_timeout().is_some_and(|deadline| deadline.at <= self.now) {
                self.registry.handle_input(self.now, registry::Input::Timeout);
            }
            while let Some(output) = self.registry.poll_output() {
                rested = false;
                self.registry_wants(output);
            }
            if rested {
                return;
            }
        }
    }

    fn agent_wants(&mut self, home: usize, agent: &mut Agent, output: endpoint::Output) {
        let wall = WALL + self.now.since(Instant::EPOCH);
        match output {
            endpoint::Output::ReadDevice => {
                let device = self.hosts[home].wireguard.device();
                agent.handle_input(self.now, endpoint::Input::Device { device, wall });
            }
            endpoint::Output::Apply(update) => {
                let sent = self.hosts[home].wireguard.apply(self.now, &update);
                self.transmit(home, sent);
            }
            endpoint::Output::Ask { bytes, .. } => {
                let sent = self.hosts[home].wireguard.send(self.now, key(REGISTRY), Inner::Dns(bytes));
                self.transmit(home, sent);
            }
            endpoint::Output::Open { to, ttl, .. } => self.send_one(home, to, Message::Opener, ttl),
            endpoint::Output::Probe { to } => {
                if let Some(peer) = self.hosts.iter().position(|host| host.tunnel == to) {
                    let sent = self.hosts[home].wireguard.send(self.now, key(peer), Inner::Echo);
                    self.transmit(home, sent);
                }
            }
            endpoint::Output::Event(event) => self.events.push((self.now, home, event)),
            endpoint::Output::Send { to, ttl, bytes, .. } => {
                self.send_one(home, to, Message::Stun(bytes), ttl.unwrap_or(64));
            }
            // Nobody in this world has to be looked for.
            endpoint::Output::OpenSockets { .. }
            | endpoint::Output::SendBy { .. }
            | endpoint::Output::HandOver { .. }
            | endpoint::Output::TakeBack { .. }
            | endpoint::Output::CloseSockets { .. }
            | endpoint::Output::AskByTcp { .. }
            | endpoint::Output::Asked(_)
            | endpoint::Output::Remember(_)
            | endpoint::Output::Stopped => {}
        }
    }

    fn registry_wants(&mut self, output: registry::Output) {
        match output {
            registry::Output::ReadDevice(name) => {
                let device = Ok(self.hosts[REGISTRY].wireguard.device());
                let wall = WALL + self.now.since(Instant::EPOCH);
                self.registry.handle_input(self.now, registry::Input::Device { name, device, wall });
            }
            registry::Output::Reply { id, bytes } => {
                let Some(asker) = self.askers.get(&id) else { return };
                let Some(home) = self.hosts.iter().position(|host| host.tunnel == asker.ip()) else { return };
                let sent = self.hosts[REGISTRY].wireguard.send(self.now, key(home), Inner::Dns(bytes));
                self.transmit(REGISTRY, sent);
            }
            registry::Output::Forget(id) => {
                self.askers.remove(&id);
            }
            registry::Output::Event(event) => self.events.push((self.now, REGISTRY, event)),
            registry::Output::Publish { .. } | registry::Output::OpenLane(_) => {}
        }
    }

    fn transmit(&mut self, host: usize, sent: Vec<Sent>) {
        for (to, message) in sent {
            if self.settings.copies && matches!(message, Message::Initiation(_) | Message::Response(_)) {
                for after in COPIES_AFTER {
                    self.at(self.now + after, Happening::Copy { from: host, to, message: message.clone() });
                }
            }
            self.send_one(host, to, message, 64);
        }
    }

    /// Through the sender's NAT, its link and the receiver's link.
    fn send_one(&mut self, from: usize, to: SocketAddr, message: Message, ttl: u8) {
        let source = match &mut self.hosts[from].nat {
            Some(nat) => nat.outbound(WIREGUARD_PORT, to),
            None => SocketAddr::new(IpAddr::from([203, 0, 113, 0]), WIREGUARD_PORT),
        };
        let to_registry = to.ip() == IpAddr::from([203, 0, 113, 0]);
        let links = u32::from(from != REGISTRY) + u32::from(!to_registry);
        let lost = (0..links).any(|_| self.rng.chance(self.settings.loss));
        if lost || ttl < FAR && !to_registry {
            return;
        }
        self.at(self.now + LINK * links, Happening::Arrival { from, source, to, message });
    }

    fn at(&mut self, at: Instant, happening: Happening) {
        self.sequence += 1;
        self.queue.insert((at, self.sequence), happening);
    }

    /// Tells an agent that the network has changed.
    pub fn network_changed(&mut self, home: usize) {
        if let Some(agent) = &mut self.hosts[home].agent {
            agent.handle_input(self.now, endpoint::Input::NetworkChanged);
        }
        self.drive();
    }

    /// When the first of the user's packets got through, since the later of the two starts.
    pub fn first_user_packet(&self) -> Option<Duration> {
        let start = Instant::EPOCH + self.settings.starts[0].max(self.settings.starts[1]);
        self.user_packets.first().map(|(at, _, _)| at.since(start))
    }
}

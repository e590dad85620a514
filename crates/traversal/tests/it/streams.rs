//! Discovery by TCP, in virtual time: connections of a host through NATs to a server that calls back.
//!
//! TCP is as little as a NAT can see of it: handshakes, in order, from one side or both, and whole messages in single segments.
//! A lost segment comes later, as it is sent again; one that a NAT drops never comes.

use std::collections::{BTreeMap, BinaryHeap};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use core::cmp::Reverse;

use pinhole_netfilter::behaviour::{
    Allocation as Gives, Behaviour, Dependence as Depends, Hairpin as Turns, Nat, Pairing, Side, Timers,
    Verdict as Fate,
};
use pinhole_sansio::{Duration, Instant, Machine, Rng};
use pinhole_stun::client::{SocketId, Transport};
use pinhole_stun::server::limit::RateLimit;
use pinhole_stun::server::{CallPolicy, Clock, Config, Layout, Local, Reaction, Second, Server};
use pinhole_traversal::discovery::{
    Confidence, Dependence, Discovery, Hairpin, Input, Lifetime, Note, Output, Report, Settings, Translation, Verdict,
};
use pinhole_wire::build::{self, Segment};
use pinhole_wire::tcp::{self, Flags};
use pinhole_wire::{Flow, ip};

use crate::discovery::{LOSS, SEEDS, Tally, is_allocation, nine, ours};
use crate::world::INSIDE;

/// One way between the outermost NAT and the server.
const WAY: Duration = Duration::from_millis(25);
/// After so long a lost SYN, and a lost segment, is sent again.
const SYN_AGAIN: Duration = Duration::from_secs(1);
const AGAIN: Duration = Duration::from_millis(220);
/// A connection that has not come about by then is given up.
const PATIENCE: Duration = Duration::from_secs(3);

/// The host, its NATs, and the server.
struct World {
    now: Instant,
    rng: Rng,
    loss: f64,
    nats: Vec<Nat<Ipv4Addr>>,
    server: Server,
    layout: Layout,
    /// What happens next: a moment, and a number that keeps the order.
    coming: BinaryHeap<Reverse<(Instant, u64, Coming)>>,
    number: u64,
    sockets: BTreeMap<SocketId, u16>,
    /// The host's own connections, by port and remote endpoint.
    connections: BTreeMap<(u16, SocketAddr), Connection>,
    /// The next port that the server calls from.
    caller: u16,
}

struct Connection {
    /// The handshake is over.
    is_open: bool,
    /// Nobody waits for what comes of it.
    is_knock: bool,
    /// What is to be said once it is open.
    waiting: Vec<Vec<u8>>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Coming {
    ToServer(Vec<u8>),
    /// To the outermost NAT's outside, or to the host behind it.
    ToHost(Vec<u8>),
    GiveUp(u16, SocketAddr),
}

impl World {
    fn new(behaviours: &[Behaviour], loss: f64, seed: u64) -> Self {
        let mut rng = Rng::from_seed(seed);
        let nat = |(at, behaviour): (usize, &Behaviour)| {
            let is_last = at + 1 == behaviours.len();
            let external = if is_last { Ipv4Addr::new(198, 51, 100, 1) } else { Ipv4Addr::new(100, 64, 0, 1) };
            Nat::new(*behaviour, [external], Ipv4Addr::new(192, 168, 1, 1), rng.next_u64())
        };
        let nats = behaviours.iter().enumerate().map(nat).collect();
        let (first, second) = (Ipv4Addr::new(203, 0, 113, 1), Ipv4Addr::new(203, 0, 113, 2));
        let layout =
            Layout { ip: first.into(), port: 3_478, second_port: Some(3_479), second: Second::Here(second.into()) };
        let config = Config { calls: CallPolicy::Proven(RateLimit::CALLS), ..Config::new(layout) };
        let server = Server::new(config, [7; 32], rng.next_u64(), Clock { at: Instant::EPOCH, unix_ms: 0 });
        Self {
            now: Instant::EPOCH,
            loss,
            nats,
            server,
            layout,
            coming: BinaryHeap::new(),
            number: 0,
            sockets: BTreeMap::new(),
            connections: BTreeMap::new(),
            caller: 50_000,
            rng,
        }
    }

    fn discover(&mut self, lifetime: Option<Duration>) -> Report {
        let settings = Settings {
            transport: Transport::Stream,
            servers: vec![self.layout.address(Local::FIRST)],
            port: None,
            lifetime,
            seed: self.rng.next_u64(),
        };
        let mut machine = Discovery::new(self.now, settings);
        loop {
            while let Some(output) = machine.poll_output() {
                if let Some(report) = self.act(&mut machine, output) {
                    return report;
                }
            }
            pinhole_sansio::conformance::spurious_timeout_does_nothing(&mut machine, self.now);
            let arrival = self.coming.peek().map(|Reverse((at, ..))| *at);
            let deadline = machine.poll_timeout().map(|deadline| deadline.at);
            let next = [arrival, deadline].into_iter().flatten().min().expect("it waits for something");
            self.now = self.now.max(next);
            if arrival.is_some_and(|at| at <= self.now) {
                self.arrive(&mut machine);
            } else {
                machine.handle_input(self.now, Input::Timeout);
            }
        }
    }

    fn act(&mut self, machine: &mut Discovery, output: Output) -> Option<Report> {
        match output {
            Output::Bind { socket, port, toward: _ } => {
                let any = 32_768 + self.rng.below(28_000) as u16;
                let port = port.unwrap_or(any);
                let input = match self.sockets.values().any(|own| *own == port) {
                    true => Input::Unbound { socket },
                    false => Input::Bound { socket, local: SocketAddr::new(INSIDE.into(), port) },
                };
                self.sockets.insert(socket, port);
                machine.handle_input(self.now, input);
            }
            Output::Stream { socket, to, bytes } => {
                let port = self.sockets[&socket];
                match self.connections.get_mut(&(port, to)) {
                    Some(open) if open.is_open => self.say((port, to), Flags::PSH | Flags::ACK, &bytes),
                    Some(opening) => opening.waiting.push(bytes),
                    None => self.connect(port, to, Some(bytes)),
                }
            }
            Output::Knock { socket, to, .. } => self.connect(self.sockets[&socket], to, None),
            Output::Close { socket } => {
                let port = self.sockets.remove(&socket);
                let gone: Vec<_> = self.connections.keys().filter(|(own, _)| Some(*own) == port).copied().collect();
                for key in gone {
                    self.say(key, Flags::RST, &[]);
                    self.connections.remove(&key);
                }
            }
            Output::Send { .. } => panic!("a discovery by TCP sends no datagrams"),
            Output::Progress(_) => {}
            Output::Done(report) => return Some(*report),
        }
        None
    }

    fn connect(&mut self, port: u16, to: SocketAddr, first: Option<Vec<u8>>) {
        let connection = Connection { is_open: false, is_knock: first.is_none(), waiting: first.into_iter().collect() };
        if !connection.is_knock {
            self.after(PATIENCE, Coming::GiveUp(port, to));
        }
        self.connections.insert((port, to), connection);
        self.say((port, to), Flags::SYN, &[]);
    }

    /// Sends a segment of one of the host's connections.
    fn say(&mut self, (port, to): (u16, SocketAddr), flags: Flags, bytes: &[u8]) {
        let packet = segment(SocketAddr::new(INSIDE.into(), port), to, flags, bytes);
        self.carry(0, Side::Inside, packet);
    }

    fn carry(&mut self, at: usize, side: Side, mut packet: Vec<u8>) {
        let last = self.nats.len() - 1;
        match self.nats[at].process(self.now, side, &mut packet) {
            Fate::Forward(Side::Outside) if at == last => self.travel(WAY, Coming::ToServer(packet)),
            Fate::Forward(Side::Outside) => self.carry(at + 1, Side::Inside, packet),
            Fate::Forward(Side::Inside) if at == 0 => {
                self.travel(Duration::from_millis(1), Coming::ToHost(packet));
            }
            Fate::Forward(Side::Inside) => self.carry(at - 1, Side::Outside, packet),
            Fate::Answer(_) | Fate::Kept | Fate::Drop(_) => {}
        }
    }

    /// A way on which segments get lost, and are sent again.
    fn travel(&mut self, way: Duration, coming: Coming) {
        let again = match &coming {
            Coming::ToServer(packet) | Coming::ToHost(packet) if read(packet).1.contains(Flags::SYN) => SYN_AGAIN,
            Coming::ToServer(_) | Coming::ToHost(_) | Coming::GiveUp(..) => AGAIN,
        };
        let late = if self.rng.chance(self.loss) { again } else { Duration::ZERO };
        self.after(way + late, coming);
    }

    fn after(&mut self, time: Duration, coming: Coming) {
        self.number += 1;
        self.coming.push(Reverse((self.now + time, self.number, coming)));
    }

    fn arrive(&mut self, machine: &mut Discovery) {
        let Some(Reverse((_, _, coming))) = self.coming.pop() else { return };
        match coming {
            Coming::ToServer(packet) => self.serve(&packet),
            Coming::ToHost(packet) => self.receive(machine, packet),
            Coming::GiveUp(port, to) => {
                let failed = self.connections.get(&(port, to)).is_some_and(|connection| !connection.is_open);
                if let Some(socket) = self.socket(port).filter(|_| failed) {
                    self.connections.remove(&(port, to));
                    machine.handle_input(self.now, Input::Closed { socket, server: to });
                }
            }
        }
    }

    fn serve(&mut self, packet: &[u8]) {
        let (flow, flags, payload) = read(packet);
        let local = Local::ALL.into_iter().find(|local| self.layout.address(*local) == flow.dst);
        let mut answer = |flags| self.after(WAY, Coming::ToHost(segment(flow.dst, flow.src, flags, &[])));
        if flags == Flags::SYN {
            if local.is_some() {
                answer(Flags::SYN | Flags::ACK);
            }
            return;
        }
        // A call that came about.
        if flags == Flags::SYN | Flags::ACK {
            return answer(Flags::ACK);
        }
        let (Some(local), false) = (local, payload.is_empty()) else { return };
        let mut out = [0; 1_500];
        let reaction = self.server.message(self.now, local, flow.src, payload, &mut out);
        let Reaction::Send { len, call, .. } = reaction else { return };
        self.travel(WAY, Coming::ToHost(segment(flow.dst, flow.src, Flags::PSH | Flags::ACK, &out[..len])));
        if let Some(call) = call {
            self.caller += 1;
            let from = SocketAddr::new(self.layout.address(call.from).ip(), self.caller);
            let to = SocketAddr::new(flow.src.ip(), call.request.port);
            self.travel(WAY, Coming::ToHost(segment(from, to, Flags::SYN, &[])));
        }
    }

    fn receive(&mut self, machine: &mut Discovery, packet: Vec<u8>) {
        let (flow, flags, payload) = read(&packet);
        if flow.dst.ip() != IpAddr::from(INSIDE) {
            return self.carry(self.nats.len() - 1, Side::Outside, packet);
        }
        let (port, from) = (flow.dst.port(), flow.src);
        let Some(socket) = self.socket(port) else { return };
        let own = self.connections.get_mut(&(port, from));
        let input = match own {
            // Two knocks that cross are one connection.
            Some(_) if flags == Flags::SYN => return self.say((port, from), Flags::SYN | Flags::ACK, &[]),
            Some(connection) if flags == Flags::SYN | Flags::ACK && !connection.is_open => {
                connection.is_open = true;
                let (is_knock, waiting) = (connection.is_knock, core::mem::take(&mut connection.waiting));
                self.say((port, from), Flags::ACK, &[]);
                for bytes in waiting {
                    self.say((port, from), Flags::PSH | Flags::ACK, &bytes);
                }
                if !is_knock {
                    return;
                }
                Input::Accepted { socket, from }
            }
            Some(_) if !payload.is_empty() => Input::Message { socket, server: from, bytes: payload.to_vec() },
            Some(_) => return,
            None if flags == Flags::SYN => return self.say((port, from), Flags::SYN | Flags::ACK, &[]),
            // The third of three: somebody has connected.
            None if flags == Flags::ACK => Input::Accepted { socket, from },
            None => return,
        };
        machine.handle_input(self.now, input);
    }

    fn socket(&self, port: u16) -> Option<SocketId> {
        self.sockets.iter().find(|(_, own)| **own == port).map(|(socket, _)| *socket)
    }
}

fn segment(from: SocketAddr, to: SocketAddr, flags: Flags, bytes: &[u8]) -> Vec<u8> {
    let mut packet = vec![0; 40 + bytes.len()];
    let header = Segment { flags, seq: 0, ack: 0, window: 64_240 };
    build::tcp(from, to, 64, header, bytes, &mut packet).expect("IPv4 that fits");
    packet
}

fn read(packet: &[u8]) -> (Flow, Flags, &[u8]) {
    let flow = Flow::of(packet).expect("a packet of ours");
    let upper = ip::Packet::new_checked(packet).and_then(|packet| packet.upper()).expect("a header");
    let segment = tcp::Packet::new_checked(&packet[upper.offset..upper.end]).expect("a segment");
    let (flags, len) = (segment.flags(), segment.payload().len());
    (flow, flags, &packet[upper.end - len..upper.end])
}

/// The same behaviour by TCP as by UDP.
fn by_tcp(behaviour: Behaviour) -> Behaviour {
    Behaviour { tcp: behaviour.udp, ..behaviour }
}

#[test]
fn each_of_the_nine_behaviours_with_each_allocation_is_recognised_by_tcp() {
    let allocations = [
        Gives::Preserving,
        Gives::Random,
        Gives::Sequential { step: 1 },
        Gives::Blocks { size: 512, most: 4 },
        Gives::Deterministic { size: 1_024, bits: 6 },
    ];
    let mut tally = Tally::default();
    for behaviour in allocations.into_iter().flat_map(nine).map(by_tcp) {
        for seed in 0..SEEDS {
            let report = World::new(&[behaviour], LOSS, seed).discover(None);
            let case = format!("{:?} {:?} seed {seed}", behaviour.tcp, behaviour.allocation);
            let Pairing { mapping, filtering } = behaviour.tcp;
            tally.check("translation", &case, &report.translation, |found| *found == Translation::Translated);
            tally.check("mapping", &case, &report.mapping, |found| *found == ours(mapping));
            tally.check("filtering", &case, &report.filtering, |found| *found == ours(filtering));
            tally.check("allocation", &case, &report.allocation, |found| is_allocation(found, behaviour.allocation));
        }
    }
    tally.assert();
}

#[test]
fn hairpinning_by_tcp_is_seen_with_its_source_by_knocks_that_cross_too() {
    for (hairpin, expected) in [(Turns::ExternalSource, Hairpin::ExternalSource), (Turns::None, Hairpin::None)] {
        let mut tally = Tally::default();
        for filtering in Depends::ALL {
            let udp = Pairing::new(Depends::EndpointIndependent, filtering);
            let behaviour = by_tcp(Behaviour { udp, hairpin, ..Behaviour::rfc4787() });
            for seed in 0..SEEDS {
                let report = World::new(&[behaviour], LOSS, seed).discover(None);
                let case = format!("{hairpin:?} {filtering:?} seed {seed}");
                tally.check("hairpin", &case, &report.hairpin, |found| *found == expected);
            }
        }
        tally.assert();
    }
}

#[test]
fn a_carriers_nat_behind_the_homes_shows_by_tcp_what_both_do_together() {
    let nat = |mapping, filtering| by_tcp(Behaviour { udp: Pairing::new(mapping, filtering), ..Behaviour::rfc4787() });
    let [open, address, port] = Depends::ALL;
    let mut tally = Tally::default();
    for (home, carrier, mapping, filtering) in [
        (nat(open, port), nat(open, open), Dependence::EndpointIndependent, Dependence::AddressAndPortDependent),
        (nat(open, open), nat(open, address), Dependence::EndpointIndependent, Dependence::AddressDependent),
        (nat(open, address), nat(port, open), Dependence::AddressAndPortDependent, Dependence::AddressDependent),
    ] {
        for seed in 0..SEEDS {
            let report = World::new(&[home, carrier], LOSS, seed).discover(None);
            let case = format!("{:?} before {:?} seed {seed}", home.tcp, carrier.tcp);
            tally.check("mapping", &case, &report.mapping, |found| *found == mapping);
            tally.check("filtering", &case, &report.filtering, |found| *found == filtering);
        }
    }
    tally.assert();
}

/// The lifetime of an open connection behind one NAT that forgets it after so many seconds.
fn lifetime(seconds: u64, pick_up: bool, seed: u64) -> (Verdict<Lifetime>, Duration) {
    let tcp_established = Duration::from_secs(seconds);
    let behaviour = Behaviour::home_router();
    let timers = Timers { tcp_established, ..behaviour.timers };
    let report = World::new(&[Behaviour { timers, pick_up, ..behaviour }], LOSS, seed).discover(Some(LONGEST));
    (report.lifetime, report.took)
}

const LONGEST: Duration = Duration::from_secs(300);

#[test]
fn lifetimes_of_open_connections_are_found_within_a_few_times_themselves() {
    for seconds in [20, 60, 120, 240] {
        let (verdict, took) = lifetime(seconds, false, seconds);
        let real = Duration::from_secs(seconds);
        let Some(Lifetime { survived, died: Some(died) }) = verdict.value() else { panic!("{seconds}: {verdict:?}") };
        // The first row's steps are coarse, and a second row divides what is left.
        assert!(*survived <= real && *died >= real && *died - *survived <= real / 10, "{seconds}: {verdict:?}");
        assert_eq!(verdict.confidence, Confidence::Likely);
        assert!(took < real * 3 + Duration::from_secs(30), "{seconds}: {took:?}");
    }
}

#[test]
fn a_nat_that_takes_connections_up_in_the_middle_is_said_to_keep_them_with_that_note() {
    let (verdict, _) = lifetime(60, true, 1);
    assert_eq!(verdict.value(), Some(&Lifetime { survived: LONGEST, died: None }));
    assert!(verdict.notes.contains(&Note::ByConnection) && verdict.notes.contains(&Note::AtLeast), "{verdict:?}");
}

//! A host, NATs one behind the other or a firewall, links that lose packets, and STUN servers: in virtual time, from a seed.

use std::collections::{BTreeMap, BinaryHeap};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use core::cmp::Reverse;

use pinhole_netfilter::behaviour::{Behaviour, Nat, Side, Verdict};
use pinhole_sansio::{Duration, Instant, Machine, Rng};
use pinhole_stun::client::SocketId;
use pinhole_stun::server::limit::RateLimit;
use pinhole_stun::server::{Clock, Config, Layout, Local, Reaction, Second, Server};
use pinhole_stun::{AttributeType, Class, ErrorCode, Message, Method, Writer};
use pinhole_traversal::discovery::{Dependence, Discovery, Input, Output, Report, Settings};
use pinhole_wire::{Flow, build, ip, udp};

/// One way between the outermost NAT and the servers.
const WAY: Duration = Duration::from_millis(25);
/// The host's address behind a NAT.
pub const INSIDE: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 2);
/// Its address where there is none.
const PUBLIC: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 9);

/// What stands between the host and the Internet.
#[derive(Clone, Debug)]
pub enum Between {
    /// NATs, the host's own first, each with so many external addresses.
    Nats(Vec<(Behaviour, u8)>),
    /// A filter, and no translation.
    Firewall(Dependence),
    /// Something that drops all UDP.
    Nothing,
}

/// What the servers know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Knows {
    /// RFC 5780, at two addresses and two ports.
    Behaviour,
    /// The same, to so many requests at once and ten a second after.
    Limited(u32),
    /// The same, and its second address is down.
    HalfBehaviour,
    /// RFC 5780, as it says; it answers everything as if it had been asked plainly.
    Pretends,
    /// Binding, and no more: so many servers.
    Binding(u8),
}

/// The world.
pub struct World {
    now: Instant,
    rng: Rng,
    loss: f64,
    way: Way,
    servers: Vec<(Server, Layout)>,
    dead: Option<IpAddr>,
    /// The servers understand no attribute that must be understood.
    plain: bool,
    /// They read nothing but the header.
    deaf: bool,
    /// Datagrams on their way, with the moment of their arrival and a number that keeps their order.
    moving: BinaryHeap<Reverse<(Instant, u64, Moving)>>,
    number: u64,
    sockets: BTreeMap<SocketId, u16>,
    /// Datagrams that the host sent.
    pub sent: usize,
}

enum Way {
    Nats(Vec<Nat<Ipv4Addr>>),
    Firewall(Dependence, Vec<(u16, SocketAddr)>),
    Nothing,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Moving {
    ToServer(Vec<u8>),
    ToHost(Vec<u8>),
}

impl World {
    pub fn new(between: &Between, knows: Knows, loss: f64, seed: u64) -> Self {
        let mut rng = Rng::from_seed(seed);
        let way = match between {
            Between::Nats(nats) => {
                let nat = |(at, (behaviour, addresses)): (usize, &(Behaviour, u8))| {
                    // The last is the Internet's; the others have addresses of RFC 6598.
                    let base = if at + 1 == nats.len() { [198, 51, 100] } else { [100, 64, at as u8] };
                    let external = (1..=*addresses).map(|last| Ipv4Addr::new(base[0], base[1], base[2], last));
                    Nat::new(*behaviour, external, Ipv4Addr::new(192, 168, 1, 1), rng.next_u64())
                };
                Way::Nats(nats.iter().enumerate().map(nat).collect())
            }
            Between::Firewall(filtering) => Way::Firewall(*filtering, Vec::new()),
            Between::Nothing => Way::Nothing,
        };
        let (first, second) = (Ipv4Addr::new(203, 0, 113, 1), Ipv4Addr::new(203, 0, 113, 2));
        let with_two =
            Layout { ip: first.into(), port: 3_478, second_port: Some(3_479), second: Second::Here(second.into()) };
        let layouts = match knows {
            Knows::Behaviour | Knows::Limited(_) | Knows::HalfBehaviour | Knows::Pretends => vec![with_two],
            Knows::Binding(count) => {
                let server = |last| Layout::single(SocketAddr::new(Ipv4Addr::new(203, 0, 113, last).into(), 3_478));
                (1..=count).map(server).collect()
            }
        };
        let clock = Clock { at: Instant::EPOCH, unix_ms: 0 };
        let limit = match knows {
            Knows::Limited(burst) => RateLimit { per_minute: 600, burst },
            Knows::Behaviour | Knows::HalfBehaviour | Knows::Pretends | Knows::Binding(_) => RateLimit::REQUESTS,
        };
        let mut server = |layout| {
            let config = Config { limit, ..Config::new(layout) };
            (Server::new(config, [7; 32], rng.next_u64(), clock), layout)
        };
        let servers = layouts.into_iter().map(&mut server).collect();
        Self {
            now: Instant::EPOCH,
            loss,
            way,
            servers,
            dead: (knows == Knows::HalfBehaviour).then_some(second.into()),
            plain: matches!(knows, Knows::Binding(_)),
            deaf: knows == Knows::Pretends,
            moving: BinaryHeap::new(),
            number: 0,
            sockets: BTreeMap::new(),
            sent: 0,
            rng,
        }
    }

    /// What a discovery finds.
    pub fn discover(&mut self, lifetime: Option<Duration>) -> Report {
        let settings = Settings {
            transport: pinhole_stun::client::Transport::Datagram,
            servers: self.servers.iter().map(|(_, layout)| layout.address(Local::FIRST)).collect(),
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
            let arrival = self.moving.peek().map(|Reverse((at, ..))| *at);
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
                let taken = port.is_some_and(|port| self.sockets.values().any(|own| *own == port));
                let port = port.unwrap_or(any);
                let input = match taken {
                    true => Input::Unbound { socket },
                    false => Input::Bound { socket, local: SocketAddr::new(self.address().into(), port) },
                };
                self.sockets.insert(socket, port);
                machine.handle_input(self.now, input);
            }
            Output::Send { socket, to, bytes } => self.leave(socket, to, &bytes, u8::MAX),
            Output::Knock { socket, to, bytes, hops } => self.leave(socket, to, &bytes, hops.unwrap_or(u8::MAX)),
            Output::Close { socket } => {
                self.sockets.remove(&socket);
            }
            Output::Stream { .. } => panic!("a discovery by UDP makes no connections"),
            Output::Progress(_) => {}
            Output::Done(report) => return Some(*report),
        }
        None
    }

    fn address(&self) -> Ipv4Addr {
        match self.way {
            Way::Nats(_) => INSIDE,
            Way::Firewall(..) | Way::Nothing => PUBLIC,
        }
    }

    /// Sends a packet that dies at the router that it comes to with its last hop.
    fn leave(&mut self, socket: SocketId, to: SocketAddr, bytes: &[u8], hops: u8) {
        self.sent += 1;
        let port = self.sockets[&socket];
        let packet = datagram(SocketAddr::new(self.address().into(), port), to, bytes);
        match &mut self.way {
            Way::Nats(nats) if usize::from(hops) > nats.len() => self.carry(0, Side::Inside, packet),
            Way::Nats(_) => self.die(usize::from(hops) - 1, packet),
            Way::Firewall(..) if hops < 2 => {}
            Way::Firewall(_, sent) => {
                sent.push((port, to));
                self.move_on(Moving::ToServer(packet), WAY);
            }
            Way::Nothing => {}
        }
    }

    /// Has a packet from inside go through so many NATs and no farther.
    fn die(&mut self, nats: usize, mut packet: Vec<u8>) {
        let Way::Nats(all) = &mut self.way else { return };
        for nat in &mut all[..nats] {
            if nat.process(self.now, Side::Inside, &mut packet) != Verdict::Forward(Side::Outside) {
                return;
            }
        }
    }

    /// Takes a packet that comes to a NAT from a side.
    fn carry(&mut self, at: usize, side: Side, mut packet: Vec<u8>) {
        let Way::Nats(nats) = &mut self.way else { return };
        let last = nats.len() - 1;
        match nats[at].process(self.now, side, &mut packet) {
            Verdict::Forward(Side::Outside) if at == last => self.move_on(Moving::ToServer(packet), WAY),
            Verdict::Forward(Side::Outside) => self.carry(at + 1, Side::Inside, packet),
            Verdict::Forward(Side::Inside) if at == 0 => self.move_on(Moving::ToHost(packet), Duration::from_millis(1)),
            Verdict::Forward(Side::Inside) => self.carry(at - 1, Side::Outside, packet),
            Verdict::Answer(_) | Verdict::Kept | Verdict::Drop(_) => {}
        }
    }

    /// Puts a packet on a link, which may lose it.
    fn move_on(&mut self, packet: Moving, after: Duration) {
        if !self.rng.chance(self.loss) {
            self.number += 1;
            self.moving.push(Reverse((self.now + after, self.number, packet)));
        }
    }

    fn arrive(&mut self, machine: &mut Discovery) {
        let Some(Reverse((_, _, moving))) = self.moving.pop() else { return };
        match moving {
            Moving::ToServer(packet) => self.serve(&packet),
            Moving::ToHost(packet) => self.receive(machine, &packet),
        }
    }

    fn serve(&mut self, packet: &[u8]) {
        let (flow, payload) = read(packet);
        let mut out = [0; 1_500];
        for (server, layout) in &mut self.servers {
            let Some(local) = Local::ALL.into_iter().find(|local| layout.address(*local) == flow.dst) else { continue };
            if self.dead == Some(flow.dst.ip()) {
                return;
            }
            let mut header = payload[..pinhole_stun::HEADER].to_vec();
            header[2..4].fill(0);
            let heard = if self.deaf { &header[..] } else { payload };
            let reaction = server.datagram(self.now, local, flow.src, heard, &mut out);
            let Reaction::Send { from, to, mut len, call: _ } = reaction else { return };
            let (mut from, mut to) = (layout.address(from), to);
            if self.plain
                && let Some(refusal) = refusal(payload, &mut out)
            {
                (from, to, len) = (flow.dst, flow.src, refusal);
            }
            if self.dead == Some(from.ip()) || self.rng.chance(self.loss) {
                return;
            }
            let answer = datagram(from, to, &out[..len]);
            return self.come_back(answer);
        }
    }

    /// An answer on its way to the host: through the NATs as they are when it arrives there. Nothing else is faster.
    fn come_back(&mut self, packet: Vec<u8>) {
        self.number += 1;
        self.moving.push(Reverse((self.now + WAY, self.number, Moving::ToHost(packet))));
    }

    fn receive(&mut self, machine: &mut Discovery, packet: &[u8]) {
        let (flow, payload) = read(packet);
        if flow.dst.ip() == IpAddr::from(self.address()) {
            if let Way::Firewall(filtering, sent) = &self.way
                && !sent.iter().any(|(port, to)| *port == flow.dst.port() && admits(*filtering, *to, flow.src))
            {
                return;
            }
            let socket = self.sockets.iter().find(|(_, port)| **port == flow.dst.port()).map(|(socket, _)| *socket);
            if let Some(socket) = socket {
                let input = Input::Datagram { socket, from: flow.src, bytes: payload.to_vec() };
                machine.handle_input(self.now, input);
            }
            return;
        }
        if let Way::Nats(nats) = &self.way {
            self.carry(nats.len() - 1, Side::Outside, packet.to_vec());
        }
    }
}

fn admits(filtering: Dependence, sent: SocketAddr, from: SocketAddr) -> bool {
    match filtering {
        Dependence::EndpointIndependent => true,
        Dependence::AddressDependent => sent.ip() == from.ip(),
        Dependence::AddressAndPortDependent => sent == from,
    }
}

/// What a server says that knows RFC 8489 and nothing else.
fn refusal(request: &[u8], out: &mut [u8]) -> Option<usize> {
    let request = Message::read(request).expect("a request of ours");
    let unknown: Vec<AttributeType> = request.unknown_required(&[]).collect();
    if unknown.is_empty() {
        return None;
    }
    let mut writer = Writer::new(out, Class::Error, Method::BINDING, request.transaction_id());
    writer.error(ErrorCode::standard(ErrorCode::UNKNOWN_ATTRIBUTE)).unknown(unknown.iter().copied());
    Some(writer.finish().expect("room"))
}

fn datagram(from: SocketAddr, to: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut packet = vec![0; 28 + bytes.len()];
    build::udp(from, to, 64, bytes, &mut packet).expect("IPv4 that fits");
    packet
}

fn read(packet: &[u8]) -> (Flow, &[u8]) {
    let flow = Flow::of(packet).expect("a packet of ours");
    let upper = ip::Packet::new_checked(packet).and_then(|packet| packet.upper()).expect("a header");
    let len = udp::Packet::new_checked(&packet[upper.offset..upper.end]).expect("a datagram").payload().len();
    (flow, &packet[upper.end - len..upper.end])
}

//! The simulated Internet: hosts, routers that are the `netfilter` engine, and links, in virtual time.
//!
//! The model: a packet crosses one link after another. At its end each link hands it to a place: a host takes it; a router
//! is the engine, which rewrites it and sends it on, up or down; the Internet routes it by its address, if it has lived long
//! enough. Whatever happens next happens at one of the moments in one queue, in the order in which it was put there. The same
//! network, the same hosts and the same seed give the same bytes at every interface, which [captures](Sim::capture) show.
//!
//! | file | what it is |
//! |---|---|
//! | [`host`] | what a host is to the simulation |
//! | [`gate`] | a router's engine |
//! | [`queue`] | what happens next |
//! | [`journey`] | the witness: where each packet went |
//! | [`change`] | what goes wrong, on schedule |
//!
//! IPv4 only. Hosts of one home reach each other through the router's switch, without translation.

mod change;
mod gate;
mod host;
mod journey;
mod queue;

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use pinhole_netfilter::behaviour::Side;
use pinhole_netfilter::rules::RulesError;
use pinhole_sansio::{Duration, Instant, Rng};
use pinhole_wire::answer::{self, MAX_ERROR_V4, Trouble};
use pinhole_wire::{build, ipv4, pcap};

pub use change::Change;
pub use gate::Refusal;
pub use host::Host;
pub use journey::{End, Glance, Journey, Where};

use crate::clock::Clock;
use crate::link::{Direction, Link};
use crate::network::{Network, NetworkFault, PlaceId, PlaceKind};
use gate::{Fate, Gate};
use journey::{Ticket, UNSEEN, Witness};
use queue::Queue;

/// How many packets may be under way; more are dropped.
const MAX_UNDER_WAY: usize = 1 << 20;
/// Of a packet that the simulation itself makes.
const TTL: u8 = 64;

/// Why a network cannot be simulated.
#[derive(Debug)]
pub enum SimError {
    /// It is not one.
    Network(NetworkFault),
    /// The rules of a router are not understood.
    Rules(PlaceId, RulesError),
}

/// A simulated Internet of hosts of one type.
#[derive(Debug)]
pub struct Sim<H> {
    now: Instant,
    queue: Queue<Moment>,
    router: Ipv4Addr,
    hops: u8,
    places: Vec<Place<H>>,
    /// Who has which address, below which router; the Internet's are below none.
    addresses: HashMap<(Option<PlaceId>, Ipv4Addr), PlaceId>,
    under_way: usize,
    rng: Rng,
    witness: Witness,
}

#[derive(Debug)]
struct Place<H> {
    address: Ipv4Addr,
    behind: Option<PlaceId>,
    link: Link,
    rising: Direction,
    falling: Direction,
    kind: Kind<H>,
    capture: Option<pcap::Writer<Vec<u8>>>,
}

#[derive(Debug)]
enum Kind<H> {
    Host(Box<Machine<H>>),
    Router { inside: ipnet::Ipv4Net, gate: Box<Gate> },
}

#[derive(Debug)]
struct Machine<H> {
    host: H,
    clock: Clock,
    is_up: bool,
    /// When it is to be woken, on the world's clock.
    wake: Option<Instant>,
}

/// What happens at a moment.
#[derive(Debug)]
enum Moment {
    /// A packet that a place has sent up its link arrives at the other end.
    Rises(PlaceId, Parcel),
    /// A packet that was sent down the link of a place arrives there.
    Falls(PlaceId, Parcel),
    /// A host may want to be woken.
    Wake(PlaceId),
    /// Something goes wrong. Seldom, and larger than what happens all the time.
    Change(Box<Change>),
}

/// A packet on its way.
#[derive(Debug)]
struct Parcel {
    ticket: Ticket,
    bytes: Vec<u8>,
}

impl<H: Host> Sim<H> {
    /// A network whose hosts `host` makes; they start at once, in the order of the places.
    ///
    /// # Errors
    /// What cannot be built.
    pub fn new(network: &Network, seed: u64, mut host: impl FnMut(PlaceId) -> H) -> Result<Self, SimError> {
        network.check().map_err(SimError::Network)?;
        let mut rng = Rng::from_seed(seed);
        let mut sim = Self {
            now: Instant::EPOCH,
            queue: Queue::default(),
            router: network.router,
            hops: network.hops,
            places: Vec::new(),
            addresses: HashMap::new(),
            under_way: 0,
            rng: rng.fork(),
            witness: Witness::default(),
        };
        for (id, place) in network.places.iter().enumerate() {
            let kind = match &place.kind {
                PlaceKind::Host(clock) => {
                    Kind::Host(Box::new(Machine { host: host(id), clock: *clock, is_up: true, wake: None }))
                }
                PlaceKind::Router { inside, nat } => {
                    let gate = Gate::new(nat, place.address, *inside, rng.next_u64());
                    let gate = gate.map_err(|error| SimError::Rules(id, error))?;
                    Kind::Router { inside: *inside, gate: Box::new(gate) }
                }
            };
            sim.addresses.insert((place.behind, place.address), id);
            sim.places.push(Place {
                address: place.address,
                behind: place.behind,
                link: place.link,
                rising: Direction::default(),
                falling: Direction::default(),
                kind,
                capture: None,
            });
        }
        for id in 0..sim.places.len() {
            sim.with_host(id, Host::start);
        }
        Ok(sim)
    }

    /// Lets something go wrong at a moment to come.
    pub fn schedule(&mut self, at: Instant, change: Change) {
        self.queue.push(at.max(self.now), Moment::Change(Box::new(change)));
    }

    /// Writes down where packets go from now on.
    pub fn watch(&mut self) {
        self.witness.on = true;
    }

    /// Captures what crosses the outside interface of a place from now on.
    pub fn capture(&mut self, place: PlaceId) {
        // A capture in memory does not fail.
        self.places[place].capture = pcap::Writer::new(Vec::new()).ok();
    }

    /// Ends a capture; its bytes are those of a pcap file.
    ///
    /// # Errors
    /// None but those of memory.
    pub fn take_capture(&mut self, place: PlaceId) -> io::Result<Vec<u8>> {
        self.places[place].capture.take().map_or_else(|| Ok(Vec::new()), pcap::Writer::finish)
    }

    /// Lets the world go on until `until`, or until `done` says so after one moment; true if it did.
    pub fn run(&mut self, until: Instant, mut done: impl FnMut(&Self) -> bool) -> bool {
        while let Some(at) = self.queue.next_at().filter(|&at| at <= until) {
            self.now = at;
            while let Some(moment) = self.queue.pop_at(at) {
                self.happen(moment);
            }
            if done(self) {
                return true;
            }
        }
        self.now = self.now.max(until);
        false
    }

    /// The world's time.
    pub const fn now(&self) -> Instant {
        self.now
    }

    /// Where packets went, in the order in which they were sent.
    pub fn journeys(&self) -> &[Journey] {
        self.witness.journeys()
    }

    /// The host at a place.
    ///
    /// # Panics
    /// If there is none.
    pub fn host(&self, place: PlaceId) -> &H {
        match &self.places[place].kind {
            Kind::Host(machine) => &machine.host,
            Kind::Router { .. } => panic!("place {place} is a router"),
        }
    }

    /// All hosts, in the order of the places.
    pub fn hosts(&self) -> impl Iterator<Item = (PlaceId, &H)> {
        self.places.iter().enumerate().filter_map(|(id, place)| match &place.kind {
            Kind::Host(machine) => Some((id, &machine.host)),
            Kind::Router { .. } => None,
        })
    }

    /// Does something to a host that is up, at its own time, and takes what it sends.
    pub fn with_host(&mut self, id: PlaceId, act: impl FnOnce(&mut H, Instant)) {
        let Kind::Host(machine) = &mut self.places[id].kind else { return };
        if !machine.is_up {
            return;
        }
        act(&mut machine.host, machine.clock.shows(self.now));
        while let Kind::Host(machine) = &mut self.places[id].kind
            && let Some(packet) = machine.host.poll_transmit()
        {
            let ticket = self.witness.begin(self.now, Where::At(id), &packet);
            self.rise(id, Parcel { ticket, bytes: packet });
        }
        let Kind::Host(machine) = &mut self.places[id].kind else { return };
        let wake = machine.host.poll_timeout().map(|at| machine.clock.when(at).max(self.now));
        if wake != machine.wake {
            machine.wake = wake;
            if let Some(at) = wake {
                self.queue.push(at, Moment::Wake(id));
            }
        }
    }

    fn happen(&mut self, moment: Moment) {
        match moment {
            Moment::Rises(id, parcel) => {
                self.under_way -= 1;
                self.has_risen(id, parcel);
            }
            Moment::Falls(id, parcel) => {
                self.under_way -= 1;
                self.has_fallen(id, parcel);
            }
            Moment::Wake(id) => {
                if let Kind::Host(machine) = &mut self.places[id].kind
                    && machine.wake == Some(self.now)
                {
                    machine.wake = None;
                    self.with_host(id, Host::handle_timeout);
                }
            }
            Moment::Change(change) => self.change(*change),
        }
    }

    /// Sends a packet from a place up its link.
    fn rise(&mut self, id: PlaceId, parcel: Parcel) {
        let place = &mut self.places[id];
        place.record(self.now, &parcel.bytes);
        let carried = place.rising.carry(self.now, parcel.bytes.len(), &place.link, &mut self.rng);
        match carried {
            Err(loss) => self.witness.end(parcel.ticket, &parcel.bytes, End::Lost(loss)),
            Ok(_) if self.under_way >= MAX_UNDER_WAY => {}
            Ok(at) => {
                self.under_way += 1;
                self.queue.push(at, Moment::Rises(id, parcel));
            }
        }
    }

    /// Sends a packet down the link of a place.
    fn fall(&mut self, id: PlaceId, parcel: Parcel) {
        let place = &mut self.places[id];
        if parcel.bytes.len() > usize::from(place.link.mtu) {
            let trouble = Trouble::TooBig { mtu: place.link.mtu };
            self.witness.end(parcel.ticket, &parcel.bytes, End::TooBig);
            return self.complain(id, &parcel.bytes, trouble);
        }
        let carried = place.falling.carry(self.now, parcel.bytes.len(), &place.link, &mut self.rng);
        match carried {
            Err(loss) => self.witness.end(parcel.ticket, &parcel.bytes, End::Lost(loss)),
            Ok(_) if self.under_way >= MAX_UNDER_WAY => {}
            Ok(at) => {
                self.under_way += 1;
                self.queue.push(at, Moment::Falls(id, parcel));
            }
        }
    }

    /// A packet that a place has sent arrives at what the place hangs from.
    fn has_risen(&mut self, from: PlaceId, parcel: Parcel) {
        match self.places[from].behind {
            None => self.cross_internet(from, parcel),
            Some(router) => self.cross_router(router, Side::Inside, parcel),
        }
    }

    /// A packet arrives at a place, from above.
    fn has_fallen(&mut self, id: PlaceId, parcel: Parcel) {
        let place = &mut self.places[id];
        place.record(self.now, &parcel.bytes);
        match &mut place.kind {
            Kind::Router { .. } => self.cross_router(id, Side::Outside, parcel),
            Kind::Host(machine) => {
                self.witness.pass(parcel.ticket, self.now, Where::At(id));
                let end = if machine.is_up { End::Arrived } else { End::HostDown };
                self.witness.end(parcel.ticket, &parcel.bytes, end);
                self.with_host(id, |host, now| host.receive(now, parcel.bytes));
            }
        }
    }

    fn cross_router(&mut self, id: PlaceId, from: Side, mut parcel: Parcel) {
        let Kind::Router { inside, gate } = &mut self.places[id].kind else { return };
        self.witness.pass(parcel.ticket, self.now, Where::At(id));
        let neighbour =
            destination(&parcel.bytes).filter(|to| from == Side::Inside && *to != inside.addr() && inside.contains(to));
        if let Some(neighbour) = neighbour {
            return self.descend(id, neighbour, parcel);
        }
        match gate.process(self.now, from, &mut parcel.bytes) {
            Fate::Forward(Side::Outside) => self.rise(id, parcel),
            Fate::Forward(Side::Inside) => match destination(&parcel.bytes) {
                Some(to) => self.descend(id, to, parcel),
                None => self.witness.end(parcel.ticket, &parcel.bytes, End::Unroutable),
            },
            Fate::Taken | Fate::Kept => self.witness.end(parcel.ticket, &parcel.bytes, End::Taken),
            Fate::Refused(refusal) => self.witness.end(parcel.ticket, &parcel.bytes, End::Refused(refusal)),
        }
        self.drain_router(id);
    }

    /// Sends what a router has to say itself.
    fn drain_router(&mut self, id: PlaceId) {
        while let Kind::Router { gate, .. } = &mut self.places[id].kind
            && let Some((to, bytes)) = gate.poll_output()
        {
            let parcel = Parcel { ticket: self.witness.begin(self.now, Where::At(id), &bytes), bytes };
            match (to, destination(&parcel.bytes)) {
                (Side::Outside, _) => self.rise(id, parcel),
                (Side::Inside, Some(to)) => self.descend(id, to, parcel),
                (Side::Inside, None) => {}
            }
        }
    }

    /// Sends a packet down to the place with an address inside of a router.
    fn descend(&mut self, router: PlaceId, to: Ipv4Addr, parcel: Parcel) {
        match self.addresses.get(&(Some(router), to)) {
            Some(&id) => self.fall(id, parcel),
            None => self.witness.end(parcel.ticket, &parcel.bytes, End::Unroutable),
        }
    }

    /// The Internet's decision about a packet that came from a place.
    fn cross_internet(&mut self, from: PlaceId, mut parcel: Parcel) {
        self.witness.pass(parcel.ticket, self.now, Where::Internet);
        let hops = self.hops;
        let Ok(mut ip) = ipv4::Packet::new_checked(parcel.bytes.as_mut_slice()) else {
            return self.witness.end(parcel.ticket, &parcel.bytes, End::Unroutable);
        };
        let (to, ttl) = (ip.dst(), ip.ttl());
        if to == self.router {
            self.witness.end(parcel.ticket, &parcel.bytes, End::Taken);
            if answer::echo_reply(&mut parcel.bytes) {
                self.fall(from, Parcel { ticket: UNSEEN, bytes: parcel.bytes });
            }
            return;
        }
        if ttl <= hops {
            self.witness.end(parcel.ticket, &parcel.bytes, End::Expired);
            return self.complain_below(from, &parcel.bytes, Trouble::TimeExceeded);
        }
        let Some(&place) = self.addresses.get(&(None, to)) else {
            self.witness.end(parcel.ticket, &parcel.bytes, End::Unroutable);
            return self.complain_below(from, &parcel.bytes, Trouble::HostUnreachable);
        };
        ip.set_ttl(ttl - hops);
        ip.fill_checksum();
        self.fall(place, parcel);
    }

    /// The Internet tells the sender of a packet that came from a place what is wrong with it.
    fn complain_below(&mut self, from: PlaceId, packet: &[u8], trouble: Trouble) {
        let mut error = vec![0; MAX_ERROR_V4];
        if let Ok(length) = answer::error(packet, trouble, IpAddr::V4(self.router), &mut error) {
            error.truncate(length);
            let ticket = self.witness.begin(self.now, Where::Internet, &error);
            self.fall(from, Parcel { ticket, bytes: error });
        }
    }

    /// Whoever is above the link of a place tells the sender of a packet what is wrong with it: the Internet, since homes
    /// have the MTU of their hosts.
    fn complain(&mut self, id: PlaceId, packet: &[u8], trouble: Trouble) {
        let sender = ipv4::Packet::new_checked(packet).ok().map(|ip| ip.src());
        let sender = sender.and_then(|sender| self.addresses.get(&(None, sender)).copied());
        if let (None, Some(sender)) = (self.places[id].behind, sender) {
            self.complain_below(sender, packet, trouble);
        }
    }

    fn change(&mut self, change: Change) {
        match change {
            Change::Reboot(id) => self.restart(id, None),
            Change::Readdress(id, address) => self.readdress(id, address),
            Change::Poison { router, from, port } => self.poison(router, from, port),
            Change::Stop(id) => {
                if let Kind::Host(machine) = &mut self.places[id].kind {
                    (machine.is_up, machine.wake) = (false, None);
                }
            }
            Change::Start(id) => {
                if let Kind::Host(machine) = &mut self.places[id].kind {
                    machine.is_up = true;
                }
                self.with_host(id, Host::start);
            }
            Change::Cut(id) => self.places[id].link.connected = false,
            Change::Mend(id) => self.places[id].link.connected = true,
            Change::Relink(id, link) => self.places[id].link = link,
            Change::Tell(id) => {
                let address = self.places[id].address;
                self.with_host(id, |host, now| host.network_changed(now, address));
            }
        }
    }

    fn restart(&mut self, id: PlaceId, public: Option<Ipv4Addr>) {
        let seed = self.rng.next_u64();
        if let Kind::Router { gate, .. } = &mut self.places[id].kind {
            gate.restart(public, seed);
        }
    }

    fn readdress(&mut self, id: PlaceId, address: Ipv4Addr) {
        let place = &mut self.places[id];
        self.addresses.remove(&(place.behind, place.address));
        self.addresses.insert((place.behind, address), id);
        place.address = address;
        self.restart(id, Some(address));
        self.with_host(id, |host, now| host.network_changed(now, address));
    }

    fn poison(&mut self, router: PlaceId, from: SocketAddr, port: u16) {
        let to = SocketAddr::new(self.places[router].address.into(), port);
        let mut bytes = vec![0; 64];
        if let Ok(length) = build::udp(from, to, TTL, b"nobody asked for this", &mut bytes) {
            bytes.truncate(length);
            let ticket = self.witness.begin(self.now, Where::Internet, &bytes);
            self.fall(router, Parcel { ticket, bytes });
        }
    }
}

impl<H> Place<H> {
    fn record(&mut self, at: Instant, packet: &[u8]) {
        if let Some(capture) = &mut self.capture
            && capture.write(Duration::from_nanos(at.as_nanos()), packet).is_err()
        {
            self.capture = None;
        }
    }
}

/// Where an IPv4 packet goes.
fn destination(packet: &[u8]) -> Option<Ipv4Addr> {
    ipv4::Packet::new_checked(packet).ok().map(|ip| ip.dst())
}

impl std::fmt::Display for SimError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Network(fault) => write!(f, "{fault}"),
            Self::Rules(_, error) => write!(f, "its rules are not understood: {error}"),
        }
    }
}

impl std::error::Error for SimError {}

#[cfg(test)]
mod tests;

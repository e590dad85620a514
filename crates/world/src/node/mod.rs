//! A host of the simulation: a WireGuard device, a program beside it, and a user who wants to reach everybody.
//!
//! The model: the [`Device`] takes and gives UDP datagrams outside and IP packets inside. The [`Program`] is an agent or a
//! registry; both speak DNS inside the tunnel. The user of an agent's host sends a small datagram to every other one all the
//! time, which is what shows when a path is there, and what is lost when it breaks.

mod agent;
mod device;
mod registry;
mod sockets;
mod user;

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use pinhole_agent::event::Event;
use pinhole_lab::PlaceId;
use pinhole_lab::sim::Host;
use pinhole_sansio::{Instant, Rng};
use pinhole_wire::answer;
use pinhole_wire::{Protocol, ipv4, udp};

use crate::plan::{Member, Plan};
use agent::AgentProgram;
use device::Device;
use registry::RegistryProgram;
use sockets::Received;
use user::User;

pub use user::{Arrival, Heard};

/// The port that registries answer at, inside the tunnel.
const DNS: u16 = 53;

/// See the module.
#[derive(Debug)]
pub struct Node {
    plan: Arc<Plan>,
    place: PlaceId,
    address: Ipv4Addr,
    rng: Rng,
    /// What runs; nothing on a host that has no part, and nothing before its time.
    running: Option<Running>,
    /// When it is to begin.
    begins: Option<Instant>,
    packets: VecDeque<Vec<u8>>,
    /// What the program has told.
    events: Vec<(Instant, Event)>,
    heard: Heard,
}

#[derive(Debug)]
struct Running {
    device: Device,
    program: Program,
    user: Option<User>,
}

#[derive(Debug)]
enum Program {
    Agent(Box<AgentProgram>),
    Registry(Box<RegistryProgram>),
}

/// What a program is asked to do with, apart from itself.
struct Desk<'a> {
    now: Instant,
    device: &'a mut Device,
    events: &'a mut Vec<(Instant, Event)>,
}

/// A datagram inside the tunnel.
struct Datagram<'a> {
    from: SocketAddr,
    to: SocketAddr,
    bytes: &'a [u8],
}

impl Node {
    /// The node of a place; its secrets and its program's choices follow from `rng`.
    pub fn new(plan: Arc<Plan>, place: PlaceId, address: Ipv4Addr, rng: Rng) -> Self {
        let begins = plan.at(place).map(|member| member.at);
        Self {
            plan,
            place,
            address,
            rng,
            running: None,
            begins,
            packets: VecDeque::new(),
            events: Vec::new(),
            heard: Heard::default(),
        }
    }

    /// What its program has told, and when.
    pub fn events(&self) -> &[(Instant, Event)] {
        &self.events
    }

    /// What its user has heard from the others.
    pub fn heard(&self) -> &Heard {
        &self.heard
    }

    fn begin(&mut self, now: Instant) {
        self.begins = None;
        let plan = Arc::clone(&self.plan);
        let Some(member) = plan.at(self.place) else { return };
        let mut device = Device::new(now, &plan, member, self.address, self.rng.fork());
        let is_registry = plan.registry.as_ref().is_some_and(|registry| registry.place == self.place);
        let (program, user) = if is_registry {
            (Program::Registry(Box::new(RegistryProgram::new(now, member, &mut device))), None)
        } else {
            let program = AgentProgram::new(now, &plan, member, self.rng.next_u64());
            (Program::Agent(Box::new(program)), Some(User::new(now, member, &plan)))
        };
        self.running = Some(Running { device, program, user });
        self.drive(now);
    }

    /// Lets program and device do what is due, until both are at rest.
    fn drive(&mut self, now: Instant) {
        let Some(Running { device, program, user }) = &mut self.running else { return };
        if let Some(user) = user {
            user.handle_timeout(now, device);
        }
        let mut desk = Desk { now, device, events: &mut self.events };
        match program {
            Program::Agent(agent) => agent.drive(&mut desk),
            Program::Registry(registry) => registry.drive(&mut desk),
        }
        device.handle_timeout(now);
        device.drain(&mut self.packets);
    }

    /// A packet has come out of the tunnel.
    fn tunnelled(&mut self, now: Instant, mut packet: Vec<u8>) {
        let Some(Running { device, program, user }) = &mut self.running else { return };
        let Ok(ip) = ipv4::Packet::new_checked(packet.as_slice()) else { return };
        if ip.protocol() == Protocol::Icmp {
            if answer::echo_reply(&mut packet) {
                device.send(now, &packet);
            }
            return;
        }
        let Ok(datagram) = udp::Packet::new_checked(ip.payload()) else { return };
        let from = SocketAddr::new(ip.src().into(), datagram.src_port());
        let to = SocketAddr::new(ip.dst().into(), datagram.dst_port());
        let datagram = Datagram { from, to, bytes: datagram.payload() };
        if user.is_some() && to.port() == user::PORT {
            return self.heard.take(now, &self.plan, from.ip(), datagram.bytes);
        }
        match program {
            Program::Agent(agent) => agent.receive(now, &datagram),
            Program::Registry(registry) => registry.receive(now, &datagram),
        }
    }
}

impl Host for Node {
    fn receive(&mut self, now: Instant, packet: Vec<u8>) {
        let Some(running) = &mut self.running else { return };
        match (running.device.receive(now, packet), &mut running.program) {
            (None, _) => {}
            (Some(Received::Tunnelled(packet)), _) => self.tunnelled(now, packet),
            (Some(received), Program::Agent(agent)) => agent.received(now, received),
            (Some(received), Program::Registry(registry)) => registry.received(received, &mut running.device),
        }
        self.drive(now);
    }

    fn handle_timeout(&mut self, now: Instant) {
        if self.begins.is_some_and(|at| at <= now) {
            return self.begin(now);
        }
        self.drive(now);
    }

    fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.packets.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let Some(Running { device, program, user }) = &self.running else { return self.begins };
        let program = match program {
            Program::Agent(agent) => agent.poll_timeout(),
            Program::Registry(registry) => registry.poll_timeout(),
        };
        let user = user.as_ref().map(User::next);
        [device.poll_timeout(), program, user].into_iter().flatten().min()
    }

    fn start(&mut self, now: Instant) {
        // A program that has been killed leaves nothing but its keys and what it wrote to its disk.
        let owned = match self.running.take().map(|running| running.program) {
            Some(Program::Agent(agent)) => agent.owned(),
            Some(Program::Registry(_)) | None => Vec::new(),
        };
        let begins = self.plan.at(self.place).map(|member| member.at);
        self.begins = begins.filter(|at| *at > now);
        if begins.is_some() && self.begins.is_none() {
            self.begin(now);
        }
        if let Some(Running { program: Program::Agent(agent), .. }) = &mut self.running {
            agent.remember(owned);
        }
    }

    fn network_changed(&mut self, now: Instant, address: Ipv4Addr) {
        self.address = address;
        let Some(running) = &mut self.running else { return };
        running.device.set_address(address);
        match &mut running.program {
            Program::Agent(agent) => agent.network_changed(now),
            Program::Registry(_) => {}
        }
        self.drive(now);
    }
}

/// The address inside the tunnel, as a socket.
fn inside(member: &Member, port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(member.tunnel), port)
}

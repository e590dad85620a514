//! The Internet as one router that counts for several: access links, routes by prefix, time to live, ICMP errors, and a tap.
//!
//! A packet crosses the link of its sender, is looked at by the router, and crosses the link of its receiver. What a link
//! carries without delay passes through in the same call.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::net::{IpAddr, Ipv4Addr};

use ipnet::Ipv4Net;
use pinhole_sansio::{Deadline, Instant, Machine, Rng};
use pinhole_wire::answer::{self, MAX_ERROR_V4, Trouble};
use pinhole_wire::{Flow, Protocol, ipv4, udp, wireguard};

use crate::link::{Direction, Link, Loss};

/// How many packets may be under way; more are dropped. 100 ms of a gigabit in packets of full size is 8,000.
const MAX_UNDER_WAY: usize = 65_536;

/// An access link of the core.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port(usize);

impl Port {
    /// Its number: 0 for the first that was attached.
    pub const fn index(self) -> usize {
        self.0
    }
}

/// What happens to the core.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Time has passed.
    Timeout,
    /// A site sent an IP packet into its link.
    Packet(Port, Vec<u8>),
}

/// What the core does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// An IP packet arrives at a site.
    Packet(Port, Vec<u8>),
    /// The tap: what became of a packet.
    Seen(Seen),
}

/// A packet as the router saw it: with the addresses that the NATs gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// When.
    pub at: Instant,
    /// From which link.
    pub from: Port,
    /// Who sent it to whom.
    pub flow: Flow,
    /// Bytes of the IP packet.
    pub length: usize,
    /// Which WireGuard message it is, if its shape is one's.
    pub wireguard: Option<wireguard::Kind>,
    /// Bytes of the UDP payload; zero for anything else.
    pub payload: usize,
    /// The time to live it came with.
    pub ttl: u8,
    /// What became of it.
    pub verdict: Verdict,
}

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It is on its way to this link's site.
    Forwarded(Port),
    /// Its sender's link did not carry it: the router never got it.
    LostComing(Loss),
    /// Its receiver's link did not carry it.
    LostGoing(Loss),
    /// Its time to live ran out; the sender is told.
    Expired,
    /// Nobody has the address; the sender is told.
    Unroutable,
    /// It is longer than the receiver's link allows; the sender is told. (The router does not fragment.)
    TooBig,
    /// It is for the router, which answers pings.
    ForRouter,
    /// Too much was under way.
    Overload,
}

/// Why the core wants to be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// A packet arrives at the router or at a site.
    Arrival,
}

/// The Internet.
#[derive(Debug)]
pub struct Core {
    address: Ipv4Addr,
    hops: u8,
    ports: Vec<Access>,
    /// Longest prefix first.
    routes: Vec<(Ipv4Net, Port)>,
    under_way: BinaryHeap<Reverse<UnderWay>>,
    sequence: u64,
    outputs: VecDeque<Output>,
    rng: Rng,
}

#[derive(Debug)]
struct Access {
    link: Link,
    coming: Direction,
    going: Direction,
}

/// A packet on a link; ordered by arrival, then by departure.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct UnderWay {
    at: Instant,
    sequence: u64,
    leg: Leg,
    packet: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Leg {
    ToRouter(Port),
    ToSite(Port),
}

impl Core {
    /// An Internet without links that takes `hops` from a packet's time to live and answers at `address`. `seed` decides
    /// loss and jitter.
    pub fn new(address: Ipv4Addr, hops: u8, seed: u64) -> Self {
        Self {
            address,
            hops,
            ports: Vec::new(),
            routes: Vec::new(),
            under_way: BinaryHeap::new(),
            sequence: 0,
            outputs: VecDeque::new(),
            rng: Rng::from_seed(seed),
        }
    }

    /// Adds an access link.
    pub fn attach(&mut self, link: Link) -> Port {
        self.ports.push(Access { link, coming: Direction::default(), going: Direction::default() });
        Port(self.ports.len() - 1)
    }

    /// Sends packets for `prefix` to `port`, in the place of an earlier route for the same prefix.
    pub fn route(&mut self, prefix: Ipv4Net, port: Port) {
        self.unroute(prefix);
        self.routes.push((prefix, port));
        self.routes.sort_by_key(|(prefix, _)| Reverse(prefix.prefix_len()));
    }

    /// Forgets the route for `prefix`.
    pub fn unroute(&mut self, prefix: Ipv4Net) {
        self.routes.retain(|(known, _)| *known != prefix);
    }

    /// What the link of `port` is like, to be read or changed; packets under way keep their arrival.
    ///
    /// # Panics
    /// If the port is not one of this core.
    pub fn link_mut(&mut self, port: Port) -> &mut Link {
        &mut self.ports[port.0].link
    }

    /// Every port, in the order of attachment.
    pub fn ports(&self) -> impl Iterator<Item = Port> + use<> {
        (0..self.ports.len()).map(Port)
    }

    /// The router's own address, which ICMP errors come from.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    fn enter(&mut self, now: Instant, port: Port, packet: Vec<u8>) {
        let Ok(ip) = ipv4::Packet::new_checked(packet.as_slice()) else { return };
        let length = ip.total_len();
        let Access { link, coming, .. } = &mut self.ports[port.0];
        match coming.carry(now, length, link, &mut self.rng) {
            Err(loss) => self.see(now, port, &packet, Verdict::LostComing(loss)),
            Ok(at) if at <= now => self.look_at(now, port, packet),
            Ok(_) if self.under_way.len() >= MAX_UNDER_WAY => self.see(now, port, &packet, Verdict::Overload),
            Ok(at) => self.send(at, Leg::ToRouter(port), packet),
        }
    }

    /// The router's decision about a packet that came from `port`.
    fn look_at(&mut self, now: Instant, port: Port, mut packet: Vec<u8>) {
        let Ok(ip) = ipv4::Packet::new_checked(packet.as_slice()) else { return };
        let (destination, length) = (ip.dst(), ip.total_len());
        if destination == self.address {
            self.see(now, port, &packet, Verdict::ForRouter);
            if answer::echo_reply(&mut packet) {
                let _ = self.leave(now, port, packet);
            }
            return;
        }
        if ip.ttl() <= self.hops {
            self.see(now, port, &packet, Verdict::Expired);
            return self.complain(now, port, &packet, Trouble::TimeExceeded);
        }
        let Some(to) = self.routes.iter().find(|(prefix, _)| prefix.contains(&destination)).map(|&(_, to)| to) else {
            self.see(now, port, &packet, Verdict::Unroutable);
            return self.complain(now, port, &packet, Trouble::HostUnreachable);
        };
        let mtu = self.ports[to.0].link.mtu;
        if length > usize::from(mtu) {
            self.see(now, port, &packet, Verdict::TooBig);
            return self.complain(now, port, &packet, Trouble::TooBig { mtu });
        }
        let seen = observe(now, port, &packet);
        let Ok(mut ip) = ipv4::Packet::new_checked(packet.as_mut_slice()) else { return };
        ip.set_ttl(ip.ttl().saturating_sub(self.hops));
        ip.fill_checksum();
        let before = self.outputs.len();
        let verdict = match self.leave(now, to, packet) {
            Ok(()) => Verdict::Forwarded(to),
            Err(verdict) => verdict,
        };
        // The tap speaks first: who has the packet may ask what the tap saw.
        if let Some(seen) = seen {
            self.outputs.insert(before, Output::Seen(Seen { verdict, ..seen }));
        }
    }

    /// Sends a packet from the router over the link of `port`.
    fn leave(&mut self, now: Instant, port: Port, packet: Vec<u8>) -> Result<(), Verdict> {
        let Access { link, going, .. } = &mut self.ports[port.0];
        match going.carry(now, packet.len(), link, &mut self.rng) {
            Err(loss) => return Err(Verdict::LostGoing(loss)),
            Ok(at) if at <= now => self.outputs.push_back(Output::Packet(port, packet)),
            Ok(_) if self.under_way.len() >= MAX_UNDER_WAY => return Err(Verdict::Overload),
            Ok(at) => self.send(at, Leg::ToSite(port), packet),
        }
        Ok(())
    }

    /// Tells the sender of `packet`, which came from `port`, what is wrong with it.
    fn complain(&mut self, now: Instant, port: Port, packet: &[u8], trouble: Trouble) {
        let mut error = vec![0; MAX_ERROR_V4];
        if let Ok(length) = answer::error(packet, trouble, IpAddr::V4(self.address), &mut error) {
            error.truncate(length);
            // An error that its link loses is lost silently, like any packet.
            let _ = self.leave(now, port, error);
        }
    }

    fn next_due(&mut self, now: Instant) -> Option<UnderWay> {
        let due = self.under_way.peek()?.0.at <= now;
        due.then(|| self.under_way.pop()).flatten().map(|Reverse(next)| next)
    }

    fn send(&mut self, at: Instant, leg: Leg, packet: Vec<u8>) {
        self.sequence += 1;
        self.under_way.push(Reverse(UnderWay { at, sequence: self.sequence, leg, packet }));
    }

    fn see(&mut self, at: Instant, from: Port, packet: &[u8], verdict: Verdict) {
        self.outputs.extend(observe(at, from, packet).map(|seen| Output::Seen(Seen { verdict, ..seen })));
    }
}

impl Machine for Core {
    type Input = Input;
    type Output = Output;
    type Why = Why;

    fn timeout() -> Input {
        Input::Timeout
    }

    fn handle_input(&mut self, now: Instant, input: Input) {
        while let Some(next) = self.next_due(now) {
            match next.leg {
                Leg::ToRouter(port) => self.look_at(next.at, port, next.packet),
                Leg::ToSite(port) => self.outputs.push_back(Output::Packet(port, next.packet)),
            }
        }
        match input {
            Input::Timeout => {}
            Input::Packet(port, packet) => self.enter(now, port, packet),
        }
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn poll_timeout(&self) -> Option<Deadline<Why>> {
        self.under_way.peek().map(|Reverse(next)| Deadline::new(next.at, Why::Arrival))
    }
}

/// What there is to see of a packet; `None` for one whose transport header is malformed.
fn observe(at: Instant, from: Port, packet: &[u8]) -> Option<Seen> {
    let ip = ipv4::Packet::new_checked(packet).ok()?;
    let flow = Flow::of(packet).ok()?;
    let udp =
        (flow.protocol == Protocol::Udp && ip.fragment_offset() == 0).then(|| udp::Packet::new_checked(ip.payload()));
    let (wireguard, payload) = match &udp {
        Some(Ok(udp)) => {
            let kind = wireguard::Packet::new_checked(udp.payload()).ok().map(|message| message.kind());
            (kind, udp.payload().len())
        }
        Some(Err(_)) | None => (None, 0),
    };
    let (length, ttl) = (ip.total_len(), ip.ttl());
    Some(Seen { at, from, flow, length, wireguard, payload, ttl, verdict: Verdict::ForRouter })
}

#[cfg(test)]
mod tests;

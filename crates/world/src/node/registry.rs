//! The registry of a node: carries out what the machine wants, as `pinhole registry` does, and answers STUN beside it, as
//! `pinhole stun serve` does.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use pinhole_agent::endpoint::VANTAGE_PORTS;
use pinhole_agent::registry::{Config, Input, Output, Query, Registry, ZoneConfig};
use pinhole_dns::answers::Transport;
use pinhole_sansio::{Instant, Machine};
use pinhole_stun::binding::{MAX_ANSWER, PlainAnswers};

use super::device::Device;
use super::sockets::Received;
use super::{DNS, Datagram, Desk, inside};
use crate::plan::{DEVICE, Member, ZONE};

/// See the module.
#[derive(Debug)]
pub(super) struct RegistryProgram {
    registry: Registry,
    own: SocketAddr,
    /// Who asked what is not answered yet.
    askers: BTreeMap<u64, SocketAddr>,
    next_query: u64,
    stun: PlainAnswers,
}

impl RegistryProgram {
    pub(super) fn new(now: Instant, member: &Member, device: &mut Device) -> Self {
        device.sockets.serve(&VANTAGE_PORTS);
        let zone = ZoneConfig {
            origin: ZONE.parse().expect("a name"),
            device: DEVICE.to_owned(),
            itself: None,
            name_servers: Vec::new(),
            addresses: Vec::new(),
        };
        let own = inside(member, DNS);
        // Without a relay: what is looked at here is who becomes direct.
        let config = Config { zones: vec![zone], listen: vec![own.ip()], relay: None };
        Self {
            registry: Registry::new(now, config),
            own,
            askers: BTreeMap::new(),
            next_query: 0,
            stun: PlainAnswers::new(),
        }
    }

    pub(super) fn receive(&mut self, now: Instant, datagram: &Datagram<'_>) {
        if datagram.to != self.own {
            return;
        }
        self.next_query += 1;
        self.askers.insert(self.next_query, datagram.from);
        let query = Query {
            id: self.next_query,
            source: datagram.from,
            local: self.own.ip(),
            transport: Transport::Udp,
            verified: true,
            bytes: datagram.bytes.to_vec(),
            cookie: None,
        };
        self.registry.handle_input(now, Input::Query(query));
    }

    /// Something came to a socket.
    pub(super) fn received(&self, received: Received, device: &mut Device) {
        let mut answer = [0; MAX_ANSWER];
        if let Received::Served { port, from, bytes } = received
            && let Some(length) = self.stun.answer(&bytes, from, &mut answer)
        {
            device.send_from(port, from, None, &answer[..length]);
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.registry.poll_timeout().map(|deadline| deadline.at)
    }

    pub(super) fn drive(&mut self, desk: &mut Desk<'_>) {
        if self.poll_timeout().is_some_and(|at| at <= desk.now) {
            self.registry.handle_input(desk.now, Input::Timeout);
        }
        while let Some(output) = self.registry.poll_output() {
            match output {
                Output::ReadDevice(name) => {
                    let (device, wall) = desk.device.dump(desk.now);
                    self.registry.handle_input(desk.now, Input::Device { name, device: Ok(device), wall });
                }
                Output::Reply { id, bytes } => {
                    if let Some(&asker) = self.askers.get(&id) {
                        desk.device.send_datagram(desk.now, self.own, asker, &bytes);
                    }
                }
                Output::Forget(id) => drop(self.askers.remove(&id)),
                Output::Event(event) => desk.events.push((desk.now, event)),
                // Every question comes to the machine here, which has the answers itself.
                Output::Publish { .. } => {}
                // There is no relay that would offer one.
                Output::OpenLane(_) => {}
            }
        }
    }
}

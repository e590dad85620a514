//! The endpoint agent of a node: carries out what the machine wants, as `pinhole agent` does.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use pinhole_agent::endpoint::{Agent, Config, Input, KEEPALIVE, Output, Owned};
use pinhole_dns::client;
use pinhole_sansio::{Duration, Instant, Machine};
use pinhole_wg::{DeviceUpdate, Key};
use pinhole_wire::build::{self, Echo};

use super::sockets::Received;
use super::{DNS, Datagram, Desk, inside};
use crate::plan::{DEVICE, Member, Plan, ZONE};

/// The port that it asks from.
const ASKS_FROM: u16 = 40_000;
/// The identifier of its echoes.
const ECHOES: u16 = 0x7068;

/// See the module.
#[derive(Debug)]
pub(super) struct AgentProgram {
    agent: Agent,
    own: IpAddr,
    /// When each peer's last handshake was, as the device was last read.
    handshakes: BTreeMap<Key, Duration>,
    owned: Vec<Owned>,
    echoes: u16,
}

impl AgentProgram {
    pub(super) fn new(now: Instant, plan: &Plan, member: &Member, seed: u64) -> Self {
        // Without a registry nobody answers, as where one is down.
        let nobody = SocketAddr::from(([10, 77, 255, 254], DNS));
        let config = Config {
            device: DEVICE.to_owned(),
            zone: ZONE.parse().expect("a name"),
            server: plan.registry.as_ref().map_or(nobody, |registry| inside(registry, DNS)),
            accept: Vec::new(),
            keepalive: KEEPALIVE,
            can_open: true,
            stun: Vec::new(),
            owned: Vec::new(),
            seed,
        };
        Self {
            agent: Agent::new(now, config),
            own: IpAddr::V4(member.tunnel),
            handshakes: BTreeMap::new(),
            owned: Vec::new(),
            echoes: 0,
        }
    }

    /// What it has written to its disk.
    pub(super) fn owned(self) -> Vec<Owned> {
        self.owned
    }

    pub(super) fn remember(&mut self, owned: Vec<Owned>) {
        self.owned = owned;
    }

    pub(super) fn network_changed(&mut self, now: Instant) {
        self.agent.handle_input(now, Input::NetworkChanged);
    }

    pub(super) fn receive(&mut self, now: Instant, datagram: &Datagram<'_>) {
        if datagram.to.port() == ASKS_FROM {
            let (server, bytes) = (datagram.from, datagram.bytes.to_vec());
            self.agent.handle_input(now, Input::Dns(client::Input::Datagram { server, bytes }));
        }
    }

    /// Something came to a socket.
    pub(super) fn received(&mut self, now: Instant, received: Received) {
        let input = match received {
            Received::Stun { from, bytes } => Input::Received { from, bytes },
            Received::Extra { peer, socket, from, bytes } => Input::ReceivedBy { peer, socket, from, bytes },
            Received::Tunnelled(_) | Received::Served { .. } => return,
        };
        self.agent.handle_input(now, input);
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.agent.poll_timeout().map(|deadline| deadline.at)
    }

    pub(super) fn drive(&mut self, desk: &mut Desk<'_>) {
        if self.poll_timeout().is_some_and(|at| at <= desk.now) {
            self.agent.handle_input(desk.now, Input::Timeout);
        }
        while let Some(output) = self.agent.poll_output() {
            self.carry_out(desk, output);
        }
    }

    fn carry_out(&mut self, desk: &mut Desk<'_>, output: Output) {
        let now = desk.now;
        match output {
            Output::ReadDevice => self.read_device(desk),
            Output::Apply(update) => self.apply(desk, &update),
            Output::Ask { to, bytes, .. } => {
                desk.device.send_datagram(now, SocketAddr::new(self.own, ASKS_FROM), to, &bytes);
            }
            Output::Open { to, ttl, .. } => desk.device.open(to, ttl),
            Output::Send { from_port, to, ttl, bytes, .. } => desk.device.send_from(from_port, to, ttl, &bytes),
            Output::OpenSockets { peer, sockets, .. } => {
                let sockets = desk.device.sockets.open(peer, sockets);
                self.agent.handle_input(now, Input::SocketsOpened { peer, sockets });
            }
            Output::SendBy { peer, socket, to, ttl, bytes } => {
                if let Some(port) = desk.device.sockets.port(&peer, socket) {
                    desk.device.send_from(port, to, ttl, &bytes);
                }
            }
            Output::HandOver { peer, socket, remote, .. } => {
                if desk.device.sockets.hand_over(peer, socket, remote) {
                    self.agent.handle_input(now, Input::HandedOver { peer });
                }
            }
            Output::TakeBack { peer } => desk.device.sockets.take_back(&peer),
            Output::CloseSockets { peer } => desk.device.sockets.close(&peer),
            Output::Probe { to } => self.probe(desk, to),
            Output::Remember(owned) => self.owned = owned,
            Output::Event(event) => desk.events.push((now, event)),
            // There is no TCP here; answers of a lab are short enough without.
            Output::AskByTcp { question, .. } => {
                let failed = client::Input::Exchanged { question, response: None };
                self.agent.handle_input(now, Input::Dns(failed));
            }
            Output::Asked(_) | Output::Stopped => {}
        }
    }

    fn read_device(&mut self, desk: &mut Desk<'_>) {
        let (device, wall) = desk.device.dump(desk.now);
        let dated = device.peers.iter().filter_map(|peer| Some((peer.public_key, peer.last_handshake?)));
        self.handshakes = dated.collect();
        self.agent.handle_input(desk.now, Input::Device { device, wall });
    }

    fn apply(&mut self, desk: &mut Desk<'_>, update: &DeviceUpdate) {
        let asks = update.peers.iter().filter(|peer| peer.handshake).map(|peer| peer.public_key);
        let asks: Vec<Key> = asks.collect();
        if !asks.is_empty() {
            // A handshake that has completed since the machine looked is not to be ended by another.
            let (device, _) = desk.device.dump(desk.now);
            let asked = device.peers.iter().filter(|peer| asks.contains(&peer.public_key));
            if asked.into_iter().any(|peer| peer.last_handshake > self.handshakes.get(&peer.public_key).copied()) {
                return self.read_device(desk);
            }
        }
        desk.device.apply(desk.now, update);
    }

    fn probe(&mut self, desk: &mut Desk<'_>, to: IpAddr) {
        self.echoes = self.echoes.wrapping_add(1);
        let echo = Echo { reply: false, identifier: ECHOES, sequence: self.echoes };
        let mut packet = [0; 64];
        if let Ok(length) = build::echo(self.own, to, 64, echo, &[], &mut packet) {
            desk.device.send(desk.now, &packet[..length]);
        }
    }
}

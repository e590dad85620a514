//! The network side of a node: the embedded WireGuard engine at its port, and the [`Sockets`] beside it.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};

use pinhole_sansio::{Duration, Instant, Rng};
use pinhole_tunnel::{Engine, Outbox};
use pinhole_wg::{DeviceUpdate, PeerUpdate};
use pinhole_wire::offload::{Split, VnetHdr};
use pinhole_wire::{Protocol, build, ipv4, udp};

use super::sockets::{Received, Sockets};
use crate::plan::{Member, PORT, Plan, fill};

/// The clock that handshakes are dated with shows this when the world begins.
const WALL: Duration = Duration::from_secs(1_800_000_000);
/// What `wg-quick` gives its interfaces.
const MTU: u16 = 1_420;
/// Of packets that the host sends, as Linux does.
const TTL: u8 = 64;
/// Keeps the mapping towards the registry open.
const KEEPALIVE: u16 = 25;
/// What an opener says: that it is none of WireGuard's four messages.
const OPENER: &[u8] = b"pinhole!";

/// See the module.
pub(super) struct Device {
    engine: Engine,
    outbox: Outbox,
    address: Ipv4Addr,
    pub(super) sockets: Sockets,
    /// Packets that are not WireGuard's.
    others: Vec<Vec<u8>>,
}

impl Device {
    pub(super) fn new(now: Instant, plan: &Plan, member: &Member, address: Ipv4Addr, mut rng: Rng) -> Self {
        let entropy = Box::new(move |bytes: &mut [u8]| fill(&mut rng, bytes));
        let mut device = Self {
            engine: Engine::new(entropy, WALL, MTU),
            outbox: Outbox::new(),
            address,
            sockets: Sockets::default(),
            others: Vec::new(),
        };
        let others = plan.registry.iter().chain(&plan.agents).filter(|other| other.place != member.place);
        let is_registry = plan.registry.as_ref().is_some_and(|registry| registry.place == member.place);
        let peers = others.map(|other| {
            let is_hub = !is_registry && plan.registry.as_ref().is_some_and(|hub| hub.place == other.place);
            PeerUpdate {
                endpoint: is_hub.then(|| other.endpoint()),
                keepalive: is_hub.then_some(KEEPALIVE),
                allowed_ips: vec![ipnet::IpNet::from(std::net::IpAddr::V4(other.tunnel))],
                ..PeerUpdate::new(other.public)
            }
        });
        let update = DeviceUpdate {
            private_key: Some(member.private),
            listen_port: Some(PORT),
            peers: peers.collect(),
            ..DeviceUpdate::default()
        };
        device.apply(now, &update);
        device
    }

    pub(super) fn apply(&mut self, now: Instant, update: &DeviceUpdate) {
        self.engine.apply(now, update, &mut self.outbox);
    }

    /// The device as a reader sees it, and the time on the clock that handshakes are dated with.
    pub(super) fn dump(&self, now: Instant) -> (pinhole_wg::Device, Duration) {
        (self.engine.dump(), WALL + now.since(Instant::EPOCH))
    }

    pub(super) fn set_address(&mut self, address: Ipv4Addr) {
        self.address = address;
    }

    /// Sends an IP packet into the tunnel.
    pub(super) fn send(&mut self, now: Instant, packet: &[u8]) {
        if let Ok(split) = Split::new(&VnetHdr::default(), packet) {
            self.engine.send(now, &split, &mut self.outbox);
        }
    }

    /// Sends a datagram into the tunnel.
    pub(super) fn send_datagram(&mut self, now: Instant, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        let mut packet = vec![0; bytes.len() + 28];
        if build::udp(from, to, TTL, bytes, &mut packet).is_ok() {
            self.send(now, &packet);
        }
    }

    /// Sends a packet from the WireGuard port that need not arrive.
    pub(super) fn open(&mut self, to: SocketAddr, ttl: u8) {
        self.send_from(PORT, to, Some(ttl), OPENER);
    }

    /// Sends a datagram that is not WireGuard's, from any port.
    pub(super) fn send_from(&mut self, port: u16, to: SocketAddr, ttl: Option<u8>, bytes: &[u8]) {
        self.others.extend(self.datagram(port, to, ttl.unwrap_or(TTL), bytes));
    }

    /// Takes an IP packet from the network; returns what is not for WireGuard itself.
    pub(super) fn receive(&mut self, now: Instant, mut packet: Vec<u8>) -> Option<Received> {
        let ip = ipv4::Packet::new_checked(packet.as_slice()).ok()?;
        if ip.protocol() != Protocol::Udp || ip.dst() != self.address {
            return None;
        }
        let (source, start, end) = (ip.src(), ip.header_len(), ip.total_len());
        let datagram = udp::Packet::new_checked(&packet[start..end]).ok()?;
        let from = SocketAddr::new(source.into(), datagram.src_port());
        if let Some(received) = self.sockets.sort(datagram.dst_port(), from, datagram.payload()) {
            return Some(received);
        }
        if self.sockets.seen_as(datagram.dst_port(), from) != PORT {
            return None;
        }
        let message = &mut packet[start + udp::HEADER_LEN..end];
        let inner = self.engine.receive(now, from, message, &mut self.outbox)?;
        Some(Received::Tunnelled(message[inner].to_vec()))
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        self.engine.handle_timeout(now, &mut self.outbox);
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.engine.poll_timeout()
    }

    /// Moves what is to be sent to the network.
    pub(super) fn drain(&mut self, packets: &mut VecDeque<Vec<u8>>) {
        packets.extend(self.others.drain(..));
        for transmit in self.outbox.transmits() {
            packets.extend(transmit.messages().filter_map(|message| self.datagram(PORT, transmit.to, TTL, message)));
        }
        self.outbox.clear();
    }

    fn datagram(&self, port: u16, to: SocketAddr, ttl: u8, bytes: &[u8]) -> Option<Vec<u8>> {
        let mut packet = vec![0; bytes.len() + 28];
        let port = if port == PORT { self.sockets.leaves_by(to) } else { port };
        let from = SocketAddr::new(self.address.into(), port);
        build::udp(from, to, ttl, bytes, &mut packet).ok()?;
        Some(packet)
    }
}

impl std::fmt::Debug for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Device").field("address", &self.address).finish_non_exhaustive()
    }
}

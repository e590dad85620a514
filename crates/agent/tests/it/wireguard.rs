//! WireGuard as a model: handshakes, sessions, roaming and counters, without cryptography. It has the kernel's manners that
//! matter here: crossing initiations destroy each other, and one that is lost is repeated after 5 s.

use std::net::SocketAddr;

use ipnet::IpNet;
use pinhole_sansio::{Duration, Instant};
use pinhole_wg::{Device, DeviceUpdate, Key, Peer};

/// REKEY_TIMEOUT of the WireGuard paper.
const RETRY: Duration = Duration::from_secs(5);
/// The clock that handshakes are dated with, at the start of the world.
pub const WALL: Duration = Duration::from_secs(1_800_000_000);

#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    Initiation(u64),
    Response(u64),
    Data(u64, Inner),
    /// Not WireGuard's.
    Opener,
    /// STUN.
    Stun(Vec<u8>),
}

#[derive(Clone, Debug, PartialEq)]
pub enum Inner {
    Keepalive,
    Dns(Vec<u8>),
    Echo,
    EchoReply,
    /// What the user sends: the number tells them apart.
    User(u64),
}

/// What leaves the device.
pub type Sent = (SocketAddr, Message);

pub struct WireGuard {
    pub key: Key,
    peers: Vec<Side>,
    next_session: u64,
}

struct Side {
    peer: Peer,
    session: Option<u64>,
    /// As responder, until the initiator's first packet.
    offered: Option<u64>,
    /// The newest initiation that was taken; those not newer are replays.
    newest: u64,
    outstanding: Option<(u64, Instant)>,
    staged: Vec<Inner>,
}

impl WireGuard {
    pub fn new(key: Key, seed: u64) -> Self {
        Self { key, peers: Vec::new(), next_session: seed << 32 }
    }

    pub fn add(&mut self, key: Key, endpoint: Option<SocketAddr>, allowed: &str, keepalive: u16) {
        let allowed_ips: Vec<IpNet> = vec![allowed.parse().expect("a prefix")];
        let peer = Peer { endpoint, allowed_ips, keepalive, ..Peer::new(key) };
        self.peers.push(Side::new(peer));
    }

    pub fn device(&self) -> Device {
        let peers = self.peers.iter().map(|side| side.peer.clone()).collect();
        Device { public_key: Some(self.key), listen_port: 51_820, peers, ..Device::default() }
    }

    pub fn apply(&mut self, now: Instant, update: &DeviceUpdate) -> Vec<Sent> {
        let mut sent = Vec::new();
        for change in &update.peers {
            if change.remove {
                self.peers.retain(|side| side.peer.public_key != change.public_key);
                continue;
            }
            let known = self.peers.iter().any(|side| side.peer.public_key == change.public_key);
            if !known && !change.update_only {
                self.peers.push(Side::new(Peer::new(change.public_key)));
            }
            let Some(side) = self.peers.iter_mut().find(|side| side.peer.public_key == change.public_key) else {
                continue;
            };
            side.peer.allowed_ips.extend(&change.allowed_ips);
            side.peer.endpoint = change.endpoint.or(side.peer.endpoint);
            side.peer.keepalive = change.keepalive.unwrap_or(side.peer.keepalive);
            if change.handshake {
                // Removed and added again.
                let peer = Peer { rx_bytes: 0, tx_bytes: 0, last_handshake: None, ..side.peer.clone() };
                let staged = std::mem::take(&mut side.staged);
                *side = Side { staged, ..Side::new(peer) };
                sent.extend(side.initiate(now, &mut self.next_session));
            }
        }
        sent
    }

    pub fn send(&mut self, now: Instant, to: Key, inner: Inner) -> Vec<Sent> {
        let next_session = &mut self.next_session;
        let Some(side) = self.peers.iter_mut().find(|side| side.peer.public_key == to) else { return Vec::new() };
        match (side.session, side.peer.endpoint) {
            (Some(session), Some(endpoint)) => {
                side.peer.tx_bytes += 100;
                vec![(endpoint, Message::Data(session, inner))]
            }
            (None, Some(_)) => {
                side.staged.push(inner);
                side.retry(now, next_session)
            }
            (_, None) => Vec::new(),
        }
    }

    /// Repeats initiations that have not been answered.
    pub fn tick(&mut self, now: Instant) -> Vec<Sent> {
        let next_session = &mut self.next_session;
        let waiting = self.peers.iter_mut().filter(|side| side.outstanding.is_some());
        waiting.flat_map(|side| side.retry(now, next_session)).collect()
    }

    /// Takes a message that `from` sent and that came from `source`; gives what is sent back and what arrived.
    pub fn receive(
        &mut self,
        now: Instant,
        from: Key,
        source: SocketAddr,
        message: Message,
    ) -> (Vec<Sent>, Option<Inner>) {
        let Some(side) = self.peers.iter_mut().find(|side| side.peer.public_key == from) else { return (vec![], None) };
        match message {
            Message::Opener | Message::Stun(_) => (vec![], None),
            Message::Initiation(session) if session <= side.newest => (vec![], None),
            Message::Initiation(session) => {
                side.newest = session;
                side.heard(source, 148);
                (side.outstanding, side.offered) = (None, Some(session));
                side.peer.tx_bytes += 92;
                (vec![(source, Message::Response(session))], None)
            }
            Message::Response(session) if side.outstanding.is_some_and(|(id, _)| id == session) => {
                side.heard(source, 92);
                side.established(now, session);
                let mut first = std::mem::take(&mut side.staged);
                if first.is_empty() {
                    first.push(Inner::Keepalive);
                }
                side.peer.tx_bytes += 100 * first.len() as u64;
                (first.into_iter().map(|inner| (source, Message::Data(session, inner))).collect(), None)
            }
            Message::Data(session, inner) if side.session == Some(session) || side.offered == Some(session) => {
                side.heard(source, 100);
                let mut sent = Vec::new();
                if side.offered.take_if(|offered| *offered == session).is_some() {
                    side.established(now, session);
                    side.peer.tx_bytes += 100 * side.staged.len() as u64;
                    sent.extend(side.staged.drain(..).map(|inner| (source, Message::Data(session, inner))));
                }
                (sent, Some(inner))
            }
            Message::Response(_) | Message::Data(..) => (vec![], None),
        }
    }
}

impl Side {
    fn new(peer: Peer) -> Self {
        Self { peer, session: None, offered: None, newest: 0, outstanding: None, staged: Vec::new() }
    }

    fn initiate(&mut self, now: Instant, next_session: &mut u64) -> Vec<Sent> {
        let Some(endpoint) = self.peer.endpoint else { return Vec::new() };
        *next_session += 1;
        self.outstanding = Some((*next_session, now));
        self.peer.tx_bytes += 148;
        vec![(endpoint, Message::Initiation(*next_session))]
    }

    fn retry(&mut self, now: Instant, next_session: &mut u64) -> Vec<Sent> {
        if self.outstanding.is_some_and(|(_, at)| now.since(at) < RETRY) {
            return Vec::new();
        }
        self.initiate(now, next_session)
    }

    fn heard(&mut self, source: SocketAddr, bytes: u64) {
        self.peer.endpoint = Some(source);
        self.peer.rx_bytes += bytes;
    }

    fn established(&mut self, now: Instant, session: u64) {
        (self.session, self.outstanding) = (Some(session), None);
        self.peer.last_handshake = Some(WALL + now.since(Instant::EPOCH));
    }
}

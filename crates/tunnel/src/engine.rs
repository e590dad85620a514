//! The device as one state machine without I/O.

use core::cmp::Reverse;
use core::net::{IpAddr, SocketAddr};
use core::ops::Range;
use std::collections::{BinaryHeap, HashMap};

use pinhole_sansio::{Duration, Instant};
use pinhole_wg::{Device, DeviceUpdate, Key, PeerUpdate, PrivateKey};
use pinhole_wire::offload::Split;
use pinhole_wire::wireguard::{self, Kind};

use crate::allowed::AllowedIps;
use crate::counters::{Counters, Dropped};
use crate::load::Load;
use crate::noise::cookie::Proof;
use crate::noise::handshake::Opened;
use crate::noise::session::{HEADER_LEN, OpenError};
use crate::outbox::Outbox;
use crate::peer::{Peer, Reason};
use crate::shared::{Core, Entropy, PeerId};

/// A WireGuard device without its TUN and its sockets.
///
/// What is to be sent is added to the [`Outbox`] that is passed in, in order. After every call the driver sends it, and
/// arranges to call [`handle_timeout`](Self::handle_timeout) at [`poll_timeout`](Self::poll_timeout). `now` never goes
/// backwards. Nothing that comes from the network makes it panic.
pub struct Engine {
    core: Core,
    listen_port: u16,
    fwmark: u32,
    peers: Vec<Option<Box<Peer>>>,
    /// Empty places in `peers`.
    free: Vec<PeerId>,
    by_key: HashMap<Key, PeerId>,
    allowed: AllowedIps<PeerId>,
    load: Load,
    wakes: BinaryHeap<Reverse<(Instant, PeerId)>>,
    /// For each peer, the earliest of its entries in `wakes`.
    wake_of: Vec<Option<Instant>>,
    counters: Counters,
}

impl Engine {
    /// A device with no key and no peers, for packets of up to `mtu` bytes. `wall_at_epoch` is the wall clock time since the
    /// Unix epoch at [`Instant::EPOCH`]: peers refuse handshakes whose time does not grow.
    pub fn new(entropy: Entropy, wall_at_epoch: Duration, mtu: u16) -> Self {
        Self {
            core: Core::new(entropy, wall_at_epoch, mtu.into()),
            listen_port: 0,
            fwmark: 0,
            peers: Vec::new(),
            free: Vec::new(),
            by_key: HashMap::new(),
            allowed: AllowedIps::default(),
            load: Load::default(),
            wakes: BinaryHeap::new(),
            wake_of: Vec::new(),
            counters: Counters::default(),
        }
    }

    /// Changes the device. The port and the mark are only written down: sockets are the driver's.
    pub fn apply(&mut self, now: Instant, update: &DeviceUpdate, out: &mut Outbox) {
        if let Some(key) = update.private_key {
            self.set_private_key(key);
        }
        self.listen_port = update.listen_port.unwrap_or(self.listen_port);
        self.fwmark = update.fwmark.unwrap_or(self.fwmark);
        if update.replace_peers {
            (0..self.peers.len()).rev().for_each(|id| self.remove(id));
        }
        for peer in &update.peers {
            self.apply_peer(now, peer, out);
        }
    }

    /// Writes down the port that the driver's sockets got.
    pub fn set_listen_port(&mut self, port: u16) {
        self.listen_port = port;
    }

    /// Packets may have this many bytes from now on.
    pub fn set_mtu(&mut self, mtu: u16) {
        self.core.mtu = mtu.into();
    }

    /// The device as it is.
    pub fn dump(&self) -> Device {
        let identity = self.core.identity.as_ref();
        let peers = self.peers.iter().flatten().map(|peer| pinhole_wg::Peer {
            preshared_key: peer.preshared_key(),
            endpoint: peer.endpoint,
            keepalive: peer.keepalive,
            last_handshake: peer.last_handshake,
            rx_bytes: peer.rx_bytes,
            tx_bytes: peer.tx_bytes,
            allowed_ips: peer.allowed_ips.clone(),
            ..pinhole_wg::Peer::new(peer.key)
        });
        Device {
            private_key: identity.map(|identity| PrivateKey::from_bytes(*identity.private())),
            public_key: identity.map(|identity| Key::from_bytes(*identity.public())),
            listen_port: self.listen_port,
            fwmark: self.fwmark,
            peers: peers.collect(),
        }
    }

    /// What was dropped, by reason.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Takes a packet from the TUN device, which may be one that the kernel left for us to cut.
    pub fn send(&mut self, now: Instant, packet: &Split<'_>, out: &mut Outbox) {
        let owner = self.allowed.owner(packet.destination());
        let Some(peer) = owner.and_then(|id| self.peers.get_mut(id)?.as_deref_mut()) else {
            return self.counters.count(Dropped::NoPeer);
        };
        if peer.endpoint.is_none() {
            return self.counters.count(Dropped::NoEndpoint);
        }
        let id = owner.unwrap_or_default();
        peer.send(&mut self.core, now, packet, out);
        self.reschedule(id);
    }

    /// Takes a datagram from a socket. Where it carries a packet for the TUN device, that was decrypted in place and its
    /// range is returned.
    pub fn receive(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &mut [u8],
        out: &mut Outbox,
    ) -> Option<Range<usize>> {
        let Ok(message) = wireguard::Packet::new_checked(&*datagram) else {
            self.counters.count(Dropped::NotWireGuard);
            return None;
        };
        let (kind, receiver) = (message.kind(), message.receiver().unwrap_or_default());
        let result = match kind {
            Kind::Transport => self.receive_packet(now, from, receiver, datagram, out).map(Some),
            Kind::CookieReply => self.receive_cookie(now, receiver, datagram).map(|()| None),
            Kind::HandshakeInitiation | Kind::HandshakeResponse => {
                self.receive_handshake(now, from, kind, receiver, datagram, out).map(|()| None)
            }
        };
        match result {
            Ok(packet) => packet.filter(|packet| !packet.is_empty()),
            Err(dropped) => {
                self.counters.count(dropped);
                None
            }
        }
    }

    /// Does what is due at `now`. Too early does nothing.
    pub fn handle_timeout(&mut self, now: Instant, out: &mut Outbox) {
        while let Some(&Reverse((at, id))) = self.wakes.peek()
            && at <= now
        {
            self.wakes.pop();
            if self.wake_of[id] == Some(at) {
                self.wake_of[id] = None;
            }
            if let Some(peer) = self.peers[id].as_deref_mut() {
                peer.handle_timeout(&mut self.core, now, out);
                self.reschedule(id);
            }
        }
    }

    /// The earliest moment at which [`handle_timeout`](Self::handle_timeout) may have something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.wakes.peek().map(|Reverse((at, _))| *at)
    }

    fn receive_packet(
        &mut self,
        now: Instant,
        from: SocketAddr,
        index: u32,
        datagram: &mut [u8],
        out: &mut Outbox,
    ) -> Result<Range<usize>, Dropped> {
        let id = self.core.owner(index).ok_or(Dropped::UnknownIndex)?;
        let peer = self.peers.get_mut(id).and_then(Option::as_deref_mut).ok_or(Dropped::UnknownIndex)?;
        let opened = peer.open(&mut self.core, now, from, index, datagram, out).map_err(|error| match error {
            OpenError::Expired => Dropped::Expired,
            OpenError::Replayed => Dropped::Replayed,
            OpenError::Forged => Dropped::Forged,
        })?;
        self.reschedule(id);
        let padded = &datagram[HEADER_LEN..HEADER_LEN + opened.len];
        if padded.is_empty() {
            return Ok(0..0);
        }
        let (source, len) = inner(padded).ok_or(Dropped::NotIp)?;
        if self.allowed.owner(source) != Some(id) {
            return Err(Dropped::NotAllowed);
        }
        Ok(HEADER_LEN..HEADER_LEN + len)
    }

    fn receive_cookie(&mut self, now: Instant, index: u32, datagram: &[u8]) -> Result<(), Dropped> {
        let id = self.core.owner(index).ok_or(Dropped::UnknownIndex)?;
        let peer = self.peers.get_mut(id).and_then(Option::as_deref_mut).ok_or(Dropped::UnknownIndex)?;
        let message = datagram.try_into().map_err(|_| Dropped::NotWireGuard)?;
        if peer.accept_cookie(now, index, message) { Ok(()) } else { Err(Dropped::Forged) }
    }

    fn receive_handshake(
        &mut self,
        now: Instant,
        from: SocketAddr,
        kind: Kind,
        receiver: u32,
        datagram: &[u8],
        out: &mut Outbox,
    ) -> Result<(), Dropped> {
        let proof = self.core.checker.as_ref().ok_or(Dropped::NoKey)?.check(now, from, datagram);
        if proof == Proof::None {
            return Err(Dropped::Forged);
        }
        if self.load.count(now) {
            if proof != Proof::OwnsAddress {
                let reply = self.core.cookie_reply(now, from, datagram).ok_or(Dropped::NoKey)?;
                out.message(from, reply.len(), |room| room.copy_from_slice(&reply));
                return Err(Dropped::UnderLoad);
            }
            if !self.load.admits(now, from) {
                return Err(Dropped::UnderLoad);
            }
        }
        let id = match kind {
            Kind::HandshakeInitiation => self.receive_initiation(now, from, datagram, out)?,
            Kind::HandshakeResponse | Kind::CookieReply | Kind::Transport => {
                self.receive_response(now, from, receiver, datagram, out)?
            }
        };
        self.reschedule(id);
        Ok(())
    }

    fn receive_initiation(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &[u8],
        out: &mut Outbox,
    ) -> Result<PeerId, Dropped> {
        let message = datagram.try_into().map_err(|_| Dropped::NotWireGuard)?;
        let identity = self.core.identity.as_ref().ok_or(Dropped::NoKey)?;
        let opened = Opened::read(identity, message).ok_or(Dropped::Forged)?;
        let id = *self.by_key.get(&Key::from_bytes(opened.public)).ok_or(Dropped::UnknownPeer)?;
        let peer = self.peers.get_mut(id).and_then(Option::as_deref_mut).ok_or(Dropped::UnknownPeer)?;
        let accepted = peer.accept_initiation(&mut self.core, now, from, opened, out);
        if accepted { Ok(id) } else { Err(Dropped::Replayed) }
    }

    fn receive_response(
        &mut self,
        now: Instant,
        from: SocketAddr,
        receiver: u32,
        datagram: &[u8],
        out: &mut Outbox,
    ) -> Result<PeerId, Dropped> {
        let message = datagram.try_into().map_err(|_| Dropped::NotWireGuard)?;
        let id = self.core.owner(receiver).ok_or(Dropped::UnknownIndex)?;
        let peer = self.peers.get_mut(id).and_then(Option::as_deref_mut).ok_or(Dropped::UnknownIndex)?;
        peer.accept_response(&mut self.core, now, from, receiver, message, out)?;
        Ok(id)
    }

    fn set_private_key(&mut self, key: PrivateKey) {
        if self.core.identity.as_ref().is_some_and(|identity| identity.private() == key.as_bytes()) {
            return;
        }
        self.core.set_identity(key);
        // A peer cannot be ourselves.
        if let Some(&id) = self.core.identity.as_ref().and_then(|own| self.by_key.get(&Key::from_bytes(*own.public())))
        {
            self.remove(id);
        }
        for peer in self.peers.iter_mut().flatten() {
            peer.set_identity(&mut self.core);
        }
    }

    fn apply_peer(&mut self, now: Instant, update: &PeerUpdate, out: &mut Outbox) {
        let known = self.by_key.get(&update.public_key).copied();
        if update.remove {
            return known.into_iter().for_each(|id| self.remove(id));
        }
        let is_self = self.core.identity.as_ref().is_some_and(|own| own.public() == update.public_key.as_bytes());
        let id = match known {
            Some(id) => id,
            None if update.update_only || is_self => return,
            None => self.add(update.public_key),
        };
        if update.replace_allowed_ips {
            self.disallow(id);
        }
        for &prefix in &update.allowed_ips {
            self.allow(id, prefix.trunc());
        }
        let Some(peer) = self.peers[id].as_deref_mut() else { return };
        if let Some(key) = update.preshared_key {
            peer.set_preshared_key(key);
        }
        if let Some(endpoint) = update.endpoint {
            peer.set_endpoint(&mut self.core, now, endpoint, out);
        }
        if let Some(seconds) = update.keepalive {
            peer.set_keepalive(&mut self.core, now, seconds, out);
        }
        peer.send_staged(&mut self.core, now, out);
        if update.handshake {
            peer.initiate(&mut self.core, now, Reason::Asked, out);
        }
        self.reschedule(id);
    }

    fn add(&mut self, key: Key) -> PeerId {
        let id = self.free.pop().unwrap_or(self.peers.len());
        let peer = Box::new(Peer::new(&self.core, id, key));
        self.by_key.insert(key, id);
        if id == self.peers.len() {
            self.peers.push(None);
            self.wake_of.push(None);
        }
        self.peers[id] = Some(peer);
        self.wake_of[id] = None;
        id
    }

    fn remove(&mut self, id: PeerId) {
        self.disallow(id);
        if let Some(mut peer) = self.peers[id].take() {
            peer.forget(&mut self.core);
            self.by_key.remove(&peer.key);
            self.free.push(id);
        }
    }

    fn allow(&mut self, id: PeerId, prefix: ipnet::IpNet) {
        if let Some(loser) = self.allowed.insert(prefix, id)
            && let Some(peer) = self.peers.get_mut(loser).and_then(Option::as_deref_mut)
        {
            peer.allowed_ips.retain(|other| *other != prefix);
        }
        if let Some(peer) = self.peers[id].as_deref_mut()
            && !peer.allowed_ips.contains(&prefix)
        {
            peer.allowed_ips.push(prefix);
        }
    }

    fn disallow(&mut self, id: PeerId) {
        let Some(peer) = self.peers[id].as_deref_mut() else { return };
        for prefix in core::mem::take(&mut peer.allowed_ips) {
            self.allowed.remove(prefix, id);
        }
    }

    /// Makes sure that `id` is woken in time. An entry that comes too early is harmless.
    fn reschedule(&mut self, id: PeerId) {
        let Some(at) = self.peers[id].as_deref().and_then(Peer::deadline) else { return };
        if self.wake_of[id].is_none_or(|wake| at < wake) {
            self.wake_of[id] = Some(at);
            self.wakes.push(Reverse((at, id)));
        }
    }
}

/// The source and the length, without padding, of the IP packet at the start of `bytes`.
fn inner(bytes: &[u8]) -> Option<(IpAddr, usize)> {
    let (source, len, header) = match bytes.first()? >> 4 {
        4 => {
            let source = IpAddr::from(*bytes.get(12..)?.first_chunk::<4>()?);
            (source, u16::from_be_bytes([bytes[2], bytes[3]]).into(), 20)
        }
        6 => {
            let source = IpAddr::from(*bytes.get(8..)?.first_chunk::<16>()?);
            (source, usize::from(u16::from_be_bytes([bytes[4], bytes[5]])) + 40, 40)
        }
        _ => return None,
    };
    (len >= header && len <= bytes.len()).then_some((source, len))
}

#[cfg(test)]
mod tests;

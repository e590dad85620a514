//! The sockets of a node beside WireGuard's: those that an agent looks for holes with, and the holes that WireGuard was given.
//!
//! A hole is a rewrite of source ports, as the firewall of a real host has it: what goes from WireGuard's port to the hole's
//! remote end leaves by another port, and what comes to that port from there is WireGuard's.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use pinhole_wg::Key;

use crate::plan::PORT;

/// Sockets that nobody gave a port have one from here on, as on Linux (`ip_local_port_range`).
const FIRST: u16 = 32_768;
const LAST: u16 = 60_999;
/// Of every STUN message from its fifth byte on (RFC 8489 section 5).
const STUN_COOKIE: [u8; 4] = 0x2112_A442_u32.to_be_bytes();

/// Something that came and is not for WireGuard itself.
#[derive(Debug)]
pub(super) enum Received {
    /// An IP packet has come out of the tunnel.
    Tunnelled(Vec<u8>),
    /// A STUN message came to WireGuard's port.
    Stun {
        /// From where.
        from: SocketAddr,
        /// The message.
        bytes: Vec<u8>,
    },
    /// A datagram came to an extra socket.
    Extra {
        /// Whose.
        peer: Key,
        /// Which one.
        socket: u16,
        /// From where.
        from: SocketAddr,
        /// The datagram.
        bytes: Vec<u8>,
    },
    /// A datagram came to a port of the host's.
    Served {
        /// To which port.
        port: u16,
        /// From where.
        from: SocketAddr,
        /// The datagram.
        bytes: Vec<u8>,
    },
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    /// The ports of each peer's extra sockets.
    extra: BTreeMap<Key, Vec<u16>>,
    /// Whose socket a port is.
    by_port: BTreeMap<u16, (Key, u16)>,
    /// The remote end of each peer's hole, and the port that it begins at.
    holes: BTreeMap<Key, (SocketAddr, u16)>,
    /// Ports that something of the host listens at.
    served: Vec<u16>,
    next: u16,
}

impl Sockets {
    /// Something of the host listens at these ports.
    pub(super) fn serve(&mut self, ports: &[u16]) {
        self.served.extend(ports);
    }

    /// Opens sockets for a peer, in the place of those that it has; says how many.
    pub(super) fn open(&mut self, peer: Key, count: u16) -> u16 {
        self.close(&peer);
        let mut ports = Vec::new();
        for socket in 0..count.min(LAST - FIRST) {
            let port = self.free_port();
            self.by_port.insert(port, (peer, socket));
            ports.push(port);
        }
        let opened = ports.len() as u16;
        self.extra.insert(peer, ports);
        opened
    }

    /// Closes a peer's sockets.
    pub(super) fn close(&mut self, peer: &Key) {
        for port in self.extra.remove(peer).unwrap_or_default() {
            self.by_port.remove(&port);
        }
    }

    /// The port of a peer's socket.
    pub(super) fn port(&self, peer: &Key, socket: u16) -> Option<u16> {
        self.extra.get(peer)?.get(usize::from(socket)).copied()
    }

    /// Gives WireGuard the hole of a socket; false if there is none.
    pub(super) fn hand_over(&mut self, peer: Key, socket: u16, remote: SocketAddr) -> bool {
        let port = self.port(&peer, socket);
        port.map(|port| self.holes.insert(peer, (remote, port))).is_some()
    }

    /// Takes it back.
    pub(super) fn take_back(&mut self, peer: &Key) {
        self.holes.remove(peer);
    }

    /// By which port WireGuard's packets to somebody leave.
    pub(super) fn leaves_by(&self, to: SocketAddr) -> u16 {
        self.holes.values().find(|(remote, _)| *remote == to).map_or(PORT, |(_, port)| *port)
    }

    /// To which port a datagram comes in the end.
    pub(super) fn seen_as(&self, port: u16, from: SocketAddr) -> u16 {
        let is_hole = self.holes.values().any(|hole| *hole == (from, port));
        if is_hole { PORT } else { port }
    }

    /// Whose a datagram is, if it is not WireGuard's.
    pub(super) fn sort(&self, port: u16, from: SocketAddr, bytes: &[u8]) -> Option<Received> {
        if self.seen_as(port, from) == PORT {
            let is_stun = bytes.get(4..8) == Some(&STUN_COOKIE[..]);
            return is_stun.then(|| Received::Stun { from, bytes: bytes.to_vec() });
        }
        if self.served.contains(&port) {
            return Some(Received::Served { port, from, bytes: bytes.to_vec() });
        }
        let &(peer, socket) = self.by_port.get(&port)?;
        Some(Received::Extra { peer, socket, from, bytes: bytes.to_vec() })
    }

    fn free_port(&mut self) -> u16 {
        loop {
            self.next = if (FIRST..LAST).contains(&self.next) { self.next + 1 } else { FIRST };
            let is_taken = self.by_port.contains_key(&self.next) || self.next == PORT;
            if !is_taken && !self.holes.values().any(|(_, port)| *port == self.next) {
                return self.next;
            }
        }
    }
}

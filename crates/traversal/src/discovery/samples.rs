//! Many sockets, one after another, each with a port of its own choice: what ports do they get?
//!
//! Inside ports are drawn at random: in a row they would make a counter look like a NAT that keeps ports or their parity.

use core::net::SocketAddr;

use pinhole_sansio::{Duration, Instant};
use pinhole_stun::client::{Request, SocketId};

use super::desk::{Desk, Settled};
use super::evidence::Question;

/// How many. Each is one mapping for the NAT, and with all others of a discovery they stay far below a subscriber's quota.
pub(super) const SAMPLES: u8 = 24;
/// Between two, so that they reach the NAT in the order in which they leave.
const BETWEEN: Duration = Duration::from_millis(8);
/// Inside ports: none that needs privilege, few that services have, and all between Linux's own and the dynamic ones of
/// RFC 6335 §6.
const PORTS: core::ops::Range<u64> = 20_000..60_000;

#[derive(Debug)]
pub(super) struct Track {
    server: SocketAddr,
    sockets: Vec<SocketId>,
    next: Instant,
    settled: usize,
}

impl Track {
    pub(super) fn start(now: Instant, server: SocketAddr) -> Self {
        Self { server, sockets: Vec::new(), next: now, settled: 0 }
    }

    pub(super) fn is_over(&self) -> bool {
        self.settled == usize::from(SAMPLES)
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        (self.sockets.len() < usize::from(SAMPLES)).then_some(self.next)
    }

    pub(super) fn on_timeout(&mut self, now: Instant, desk: &mut Desk) {
        while self.deadline().is_some_and(|next| next <= now) {
            let port = PORTS.start + desk.rng.below(PORTS.end - PORTS.start);
            self.sockets.push(desk.open(u16::try_from(port).ok(), self.server));
            self.next += BETWEEN;
        }
    }

    pub(super) fn on_bound(&mut self, now: Instant, desk: &mut Desk, socket: SocketId) {
        if let Some(number) = self.sockets.iter().position(|own| *own == socket) {
            desk.ask(now, Question::Port { number: number as u8 }, Request::binding(self.server, socket));
        }
    }

    pub(super) fn on_unbound(&mut self, socket: SocketId) {
        self.settled += usize::from(self.sockets.contains(&socket));
    }

    pub(super) fn on_settled(&mut self, settled: &Settled) {
        self.settled += usize::from(self.sockets.contains(&settled.socket));
    }
}

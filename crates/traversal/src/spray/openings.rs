//! When the opener sends what, so that its NAT lets the prober in.
//!
//! To a prober whose port is known: an opener with low TTL from WireGuard's port and from each extra socket, and later a few
//! *scouts* of full TTL from WireGuard's port. A prober whose NAT filters by address, or not at all, hears them. One whose NAT
//! can be poisoned by what it does not expect is poisoned for that one port of ours only.
//!
//! To a prober whose NAT counts, from WireGuard's port alone: one opener to each port that it is predicted to have.

use pinhole_sansio::{Duration, Instant};

use super::{Settings, Via};
use crate::ports::{Guess, OPENED, Sequence};

/// Between two openers of two sockets. They die a few hops away, and 256 of them are 26 kB.
const BETWEEN: Duration = Duration::from_micros(250);
/// Openers that leave together when the driver comes late.
const MOST_AT_ONCE: u32 = 16;
/// Every socket opens twice, this long after the start: what a full queue on the way to the NAT has dropped is no hole.
const ROUNDS: [Duration; 2] = [Duration::ZERO, Duration::from_millis(400)];
/// When WireGuard's port sends scouts, after the start. The first reaches the prober's NAT when the prober's first probe
/// has left it, if the two start together.
const SCOUTS: [Duration; 4] =
    [Duration::from_millis(60), Duration::from_millis(160), Duration::from_millis(380), Duration::from_millis(900)];

/// A packet that opens the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Opening {
    pub(super) via: Via,
    pub(super) port: u16,
    pub(super) ttl: Option<u8>,
}

/// What is still to be sent.
#[derive(Debug)]
pub(super) struct Openings {
    started: Instant,
    ttl: u8,
    own: Own,
    /// The prober's port that the extra sockets open to.
    port: u16,
    sockets: u16,
    /// The round and the socket that are next, and when.
    extras: Option<(usize, u16, Instant)>,
    /// How many have left in one call.
    at_once: u32,
}

/// What WireGuard's port sends.
#[derive(Debug)]
enum Own {
    /// An opener and the scouts: so many have left.
    Scouts(usize),
    /// Openers to one port after another.
    Count { remote: Sequence, sent: u32, next: Instant, interval: Duration },
}

impl Openings {
    pub(super) fn start(now: Instant, settings: &Settings) -> Self {
        let own = match (&settings.local, &settings.remote.ports) {
            (Guess::Sequential(_), Guess::Sequential(remote)) => {
                let interval = Duration::from_secs(1) / settings.limits.rate.max(1);
                Own::Count { remote: *remote, sent: 0, next: now, interval }
            }
            (_, _) => Own::Scouts(0),
        };
        let (ttl, port) = (settings.limits.opener_ttl, settings.remote.endpoint.port());
        Self { started: now, ttl, own, port, sockets: 0, extras: None, at_once: 0 }
    }

    /// How many extra sockets are needed.
    pub(super) fn sockets(&self, settings: &Settings) -> u16 {
        match self.own {
            Own::Scouts(_) => settings.local.sockets().min(settings.limits.sockets),
            Own::Count { .. } => 0,
        }
    }

    pub(super) fn on_opened(&mut self, now: Instant, sockets: u16) {
        if self.sockets == 0 && sockets > 0 {
            self.sockets = sockets;
            self.extras = Some((0, 0, now));
        }
    }

    /// When the next is due.
    pub(super) fn next(&self) -> Option<Instant> {
        let extra = self.extras.map(|(_, _, at)| at);
        [self.next_own(), extra].into_iter().flatten().min()
    }

    /// The next that is due now; call until `None`.
    pub(super) fn take(&mut self, now: Instant) -> Option<Opening> {
        if self.next_own().is_some_and(|at| at <= now) {
            return Some(self.take_own(now));
        }
        let due = self.extras.filter(|(_, _, at)| *at <= now);
        let Some((round, socket, at)) = due.filter(|_| self.at_once < MOST_AT_ONCE) else {
            self.at_once = 0;
            if let Some((_, _, at)) = self.extras.as_mut().filter(|(_, _, at)| *at <= now) {
                *at = now + BETWEEN;
            }
            return None;
        };
        self.at_once += 1;
        self.extras = match (socket + 1 < self.sockets, ROUNDS.get(round + 1)) {
            (true, _) => Some((round, socket + 1, at + BETWEEN)),
            (false, Some(&after)) => Some((round + 1, 0, (self.started + after).max(at + BETWEEN))),
            (false, None) => None,
        };
        Some(Opening { via: Via::Extra(socket), port: self.port, ttl: Some(self.ttl) })
    }

    fn take_own(&mut self, now: Instant) -> Opening {
        match &mut self.own {
            Own::Scouts(done) => {
                let ttl = if *done == 0 { Some(self.ttl) } else { None };
                *done += 1;
                Opening { via: Via::Own, port: self.port, ttl }
            }
            Own::Count { remote, sent, next, interval } => {
                let port = remote.after(*sent as i32);
                *sent += 1;
                // A little behind it catches up; more would be a burst.
                *next = (*next + *interval).max(now - *interval * 8);
                Opening { via: Via::Own, port, ttl: Some(self.ttl) }
            }
        }
    }

    /// When WireGuard's port sends next.
    fn next_own(&self) -> Option<Instant> {
        match &self.own {
            Own::Scouts(0) => Some(self.started),
            Own::Scouts(done) => SCOUTS.get(done - 1).map(|&after| self.started + after),
            Own::Count { sent, next, .. } => (*sent < OPENED).then_some(*next),
        }
    }
}

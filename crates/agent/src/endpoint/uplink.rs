//! The tunnel to the registry itself: the one peer whose endpoint is in the configuration.
//!
//! Everything waits for it, and WireGuard repeats a lost handshake only after 5 s. So while there is no session it is asked
//! for a new one with growing gaps, up to WireGuard's own.

use pinhole_sansio::{Duration, Instant};
use pinhole_wg::Peer;
use pinhole_wg::arbiter::{Advice, Arbiter, Path};

/// The first gap between two handshakes, and how it grows: up to WireGuard's own REKEY_TIMEOUT.
const FIRST_GAP: Duration = Duration::from_millis(150);
const GAP_GROWTH: f64 = 1.3;
const LAST_GAP: Duration = Duration::from_secs(5);

/// A session that seems dead is not thrown away before the registry had this long to come back.
const DEAD_FOR: Duration = Duration::from_secs(6);

/// What has to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    /// Start a handshake.
    Handshake,
    /// Send something through the tunnel that is answered.
    Probe,
    /// Tell that it works.
    Up,
    /// Tell that it does not.
    Down,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Uplink {
    arbiter: Arbiter,
    up: Option<bool>,
    dead_since: Option<Instant>,
    next_knock: Instant,
    gap: Duration,
}

impl Uplink {
    pub(crate) fn new(now: Instant) -> Self {
        Self { arbiter: Arbiter::new(), up: None, dead_since: None, next_knock: now, gap: FIRST_GAP }
    }

    /// Takes what the device says of the registry's peer; gives what to do.
    pub(crate) fn sample(&mut self, now: Instant, wall: Duration, peer: &Peer) -> Vec<Task> {
        let mut tasks = Vec::new();
        if self.arbiter.sample(now, wall, peer) == Advice::Probe {
            tasks.push(Task::Probe);
        }
        if self.up.is_none() && peer.tx_bytes > 0 {
            // The device has called by itself, maybe just now: another call would take that one's place, and the registry
            // refuses two within 20 ms.
            self.next_knock = now + FIRST_GAP;
        }
        let up = self.arbiter.path() == Path::Working;
        match (self.up.replace(up), up) {
            (Some(false) | None, true) => tasks.push(Task::Up),
            (Some(true), false) => tasks.push(Task::Down),
            (Some(true), true) | (Some(false) | None, false) => {}
        }
        if up {
            (self.dead_since, self.gap, self.next_knock) = (None, FIRST_GAP, now);
        } else if peer.endpoint.is_some() && self.may_knock(now) && self.next_knock <= now {
            self.next_knock = now + self.gap;
            self.gap = self.gap.mul_f64(GAP_GROWTH).min(LAST_GAP);
            tasks.push(Task::Handshake);
        }
        tasks
    }

    /// The network has changed.
    pub(crate) fn doubt(&mut self, now: Instant) {
        self.gap = FIRST_GAP;
        self.arbiter.doubt(now);
    }

    pub(crate) fn is_up(&self) -> bool {
        self.up == Some(true)
    }

    pub(crate) fn is_live(&self) -> bool {
        self.arbiter.is_suspicious() || self.arbiter.is_live()
    }

    fn may_knock(&mut self, now: Instant) -> bool {
        match self.arbiter.path() {
            Path::Absent => true,
            Path::Dead => now.since(*self.dead_since.get_or_insert(now)) >= DEAD_FOR,
            Path::Working => false,
        }
    }
}

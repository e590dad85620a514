//! When a peer has to be given attention: the timers of the protocol paper §6, as Linux runs them
//! (drivers/net/wireguard/timers.c), and one of our own, each an instant or nothing.

use pinhole_sansio::{Duration, Instant};

use crate::noise::session::REJECT_AFTER;

/// How long an initiation waits for its response (`Rekey-Timeout`, §6.1).
pub(crate) const REKEY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a receiver waits for something to send before it sends a keepalive (`Keepalive-Timeout`, §6.1).
pub(crate) const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Retransmissions of an initiation: `Rekey-Attempt-Time` (90 s, §6.1) over `Rekey-Timeout`.
pub(crate) const MAX_ATTEMPTS: u32 = 90 / 5;
/// The greatest random delay that is added to a retransmission, in milliseconds (§6.1: so that two peers do not collide for
/// ever).
pub(crate) const MAX_JITTER_MS: u64 = 333;

/// A peer's timers, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Timer {
    /// An initiation got no response.
    Retransmit,
    /// Something was received and nothing sent since.
    Keepalive,
    /// Something was sent and nothing received since.
    NewHandshake,
    /// Old keys have to go.
    ZeroKeys,
    /// A NAT may forget us.
    Persistent,
    /// A copy of a handshake message is due.
    Copy,
}

const ALL: [Timer; 6] =
    [Timer::Retransmit, Timer::Keepalive, Timer::NewHandshake, Timer::ZeroKeys, Timer::Persistent, Timer::Copy];

/// A peer's timers.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    at: [Option<Instant>; ALL.len()],
    another_keepalive: bool,
}

impl Timers {
    /// Sets one, whether or not it was set.
    pub(crate) fn set(&mut self, timer: Timer, at: Instant) {
        self.at[timer as usize] = Some(at);
    }

    /// Sets one that is not set.
    fn arm(&mut self, timer: Timer, at: Instant) {
        self.at[timer as usize].get_or_insert(at);
    }

    /// Stops one.
    pub(crate) fn stop(&mut self, timer: Timer) {
        self.at[timer as usize] = None;
    }

    /// Stops all.
    pub(crate) fn stop_all(&mut self) {
        *self = Self::default();
    }

    /// The earliest.
    pub(crate) fn earliest(&self) -> Option<Instant> {
        self.at.iter().flatten().min().copied()
    }

    /// One that is due, and stops it.
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<Timer> {
        let due = ALL.into_iter().find(|&timer| self.at[timer as usize].is_some_and(|at| at <= now))?;
        self.stop(due);
        Some(due)
    }

    /// Whether another keepalive was asked for while one was waiting; asks once.
    pub(crate) fn take_another_keepalive(&mut self) -> bool {
        core::mem::take(&mut self.another_keepalive)
    }

    /// Data went out.
    pub(crate) fn data_sent(&mut self, now: Instant, jitter: impl FnOnce() -> Duration) {
        let timer = &mut self.at[Timer::NewHandshake as usize];
        timer.get_or_insert_with(|| now + KEEPALIVE_TIMEOUT + REKEY_TIMEOUT + jitter());
    }

    /// Data came in.
    pub(crate) fn data_received(&mut self, now: Instant) {
        if self.at[Timer::Keepalive as usize].is_some() {
            self.another_keepalive = true;
        }
        self.arm(Timer::Keepalive, now + KEEPALIVE_TIMEOUT);
    }

    /// Anything authentic went out.
    pub(crate) fn sent(&mut self) {
        self.stop(Timer::Keepalive);
    }

    /// Anything authentic came in.
    pub(crate) fn received(&mut self) {
        self.stop(Timer::NewHandshake);
    }

    /// Anything authentic crossed, either way.
    pub(crate) fn crossed(&mut self, now: Instant, persistent_keepalive: u16) {
        if persistent_keepalive != 0 {
            self.set(Timer::Persistent, now + Duration::from_secs(persistent_keepalive.into()));
        }
    }

    /// A session was made.
    pub(crate) fn session_derived(&mut self, now: Instant) {
        self.set(Timer::ZeroKeys, now + REJECT_AFTER * 3);
    }

    /// The last attempt failed.
    pub(crate) fn gave_up(&mut self, now: Instant) {
        self.stop(Timer::Keepalive);
        self.arm(Timer::ZeroKeys, now + REJECT_AFTER * 3);
    }
}

//! The dead sockets at one moment, each with the time of its death.
//!
//! inet_diag says what is left of the time that was asked for. The wheel rounds that up to its granule, counted from the
//! machine's start, so the jiffies at the moment of reading are all that is missing: no trace, no second look.

use std::collections::BTreeMap;

use anyhow::Result;
use pinhole_host::clock::now_ns;
use pinhole_host::netlink::sock_diag::{self, States, TcpSocket, TcpState, Timer};
use pinhole_timewait::{Generation, timer_wheel};

use super::machine::Machine;
use super::trouble;

/// What a socket is that has no process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    TimeWait,
    /// In a bucket, as TIME_WAIT is.
    FinWait2,
    /// Still a whole socket: the first part of a `tcp_fin_timeout` above a minute.
    FinWait2Whole,
}

/// A socket that waits for its end. Times are [`now_ns`]'s.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dead {
    pub(super) socket: TcpSocket,
    pub(super) kind: Kind,
    /// When it ends, if nothing happens to it.
    pub(super) death_ns: u64,
    /// When its time began, or began anew; of one that is overdue at the latest, as its timer no longer tells.
    pub(super) since_ns: u64,
}

/// A beginning that moves by less is the clock's grain.
const ANEW_NS: u64 = 50_000_000;

/// All of them, and the living.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) at_ns: u64,
    pub(super) dead: Vec<Dead>,
    /// Everything else.
    pub(super) living: Vec<TcpSocket>,
}

impl Sample {
    /// Reads them: the dead ones only, or all.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub(super) fn take(machine: &Machine, states: States) -> Result<Self> {
        Ok(Self::of(machine, sock_diag::sockets(states).map_err(trouble::explain)?))
    }

    /// What `sockets` are, that have just been read.
    pub(super) fn of(machine: &Machine, sockets: Vec<TcpSocket>) -> Self {
        let mut sample = Self { at_ns: now_ns(), dead: Vec::with_capacity(sockets.len()), living: Vec::new() };
        for socket in sockets {
            match Dead::of(machine, &socket) {
                Some(dead) => sample.dead.push(dead),
                None => sample.living.push(socket),
            }
        }
        sample
    }

    /// When how many die, in order: seconds from the sample on.
    pub(super) fn calendar<'a>(&self, dead: impl Iterator<Item = &'a Dead>) -> Vec<(f64, usize)> {
        // Few different times, however many sockets: the granules of a minute.
        let mut counts: BTreeMap<u64, usize> = BTreeMap::new();
        dead.for_each(|dead| *counts.entry(dead.death_ns).or_default() += 1);
        let seconds = |ns: u64| (ns as f64 - self.at_ns as f64) / 1e9;
        counts.into_iter().map(|(ns, count)| (seconds(ns).max(0.0), count)).collect()
    }
}

impl Dead {
    /// `None` for a socket that lives.
    fn of(machine: &Machine, socket: &TcpSocket) -> Option<Self> {
        let kind = match (socket.state, socket.timer) {
            (TcpState::TimeWait, _) => Kind::TimeWait,
            (TcpState::FinWait2, Timer::TimeWait) => Kind::FinWait2,
            // A socket that somebody still reads has an inode; it may have a keepalive timer, too.
            (TcpState::FinWait2, Timer::Keepalive) if socket.inode == 0 => Kind::FinWait2Whole,
            _ => return None,
        };
        let hz = machine.hz;
        let asked_j = match kind {
            Kind::TimeWait => machine.timeout_j(),
            Kind::FinWait2 | Kind::FinWait2Whole => machine.fin_timeout_j(),
        };
        let left_j = hz.from_ms(socket.expires_ms.into());
        // TCP_LINGER2 of its own.
        let asked_j = asked_j.max(left_j);
        let now_j = machine.jiffies.at(socket.read_ns);
        let ends_j = |asked_j, expires_j| match machine.generation() {
            Generation::Quantised => timer_wheel::death_j(hz, asked_j, expires_j),
            Generation::TimerPerSocket | Generation::DeathRow => expires_j,
        };
        let mut death_j = ends_j(asked_j, now_j + left_j);
        if kind == Kind::FinWait2Whole {
            death_j = ends_j(asked_j, death_j + asked_j);
        }
        let since_ns = machine.jiffies.ns_of((now_j + left_j).saturating_sub(asked_j));
        Some(Self { socket: *socket, kind, death_ns: machine.jiffies.ns_of(death_j), since_ns })
    }

    /// The same socket at a later look, with what an earlier one knew better; and whether its time began anew in between.
    pub(super) fn later(&self, later: Self) -> (Self, bool) {
        if later.is_overdue() && later.kind == self.kind {
            return (Self { death_ns: self.death_ns, since_ns: self.since_ns, ..later }, false);
        }
        // A FIN_WAIT_2 that becomes TIME_WAIT begins anew, too.
        (later, later.since_ns > self.since_ns + ANEW_NS)
    }

    /// Its time is over, and the wheel has not come to it yet.
    pub(super) fn is_overdue(&self) -> bool {
        self.socket.expires_ms == 0
    }

    /// Seconds from `now_ns` until its end, not below zero.
    pub(super) fn left_s(&self, now_ns: u64) -> f64 {
        self.death_ns.saturating_sub(now_ns) as f64 / 1e9
    }
}

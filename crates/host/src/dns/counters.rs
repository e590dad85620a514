//! What the server has done, counted.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Counter {
    /// Messages received by UDP.
    UdpReceived,
    /// Messages received by TCP.
    TcpReceived,
    /// Answers sent, by whatever way.
    Replied,
    /// Answers with TC among them.
    Truncated,
    /// REFUSED among them.
    Refused,
    /// NXDOMAIN among them.
    NxDomain,
    /// FORMERR, NOTIMP and BADVERS among them.
    Malformed,
    /// Queries handed to the owner of the server.
    Slow,
    /// Queries that were not, because the channel was full; they were answered from the compiled data.
    SlowFull,
    /// Dropped: shorter than a header.
    DropShort,
    /// Dropped: responses.
    DropResponse,
    /// Dropped by the access list.
    DropAccess,
    /// Dropped by the rate limit; those answered "truncated" instead are under [`Slipped`](Self::Slipped).
    DropRate,
    /// Over the rate limit, answered "truncated".
    Slipped,
    /// Answers that the kernel did not take, or that no buffer could hold.
    SendFailed,
    /// TCP connections accepted.
    Connections,
    /// TCP connections turned away because there were too many.
    ConnectionsRefused,
}

impl Counter {
    /// All of them, in order.
    pub const ALL: [Self; COUNTERS] = [
        Self::UdpReceived,
        Self::TcpReceived,
        Self::Replied,
        Self::Truncated,
        Self::Refused,
        Self::NxDomain,
        Self::Malformed,
        Self::Slow,
        Self::SlowFull,
        Self::DropShort,
        Self::DropResponse,
        Self::DropAccess,
        Self::DropRate,
        Self::Slipped,
        Self::SendFailed,
        Self::Connections,
        Self::ConnectionsRefused,
    ];

    /// A name for metrics: lower case with underscores.
    pub const fn name(self) -> &'static str {
        match self {
            Self::UdpReceived => "udp_received",
            Self::TcpReceived => "tcp_received",
            Self::Replied => "replied",
            Self::Truncated => "truncated",
            Self::Refused => "refused",
            Self::NxDomain => "nxdomain",
            Self::Malformed => "malformed",
            Self::Slow => "slow",
            Self::SlowFull => "slow_full",
            Self::DropShort => "drop_short",
            Self::DropResponse => "drop_response",
            Self::DropAccess => "drop_access",
            Self::DropRate => "drop_rate",
            Self::Slipped => "slipped",
            Self::SendFailed => "send_failed",
            Self::Connections => "connections",
            Self::ConnectionsRefused => "connections_refused",
        }
    }
}

/// The number of counters.
const COUNTERS: usize = Counter::ConnectionsRefused as usize + 1;

/// A reading of all counters.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters([u64; COUNTERS]);

impl Counters {
    /// One of them.
    pub const fn of(&self, counter: Counter) -> u64 {
        self.0[counter as usize]
    }

    pub(super) fn add(&mut self, counter: Counter) {
        self.0[counter as usize] += 1;
    }

    /// Counts a response by its header.
    pub(super) fn reply(&mut self, response: &[u8]) {
        self.add(Counter::Replied);
        let &[_, _, high, low, ..] = response else { return };
        if high & 0x02 != 0 {
            self.add(Counter::Truncated);
        }
        match low & 0xf {
            1 | 4 => self.add(Counter::Malformed),
            3 => self.add(Counter::NxDomain),
            5 => self.add(Counter::Refused),
            _ => {}
        }
    }
}

impl fmt::Debug for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counted = Counter::ALL.iter().filter(|counter| self.of(**counter) > 0);
        f.debug_map().entries(counted.map(|counter| (counter.name(), self.of(*counter)))).finish()
    }
}

/// Where one thread counts and others read.
#[derive(Debug, Default)]
pub(super) struct Tally([AtomicU64; COUNTERS]);

impl Tally {
    /// Adds what was counted since the last time and empties it.
    pub(super) fn take(&self, counted: &mut Counters) {
        for (total, count) in self.0.iter().zip(&mut counted.0) {
            if *count > 0 {
                total.fetch_add(*count, Ordering::Relaxed);
                *count = 0;
            }
        }
    }

    pub(super) fn add(&self, counter: Counter) {
        self.0[counter as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn read_into(&self, sum: &mut Counters) {
        for (total, sum) in self.0.iter().zip(&mut sum.0) {
            *sum += total.load(Ordering::Relaxed);
        }
    }
}

//! What the server has done, counted.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use pinhole_stun::server::Silence;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Counter {
    /// Datagrams received.
    UdpReceived,
    /// Bytes in them.
    UdpBytesIn,
    /// Messages received by TCP and TLS.
    StreamReceived,
    /// Answers and orders sent, by whatever way.
    Sent,
    /// Those among them that an XDP program sent.
    SentByXdp,
    /// Bytes sent by UDP.
    UdpBytesOut,
    /// Answers from another socket than was asked, or to another port.
    SentElsewhere,
    /// Orders to the partner, and answers in its stead.
    Partner,
    /// Calls that were granted.
    Calls,
    /// Calls that were not made, because too many waited.
    CallsDropped,
    /// Not answered: no STUN message, or a damaged one.
    Malformed,
    /// Not answered: no Binding request.
    NotRequest,
    /// Not answered: the source asks too often.
    Limited,
    /// Not answered: a partner's order that is forged, replayed or late.
    PartnerRefused,
    /// Not answered: it would be larger than the source may have, or there is no way to it.
    Unanswerable,
    /// Answers that the kernel did not take.
    SendFailed,
    /// Connections accepted.
    Connections,
    /// Connections turned away because there were too many.
    ConnectionsRefused,
}

impl Counter {
    /// All of them, in order.
    pub const ALL: [Self; COUNTERS] = [
        Self::UdpReceived,
        Self::UdpBytesIn,
        Self::StreamReceived,
        Self::Sent,
        Self::SentByXdp,
        Self::UdpBytesOut,
        Self::SentElsewhere,
        Self::Partner,
        Self::Calls,
        Self::CallsDropped,
        Self::Malformed,
        Self::NotRequest,
        Self::Limited,
        Self::PartnerRefused,
        Self::Unanswerable,
        Self::SendFailed,
        Self::Connections,
        Self::ConnectionsRefused,
    ];

    /// A name for metrics: lower case with underscores.
    pub const fn name(self) -> &'static str {
        match self {
            Self::UdpReceived => "udp_received",
            Self::UdpBytesIn => "udp_bytes_in",
            Self::StreamReceived => "stream_received",
            Self::Sent => "sent",
            Self::SentByXdp => "sent_by_xdp",
            Self::UdpBytesOut => "udp_bytes_out",
            Self::SentElsewhere => "sent_elsewhere",
            Self::Partner => "partner",
            Self::Calls => "calls",
            Self::CallsDropped => "calls_dropped",
            Self::Malformed => "malformed",
            Self::NotRequest => "not_request",
            Self::Limited => "limited",
            Self::PartnerRefused => "partner_refused",
            Self::Unanswerable => "unanswerable",
            Self::SendFailed => "send_failed",
            Self::Connections => "connections",
            Self::ConnectionsRefused => "connections_refused",
        }
    }

    /// What a silence counts as.
    pub(super) const fn of(silence: Silence) -> Self {
        match silence {
            Silence::Malformed | Silence::Damaged => Self::Malformed,
            Silence::NotRequest | Silence::Method | Silence::Legacy => Self::NotRequest,
            Silence::Limited => Self::Limited,
            Silence::Partner => Self::PartnerRefused,
            Silence::Source | Silence::TooLarge => Self::Unanswerable,
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

    pub(super) fn add(&mut self, counter: Counter, count: usize) {
        self.0[counter as usize] += count as u64;
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

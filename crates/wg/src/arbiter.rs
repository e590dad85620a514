//! Does the path to a peer work? The rule that keeps pinhole from breaking what works.
//!
//! WireGuard tells no one whether its packets arrive. What can be read from a device is the age of the last handshake and two
//! byte counters, and that is enough: bytes received prove the path, and bytes sent without any received make it suspect. A
//! one-way stream is answered only every 10 s (the passive keepalive), so suspicion alone condemns nothing: the caller
//! [probes](Advice::Probe) the tunnel, and only probes that stay unanswered make a path [`Path::Dead`].
//!
//! The arbiter acts on nothing and knows no endpoints. Whoever holds it touches a peer only if its path is `Absent` or `Dead`.

use core::time::Duration;

use pinhole_sansio::Instant;

use crate::Peer;

/// No packet is accepted under a session older than this (WireGuard paper §6.1, REJECT_AFTER_TIME; `messages.h` of the kernel).
pub const REJECT_AFTER: Duration = Duration::from_secs(180);

/// Sent but nothing received for this long, or nothing received any more where packets were coming: ask the peer for a sign
/// of life. An echo that was not needed costs two packets.
pub const PROBE_AFTER: Duration = Duration::from_millis(500);

/// The gap between two probes.
pub const PROBE_GAP: Duration = Duration::from_millis(250);

/// So many probes must have stayed without an answer, each for a gap: together more than the round trip by a geostationary
/// satellite.
pub const PROBES: u32 = 3;

/// Bytes that come in in so many samples running are a stream, whose end is worth a probe; a keepalive is not.
const STREAM: u32 = 3;

/// What is known of the path to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// No session: none was ever made, or it is too old to carry data.
    Absent,
    /// Nothing speaks against it.
    Working,
    /// There is a session, but what is sent through it is not answered.
    Dead,
}

/// What the arbiter asks of its holder after a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// Nothing.
    Nothing,
    /// Send something through the tunnel that the peer's host answers by itself (an ICMP echo).
    Probe,
}

/// The arbiter of one peer's path.
#[derive(Clone, Debug, Default)]
pub struct Arbiter {
    last: Option<Sample>,
    /// When something was sent that nothing has been received after.
    unanswered_since: Option<Instant>,
    /// In how many samples running bytes had come in.
    stream: u32,
    last_received: Instant,
    probes: u32,
    last_probe: Option<Instant>,
    /// Probe without waiting.
    hurry: bool,
    dead: bool,
    session: bool,
    live: bool,
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    handshake: Option<Duration>,
    rx: u64,
    tx: u64,
}

impl Arbiter {
    /// One that has seen nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes what the device says of the peer now. `wall` is the time since the Unix epoch, which handshakes are dated in.
    pub fn sample(&mut self, now: Instant, wall: Duration, peer: &Peer) -> Advice {
        let sample = Sample { handshake: peer.last_handshake, rx: peer.rx_bytes, tx: peer.tx_bytes };
        // A clock that was set back makes handshakes come from the future: they are fresh.
        self.session = sample.handshake.is_some_and(|at| wall.saturating_sub(at) < REJECT_AFTER);
        let Some(last) = self.last.replace(sample) else { return Advice::Nothing };
        // Counters that went back are those of a peer that was removed and added again.
        let received = sample.rx > last.rx || sample.rx < last.rx && sample.rx > 0 || sample.handshake > last.handshake;
        self.live = sample.rx != last.rx || sample.tx != last.tx;
        if received || !self.session {
            // What answers a probe is no stream.
            self.stream = if received && self.last_probe.is_none() { self.stream + 1 } else { 0 };
            self.last_received = now;
            self.forget_suspicion();
            return Advice::Nothing;
        }
        if sample.tx > last.tx {
            self.unanswered_since.get_or_insert(now);
        }
        if self.stream > 0 && now.since(self.last_received) >= PROBE_AFTER {
            if self.stream >= STREAM {
                self.doubt(now);
            }
            self.stream = 0;
        }
        self.judge(now)
    }

    /// The path is called into doubt from outside (the network under the device has changed, or the peer says so): a probe
    /// is due at once.
    pub fn doubt(&mut self, now: Instant) {
        if self.session {
            self.unanswered_since.get_or_insert(now);
            self.hurry = true;
        }
    }

    /// What is known of the path.
    pub fn path(&self) -> Path {
        match (self.session, self.dead) {
            (false, _) => Path::Absent,
            (true, true) => Path::Dead,
            (true, false) => Path::Working,
        }
    }

    /// Is something sent and not yet answered, so that samples should come quickly?
    pub fn is_suspicious(&self) -> bool {
        self.unanswered_since.is_some()
    }

    /// Did bytes flow between the last two samples?
    pub fn is_live(&self) -> bool {
        self.live
    }

    fn judge(&mut self, now: Instant) -> Advice {
        let wait = if self.hurry { Duration::ZERO } else { PROBE_AFTER };
        let suspicious = self.unanswered_since.is_some_and(|since| now.since(since) >= wait);
        if !suspicious || self.last_probe.is_some_and(|at| now.since(at) < PROBE_GAP) {
            return Advice::Nothing;
        }
        self.dead |= self.probes >= PROBES;
        self.probes += 1;
        self.last_probe = Some(now);
        Advice::Probe
    }

    fn forget_suspicion(&mut self) {
        self.unanswered_since = None;
        self.probes = 0;
        self.last_probe = None;
        self.hurry = false;
        self.dead = false;
    }
}

#[cfg(test)]
mod tests;

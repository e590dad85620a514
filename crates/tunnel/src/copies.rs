//! Copies of a handshake message, for a path that loses packets.
//!
//! WireGuard repeats a lost initiation after 5 s, and a puncher not before a round trip is over, for a new initiation may
//! take the place of the old one. A copy, byte for byte the same, takes the place of nothing: who got the message drops the
//! copy, the responder since its timestamp is not newer (the protocol paper §5.1), the initiator since its handshake is
//! over. So copies can follow at once, whatever implementation is at the other end. On a path that loses one packet in ten,
//! a message with two copies is lost once in a thousand times.

use core::net::SocketAddr;

use pinhole_sansio::{Duration, Instant};

/// When copies follow, after the message: more than once, since losses come in bursts, and not much later than the
/// shortest round trip over the Internet.
const AFTER: [Duration; 2] = [Duration::from_millis(15), Duration::from_millis(45)];

/// A message and its copies that have not left yet.
pub(crate) struct Copies {
    to: SocketAddr,
    message: Vec<u8>,
    since: Instant,
    left: &'static [Duration],
}

impl Copies {
    /// Of a message that has just left.
    pub(crate) fn of(message: &[u8], to: SocketAddr, now: Instant) -> Self {
        Self { to, message: message.to_vec(), since: now, left: &AFTER }
    }

    /// When the next one is to leave.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.left.first().map(|&after| self.since + after)
    }

    /// The next one, which leaves now, and for where.
    pub(crate) fn take(&mut self) -> Option<(SocketAddr, &[u8])> {
        self.left = self.left.split_first()?.1;
        Some((self.to, &self.message))
    }
}

//! What a host is to the simulation.

use pinhole_sansio::Instant;
use std::net::Ipv4Addr;

/// A host: packets and time in, packets out. Times are those of its own [`Clock`](crate::Clock).
///
/// After every call the simulation takes all packets and asks for the next deadline. A spurious timeout does nothing.
pub trait Host {
    /// An IP packet has come in.
    fn receive(&mut self, now: Instant, packet: Vec<u8>);

    /// Time has passed.
    fn handle_timeout(&mut self, now: Instant);

    /// The next IP packet to be sent.
    fn poll_transmit(&mut self) -> Option<Vec<u8>>;

    /// When it wants to be woken.
    fn poll_timeout(&self) -> Option<Instant>;

    /// It is started, at the beginning or anew: nothing is left of what it knew, but for what it keeps on a disk.
    fn start(&mut self, now: Instant);

    /// It has another address, or the network behind it has changed.
    fn network_changed(&mut self, now: Instant, address: Ipv4Addr);
}

//! How the NAT in front of the WireGuard port maps, as far as the agent can see: what the registry sees of the port, and what
//! STUN servers see that are asked from it.

use core::net::SocketAddr;

use pinhole_sansio::{Instant, Machine};
use pinhole_traversal::ports::Guess;
use pinhole_traversal::vantage::{Input, Mapping, Output, Vantage};

/// The ports at which a registry serves STUN for its agents: the one of RFC 8489 §8.1, and the one beside it, which is another
/// destination to the NAT.
pub const VANTAGE_PORTS: [u16; 2] = [3478, 3479];

/// See the module.
#[derive(Debug)]
pub(super) struct Outlook {
    vantage: Vantage,
    /// The servers of the configuration; empty: the registry's.
    servers: Vec<SocketAddr>,
    /// Where the device reaches the registry.
    registry: Option<SocketAddr>,
}

impl Outlook {
    pub(super) fn new(servers: Vec<SocketAddr>, seed: u64) -> Self {
        Self { vantage: Vantage::new(seed), servers, registry: None }
    }

    /// What a peer has to know of it; `None` as long as nothing is known.
    pub(super) fn guess(&self) -> Option<Guess> {
        match self.vantage.mapping() {
            Mapping::Unknown => None,
            Mapping::Independent => Some(Guess::Fixed),
            Mapping::Dependent => Some(Guess::Unknown),
        }
    }

    /// Takes where the registry is; true if servers are asked now that were not before.
    pub(super) fn set_registry(&mut self, now: Instant, registry: Option<SocketAddr>) -> bool {
        let is_news =
            registry.is_some() && registry != self.registry || self.registry.is_none() && !self.servers.is_empty();
        if is_news {
            self.registry = registry;
            let of_registry =
                registry.iter().flat_map(|at| VANTAGE_PORTS.map(|port| SocketAddr::new(at.ip(), port))).collect();
            let servers = if self.servers.is_empty() { of_registry } else { self.servers.clone() };
            self.vantage.handle_input(now, Input::Servers(servers));
        }
        is_news
    }

    /// The registry sees the port here.
    pub(super) fn observed(&mut self, now: Instant, at: SocketAddr) {
        if let Some(by) = self.registry {
            self.vantage.handle_input(now, Input::Seen { by, at });
        }
    }

    /// The network has changed.
    pub(super) fn look_again(&mut self, now: Instant) {
        self.vantage.handle_input(now, Input::LookAgain);
    }

    pub(super) fn received(&mut self, now: Instant, from: SocketAddr, bytes: Vec<u8>) {
        self.vantage.handle_input(now, Input::Received { from, bytes });
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        self.vantage.handle_input(now, Input::Timeout);
    }

    pub(super) fn poll_output(&mut self) -> Option<Output> {
        self.vantage.poll_output()
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.vantage.poll_timeout().map(|deadline| deadline.at)
    }
}

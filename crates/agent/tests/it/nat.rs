//! A NAT with endpoint-independent mapping that preserves ports, and address-and-port-dependent filtering: what `masquerade`
//! is on Linux. If its WAN side accepts packets to itself, an unsolicited one poisons the mapping towards its sender, as
//! measured on Linux 6.18.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

pub struct Nat {
    pub outside: IpAddr,
    pub accepts_input: bool,
    /// Added to an inside port to make the outside one; changes when the NAT restarts.
    shift: u16,
    /// The outside port in use towards each remote endpoint.
    flows: BTreeMap<SocketAddr, u16>,
    poisoned: BTreeSet<SocketAddr>,
}

impl Nat {
    pub fn new(outside: IpAddr, accepts_input: bool) -> Self {
        Self { outside, accepts_input, shift: 0, flows: BTreeMap::new(), poisoned: BTreeSet::new() }
    }

    /// The outside source of a packet from the inside port `port` to `to`.
    pub fn outbound(&mut self, port: u16, to: SocketAddr) -> SocketAddr {
        let clean = port + self.shift;
        let mapped = if self.poisoned.contains(&to) { clean / 2 } else { clean };
        SocketAddr::new(self.outside, *self.flows.entry(to).or_insert(mapped))
    }

    /// Does a packet from `from` to the outside port `port` come in?
    pub fn admits(&mut self, from: SocketAddr, port: u16) -> bool {
        let admitted = self.flows.get(&from) == Some(&port);
        if !admitted && self.accepts_input && !self.flows.contains_key(&from) {
            self.poisoned.insert(from);
        }
        admitted
    }

    /// Forgets everything and maps to other ports from now on.
    pub fn restart(&mut self) {
        self.flows.clear();
        self.poisoned.clear();
        self.shift += 1_000;
    }
}

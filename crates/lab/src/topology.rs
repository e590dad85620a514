//! A network as plain data: what is where, not how it is built.

use std::collections::BTreeSet;
use std::fmt;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use pinhole_netfilter::behaviour::Behaviour;

use crate::link::Link;

/// Routers between two homes, a plausible number; more than the time to live of a packet that is to open a NAT only.
const USUAL_HOPS: u8 = 8;

/// How many hosts a home may have: their addresses are .10, .11 … of its /24.
const MAX_HOSTS: usize = 200;

/// Sites around one Internet.
#[derive(Clone, Debug, PartialEq)]
pub struct Topology {
    /// The address of the Internet's router.
    pub router: Ipv4Addr,
    /// How many routers it counts for: a packet with less time to live gets through to nobody.
    pub hops: u8,
    /// Decides loss, jitter and the ports of restarted NATs.
    pub seed: u64,
    /// What is attached to the Internet.
    pub sites: Vec<Site>,
}

/// Something with one public address.
#[derive(Clone, Debug, PartialEq)]
pub struct Site {
    /// Its name; a host with a public address is called so itself.
    pub name: String,
    /// Its public address.
    pub public: Ipv4Addr,
    /// Its link to the Internet.
    pub link: Link,
    /// The home behind the address; `None` for a host that has the address itself.
    pub home: Option<Home>,
}

/// Hosts behind a NAT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    /// What its router is, and how it translates.
    pub router: RouterKind,
    /// The network inside; the router has its first address.
    pub lan: Ipv4Net,
    /// The names of its hosts.
    pub hosts: Vec<String>,
}

/// What the router of a home is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouterKind {
    /// A Linux kernel, with its own NAT.
    Kernel(Nat),
    /// Our engine as a NAT with this behaviour, which need not be one that Linux has.
    Behaviour(Behaviour),
    /// Our engine as a Linux router with these rules, as `iptables-save` writes them. Its interfaces are `lan` and `wan`, and
    /// it has nothing that listens. Where a kernel carries packets to it, the two of them count for two hops.
    Rules(String),
}

impl From<Nat> for RouterKind {
    fn from(nat: Nat) -> Self {
        Self::Kernel(nat)
    }
}

impl From<Behaviour> for RouterKind {
    fn from(behaviour: Behaviour) -> Self {
        Self::Behaviour(behaviour)
    }
}

/// How a NAT behaves, in the terms of the Linux kernel's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nat {
    /// Which outside port a flow gets.
    pub ports: PortAllocation,
    /// What the router does with packets to itself that belong to no flow.
    pub wan_input: WanInput,
}

/// Which outside port a flow gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortAllocation {
    /// The inside port, if it is free: endpoint-independent ("cone").
    Preserving,
    /// A random one for every flow: endpoint-dependent ("symmetric").
    Random,
}

/// What a NAT does with packets from outside that belong to no flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WanInput {
    /// Nothing.
    Drop,
    /// It takes them for itself, and tracks them: they can stand in the way of a mapping to the same peer.
    Accept,
}

impl Nat {
    /// The usual home router.
    pub const CONE: Self = Self { ports: PortAllocation::Preserving, wan_input: WanInput::Drop };
    /// A NAT with a random port for every flow.
    pub const SYMMETRIC: Self = Self { ports: PortAllocation::Random, wan_input: WanInput::Drop };
    /// A router without a firewall on its outside, which early packets poison.
    pub const POISONABLE: Self = Self { ports: PortAllocation::Preserving, wan_input: WanInput::Accept };
}

impl Home {
    /// The router's address inside: the first of the network.
    pub fn gateway(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.lan.network()) + 1)
    }

    /// The address of the host with this number: .10, .11 … of the network.
    pub fn address(&self, host: usize) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.lan.network()) + 10 + host as u32)
    }
}

impl Topology {
    /// A public host and two homes with one host each: `hub` at 203.0.113.1, `alice` behind 198.51.100.1 and `bob` behind
    /// 192.0.2.1, every link like `link`.
    pub fn two_homes(alice: impl Into<RouterKind>, bob: impl Into<RouterKind>, link: Link, seed: u64) -> Self {
        let home = |name: &str, public, router, third| Site {
            name: format!("{name}-home"),
            public,
            link,
            home: Some(Home {
                router,
                lan: Ipv4Net::new_assert(Ipv4Addr::new(192, 168, third, 0), 24),
                hosts: vec![name.to_owned()],
            }),
        };
        let hub = Site { name: "hub".into(), public: Ipv4Addr::new(203, 0, 113, 1), link, home: None };
        let alice = home("alice", Ipv4Addr::new(198, 51, 100, 1), alice.into(), 1);
        let bob = home("bob", Ipv4Addr::new(192, 0, 2, 1), bob.into(), 2);
        Self { router: Ipv4Addr::new(203, 0, 113, 254), hops: USUAL_HOPS, seed, sites: vec![hub, alice, bob] }
    }

    /// Says what cannot be built.
    ///
    /// # Errors
    /// The first fault.
    pub fn check(&self) -> Result<(), Fault> {
        let mut names = BTreeSet::new();
        let mut addresses = BTreeSet::from([self.router]);
        for site in &self.sites {
            let hosts = site.home.iter().flat_map(|home| &home.hosts);
            for name in hosts.chain([&site.name]) {
                // A host name of Linux has at most 64 bytes; 15 fit where processes are listed.
                if name.is_empty() || name.len() > 15 || name.contains(['\0', '/', ' ']) {
                    return Err(Fault::BadName(name.clone()));
                }
                if !names.insert(name) {
                    return Err(Fault::NameTaken(name.clone()));
                }
            }
            if !addresses.insert(site.public) {
                return Err(Fault::AddressTaken(site.public));
            }
            if site.home.as_ref().is_some_and(|home| home.lan.prefix_len() > 24 || home.hosts.len() > MAX_HOSTS) {
                return Err(Fault::HomeTooFull(site.name.clone()));
            }
        }
        Ok(())
    }
}

/// What cannot be built about a topology.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A name is empty, longer than 15 bytes, or has a character that no host name has.
    BadName(String),
    /// Two sites or hosts have the same name.
    NameTaken(String),
    /// Two sites have the same public address, or one has the router's.
    AddressTaken(Ipv4Addr),
    /// A home's network is smaller than /24 or has more hosts than addresses.
    HomeTooFull(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadName(name) => {
                write!(f, "{name:?} cannot be the name of a host: 1 to 15 letters, digits and dashes")
            }
            Self::NameTaken(name) => write!(f, "two sites or hosts are called {name}"),
            Self::AddressTaken(address) => write!(f, "{address} belongs to two sites, or to a site and the router"),
            Self::HomeTooFull(name) => {
                write!(f, "the home {name} needs a network of /24 or larger, and {MAX_HOSTS} hosts at most")
            }
        }
    }
}

impl std::error::Error for Fault {}

#[cfg(test)]
mod tests;

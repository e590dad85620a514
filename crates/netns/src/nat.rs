//! A site's outside: its public address, its link, and the NAT of a home.

use std::io;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use pinhole_host::gateway::Plane;
use pinhole_host::namespace::Namespace;
use pinhole_host::netlink::conntrack;
use pinhole_host::nft::{self, Policy, Ports, Ruleset};
use pinhole_lab::{Home, Link, Nat, Port, PortAllocation, RouterKind, WanInput};
use pinhole_netfilter::Interface;
use pinhole_netfilter::behaviour::Listed;
use pinhole_netfilter::rules::RulesError;

use crate::engine::Engine;
use crate::host::Host;

/// The table of ours in a router.
const TABLE: &str = "pinhole_nat";
/// The interface towards the Internet.
pub(crate) const WAN: &str = "wan";
/// The interface towards the home, for the rules of a router of ours.
const LAN: &str = "lan";
/// After a restart a NAT picks from this many ports, so that two flows rarely want the same one.
const RANGE: u16 = 1_000;

/// A home router.
#[derive(Debug)]
pub(crate) struct Router {
    /// The kernel that carries the home's packets, to itself or to our engine.
    pub(crate) host: Host,
    home: Home,
    installed: Option<nft::Installed>,
    restarts: u16,
}

impl Router {
    pub(crate) fn new(host: Host, home: Home) -> Self {
        Self { host, home, installed: None, restarts: 0 }
    }

    /// Puts the NAT into the router's kernel, in the place of the one that is there, if it is to be there.
    pub(crate) fn install(&mut self) -> Result<(), nft::Error> {
        match &self.home.router {
            RouterKind::Kernel(nat) => self.install_in_kernel(*nat),
            RouterKind::Behaviour(_) | RouterKind::Rules(_) => Ok(()),
        }
    }

    /// Our engine with the public address, if that is the router.
    pub(crate) fn plane(&self, public: Ipv4Addr) -> Result<Option<Plane>, RulesError> {
        let Home { router, lan, .. } = &self.home;
        let gateway = self.home.gateway();
        // A restarted router draws other ports.
        let seed = u64::from(u32::from(public)) << 16 | u64::from(self.restarts);
        match router {
            RouterKind::Kernel(_) => Ok(None),
            RouterKind::Behaviour(behaviour) => Ok(Some(Plane::behaviour(*behaviour, [public], gateway, seed))),
            RouterKind::Rules(rules) => {
                let inside = Interface::new(LAN, [Ipv4Net::new_assert(gateway, lan.prefix_len()).into()]);
                let outside = Interface::new(WAN, [single(public).into()]);
                Plane::rules(rules, "", inside, outside, seed).map(Some)
            }
        }
    }

    /// Whether it is our engine that translates.
    pub(crate) fn is_engine(&self) -> bool {
        match self.home.router {
            RouterKind::Kernel(_) => false,
            RouterKind::Behaviour(_) | RouterKind::Rules(_) => true,
        }
    }

    fn install_in_kernel(&mut self, nat: Nat) -> Result<(), nft::Error> {
        let ports = match (nat.ports, self.restarts) {
            (PortAllocation::Random, _) => Ports::Random,
            (PortAllocation::Preserving, 0) => Ports::Kept,
            // A real router that restarts hands out other ports; one that keeps ports would not.
            (PortAllocation::Preserving, n) => {
                let first = 20_000 + (n - 1) % 40 * RANGE;
                Ports::Range { first, last: first + RANGE - 1 }
            }
        };
        let input = match nat.wan_input {
            WanInput::Drop => Policy::Drop,
            WanInput::Accept => Policy::Accept,
        };
        let ruleset = Ruleset::home_router(TABLE, WAN, ports, input);
        self.installed = None;
        let installed = self.host.run(|| ruleset.install());
        let refused = |error: io::Error| nft::Error::Refused { part: "its namespace".into(), source: error.into() };
        self.installed = Some(installed.map_err(refused)??);
        Ok(())
    }
}

/// A site of a running Internet: change its link and its address, and see what its NAT does.
#[derive(Debug)]
pub struct Site<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) port: Port,
    pub(crate) public: &'a mut Ipv4Addr,
    pub(crate) outside: Outside<'a>,
}

/// Who has the public address.
#[derive(Debug)]
pub(crate) enum Outside<'a> {
    Host(&'a mut Host),
    Router(&'a mut Router),
}

impl Site<'_> {
    /// Its public address.
    pub fn public(&self) -> Ipv4Addr {
        *self.public
    }

    /// The core's port, to recognise it in what the tap saw.
    pub fn port(&self) -> Port {
        self.port
    }

    /// Changes the link, for packets from now on. The interface keeps its MTU.
    pub fn change_link(&self, change: impl FnOnce(&mut Link)) {
        change(self.engine.lock().core.link_mut(self.port));
    }

    /// Cuts or restores the link, unnoticed by the site's interface.
    pub fn set_connected(&self, connected: bool) {
        self.change_link(|link| link.connected = connected);
    }

    /// Restarts the NAT: every mapping is forgotten, and new ones get other ports. Our engine gives those that its behaviour
    /// or its rules say: the same ones, if it preserves ports.
    ///
    /// # Errors
    /// When this site has no NAT, and the kernel's refusal.
    pub fn restart_nat(&mut self) -> io::Result<()> {
        let Outside::Router(router) = &mut self.outside else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "this site has no NAT"));
        };
        router.restarts += 1;
        router.install().map_err(io::Error::other)?;
        self.restart_engine()?;
        self.flush()
    }

    /// Gives the site another public address; its NAT forgets every mapping.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn readdress(&mut self, public: Ipv4Addr) -> io::Result<()> {
        {
            let mut state = self.engine.lock();
            state.core.unroute(single(*self.public));
            state.core.route(single(public), self.port);
        }
        *self.public = public;
        match &mut self.outside {
            Outside::Host(host) => host.readdress(single(public)),
            // The address is the engine's, and not its kernel's.
            Outside::Router(router) if router.is_engine() => Ok(()),
            Outside::Router(router) => router.host.readdress(single(public)),
        }?;
        self.restart_engine()?;
        self.flush()
    }

    /// The sessions of a NAT of ours with a behaviour; empty for any other.
    pub fn sessions(&self) -> Vec<Listed> {
        let state = self.engine.lock();
        state.plane(self.port).and_then(Plane::nat).map(|nat| nat.list()).unwrap_or_default()
    }

    /// What the site's kernel tracks: for a NAT of its own, its mappings.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn conntrack(&self) -> io::Result<Vec<conntrack::Entry>> {
        self.namespace().run(conntrack::list)?.map_err(io::Error::other)
    }

    /// The namespace with the public address.
    pub fn namespace(&self) -> &Namespace {
        match &self.outside {
            Outside::Host(host) => host.namespace(),
            Outside::Router(router) => router.host.namespace(),
        }
    }

    /// Replaces our engine by a new one with the site's address.
    fn restart_engine(&self) -> io::Result<()> {
        let Outside::Router(router) = &self.outside else { return Ok(()) };
        let plane = router.plane(*self.public).map_err(io::Error::other)?;
        self.engine.lock().set_plane(self.port, plane);
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        match &self.outside {
            Outside::Host(_) => Ok(()),
            Outside::Router(_) => self.namespace().run(conntrack::flush)?.map_err(io::Error::other),
        }
    }
}

/// The network of one address.
pub(crate) fn single(address: Ipv4Addr) -> Ipv4Net {
    Ipv4Net::from(address)
}

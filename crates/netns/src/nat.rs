//! A site's outside: its public address, its link, and the NAT of a home.

use std::io;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use pinhole_host::namespace::Namespace;
use pinhole_host::netlink::conntrack;
use pinhole_host::nft::{self, Policy, Ports, Ruleset};
use pinhole_lab::{Link, Nat, Port, PortAllocation, WanInput};

use crate::engine::Engine;
use crate::host::Host;

/// The table of ours in a router.
const TABLE: &str = "pinhole_nat";
/// The interface towards the Internet.
pub(crate) const WAN: &str = "wan";
/// After a restart a NAT picks from this many ports, so that two flows rarely want the same one.
const RANGE: u16 = 1_000;

/// A home router.
#[derive(Debug)]
pub(crate) struct Router {
    pub(crate) host: Host,
    nat: Nat,
    installed: Option<nft::Installed>,
    restarts: u16,
}

impl Router {
    pub(crate) fn new(host: Host, nat: Nat) -> Self {
        Self { host, nat, installed: None, restarts: 0 }
    }

    /// Puts the NAT into the router's kernel, in the place of the one that is there.
    pub(crate) fn install(&mut self) -> Result<(), nft::Error> {
        let ports = match (self.nat.ports, self.restarts) {
            (PortAllocation::Random, _) => Ports::Random,
            (PortAllocation::Preserving, 0) => Ports::Kept,
            // A real router that restarts hands out other ports; one that keeps ports would not.
            (PortAllocation::Preserving, n) => {
                let first = 20_000 + (n - 1) % 40 * RANGE;
                Ports::Range { first, last: first + RANGE - 1 }
            }
        };
        let input = match self.nat.wan_input {
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

    /// Restarts the NAT: every mapping is forgotten, and new ones get other ports.
    ///
    /// # Errors
    /// When this site has no NAT, and the kernel's refusal.
    pub fn restart_nat(&mut self) -> io::Result<()> {
        let Outside::Router(router) = &mut self.outside else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "this site has no NAT"));
        };
        router.restarts += 1;
        router.install().map_err(io::Error::other)?;
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
            Outside::Router(router) => router.host.readdress(single(public)),
        }?;
        self.flush()
    }

    /// What the site's kernel tracks: for a NAT, its mappings.
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

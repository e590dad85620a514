//! A running Internet.

use std::io;
use std::net::Ipv4Addr;
use std::path::Path;

use ipnet::Ipv4Net;
use pinhole_lab::{Ledger, Port, Topology};

use crate::build::{self, BuildError};
use crate::engine::{Engine, Tap};
use crate::host::Host;
use crate::nat::{Outside, Router, Site, single};

/// Hosts, routers and the Internet between them; all ends when it is dropped.
#[derive(Debug)]
pub struct Internet {
    // Dropped in this order: packets stop first.
    pub(crate) engine: Engine,
    pub(crate) hosts: Vec<Host>,
    pub(crate) sites: Vec<Place>,
}

/// A site's share of the Internet.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) name: String,
    pub(crate) public: Ipv4Addr,
    pub(crate) port: Port,
    /// The router of a home; a public host is among the hosts.
    pub(crate) router: Option<Router>,
}

impl Internet {
    /// Builds what the topology says and starts to carry packets.
    ///
    /// # Errors
    /// Which part could not be built, and why.
    pub fn build(topology: &Topology) -> Result<Self, BuildError> {
        build::build(topology)
    }

    /// The host called `name`.
    ///
    /// # Panics
    /// If the topology has none.
    pub fn host(&self, name: &str) -> &Host {
        self.hosts.iter().find(|host| host.name() == name).unwrap_or_else(|| panic!("the topology has no host {name}"))
    }

    /// Every host.
    pub fn hosts(&self) -> impl Iterator<Item = &Host> {
        self.hosts.iter()
    }

    /// Every router of a home, as a host to look into.
    pub fn routers(&self) -> impl Iterator<Item = &Host> {
        self.sites.iter().filter_map(|place| place.router.as_ref()).map(|router| &router.host)
    }

    /// The site called `name`, or the one with a host of that name.
    ///
    /// # Panics
    /// If the topology has none.
    pub fn site(&mut self, name: &str) -> Site<'_> {
        let hosted = self.hosts.iter().find(|host| host.name() == name).map(Host::site);
        let index = self.sites.iter().position(|place| place.name == name).or(hosted);
        let index = index.unwrap_or_else(|| panic!("the topology has no site {name}"));
        let Place { public, port, router, .. } = &mut self.sites[index];
        let outside = match router {
            Some(router) => Outside::Router(router),
            None => {
                let host = self.hosts.iter_mut().find(|host| host.site() == index);
                Outside::Host(host.expect("a site without a router is a host"))
            }
        };
        Site { engine: &self.engine, port: *port, public, outside }
    }

    /// Gives the host `name` of a home another address in its network, as its DHCP server might. The router knows where it
    /// is, as a switch would tell it; the router's mappings for the old address stay.
    ///
    /// # Errors
    /// The kernel's refusal.
    ///
    /// # Panics
    /// If no home has such a host.
    pub fn readdress_in_home(&mut self, name: &str, address: Ipv4Addr) -> io::Result<()> {
        let at = self.hosts.iter().position(|host| host.name() == name);
        let at = at.unwrap_or_else(|| panic!("the topology has no host {name}"));
        let number = self.hosts[..at].iter().filter(|host| host.site() == self.hosts[at].site()).count();
        let host = &mut self.hosts[at];
        let router = self.sites[host.site()].router.as_ref();
        let router = router.unwrap_or_else(|| panic!("{name} is not in a home"));
        let (old, new) = (host.network(), Ipv4Net::new_assert(address, host.network().prefix_len()));
        router.host.reroute(&build::cable(number), single(old.addr()), single(address))?;
        host.readdress(new)
    }

    /// What the Internet's router sees from now on, with the addresses that NATs gave.
    pub fn tap(&self) -> Tap {
        self.engine.lock().tap()
    }

    /// What the Internet's router has seen so far, added up.
    pub fn ledger(&self) -> Ledger {
        self.engine.lock().ledger.clone()
    }

    /// When the core's time began, to compare with what the tap saw.
    pub fn epoch(&self) -> std::time::Instant {
        self.engine.epoch()
    }

    /// Writes what crosses the outside interface of the site `name` to a pcap file, until [`finish_captures`].
    ///
    /// # Errors
    /// When the file cannot be written.
    ///
    /// # Panics
    /// If the topology has no such site.
    ///
    /// [`finish_captures`]: Self::finish_captures
    pub fn capture(&mut self, name: &str, path: &Path) -> io::Result<()> {
        let port = self.site(name).port();
        self.engine.lock().capture(port, path)
    }

    /// Completes the files of all captures.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn finish_captures(&self) -> io::Result<()> {
        self.engine.lock().finish_captures()
    }
}

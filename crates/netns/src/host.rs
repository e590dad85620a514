//! A host of the Internet, as a test or a person handles it.

use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;

use ipnet::{IpNet, Ipv4Net};
use pinhole_host::namespace::Namespace;
use pinhole_host::netlink::route::{self, address, link, table};

/// A host: a namespace with one interface and a default route.
#[derive(Debug)]
pub struct Host {
    namespace: Namespace,
    interface: &'static str,
    address: Ipv4Net,
    gateway: Option<Ipv4Addr>,
    site: usize,
}

impl Host {
    pub(crate) fn new(
        namespace: Namespace,
        interface: &'static str,
        address: Ipv4Net,
        gateway: Option<Ipv4Addr>,
        site: usize,
    ) -> Self {
        Self { namespace, interface, address, gateway, site }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.namespace.name()
    }

    /// Its address: the public one, or the one in its home.
    pub fn address(&self) -> Ipv4Addr {
        self.address.addr()
    }

    /// Its namespace: run closures in it, make commands start there, see its files.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// A command that will start on this host.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        self.namespace.enter(&mut command);
        command
    }

    /// Runs `work` on this host, on a thread of its own.
    ///
    /// # Errors
    /// When the thread cannot start or enter.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        self.namespace.run(work)
    }

    /// A path on this host, as this process sees it; its `/run` is its own.
    pub fn path(&self, inside: impl AsRef<Path>) -> PathBuf {
        self.namespace.path(inside.as_ref())
    }

    /// Switches its interface off or on, as pulling and plugging its cable does; addresses and routes come back.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn set_up(&self, up: bool) -> io::Result<()> {
        self.configured(move |socket, index| {
            link::set(socket, index, &link::Change { up: Some(up), ..Default::default() })?;
            if up { self.add_default_route(socket, index) } else { Ok(()) }
        })
    }

    /// Gives it another address in the same network, in the place of the one it has.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub(crate) fn readdress(&mut self, new: Ipv4Net) -> io::Result<()> {
        let old = std::mem::replace(&mut self.address, new);
        self.configured(|socket, index| {
            address::delete(socket, index, IpNet::V4(old))?;
            address::add(socket, index, IpNet::V4(new))?;
            self.add_default_route(socket, index)
        })
    }

    /// Sends what is for `new`, and no longer what is for `old`, over one of its interfaces.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub(crate) fn reroute(&self, interface: &str, old: Ipv4Net, new: Ipv4Net) -> io::Result<()> {
        let inside = || {
            let mut socket = route::open()?;
            let index = link::find(&mut socket, interface)?.index;
            table::delete(&mut socket, &table::Route::to(IpNet::V4(old), index))?;
            table::add(&mut socket, &table::Route::to(IpNet::V4(new), index))
        };
        self.namespace.run(inside)?.map_err(|error: pinhole_host::netlink::Error| self.failed(&error))
    }

    /// Sets everything up: mtu, address, up, default route.
    pub(crate) fn configure(&self, mtu: u16) -> io::Result<()> {
        self.configured(|socket, index| {
            let change = link::Change { up: Some(true), mtu: Some(mtu.into()), ..Default::default() };
            link::set(socket, index, &change)?;
            address::add(socket, index, IpNet::V4(self.address))?;
            self.add_default_route(socket, index)
        })
    }

    /// Its address with the length of its network's prefix.
    pub(crate) fn network(&self) -> Ipv4Net {
        self.address
    }

    pub(crate) fn site(&self) -> usize {
        self.site
    }

    fn add_default_route(
        &self,
        socket: &mut pinhole_host::netlink::Socket,
        index: u32,
    ) -> Result<(), pinhole_host::netlink::Error> {
        let everything = IpNet::V4(Ipv4Net::default());
        let direct = table::Route::to(everything, index);
        table::replace(socket, &table::Route { gateway: self.gateway.map(Into::into), ..direct })
    }

    fn configured(
        &self,
        work: impl FnOnce(&mut pinhole_host::netlink::Socket, u32) -> Result<(), pinhole_host::netlink::Error> + Send,
    ) -> io::Result<()> {
        let inside = || {
            let mut socket = route::open()?;
            let index = link::find(&mut socket, self.interface)?.index;
            work(&mut socket, index)
        };
        self.namespace.run(inside)?.map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &pinhole_host::netlink::Error) -> io::Error {
        io::Error::other(format!("{}: {error}", self.name()))
    }
}

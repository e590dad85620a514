//! What is there: the two interfaces, their addresses, and whose address the outside is to see.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Result, bail};
use ipnet::{IpNet, Ipv4Net};
use pinhole_host::netlink::route::{self, Interface, Link, table};
use pinhole_host::netlink::{Error, Socket};

use crate::config;

/// The surroundings of a gateway at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Scene {
    pub(super) inside: Link,
    pub(super) outside: Link,
    /// The inside interface's addresses, with their networks. There is one at least.
    pub(super) inside_nets: Vec<Ipv4Net>,
    /// What lies behind routers inside.
    pub(super) inside_routes: Vec<Ipv4Net>,
    /// What the outside is to see.
    pub(super) external: Ipv4Addr,
    /// Whether that is an address of this host, too.
    pub(super) is_shared: bool,
    /// Whether the outside's neighbours look for it on the link: then this host must answer for it.
    pub(super) is_on_link: bool,
    /// The main table's way for each destination, whether by the outside or not.
    pub(super) main: Vec<(Ipv4Net, bool)>,
}

impl Scene {
    /// Looks.
    ///
    /// # Errors
    /// The interface or the address that is missing.
    pub(super) fn look(netlink: &mut Socket, settings: &config::Gateway) -> Result<Self> {
        let interfaces = route::interfaces(netlink)?;
        let [inside, outside] = [&settings.inside, &settings.outside].map(|name| {
            let found = interfaces.iter().find(|interface| interface.link.name == *name);
            found.ok_or_else(|| anyhow::anyhow!("there is no interface {name}: `ip link` shows those that there are"))
        });
        let (inside, outside) = (inside?, outside?);
        let inside_nets: Vec<Ipv4Net> = nets(inside).collect();
        if inside_nets.is_empty() {
            let name = &settings.inside;
            bail!("{name} has no IPv4 address: give it the one that the hosts behind it have as their router");
        }
        let Some(external) = settings.external.or_else(|| nets(outside).next().map(|net| net.addr())) else {
            let name = &settings.outside;
            bail!("{name} has no IPv4 address: give it one, or say what the outside is to see with --external");
        };
        let is_shared = interfaces.iter().flat_map(nets).any(|net| net.addr() == external);
        let is_on_link = !is_shared && nets(outside).any(|net| net.contains(&external));
        let routes = main_routes(netlink)?;
        let inside_routes =
            routes.iter().filter(|(_, by)| *by == Some(inside.link.index)).map(|(net, _)| *net).collect();
        let main = routes.into_iter().map(|(net, by)| (net, by == Some(outside.link.index))).collect();
        let (inside, outside) = (inside.link.clone(), outside.link.clone());
        Ok(Self { inside, outside, inside_nets, inside_routes, external, is_shared, is_on_link, main })
    }

    /// Which of the interfaces, inside and outside, are there and up.
    pub(super) fn look_up(netlink: &mut Socket, settings: &config::Gateway) -> [bool; 2] {
        [&settings.inside, &settings.outside]
            .map(|name| route::link::find(netlink, name).is_ok_and(|link| link.is_up()))
    }

    /// What the hosts inside know this host by.
    pub(super) fn inside_address(&self) -> Ipv4Addr {
        self.inside_nets.first().map_or(Ipv4Addr::UNSPECIFIED, Ipv4Net::addr)
    }
}

/// Whether this host has the address.
pub(super) fn has_address(netlink: &mut Socket, address: Ipv4Addr) -> Result<bool, Error> {
    let all = route::address::list(netlink)?;
    Ok(all.iter().any(|one| one.net.addr() == IpAddr::V4(address)))
}

fn nets(interface: &Interface) -> impl Iterator<Item = Ipv4Net> + '_ {
    interface.addresses.iter().filter_map(|address| match (address.net, address.net.addr()) {
        (IpNet::V4(net), IpAddr::V4(address)) if !address.is_loopback() => Some(net),
        (IpNet::V4(_) | IpNet::V6(_), _) => None,
    })
}

/// The best route of each destination in the main table, and the interface that it leads to, if it is one.
fn main_routes(netlink: &mut Socket) -> Result<Vec<(Ipv4Net, Option<u32>)>, Error> {
    let mut routes: Vec<_> = table::list(netlink)?.into_iter().filter(|route| route.table == table::MAIN).collect();
    routes.sort_by_key(|route| (route.destination, route.metric.unwrap_or(0)));
    routes.dedup_by_key(|route| route.destination);
    let v4 = routes.into_iter().filter_map(|route| match route.destination {
        IpNet::V4(net) => Some((net, route.interface)),
        IpNet::V6(_) => None,
    });
    Ok(v4.collect())
}

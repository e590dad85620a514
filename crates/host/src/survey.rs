//! What a diagnosis needs to know of this host, as [facts](pinhole_traversal::diagnosis::facts): by netlink, from /proc, by
//! packets with a short life, and from the first hop.
//!
//! Everything is of the calling thread's network namespace, changes nothing but what [`firsthop`] is told to, and works without
//! privileges as far as the kernel lets it; what cannot be seen stays unknown.

pub mod firewall;
pub mod firsthop;
pub mod mtu;
pub mod path;
pub mod system;

use std::net::IpAddr;

use pinhole_traversal::diagnosis::facts::{Gateway, Interface};

use crate::netlink::Error;
use crate::netlink::route::{self, table};

/// Interfaces and the ways out.
#[derive(Clone, Debug, Default)]
pub struct Ways {
    /// Interfaces that are up, without the loopback.
    pub interfaces: Vec<Interface>,
    /// The way that IPv4 packets take.
    pub v4: Option<Gateway>,
    /// The way that IPv6 packets take.
    pub v6: Option<Gateway>,
    /// Whether there are default routes of IPv4 over several interfaces.
    pub is_multihomed: bool,
}

/// Looks at interfaces and routes. The ways out are those to `toward`, one address of each family; nothing is sent there.
///
/// # Errors
/// When a sandbox forbids netlink.
pub fn ways(toward: [IpAddr; 2]) -> Result<Ways, Error> {
    let mut socket = route::open()?;
    let all = route::interfaces(&mut socket)?;
    let name = |index: Option<u32>| {
        let found = all.iter().find(|interface| Some(interface.link.index) == index);
        found.map(|interface| interface.link.name.clone()).unwrap_or_default()
    };
    let mut way = |toward: IpAddr| {
        let route = table::lookup(&mut socket, toward, 0).ok()?;
        let interface = name(route.interface);
        // What is for this host itself is no way out.
        (interface != "lo").then_some(Gateway { router: route.gateway, interface, source: route.source })
    };
    let [v4, v6] = toward.map(&mut way);
    let routes = table::list(&mut socket)?;
    let defaults =
        routes.iter().filter(|route| route.destination.prefix_len() == 0 && route.destination.addr().is_ipv4());
    let mut over: Vec<_> = defaults.filter_map(|route| route.interface).collect();
    over.sort_unstable();
    over.dedup();
    let interfaces = all.iter().filter(|interface| interface.link.is_up() && !interface.link.is_loopback());
    let interfaces = interfaces.map(|interface| Interface {
        name: interface.link.name.clone(),
        kind: interface.link.kind.clone().unwrap_or_default(),
        mtu: interface.link.mtu,
        addresses: interface
            .addresses
            .iter()
            .filter(|address| address.is_usable_globally())
            .map(|address| (address.net.addr(), address.net.prefix_len()))
            .collect(),
    });
    Ok(Ways { interfaces: interfaces.collect(), v4, v6, is_multihomed: over.len() > 1 })
}

#[cfg(test)]
mod tests;

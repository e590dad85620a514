//! Links, addresses, routes and rules of the network namespace that the socket was opened in (rtnetlink).
//!
//! One sub-module per kind of object, each with functions over a [`Socket`] of [`Protocol::Route`]. An interface is named
//! by its index, which stays when the name changes.
//!
//! Not here: neighbours that are found, traffic control, VRFs, multipath routes; pinhole needs none of them.

pub mod address;
pub mod link;
pub mod neighbour;
pub mod rule;
pub mod table;

use std::net::IpAddr;

use super::{Error, Protocol, Socket};
pub use address::Address;
pub use link::Link;
pub use rule::Rule;
pub use table::Route;

/// Opens a socket for the functions of this module.
///
/// # Errors
/// When a sandbox forbids netlink.
pub fn open() -> Result<Socket, Error> {
    Socket::open(Protocol::Route)
}

/// A link with its addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// The link.
    pub link: Link,
    /// Its addresses, both families, in the kernel's order.
    pub addresses: Vec<Address>,
}

/// Every link of the namespace with its addresses.
///
/// # Errors
/// The kernel's refusal.
pub fn interfaces(socket: &mut Socket) -> Result<Vec<Interface>, Error> {
    let addresses = address::list(socket)?;
    let with_addresses = |link: Link| {
        let addresses = addresses.iter().filter(|a| a.index == link.index).cloned().collect();
        Interface { link, addresses }
    };
    Ok(link::list(socket)?.into_iter().map(with_addresses).collect())
}

/// `AF_INET` or `AF_INET6`.
fn family(ip: IpAddr) -> u8 {
    match ip {
        IpAddr::V4(_) => libc::AF_INET as u8,
        IpAddr::V6(_) => libc::AF_INET6 as u8,
    }
}

fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = || <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from);
    v4().or_else(|| <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from))
}

fn u32_in(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests;

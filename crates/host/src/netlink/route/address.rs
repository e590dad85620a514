//! Addresses of interfaces.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{family, ip, octets, u32_in};
use crate::netlink::{Error, Message, Reply, Socket};

/// Bytes of `struct ifaddrmsg`.
const FIXED: usize = 8;
const REPLACE: u16 = (libc::NLM_F_CREATE | libc::NLM_F_REPLACE) as u16;
/// `RT_SCOPE_UNIVERSE`.
const GLOBAL: u8 = 0;

/// An address on an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The interface's number.
    pub index: u32,
    /// The address and the prefix it stands in.
    pub net: IpNet,
    /// `RT_SCOPE_*`: 0 global, 253 link, 254 host.
    pub scope: u8,
    /// `IFA_F_*` bits (tentative, deprecated …).
    pub flags: u32,
}

impl Address {
    /// Whether it is good beyond this host and link, and usable now.
    pub fn is_usable_globally(&self) -> bool {
        let unusable = libc::IFA_F_TENTATIVE | libc::IFA_F_DADFAILED | libc::IFA_F_DEPRECATED;
        self.scope == GLOBAL && self.flags & unusable == 0
    }

    pub(crate) fn parse(reply: &Reply) -> Option<Self> {
        let &[_, prefix, flags, scope, i0, i1, i2, i3] = reply.fixed::<FIXED>()?;
        let mut flags = u32::from(flags);
        let (mut local, mut remote) = (None, None);
        for (kind, value) in reply.attributes(FIXED) {
            match kind {
                libc::IFA_LOCAL => local = ip(value),
                libc::IFA_ADDRESS => remote = ip(value),
                libc::IFA_FLAGS => flags = u32_in(value)?,
                _ => {}
            }
        }
        // On a point-to-point link IFA_ADDRESS is the other end; IPv6 has IFA_LOCAL only there.
        let net = IpNet::new(local.or(remote)?, prefix).ok()?;
        Some(Self { index: u32::from_ne_bytes([i0, i1, i2, i3]), net, scope, flags })
    }
}

/// Every address of the namespace.
///
/// # Errors
/// The kernel's refusal.
pub fn list(socket: &mut Socket) -> Result<Vec<Address>, Error> {
    let replies = socket.dump(Message::new(libc::RTM_GETADDR, 0).fixed(&[0; FIXED]))?;
    Ok(replies.iter().filter_map(Address::parse).collect())
}

/// Gives the interface an address; one that it has already is left alone. IPv6 addresses skip duplicate address detection.
///
/// # Errors
/// Not found when the interface does not exist; the kernel's refusal otherwise.
pub fn add(socket: &mut Socket, index: u32, net: IpNet) -> Result<(), Error> {
    let flags = if matches!(net.addr(), IpAddr::V6(_)) { libc::IFA_F_NODAD as u8 } else { 0 };
    socket.request(message(libc::RTM_NEWADDR, REPLACE, index, net, flags)).map(drop)
}

/// Takes an address from the interface.
///
/// # Errors
/// Not found when it does not have it; the kernel's refusal otherwise.
pub fn delete(socket: &mut Socket, index: u32, net: IpNet) -> Result<(), Error> {
    socket.request(message(libc::RTM_DELADDR, 0, index, net, 0)).map(drop)
}

fn message(kind: u16, request: u16, index: u32, net: IpNet, flags: u8) -> Message {
    let [i0, i1, i2, i3] = index.to_ne_bytes();
    let address = octets(net.addr());
    Message::new(kind, request)
        .fixed(&[family(net.addr()), net.prefix_len(), flags, GLOBAL, i0, i1, i2, i3])
        .attr(libc::IFA_LOCAL, &address)
        .attr(libc::IFA_ADDRESS, &address)
}

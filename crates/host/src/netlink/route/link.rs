//! Network interfaces: list, make a veth pair, change, delete.

use std::os::fd::{AsRawFd, BorrowedFd};

use super::u32_in;
use crate::netlink::{Error, Message, Reply, Socket};

/// Bytes of `struct ifinfomsg`.
const FIXED: usize = 16;
/// `VETH_INFO_PEER` (include/uapi/linux/veth.h).
const VETH_PEER: u16 = 1;
const INFO_KIND: u16 = 1;
const INFO_DATA: u16 = 2;
const CREATE: u16 = (libc::NLM_F_CREATE | libc::NLM_F_EXCL) as u16;

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its number in this namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// `IFF_*` bits.
    pub flags: u32,
    /// Bytes of the largest packet.
    pub mtu: u32,
    /// Its kind (`veth`, `tun`, `wireguard` …); `None` for hardware and the loopback.
    pub kind: Option<String>,
    /// Its Ethernet address; `None` for links that carry no Ethernet frames.
    pub ethernet: Option<[u8; 6]>,
    /// The number of the bridge, bond or VRF that it belongs to.
    pub master: Option<u32>,
}

impl Link {
    /// Whether an administrator has switched it on.
    pub fn is_up(&self) -> bool {
        self.flags & libc::IFF_UP as u32 != 0
    }

    /// Whether it is up and has a carrier.
    pub fn is_running(&self) -> bool {
        self.flags & libc::IFF_RUNNING as u32 != 0
    }

    /// Whether it is the loopback.
    pub fn is_loopback(&self) -> bool {
        self.flags & libc::IFF_LOOPBACK as u32 != 0
    }

    pub(crate) fn parse(reply: &Reply) -> Option<Self> {
        let fixed = reply.fixed::<FIXED>()?;
        let index = u32_in(&fixed[4..8])?;
        let flags = u32_in(&fixed[8..12])?;
        let is_ethernet = fixed[2..4] == libc::ARPHRD_ETHER.to_ne_bytes();
        let mut link = Self { index, name: String::new(), flags, mtu: 0, kind: None, ethernet: None, master: None };
        for (kind, value) in reply.attributes(FIXED) {
            match kind {
                libc::IFLA_IFNAME => link.name = text(value),
                libc::IFLA_MTU => link.mtu = u32_in(value)?,
                libc::IFLA_ADDRESS if is_ethernet => link.ethernet = value.try_into().ok(),
                libc::IFLA_MASTER => link.master = u32_in(value),
                libc::IFLA_LINKINFO => link.kind = crate::netlink::find(value, INFO_KIND).map(text),
                _ => {}
            }
        }
        Some(link)
    }
}

/// What to change about a link; what is `None` stays.
#[derive(Clone, Copy, Debug, Default)]
pub struct Change<'a> {
    /// Switch it on or off.
    pub up: Option<bool>,
    /// Bytes of the largest packet.
    pub mtu: Option<u32>,
    /// A new name; the link must be down on kernels before 6.2.
    pub name: Option<&'a str>,
    /// Move it to this network namespace.
    pub namespace: Option<BorrowedFd<'a>>,
}

/// Every link of the namespace.
///
/// # Errors
/// The kernel's refusal.
pub fn list(socket: &mut Socket) -> Result<Vec<Link>, Error> {
    let replies = socket.dump(Message::new(libc::RTM_GETLINK, 0).fixed(&[0; FIXED]))?;
    Ok(replies.iter().filter_map(Link::parse).collect())
}

/// The link called `name`.
///
/// # Errors
/// Not found ([`Error::is_not_found`]) when there is none.
pub fn find(socket: &mut Socket, name: &str) -> Result<Link, Error> {
    let replies =
        socket.request(Message::new(libc::RTM_GETLINK, 0).fixed(&[0; FIXED]).attr_str(libc::IFLA_IFNAME, name))?;
    replies.iter().find_map(Link::parse).ok_or(Error::Malformed("link"))
}

/// Makes a veth pair: `name` here and `peer` in the namespace `peer_namespace` (here if `None`). Both are down.
///
/// # Errors
/// [`Error::is_exists`] when a name is taken; the kernel's refusal otherwise.
pub fn add_veth(
    socket: &mut Socket,
    name: &str,
    peer: &str,
    peer_namespace: Option<BorrowedFd<'_>>,
) -> Result<(), Error> {
    let peer = |message: Message| {
        let message = message.fixed(&[0; FIXED]).attr_str(libc::IFLA_IFNAME, peer);
        in_namespace(message, peer_namespace)
    };
    add(socket, name, "veth", |message| message.nest(INFO_DATA, |data| data.nest(VETH_PEER, peer)))
}

/// Makes a link of `kind` that needs no options (`wireguard`, `dummy`, `bridge`).
///
/// # Errors
/// `EOPNOTSUPP` when the kernel lacks the kind; [`Error::is_exists`] when the name is taken.
pub fn add_simple(socket: &mut Socket, name: &str, kind: &str) -> Result<(), Error> {
    add(socket, name, kind, |message| message)
}

/// Applies `change` to the link with this index.
///
/// # Errors
/// Not found when there is none; the kernel's refusal otherwise.
pub fn set(socket: &mut Socket, index: u32, change: &Change<'_>) -> Result<(), Error> {
    let up = libc::IFF_UP as u32;
    let flags = if change.up == Some(true) { up } else { 0 };
    let mask = if change.up.is_some() { up } else { 0 };
    let mut message = Message::new(libc::RTM_NEWLINK, 0).fixed(&fixed(index, flags, mask));
    if let Some(mtu) = change.mtu {
        message = message.attr_u32(libc::IFLA_MTU, mtu);
    }
    if let Some(name) = change.name {
        message = message.attr_str(libc::IFLA_IFNAME, name);
    }
    socket.request(in_namespace(message, change.namespace)).map(drop)
}

/// Removes the link with this index; of a veth pair the other end goes too.
///
/// # Errors
/// Not found when there is none; the kernel's refusal otherwise.
pub fn delete(socket: &mut Socket, index: u32) -> Result<(), Error> {
    socket.request(Message::new(libc::RTM_DELLINK, 0).fixed(&fixed(index, 0, 0))).map(drop)
}

fn add(socket: &mut Socket, name: &str, kind: &str, data: impl FnOnce(Message) -> Message) -> Result<(), Error> {
    let message = Message::new(libc::RTM_NEWLINK, CREATE)
        .fixed(&[0; FIXED])
        .attr_str(libc::IFLA_IFNAME, name)
        .nest(libc::IFLA_LINKINFO, |info| data(info.attr_str(INFO_KIND, kind)));
    socket.request(message).map(drop)
}

fn in_namespace(message: Message, namespace: Option<BorrowedFd<'_>>) -> Message {
    match namespace {
        Some(fd) => message.attr_u32(libc::IFLA_NET_NS_FD, fd.as_raw_fd() as u32),
        None => message,
    }
}

/// `struct ifinfomsg`: family, padding, type (u16), index, flags, mask.
fn fixed(index: u32, flags: u32, mask: u32) -> [u8; FIXED] {
    let mut fixed = [0; FIXED];
    fixed[4..8].copy_from_slice(&index.to_ne_bytes());
    fixed[8..12].copy_from_slice(&flags.to_ne_bytes());
    fixed[12..16].copy_from_slice(&mask.to_ne_bytes());
    fixed
}

pub(super) fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value.strip_suffix(&[0]).unwrap_or(value)).into_owned()
}

//! Neighbours: at which Ethernet address one is, and those that this host answers for (proxy ARP), so that packets to their
//! addresses come here and go on as routes say.

use std::net::{IpAddr, Ipv4Addr};

use super::{family, ip, u32_in};
use crate::netlink::{Error, Message, Socket};

/// Bytes of `struct ndmsg`.
const FIXED: usize = 12;
/// `NTF_PROXY` (include/uapi/linux/neighbour.h).
const PROXY: u8 = 8;
/// `NDA_DST`.
const DESTINATION: u16 = 1;
/// `NDA_LLADDR`.
const ETHERNET: u16 = 2;
const REPLACE: u16 = (libc::NLM_F_CREATE | libc::NLM_F_REPLACE) as u16;

/// The Ethernet address of a neighbour on the interface with this index; `None` if the kernel has not asked for it, or in vain.
///
/// # Errors
/// The kernel's refusal.
pub fn ethernet(socket: &mut Socket, index: u32, neighbour: IpAddr) -> Result<Option<[u8; 6]>, Error> {
    let mut fixed = [0; FIXED];
    fixed[0] = family(neighbour);
    let replies = socket.dump(Message::new(libc::RTM_GETNEIGH, 0).fixed(&fixed))?;
    Ok(replies.iter().find_map(|reply| {
        let here = u32_in(&reply.fixed::<FIXED>()?[4..8])? == index;
        let value = |wanted| reply.attributes(FIXED).find(|&(kind, _)| kind == wanted).map(|(_, value)| value);
        let it = here && value(DESTINATION).and_then(ip) == Some(neighbour);
        value(ETHERNET).filter(|_| it)?.try_into().ok()
    }))
}

/// Answers for `address` on the interface with this index, which must forward for the kernel to do so. It answers after a
/// pause of up to 0.8 s (`net.ipv4.neigh.*.proxy_delay`).
///
/// # Errors
/// The kernel's refusal.
pub fn add_proxy(socket: &mut Socket, index: u32, address: Ipv4Addr) -> Result<(), Error> {
    socket.request(message(libc::RTM_NEWNEIGH, REPLACE, index, address)).map(drop)
}

/// Answers for it no more.
///
/// # Errors
/// Not found ([`Error::is_not_found`]) when it did not.
pub fn delete_proxy(socket: &mut Socket, index: u32, address: Ipv4Addr) -> Result<(), Error> {
    socket.request(message(libc::RTM_DELNEIGH, 0, index, address)).map(drop)
}

fn message(kind: u16, request: u16, index: u32, address: Ipv4Addr) -> Message {
    let mut fixed = [0; FIXED];
    fixed[0] = libc::AF_INET as u8;
    fixed[4..8].copy_from_slice(&index.to_ne_bytes());
    fixed[10] = PROXY;
    Message::new(kind, request).fixed(&fixed).attr(DESTINATION, &address.octets())
}

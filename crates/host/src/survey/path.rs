//! The first routers on the way out, by datagrams with a short life; [`mtu`](super::mtu) asks how large a packet gets through.
//!
//! The kernel hands ICMP errors to the socket that they are about (`IP_RECVERR`, ip(7)), so no privilege is needed.

use std::io;
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use pinhole_traversal::diagnosis::facts::Hop;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Where datagrams go that nobody is to answer: traceroute's ports.
const NOWHERE: u16 = 33_434;
/// ICMP time exceeded.
const TIME_EXCEEDED: u8 = 11;
/// `SO_EE_ORIGIN_ICMP` (include/uapi/linux/errqueue.h).
const FROM_ICMP: u8 = 2;

/// Who is on the way to `target`, up to `max` routers; each is given `wait`, all at once.
///
/// # Errors
/// When no socket can be opened, or there is no route.
pub fn hops(target: Ipv4Addr, max: u8, wait: Duration) -> io::Result<Vec<Hop>> {
    let send = |ttl: u8| -> io::Result<(u8, UdpSocket)> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        set(&socket, libc::IPPROTO_IP, libc::IP_RECVERR, 1)?;
        socket.set_ttl(ttl.into())?;
        socket.set_nonblocking(true)?;
        socket.connect((target, NOWHERE + u16::from(ttl)))?;
        socket.send(b"pinhole\0")?;
        Ok((ttl, socket))
    };
    let sockets = (1..=max).map(send).collect::<io::Result<Vec<_>>>()?;
    let mut hops: Vec<Hop> = (1..=max).map(|ttl| Hop { ttl, address: None }).collect();
    let mut left: Vec<&(u8, UdpSocket)> = sockets.iter().collect();
    let end = Instant::now() + wait;
    while !left.is_empty() && Instant::now() < end {
        let mut polled: Vec<PollFd<'_>> = left.iter().map(|(_, socket)| PollFd::new(socket, PollFlags::ERR)).collect();
        let rest = end.saturating_duration_since(Instant::now());
        let rest = Timespec { tv_sec: rest.as_secs() as i64, tv_nsec: rest.subsec_nanos().into() };
        if poll(&mut polled, Some(&rest))? == 0 {
            break;
        }
        let mut reached = u8::MAX;
        left.retain(|(ttl, socket)| match error(socket) {
            Some((TIME_EXCEEDED, from)) => {
                hops[usize::from(*ttl) - 1].address = from;
                false
            }
            // The target itself, or somebody who lets nothing through.
            Some(_) => {
                reached = reached.min(*ttl);
                false
            }
            None => true,
        });
        // Whoever is behind the target is nobody.
        left.retain(|(ttl, _)| *ttl < reached);
    }
    let last = hops.iter().rposition(|hop| hop.address.is_some()).map_or(0, |at| at + 1);
    hops.truncate(last);
    Ok(hops)
}

/// Whether the neighbour answers at the link: `None` if nobody has asked.
pub fn is_neighbour_there(neighbour: Ipv4Addr) -> Option<bool> {
    /// `ATF_COM`: its address is known.
    const COMPLETE: u32 = 2;
    let table = std::fs::read_to_string("/proc/thread-self/net/arp").ok()?;
    let line = table.lines().find(|line| line.split_whitespace().next() == Some(&neighbour.to_string()))?;
    let flags = line.split_whitespace().nth(2)?.strip_prefix("0x")?;
    Some(u32::from_str_radix(flags, 16).ok()? & COMPLETE != 0)
}

/// The ICMP error that waits at a socket: its type and who sent it.
fn error(socket: &UdpSocket) -> Option<(u8, Option<Ipv4Addr>)> {
    let mut data = [0u8; 64];
    let mut control = MaybeUninit::<[u64; 32]>::zeroed();
    let mut part = libc::iovec { iov_base: data.as_mut_ptr().cast(), iov_len: data.len() };
    // SAFETY: a msghdr of zeroes is a valid one.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&control) as _;
    let flags = libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT;
    // SAFETY: the message points at buffers that outlive the call.
    if unsafe { libc::recvmsg(socket.as_fd().as_raw_fd(), &raw mut message, flags) } < 0 {
        return None;
    }
    // SAFETY: the kernel has filled the control buffer that the message still points at.
    let mut header = unsafe { libc::CMSG_FIRSTHDR(&raw const message) };
    while !header.is_null() {
        // SAFETY: the macros of cmsg(3) give pointers into the control buffer or null.
        let (level, kind, length) = unsafe { ((*header).cmsg_level, (*header).cmsg_type, (*header).cmsg_len as usize) };
        let needed = size_of::<libc::sock_extended_err>() + size_of::<libc::sockaddr_in>();
        // SAFETY: as above; nothing is read by this.
        let least = unsafe { libc::CMSG_LEN(needed as u32) } as usize;
        if (level, kind) == (libc::IPPROTO_IP, libc::IP_RECVERR) && length >= least {
            // SAFETY: the length says that both structures are there; unaligned reads need no alignment.
            let (error, from) = unsafe {
                let data = libc::CMSG_DATA(header);
                let from = data.add(size_of::<libc::sock_extended_err>());
                (
                    data.cast::<libc::sock_extended_err>().read_unaligned(),
                    from.cast::<libc::sockaddr_in>().read_unaligned(),
                )
            };
            if error.ee_origin == FROM_ICMP {
                let from = Ipv4Addr::from(u32::from_be(from.sin_addr.s_addr));
                return Some((error.ee_type, Some(from).filter(|from| !from.is_unspecified())));
            }
            return Some((0, None));
        }
        // SAFETY: as above.
        header = unsafe { libc::CMSG_NXTHDR(&raw const message, header) };
    }
    Some((0, None))
}

pub(super) fn set(socket: &UdpSocket, level: libc::c_int, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
    // SAFETY: the option's value is a c_int that outlives the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            (&raw const value).cast(),
            size_of_val(&value) as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

//! Many datagrams per system call: `recvmmsg` and `sendmmsg` (Linux 2.6.33 and 3.0) over buffers that are never moved.
//!
//! A message is answered from the place it was received in: its reply goes to the address it came from and, with packet
//! information, leaves from the address it came to (ip(7) `IP_PKTINFO`, ipv6(7) `IPV6_RECVPKTINFO`).

use std::io;
use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

/// Messages per system call. Beyond some 32 the calls are no longer what costs; 64 ride out bursts.
pub(crate) const BATCH: usize = 64;
/// Room for a query, in bytes: more than any that is answered. An odd number of cache lines, so that the messages do not
/// all fall into the same cache sets.
const QUERY: usize = 33 * 64;
/// Room for a reply, in bytes: as much, since an answer of STUN may be as long as what it answers.
const REPLY: usize = QUERY;
/// Room for one control message: a header and an `in6_pktinfo`, the larger of the two.
const CONTROL: usize = 64;

/// Receives, holds and answers up to [`BATCH`] messages.
pub(crate) struct Batch {
    receive: Box<[libc::mmsghdr]>,
    send: Box<[libc::mmsghdr]>,
    /// Kept alive for the pointers in `receive` and `send`.
    parts: Box<[Parts]>,
    /// Packet information is asked for.
    packet_info: bool,
    /// Messages in `receive`.
    received: usize,
    /// Messages in `send`.
    replies: usize,
}

/// The memory of one message.
#[repr(align(64))]
struct Parts {
    query: [u8; QUERY],
    reply: [u8; REPLY],
    address: libc::sockaddr_storage,
    control: [u64; CONTROL / 8],
    query_iov: libc::iovec,
    reply_iov: libc::iovec,
}

// SAFETY: the pointers in the headers lead into `parts`, which the batch owns and never reallocates; nothing else holds them.
unsafe impl Send for Batch {}

impl Batch {
    /// Empty buffers. `packet_info` says that the socket delivers packet information.
    pub(crate) fn new(packet_info: bool) -> Self {
        // SAFETY: all fields are plain integers, arrays of them and pointers, for which zero is a value.
        let parts: Vec<Parts> = (0..BATCH).map(|_| unsafe { mem::zeroed() }).collect();
        let mut parts = parts.into_boxed_slice();
        let header = |part: &mut Parts, reply: bool| {
            let (iov, base, len) = if reply {
                (&mut part.reply_iov, part.reply.as_mut_ptr(), REPLY)
            } else {
                (&mut part.query_iov, part.query.as_mut_ptr(), QUERY)
            };
            *iov = libc::iovec { iov_base: base.cast(), iov_len: len };
            // SAFETY: as above; a zero header has no pointers and no lengths.
            let mut header: libc::mmsghdr = unsafe { mem::zeroed() };
            header.msg_hdr.msg_name = ptr::from_mut(&mut part.address).cast();
            header.msg_hdr.msg_iov = iov;
            header.msg_hdr.msg_iovlen = 1;
            header
        };
        let receive = parts.iter_mut().map(|part| header(part, false)).collect();
        let send = parts.iter_mut().map(|part| header(part, true)).collect();
        Self { receive, send, parts, packet_info, received: 0, replies: 0 }
    }

    /// Waits for at least one message and takes as many as there are; how many. Zero when interrupted or shut down.
    pub(crate) fn receive(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        // The kernel has changed the headers it filled and no others.
        let touched = if self.received == 0 { BATCH } else { self.received };
        for (header, part) in self.receive.iter_mut().zip(&mut self.parts).take(touched) {
            reset(header, part, self.packet_info);
        }
        // SAFETY: the headers point at live buffers of the lengths they state, and there are BATCH of them.
        let count = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                self.receive.as_mut_ptr(),
                BATCH as libc::c_uint,
                libc::MSG_WAITFORONE,
                ptr::null_mut(),
            )
        };
        self.replies = 0;
        match usize::try_from(count) {
            Ok(count) => {
                self.received = count;
                Ok(count)
            }
            Err(_) => {
                self.received = 0;
                let error = io::Error::last_os_error();
                if error.kind() == io::ErrorKind::Interrupted { Ok(0) } else { Err(error) }
            }
        }
    }

    /// The `index`-th message and room for its reply. A message that did not fit its buffer is cut, and is malformed so.
    pub(crate) fn message(&mut self, index: usize) -> (&[u8], &mut [u8]) {
        let len = (self.receive[index].msg_len as usize).min(QUERY);
        let part = &mut self.parts[index];
        (&part.query[..len], &mut part.reply)
    }

    /// Where the `index`-th message came from. `None` if the kernel did not say, as after a shutdown.
    pub(crate) fn source(&self, index: usize) -> Option<SocketAddr> {
        let header = &self.receive[index].msg_hdr;
        socket_addr(&self.parts[index].address, header.msg_namelen)
    }

    /// The address that the `index`-th message was sent to, if packet information tells.
    pub(crate) fn destination(&self, index: usize) -> Option<IpAddr> {
        if !self.packet_info {
            return None;
        }
        // SAFETY: the header is one that recvmmsg has filled; its control pointer and length describe `control`.
        let control = unsafe { libc::CMSG_FIRSTHDR(&self.receive[index].msg_hdr).as_ref()? };
        match (control.cmsg_level, control.cmsg_type) {
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                // SAFETY: a control message of this type holds an in_pktinfo; unaligned reads are fine by read_unaligned.
                let info: libc::in_pktinfo = unsafe { ptr::read_unaligned(libc::CMSG_DATA(control).cast()) };
                Some(Ipv4Addr::from(u32::from_be(info.ipi_spec_dst.s_addr)).into())
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                // SAFETY: a control message of this type holds an in6_pktinfo.
                let info: libc::in6_pktinfo = unsafe { ptr::read_unaligned(libc::CMSG_DATA(control).cast()) };
                Some(Ipv6Addr::from(info.ipi6_addr.s6_addr).into())
            }
            _ => None,
        }
    }

    /// Lets the first `len` bytes of the `index`-th reply be sent.
    pub(crate) fn reply(&mut self, index: usize, len: usize) {
        let part = &mut self.parts[index];
        part.reply_iov.iov_len = len;
        let received = &self.receive[index].msg_hdr;
        let header = &mut self.send[self.replies].msg_hdr;
        header.msg_name = received.msg_name;
        header.msg_namelen = received.msg_namelen;
        header.msg_iov = &mut part.reply_iov;
        if self.packet_info {
            header.msg_control = received.msg_control;
            header.msg_controllen = received.msg_controllen;
            // SAFETY: the control message is the one that recvmmsg wrote into `control`, which we own.
            unsafe { forget_interface(header) };
        }
        self.replies += 1;
    }

    /// Sends all replies; how many the kernel did not take.
    pub(crate) fn send(&mut self, socket: BorrowedFd<'_>) -> usize {
        let (mut at, mut failed) = (0, 0);
        while at < self.replies {
            let rest = &mut self.send[at..self.replies];
            // SAFETY: the headers point at live buffers of the lengths they state.
            let sent = unsafe {
                libc::sendmmsg(socket.as_raw_fd(), rest.as_mut_ptr(), rest.len() as libc::c_uint, libc::MSG_DONTWAIT)
            };
            match usize::try_from(sent) {
                Ok(sent) => at += sent.max(1),
                Err(_) if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
                // The first one failed: no route, a full buffer, a firewall. The others may do.
                Err(_) => {
                    failed += 1;
                    at += 1;
                }
            }
        }
        failed
    }
}

/// Makes a header ready to be received into.
fn reset(header: &mut libc::mmsghdr, part: &mut Parts, packet_info: bool) {
    header.msg_hdr.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    header.msg_hdr.msg_flags = 0;
    if packet_info {
        header.msg_hdr.msg_control = part.control.as_mut_ptr().cast();
        header.msg_hdr.msg_controllen = CONTROL;
    }
}

/// Clears the interface in the header's packet information: it chooses the source address of a reply, routing the way.
///
/// # Safety
/// The header's control pointer and length must describe memory that the kernel has filled and that may be written.
unsafe fn forget_interface(header: &mut libc::msghdr) {
    // SAFETY: the caller's.
    let Some(control) = (unsafe { libc::CMSG_FIRSTHDR(header).as_mut() }) else { return };
    match (control.cmsg_level, control.cmsg_type) {
        (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
            // SAFETY: a control message of this type holds an in_pktinfo.
            let info = unsafe { &mut *libc::CMSG_DATA(control).cast::<libc::in_pktinfo>() };
            info.ipi_ifindex = 0;
        }
        (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
            // SAFETY: a control message of this type holds an in6_pktinfo.
            let info = unsafe { &mut *libc::CMSG_DATA(control).cast::<libc::in6_pktinfo>() };
            // A link-local address means nothing without its interface.
            if !Ipv6Addr::from(info.ipi6_addr.s6_addr).is_unicast_link_local() {
                info.ipi6_ifindex = 0;
            }
        }
        _ => header.msg_controllen = 0,
    }
}

fn socket_addr(storage: &libc::sockaddr_storage, len: libc::socklen_t) -> Option<SocketAddr> {
    match libc::c_int::from(storage.ss_family) {
        libc::AF_INET if len as usize >= size_of::<libc::sockaddr_in>() => {
            // SAFETY: family and length say that a sockaddr_in is there; the storage is large and aligned enough for any.
            let address = unsafe { &*ptr::from_ref(storage).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(u32::from_be(address.sin_addr.s_addr));
            Some(SocketAddrV4::new(ip, u16::from_be(address.sin_port)).into())
        }
        libc::AF_INET6 if len as usize >= size_of::<libc::sockaddr_in6>() => {
            // SAFETY: as above.
            let address = unsafe { &*ptr::from_ref(storage).cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(address.sin6_addr.s6_addr);
            Some(SocketAddrV6::new(ip, u16::from_be(address.sin6_port), 0, address.sin6_scope_id).into())
        }
        _ => None,
    }
}

/// Sends one datagram from `local`, if given, to `to`.
///
/// # Errors
/// The kernel's.
pub(crate) fn send_from(socket: BorrowedFd<'_>, local: Option<IpAddr>, to: SocketAddr, bytes: &[u8]) -> io::Result<()> {
    let to = socket2::SockAddr::from(to);
    let mut control = [0u64; CONTROL / 8];
    let mut iov = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    // SAFETY: a zero header has no pointers and no lengths.
    let mut header: libc::msghdr = unsafe { mem::zeroed() };
    header.msg_name = to.as_ptr().cast_mut().cast();
    header.msg_namelen = to.len();
    header.msg_iov = &mut iov;
    header.msg_iovlen = 1;
    if let Some(local) = local {
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = match local {
            IpAddr::V4(address) => {
                // SAFETY: zero is a value of this struct of integers.
                let mut info: libc::in_pktinfo = unsafe { mem::zeroed() };
                info.ipi_spec_dst.s_addr = u32::from(address).to_be();
                put_control(&mut control, libc::IPPROTO_IP, libc::IP_PKTINFO, info)
            }
            IpAddr::V6(address) => {
                // SAFETY: zero is a value of this struct of integers.
                let mut info: libc::in6_pktinfo = unsafe { mem::zeroed() };
                info.ipi6_addr.s6_addr = address.octets();
                put_control(&mut control, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info)
            }
        };
    }
    // SAFETY: all pointers in the header lead to locals and the caller's bytes, which outlive the call; sendmsg writes to
    // none of them.
    let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &header, libc::MSG_DONTWAIT) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Writes one control message; the length of all control data.
fn put_control<T: Copy>(control: &mut [u64; CONTROL / 8], level: libc::c_int, kind: libc::c_int, data: T) -> usize {
    let len = size_of::<T>() as libc::c_uint;
    // SAFETY: CMSG_LEN and CMSG_SPACE only compute.
    let (cmsg_len, space) = unsafe { (libc::CMSG_LEN(len) as usize, libc::CMSG_SPACE(len) as usize) };
    assert!(space <= CONTROL, "both kinds of packet information fit");
    let header = libc::cmsghdr { cmsg_len, cmsg_level: level, cmsg_type: kind };
    let start = control.as_mut_ptr().cast::<u8>();
    // SAFETY: `space` bytes from `start` are in `control`: header first, data at CMSG_LEN(0).
    unsafe {
        ptr::write_unaligned(start.cast(), header);
        ptr::write_unaligned(start.add(libc::CMSG_LEN(0) as usize).cast(), data);
    }
    space
}

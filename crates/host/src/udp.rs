//! A pair of UDP sockets, IPv4 and IPv6, on one port, with batches and segmentation offload both ways.
//!
//! One system call sends up to 64 datagrams to one place (`UDP_SEGMENT`, Linux 4.18) and receives many, which the kernel may
//! have put together by sender (`UDP_GRO`, Linux 5.0): udp(7). Where the kernel or the path takes no offload, the same calls
//! send and receive one by one.

use std::cell::Cell;
use std::io;
use std::mem;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use pinhole_tunnel::Transmit;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// Bytes of the kernel's buffers, each way and socket: some 30 ms at 1 Gb/s, the least that survives a scheduling delay.
const SOCKET_BUFFER: usize = 4 << 20;
/// Datagrams, or runs of datagrams of one sender, received in one call.
const BATCH: usize = 16;
/// Bytes for each of them: the longest UDP payload and run.
const SLOT: usize = 65_536;
/// Room for control messages: one `int` is expected.
const CONTROL: usize = 64;
/// How often a port is chosen anew because the one that IPv4 got is taken on IPv6.
const PORT_ATTEMPTS: usize = 16;
/// How long a full send buffer is waited for before the datagrams are dropped, in milliseconds.
const SEND_WAIT_MS: libc::c_int = 100;

/// Which of the two sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// The IPv4 socket.
    V4,
    /// The IPv6 socket.
    V6,
}

/// The two sockets.
#[derive(Debug)]
pub struct Udp {
    v4: Socket,
    v6: Option<Socket>,
    port: u16,
    segment: Cell<bool>,
}

impl Udp {
    /// Binds both to `port` of every address, or, for 0, to one that is free on both. Without IPv6 in the kernel there is no
    /// second.
    ///
    /// # Errors
    /// `AddrInUse` when another socket has the port; the kernel's refusal otherwise.
    pub fn bind(port: u16) -> io::Result<Self> {
        for attempt in 1.. {
            let v4 = open(Domain::IPV4, SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)))?;
            let bound = v4.local_addr()?.as_socket().map_or(port, |address| address.port());
            match open(Domain::IPV6, SocketAddr::from((Ipv6Addr::UNSPECIFIED, bound))) {
                Ok(v6) => return Ok(Self { v4, v6: Some(v6), port: bound, segment: Cell::new(true) }),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse && port == 0 && attempt < PORT_ATTEMPTS => {}
                Err(error) if matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL)) => {
                    return Ok(Self { v4, v6: None, port: bound, segment: Cell::new(true) });
                }
                Err(error) => return Err(error),
            }
        }
        Err(io::ErrorKind::AddrInUse.into())
    }

    /// The port of both.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Marks what is sent from now on (`SO_MARK`); 0 for no mark.
    ///
    /// # Errors
    /// `PermissionDenied` without CAP_NET_ADMIN.
    pub fn set_mark(&self, mark: u32) -> io::Result<()> {
        self.sockets().try_for_each(|(_, socket)| socket.set_mark(mark))
    }

    /// The descriptors to wait on.
    pub fn descriptors(&self) -> impl Iterator<Item = (Family, BorrowedFd<'_>)> {
        self.sockets().map(|(family, socket)| (family, socket.as_fd()))
    }

    /// Sends all of `transmit`. A full buffer is waited for, a little.
    ///
    /// # Errors
    /// Those of sendmsg(2): no route, a firewall, no IPv6.
    pub fn send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let socket = match transmit.to {
            SocketAddr::V4(_) => &self.v4,
            SocketAddr::V6(_) => self.v6.as_ref().ok_or(io::ErrorKind::Unsupported)?,
        };
        self.send_by(socket, transmit)
    }

    /// As [`send`](Self::send), by another socket.
    pub(crate) fn send_by(&self, socket: &Socket, transmit: &Transmit<'_>) -> io::Result<()> {
        let to = SockAddr::from(transmit.to);
        if transmit.bytes.len() <= transmit.segment {
            return send_one(socket, &to, transmit.bytes, None);
        }
        if self.segment.get() {
            match send_one(socket, &to, transmit.bytes, u16::try_from(transmit.segment).ok()) {
                Err(error) => match error.raw_os_error() {
                    // EIO: the way out has no checksum offload; no datagram will ever leave segmented.
                    Some(libc::EIO) => self.segment.set(false),
                    // A message is longer than the path takes in one piece, or is too short.
                    Some(libc::EINVAL | libc::EMSGSIZE) => {}
                    _ => return Err(error),
                },
                Ok(()) => return Ok(()),
            }
        }
        transmit.messages().try_for_each(|message| send_one(socket, &to, message, None))
    }

    /// Receives what is there into `batch`; false when there is nothing.
    ///
    /// # Errors
    /// Those of recvmmsg(2). An ICMP error of an earlier datagram is none.
    pub fn receive(&self, family: Family, batch: &mut Batch) -> io::Result<bool> {
        let socket = match (family, &self.v6) {
            (Family::V4, _) => &self.v4,
            (Family::V6, Some(socket)) => socket,
            (Family::V6, None) => return Ok(false),
        };
        batch.receive(socket)
    }

    fn sockets(&self) -> impl Iterator<Item = (Family, &Socket)> {
        [(Family::V4, Some(&self.v4)), (Family::V6, self.v6.as_ref())].into_iter().filter_map(|(f, s)| Some((f, s?)))
    }
}

fn open(domain: Domain, address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    if domain == Domain::IPV6 {
        socket.set_only_v6(true)?;
    }
    tune(&socket)?;
    socket.bind(&SockAddr::from(address))?;
    Ok(socket)
}

/// Prepares a socket for batches.
pub(crate) fn tune(socket: &Socket) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    for (force, plain) in [(libc::SO_RCVBUFFORCE, libc::SO_RCVBUF), (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF)] {
        // Beyond the system's limit with CAP_NET_ADMIN, else up to it; a small buffer is no reason to fail.
        if set_int(socket, libc::SOL_SOCKET, force, SOCKET_BUFFER as libc::c_int).is_err() {
            let _ = set_int(socket, libc::SOL_SOCKET, plain, SOCKET_BUFFER as libc::c_int);
        }
    }
    // Kernels before 5.0 do not know it; then datagrams come one by one.
    let _ = set_int(socket, libc::SOL_UDP, libc::UDP_GRO, 1);
    Ok(())
}

fn set_int(socket: &Socket, level: libc::c_int, name: libc::c_int, value: libc::c_int) -> io::Result<()> {
    let size = mem::size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the option is an int, and `value` is one.
    let result = unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const value).cast(), size) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// One sendmsg(2), cut by the kernel into pieces of `segment` bytes if there is one.
fn send_one(socket: &Socket, to: &SockAddr, bytes: &[u8], segment: Option<u16>) -> io::Result<()> {
    let mut part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let mut control = Control([0; CONTROL]);
    // SAFETY: an all-zero msghdr is valid.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_name = to.as_ptr().cast_mut().cast();
    message.msg_namelen = to.len();
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    if let Some(segment) = segment {
        message.msg_control = control.0.as_mut_ptr().cast();
        // SAFETY: CMSG_SPACE only computes; the control buffer is aligned for a header and longer than one with a u16,
        // so CMSG_FIRSTHDR points into it and CMSG_DATA has room for the value.
        unsafe {
            message.msg_controllen = libc::CMSG_SPACE(mem::size_of::<u16>() as u32) as _;
            let header = libc::CMSG_FIRSTHDR(&raw const message);
            (*header).cmsg_level = libc::SOL_UDP;
            (*header).cmsg_type = libc::UDP_SEGMENT;
            (*header).cmsg_len = libc::CMSG_LEN(mem::size_of::<u16>() as u32) as _;
            libc::CMSG_DATA(header).cast::<u16>().write_unaligned(segment);
        }
    }
    loop {
        // SAFETY: name, vector and control message live here and are only read.
        let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message, 0) };
        if sent >= 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::EINTR) => {}
            // ECONNREFUSED and its like report an earlier datagram (ip(7), "Error handling"); this one was not sent.
            Some(libc::ECONNREFUSED) => {}
            Some(libc::EAGAIN) if wait_writable(socket) => {}
            _ => return Err(error),
        }
    }
}

fn wait_writable(socket: &Socket) -> bool {
    let mut poll = libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLOUT, revents: 0 };
    // SAFETY: one pollfd, which lives here.
    unsafe { libc::poll(&raw mut poll, 1, SEND_WAIT_MS) > 0 }
}

/// A control buffer, aligned as cmsg(3) wants it.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(8))]
struct Control([u8; CONTROL]);

/// What one receive call brought: datagrams in one buffer.
pub struct Batch {
    buffer: Vec<u8>,
    names: Vec<libc::sockaddr_storage>,
    controls: Vec<Control>,
    vectors: Vec<libc::iovec>,
    headers: Vec<libc::mmsghdr>,
    received: usize,
}

impl std::fmt::Debug for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batch").field("received", &self.received).finish_non_exhaustive()
    }
}

/// Datagrams of one sender, side by side in the buffer of a [`Batch`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Who sent them.
    pub from: SocketAddr,
    /// Where the first begins.
    pub start: usize,
    /// Where the last ends.
    pub end: usize,
    /// The length of each but the last.
    pub segment: usize,
}

impl Default for Batch {
    fn default() -> Self {
        // SAFETY: all-zero socket addresses, vectors and headers are valid.
        let (name, header): (libc::sockaddr_storage, libc::mmsghdr) = unsafe { (mem::zeroed(), mem::zeroed()) };
        let vector = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
        Self {
            buffer: vec![0; BATCH * SLOT],
            names: vec![name; BATCH],
            controls: vec![Control([0; CONTROL]); BATCH],
            vectors: vec![vector; BATCH],
            headers: vec![header; BATCH],
            received: 0,
        }
    }
}

impl Batch {
    /// An empty one, with its buffers.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many [`runs`](Self::run) it holds.
    pub fn len(&self) -> usize {
        self.received
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.received == 0
    }

    /// The bytes that runs point into.
    pub fn buffer(&mut self) -> &mut [u8] {
        &mut self.buffer
    }

    /// One of the runs; `None` beyond the last, and where the sender has no Internet address.
    pub fn run(&self, index: usize) -> Option<Run> {
        let header = self.headers[..self.received].get(index)?;
        let (start, len) = (index * SLOT, header.msg_len as usize);
        let segment = gro_size(&header.msg_hdr).filter(|size| *size > 0).unwrap_or(len);
        let from = address(&self.names[index])?;
        (len != 0).then_some(Run { from, start, end: start + len, segment })
    }

    /// Receives what is there; false when there is nothing. An ICMP error of an earlier datagram is no error.
    pub(crate) fn receive(&mut self, socket: &Socket) -> io::Result<bool> {
        match self.receive_now(socket) {
            Ok(()) => Ok(true),
            Err(error) => match error.raw_os_error() {
                Some(libc::EAGAIN) => Ok(false),
                Some(libc::EINTR | libc::ECONNREFUSED | libc::EHOSTUNREACH | libc::ENETUNREACH) => Ok(true),
                _ => Err(error),
            },
        }
    }

    fn receive_now(&mut self, socket: &Socket) -> io::Result<()> {
        self.received = 0;
        for index in 0..BATCH {
            let slot = &mut self.buffer[index * SLOT..(index + 1) * SLOT];
            self.vectors[index] = libc::iovec { iov_base: slot.as_mut_ptr().cast(), iov_len: SLOT };
            let header = &mut self.headers[index].msg_hdr;
            header.msg_name = (&raw mut self.names[index]).cast();
            header.msg_namelen = mem::size_of::<libc::sockaddr_storage>() as libc::socklen_t;
            header.msg_iov = &raw mut self.vectors[index];
            header.msg_iovlen = 1;
            header.msg_control = self.controls[index].0.as_mut_ptr().cast();
            header.msg_controllen = CONTROL as _;
            header.msg_flags = 0;
        }
        // SAFETY: every header points to its own name, vector, slot and control buffer, all of which live in `self`.
        let count = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                self.headers.as_mut_ptr(),
                BATCH as libc::c_uint,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        if count < 0 {
            return Err(io::Error::last_os_error());
        }
        self.received = count as usize;
        Ok(())
    }
}

/// The `UDP_GRO` control message: the length of each datagram that the kernel put together.
fn gro_size(message: &libc::msghdr) -> Option<usize> {
    // SAFETY: the kernel has filled the control buffer of this header and set its length; the CMSG functions stay within.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(message);
        while let Some(found) = header.as_ref() {
            if (found.cmsg_level, found.cmsg_type) == (libc::SOL_UDP, libc::UDP_GRO) {
                let size = libc::CMSG_DATA(header).cast::<libc::c_int>().read_unaligned();
                return usize::try_from(size).ok();
            }
            header = libc::CMSG_NXTHDR(message, header);
        }
    }
    None
}

fn address(name: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match i32::from(name.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says that this is a sockaddr_in, for which the storage has size and alignment.
            let v4: &libc::sockaddr_in = unsafe { &*(&raw const *name).cast() };
            let ip = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
            Some(SocketAddrV4::new(ip, u16::from_be(v4.sin_port)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: the family says that this is a sockaddr_in6, for which the storage has size and alignment.
            let v6: &libc::sockaddr_in6 = unsafe { &*(&raw const *name).cast() };
            let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            // The flow label is the sender's and no part of where it is.
            Some(SocketAddrV6::new(ip, u16::from_be(v6.sin6_port), 0, v6.sin6_scope_id).into())
        }
        _ => None,
    }
}

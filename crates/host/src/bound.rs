//! Bound sockets of servers: options before binding, and more sockets for more threads at the same port.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;

use socket2::{Domain, Protocol, Socket, Type};

/// Bytes of a UDP socket's receive buffer: some 2,000 queries, a scheduling delay's worth. The kernel may grant less.
const RECEIVE_BUFFER: usize = 2 << 20;
/// Bytes of its send buffer: a batch of full answers and to spare.
const SEND_BUFFER: usize = 1 << 20;
/// Connections waiting to be accepted.
const BACKLOG: i32 = 1_024;

/// Where a socket is to be bound.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    /// The address; the wildcard asks for packet information.
    pub(crate) address: SocketAddr,
    /// Only what comes in through this interface (`SO_BINDTODEVICE`).
    pub(crate) device: Option<&'a str>,
    /// Another socket of this program has the port, and was bound before this one.
    pub(crate) beside_another: bool,
}

impl From<SocketAddr> for Place<'_> {
    fn from(address: SocketAddr) -> Self {
        Self { address, device: None, beside_another: false }
    }
}

/// Adds sockets to the first, which was bound alone: had it asked to share the port (`SO_REUSEPORT`) at once, the port of
/// another server of ours would have been shared unnoticed.
pub(crate) fn more_shards(place: Place<'_>, first: Socket, shards: usize) -> io::Result<Vec<Socket>> {
    let mut sockets = vec![first];
    while sockets.len() < shards.max(1) {
        sockets[0].set_reuse_port(true)?;
        let socket = unbound(place, Type::DGRAM)?;
        socket.set_reuse_port(true)?;
        socket.bind(&place.address.into())?;
        sockets.push(socket);
    }
    Ok(sockets)
}

/// A bound socket, listening if it is a stream's.
pub(crate) fn open(place: Place<'_>, kind: Type) -> io::Result<Socket> {
    let socket = unbound(place, kind)?;
    socket.bind(&place.address.into())?;
    if kind == Type::STREAM {
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
    }
    Ok(socket)
}

/// A socket with all options that precede binding.
fn unbound(place: Place<'_>, kind: Type) -> io::Result<Socket> {
    let domain = Domain::for_address(place.address);
    let protocol = if kind == Type::STREAM { Protocol::TCP } else { Protocol::UDP };
    let socket = Socket::new(domain, kind, Some(protocol))?;
    if domain == Domain::IPV6 {
        // "::" is IPv6 only: "0.0.0.0" is listened at by itself.
        socket.set_only_v6(true)?;
    }
    if let Some(device) = place.device {
        socket.bind_device(Some(device.as_bytes()))?;
    }
    if place.beside_another {
        socket.set_reuse_port(true)?;
    }
    if kind == Type::STREAM {
        // Connections of a predecessor in TIME_WAIT are no reason not to start.
        socket.set_reuse_address(true)?;
        return Ok(socket);
    }
    // Best effort: small buffers only drop sooner.
    let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER);
    let _ = socket.set_send_buffer_size(SEND_BUFFER);
    if place.address.ip().is_unspecified() {
        let (level, option) = match domain {
            Domain::IPV4 => (libc::IPPROTO_IP, libc::IP_PKTINFO),
            _ => (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO),
        };
        set_int_option(&socket, level, option, 1)?;
    }
    Ok(socket)
}

fn set_int_option(socket: &Socket, level: libc::c_int, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
    // SAFETY: the option's value is one int, whose address and size are given.
    let failed = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            std::ptr::from_ref(&value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if failed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

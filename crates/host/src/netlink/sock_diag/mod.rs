//! The kernel's TCP sockets with their timers, dead ones included (include/uapi/linux/inet_diag.h).
//!
//! The model: [`sockets`] is one dump of those in the [`States`] that are asked for; each [`TcpSocket`] says when it was read, as a
//! timer's remaining time is worth little without. Sockets in TIME_WAIT, and in FIN_WAIT_2 without a process, have no more
//! than their 4-tuple and a timer.
//!
//! Everything is of the calling thread's network namespace and needs no privilege. Not here: sockets of other protocols, and the
//! attributes (memory, congestion control) that `ss -i` shows.

mod socket;

pub use socket::{States, TcpSocket, TcpState, Timer};

use super::{Error, Message, Protocol, Socket};

/// `TCPDIAG_GETSOCK`.
const GET_TCP: u16 = 18;
/// `SOCK_DIAG_BY_FAMILY`.
const BY_FAMILY: u16 = 20;
/// `SOCK_DESTROY`.
const DESTROY: u16 = 21;
/// `IPPROTO_TCP`.
const TCP: u8 = 6;
/// `INET_DIAG_NOCOOKIE`, twice.
const NO_COOKIE: [u8; 8] = [0xff; 8];
/// Bytes of `struct inet_diag_sockid`.
const ID: usize = 48;
/// A dump of many sockets takes fewer calls with room for several parts.
const RECEIVE_ROOM: usize = 1 << 20;

/// The TCP sockets in `states` of this network namespace, both families.
///
/// A kernel without IPv6 has none of these.
///
/// # Errors
/// The kernel's refusal; not found means that it has no inet_diag (`CONFIG_INET_DIAG`, module `tcp_diag`).
pub fn sockets(states: States) -> Result<Vec<TcpSocket>, Error> {
    // The first request that inet_diag knew asks for both families in one walk through the kernel's tables, which takes
    // longer than what is found there.
    let both = Message::new(GET_TCP, 0).fixed(&old_request(states));
    if let Ok(all) = dump(both) {
        return Ok(all);
    }
    let mut all = of_family(libc::AF_INET as u8, states)?;
    match of_family(libc::AF_INET6 as u8, states) {
        Ok(more) => all.extend(more),
        Err(error) if error.is_not_found() || error.is_unsupported() => {}
        Err(error) => return Err(error),
    }
    Ok(all)
}

/// Ends a socket at once, a dead one too.
///
/// # Errors
/// Needs `CAP_NET_ADMIN`; not supported without `CONFIG_INET_DIAG_DESTROY`; not found when it is gone.
pub fn destroy(socket: &TcpSocket) -> Result<(), Error> {
    let family = if socket.local.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let request = request(DESTROY, family as u8, States::ALL, &socket.id());
    Socket::open(Protocol::SockDiag)?.request(request).map(drop)
}

fn of_family(family: u8, states: States) -> Result<Vec<TcpSocket>, Error> {
    dump(request(BY_FAMILY, family, states, &any()))
}

fn dump(request: Message) -> Result<Vec<TcpSocket>, Error> {
    let mut socket = Socket::open(Protocol::SockDiag)?;
    // The kernel may refuse more than its limit; then it is slower.
    let _ = rustix::net::sockopt::set_socket_recv_buffer_size(&socket, RECEIVE_ROOM);
    let mut sockets = Vec::new();
    socket.dump_in_place(request, |payload, written_ns| sockets.extend(TcpSocket::parse(payload, written_ns)))?;
    Ok(sockets)
}

/// `struct inet_diag_sockid` of no socket in particular.
fn any() -> [u8; ID] {
    let mut id = [0; ID];
    id[ID - NO_COOKIE.len()..].copy_from_slice(&NO_COOKIE);
    id
}

/// `struct inet_diag_req`: family, two lengths of prefixes, extensions; a socket or none; states; what 2.4 wanted.
fn old_request(states: States) -> Vec<u8> {
    [&[libc::AF_INET as u8, 0, 0, 0][..], &any(), &states.bits().to_ne_bytes(), &[0; 4]].concat()
}

/// `struct inet_diag_req_v2`: family, protocol, extensions, padding, states, and a socket or none.
fn request(kind: u16, family: u8, states: States, id: &[u8; ID]) -> Message {
    let mut fixed = vec![family, TCP, 0, 0];
    fixed.extend_from_slice(&states.bits().to_ne_bytes());
    fixed.extend_from_slice(id);
    Message::new(kind, 0).fixed(&fixed)
}

#[cfg(test)]
mod tests;

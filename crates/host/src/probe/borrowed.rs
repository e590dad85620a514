//! STUN from a port that another program owns: WireGuard's, mostly, whose mapping is the one that peers have to know.
//!
//! A raw socket sends with that source port, and gets a copy of what comes in (raw(7)); a filter in the kernel keeps all but
//! STUN messages for that port from it, so that a busy tunnel costs nothing. The owner gets those messages too, and drops what
//! it does not know: a WireGuard message begins with 1, 2, 3 or 4 and three zero octets, a STUN response with 0x01 0x01 (or
//! 0x01 0x11).

use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;

use pinhole_stun::MAGIC_COOKIE;
use pinhole_wire::{ip, udp};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::io::unix::AsyncFd;

use super::Route;
use crate::ttl;

/// Bytes of a UDP header.
const UDP_HEADER: usize = 8;
/// The longest header of IPv4.
const LONGEST_IP: usize = 60;

/// A raw socket at somebody's port. Needs CAP_NET_RAW in the user namespace that owns the network namespace.
#[derive(Debug)]
pub struct Borrowed {
    socket: AsyncFd<Socket>,
    port: u16,
    is_v4: bool,
}

impl Borrowed {
    /// Opens it, to reach `toward` and others of its family.
    ///
    /// # Errors
    /// `PermissionDenied` without CAP_NET_RAW.
    pub fn open(route: &Route, toward: SocketAddr, port: u16) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(toward), Type::RAW, Some(Protocol::UDP))?;
        route.apply(&socket)?;
        socket.set_nonblocking(true)?;
        let filter = if toward.is_ipv4() { filter_v4(port).to_vec() } else { filter_v6(port).to_vec() };
        attach(&socket, &filter)?;
        if !toward.is_ipv4() {
            crate::raw::set_checksum_offset(&socket, 6)?;
        }
        // SAFETY: a socket owns its descriptor, and has the same one as long as it lives.
        let socket = unsafe { AsyncFd::register(socket) }?;
        Ok(Self { socket, port, is_v4: toward.is_ipv4() })
    }

    /// The port.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Sends a datagram, with this TTL or hop limit, or the host's own for `None`.
    ///
    /// # Errors
    /// Those of sendmsg(2).
    pub fn send(&self, bytes: &[u8], to: SocketAddr, ttl: Option<u8>) -> io::Result<()> {
        let length = u16::try_from(UDP_HEADER + bytes.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        let mut datagram = Vec::with_capacity(length.into());
        for field in [self.port, to.port(), length, 0] {
            datagram.extend(field.to_be_bytes());
        }
        // The checksum stays zero: legal over IPv4 (RFC 768); over IPv6 the kernel fills it in.
        datagram.extend(bytes);
        // The port of a raw socket's destination is the protocol number, or zero.
        let address = SockAddr::from(SocketAddr::new(to.ip(), 0));
        ttl::send(self.socket.get_ref(), &address, &datagram, ttl)
    }

    /// Receives a datagram that looks like STUN: its length, and its source. Can be dropped and called again.
    ///
    /// # Errors
    /// Those of recvfrom(2).
    pub async fn receive(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        loop {
            let mut packet = vec![0; LONGEST_IP + UDP_HEADER + buffer.len()];
            let (length, from) =
                self.socket.async_io(tokio::io::Interest::READABLE, |socket| receive_from(socket, &mut packet)).await?;
            // What the filter let through and is malformed all the same is nobody's.
            if let Some((source, payload)) = self.read(&packet[..length], from) {
                let taken = payload.len().min(buffer.len());
                buffer[..taken].copy_from_slice(&payload[..taken]);
                return Ok((taken, source));
            }
        }
    }

    /// Source and payload: IPv4 comes with its header, IPv6 without.
    fn read<'a>(&self, packet: &'a [u8], from: Option<SocketAddr>) -> Option<(SocketAddr, &'a [u8])> {
        let (source, datagram): (IpAddr, &[u8]) = if self.is_v4 {
            let header = ip::Packet::new_checked(packet).ok()?;
            let upper = header.upper().ok().filter(|upper| upper.first)?;
            (header.src(), packet.get(upper.offset..upper.end)?)
        } else {
            (from?.ip(), packet)
        };
        let header = udp::Packet::new_checked(datagram).ok()?;
        let (port, length) = (header.src_port(), header.payload().len());
        Some((SocketAddr::new(source, port), datagram.get(UDP_HEADER..UDP_HEADER + length)?))
    }
}

fn receive_from(socket: &Socket, room: &mut [u8]) -> io::Result<(usize, Option<SocketAddr>)> {
    // SAFETY: `MaybeUninit<u8>` has the layout of `u8`, and recvfrom(2) writes nothing but bytes.
    let room = unsafe { std::slice::from_raw_parts_mut(room.as_mut_ptr().cast::<MaybeUninit<u8>>(), room.len()) };
    let (length, from) = socket.recv_from(room)?;
    Ok((length, from.as_socket()))
}

// Classic BPF (linux/bpf_common.h, linux/filter.h).
const LOAD_HALF: u16 = 0x28; // BPF_LD | BPF_H | BPF_ABS
const LOAD_WORD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
const LOAD_HALF_AT: u16 = 0x48; // BPF_LD | BPF_H | BPF_IND
const LOAD_WORD_AT: u16 = 0x40; // BPF_LD | BPF_W | BPF_IND
const LOAD_HEADER_LENGTH: u16 = 0xb1; // BPF_LDX | BPF_B | BPF_MSH
const JUMP_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const JUMP_SET: u16 = 0x45; // BPF_JMP | BPF_JSET | BPF_K
const RETURN: u16 = 0x06; // BPF_RET | BPF_K

const COOKIE: u32 = u32::from_be_bytes(MAGIC_COOKIE);
/// Where the cookie is, after the beginning of the UDP header.
const COOKIE_AT: u32 = UDP_HEADER as u32 + 4;

const fn code(code: u16, k: u32) -> libc::sock_filter {
    libc::sock_filter { code, jt: 0, jf: 0, k }
}

const fn jump(code: u16, k: u32, jt: u8, jf: u8) -> libc::sock_filter {
    libc::sock_filter { code, jt, jf, k }
}

/// First fragments or whole datagrams to `port` with the cookie in its place. The packet begins with the IP header.
fn filter_v4(port: u16) -> [libc::sock_filter; 9] {
    [
        code(LOAD_HALF, 6),
        jump(JUMP_SET, 0x1fff, 6, 0),
        code(LOAD_HEADER_LENGTH, 0),
        code(LOAD_HALF_AT, 2),
        jump(JUMP_EQUAL, port.into(), 0, 3),
        code(LOAD_WORD_AT, COOKIE_AT),
        jump(JUMP_EQUAL, COOKIE, 0, 1),
        code(RETURN, u32::MAX),
        code(RETURN, 0),
    ]
}

/// The same; the packet begins with the UDP header.
fn filter_v6(port: u16) -> [libc::sock_filter; 6] {
    [
        code(LOAD_HALF, 2),
        jump(JUMP_EQUAL, port.into(), 0, 3),
        code(LOAD_WORD, COOKIE_AT),
        jump(JUMP_EQUAL, COOKIE, 0, 1),
        code(RETURN, u32::MAX),
        code(RETURN, 0),
    ]
}

fn attach(socket: &Socket, filter: &[libc::sock_filter]) -> io::Result<()> {
    let mut filter = filter.to_vec();
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: the program points to as many instructions as it says, which outlive the call; the kernel copies them.
    let failed = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    };
    if failed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

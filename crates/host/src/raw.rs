//! Packets that no ordinary socket of ours may send: openers from the port that WireGuard owns, and echo requests through the
//! tunnel.
//!
//! A raw socket sends with any source port and disturbs no one: the owner of the port neither notices nor loses anything
//! (raw(7)). Nothing is received here; what an opener or an echo brings about is read from the device's counters.

use std::io;
use std::net::{IpAddr, SocketAddr};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// What an opener carries. No WireGuard message: those start with 1, 2, 3 or 4 and three zero octets (kernel
/// `drivers/net/wireguard/messages.h`), so whoever gets it drops it.
pub const OPENER_PAYLOAD: &[u8; 8] = b"pinhole\0";

/// Sends openers. Needs CAP_NET_RAW in the user namespace that owns the network namespace.
#[derive(Debug)]
pub struct Openers {
    v4: Socket,
    v6: Option<Socket>,
}

impl Openers {
    /// Opens the raw sockets in the network namespace of the calling thread.
    ///
    /// # Errors
    /// `PermissionDenied` without CAP_NET_RAW.
    pub fn new() -> io::Result<Self> {
        let v4 = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::UDP))?;
        v4.set_nonblocking(true)?;
        // Nothing is read from these sockets, so nothing needs to wait in them.
        v4.set_recv_buffer_size(0)?;
        let v6 = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::UDP)).ok().filter(|socket| {
            let ready = socket.set_nonblocking(true).and_then(|()| socket.set_recv_buffer_size(0));
            ready.and_then(|()| set_checksum_offset(socket, 6)).is_ok()
        });
        Ok(Self { v4, v6 })
    }

    /// Sends one opener from `from_port` to `to` with the given TTL or hop limit; `fwmark` 0 is none.
    ///
    /// # Errors
    /// Those of sendto(2): no route, a local firewall.
    pub fn send(&self, from_port: u16, to: SocketAddr, ttl: u8, fwmark: u32) -> io::Result<()> {
        let socket = match to {
            SocketAddr::V4(_) => {
                self.v4.set_ttl_v4(ttl.into())?;
                &self.v4
            }
            SocketAddr::V6(_) => {
                let socket = self.v6.as_ref().ok_or(io::ErrorKind::Unsupported)?;
                socket.set_unicast_hops_v6(ttl.into())?;
                socket
            }
        };
        socket.set_mark(fwmark)?;
        let mut datagram = [0; 8 + OPENER_PAYLOAD.len()];
        datagram[0..2].copy_from_slice(&from_port.to_be_bytes());
        datagram[2..4].copy_from_slice(&to.port().to_be_bytes());
        let length = datagram.len() as u16;
        datagram[4..6].copy_from_slice(&length.to_be_bytes());
        // Octets 6 and 7, the checksum, stay zero: legal over IPv4 (RFC 768); over IPv6 the kernel fills it in.
        datagram[8..].copy_from_slice(OPENER_PAYLOAD);
        // The port of a raw socket's destination is the protocol number, or zero.
        let address = SockAddr::from(SocketAddr::new(to.ip(), 0));
        socket.send_to(&datagram, &address).map(drop)
    }
}

/// Lets the kernel compute the UDP checksum of a raw IPv6 socket (RFC 3542 §3.1).
pub(crate) fn set_checksum_offset(socket: &Socket, offset: libc::c_int) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    // SAFETY: the descriptor is open, and the option's value is a c_int that outlives the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IPV6,
            libc::IPV6_CHECKSUM,
            (&raw const offset).cast(),
            size_of_val(&offset) as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Sends ICMP and ICMPv6 echo requests.
#[derive(Debug)]
pub struct Echoes {
    v4: Option<Socket>,
    v6: Option<Socket>,
    sequence: u16,
}

impl Echoes {
    /// Opens ping sockets (icmp(7), `net.ipv4.ping_group_range`), or raw ones where those are not allowed.
    pub fn new() -> Self {
        let open = |domain, protocol| {
            let socket = Socket::new(domain, Type::DGRAM, Some(protocol))
                .or_else(|_| Socket::new(domain, Type::RAW, Some(protocol)))
                .ok()?;
            socket.set_nonblocking(true).ok()?;
            socket.set_recv_buffer_size(0).ok()?;
            Some(socket)
        };
        Self { v4: open(Domain::IPV4, Protocol::ICMPV4), v6: open(Domain::IPV6, Protocol::ICMPV6), sequence: 0 }
    }

    /// Sends one echo request.
    ///
    /// # Errors
    /// `PermissionDenied` if neither kind of socket could be opened; those of sendto(2).
    pub fn send(&mut self, to: IpAddr) -> io::Result<()> {
        const ECHO_REQUEST_V4: u8 = 8;
        const ECHO_REQUEST_V6: u8 = 128;
        let (socket, kind) = match to {
            IpAddr::V4(_) => (&self.v4, ECHO_REQUEST_V4),
            IpAddr::V6(_) => (&self.v6, ECHO_REQUEST_V6),
        };
        let socket = socket.as_ref().ok_or(io::ErrorKind::PermissionDenied)?;
        self.sequence = self.sequence.wrapping_add(1);
        let [high, low] = self.sequence.to_be_bytes();
        let mut message = [kind, 0, 0, 0, b'p', b'h', high, low];
        // A raw ICMPv4 socket does not fill in the checksum; the others overwrite it.
        let sum: u32 = message.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
        let folded = !((sum & 0xffff) + (sum >> 16)) as u16;
        message[2..4].copy_from_slice(&folded.to_be_bytes());
        socket.send_to(&message, &SockAddr::from(SocketAddr::new(to, 0))).map(drop)
    }
}

impl Default for Echoes {
    fn default() -> Self {
        Self::new()
    }
}

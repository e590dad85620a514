//! What a gateway that shares the host's address says and hears beside its TUN device: ICMP, and fragments.
//!
//! Routing rules tell the gateway's packets from the host's own by their ports. ICMP and fragments have none. So the host keeps
//! them, and the gateway is to them what `ping` is: it hears a copy of every ICMP message to the address, of which the kernel
//! ignores what it does not know itself, and sends as a program on the host does.

use std::io::{self, Read};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use pinhole_wire::{Protocol, ipv4};
use socket2::{Domain, SockAddr, Socket, Type};

/// `ICMP_FILTER`, of level `SOL_RAW` (include/uapi/linux/icmp.h).
const ICMP_FILTER: libc::c_int = 1;
const SOL_RAW: libc::c_int = 255;
/// Answers and errors: echo reply, destination unreachable, source quench, time exceeded, parameter problem, timestamp reply
/// (RFC 792). Questions are the host's to answer.
const HEARD: [u8; 6] = [0, 3, 4, 11, 12, 14];

/// The sockets.
#[derive(Debug)]
pub(super) struct Raw {
    hears: Socket,
    sends: Socket,
}

impl Raw {
    /// Hears ICMP to `address`, by whatever interface. Needs CAP_NET_RAW.
    pub(super) fn open(address: Ipv4Addr) -> io::Result<Self> {
        let hears = Socket::new(Domain::IPV4, Type::RAW, Some(socket2::Protocol::ICMPV4))?;
        let ignored = HEARD.iter().fold(u32::MAX, |ignored, kind| ignored & !(1 << kind));
        // SAFETY: the descriptor is open, and the option's value is a u32 that outlives the call.
        let result = unsafe {
            libc::setsockopt(
                hears.as_raw_fd(),
                SOL_RAW,
                ICMP_FILTER,
                (&raw const ignored).cast(),
                size_of_val(&ignored) as libc::socklen_t,
            )
        };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
        hears.set_nonblocking(true)?;
        let sends = Socket::new(Domain::IPV4, Type::RAW, Some(socket2::Protocol::from(libc::IPPROTO_RAW)))?;
        sends.set_nonblocking(true)?;
        sends.set_recv_buffer_size(0)?;
        let raw = Self { hears, sends };
        raw.listen(address)?;
        Ok(raw)
    }

    /// Hears ICMP to this address from now on.
    pub(super) fn listen(&self, address: Ipv4Addr) -> io::Result<()> {
        self.hears.bind(&SockAddr::from(SocketAddrV4::new(address, 0)))
    }

    /// Whether a packet goes out here rather than by the TUN device.
    pub(super) fn is_for(packet: &[u8]) -> bool {
        ipv4::Packet::new_checked(packet)
            .is_ok_and(|ip| ip.protocol() == Protocol::Icmp || ip.more_fragments() || ip.fragment_offset() != 0)
    }

    /// Sends a packet as it is, but for a checksum of its header that the kernel computes anew.
    pub(super) fn send(&self, packet: &[u8]) -> io::Result<()> {
        let Ok(ip) = ipv4::Packet::new_checked(packet) else { return Err(io::ErrorKind::InvalidInput.into()) };
        let to = SocketAddr::from((ip.dst(), 0));
        self.sends.send_to(packet, &to.into()).map(drop)
    }

    /// The next message, with its IP header. `None` when there is none now.
    pub(super) fn receive<'a>(&self, buffer: &'a mut [u8]) -> io::Result<Option<&'a [u8]>> {
        match (&self.hears).read(buffer) {
            Ok(length) => Ok(Some(&buffer[..length])),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl AsFd for Raw {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.hears.as_fd()
    }
}

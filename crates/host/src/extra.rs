//! Many plain UDP sockets at once: what a host behind a NAT that maps per destination opens, so that one of the ports its
//! peer tries is that of one of them.
//!
//! All wait in one epoll descriptor of their own, and that one in the runtime: 256 sockets cost one registration and no
//! thread. They are bound to ports that the kernel draws and to no address, never connected.
//!
//! Not here: what is sent and when, which is `traversal`'s.

use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{Timespec, epoll};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::probe::{Route, unspecified};
use crate::ttl;

/// Bytes of the longest datagram that is received whole: a probe has some 100.
const LONGEST: usize = 2_048;

/// The sockets, numbered from 0, all of one family.
#[derive(Debug)]
pub struct Sockets {
    sockets: Vec<Socket>,
    epoll: AsyncFd<OwnedFd>,
}

impl Sockets {
    /// Opens `count` of them, to reach `toward` and others of its family by `route`; fewer where this process may not have as
    /// many descriptors (`RLIMIT_NOFILE`).
    ///
    /// # Errors
    /// When there is not even one: no descriptor, no such interface, no permission to mark.
    ///
    /// # Panics
    /// Outside of a runtime.
    pub fn open(count: u16, toward: SocketAddr, route: &Route) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut sockets = Vec::with_capacity(count.into());
        for number in 0..count {
            match open(toward, route) {
                Ok(socket) => {
                    let token = epoll::EventData::new_u64(number.into());
                    epoll::add(&epoll, socket.as_fd(), token, epoll::EventFlags::IN)?;
                    sockets.push(socket);
                }
                Err(error) if sockets.is_empty() => return Err(error),
                Err(error) => {
                    tracing::debug!(opened = sockets.len(), wanted = count, %error, "fewer sockets than wanted");
                    break;
                }
            }
        }
        // SAFETY: an OwnedFd has the same descriptor as long as it lives.
        let epoll = unsafe { AsyncFd::register_with_interest(epoll, Interest::READABLE) }?;
        Ok(Self { sockets, epoll })
    }

    /// How many there are.
    pub fn len(&self) -> u16 {
        self.sockets.len() as u16
    }

    /// True if none was wanted.
    pub fn is_empty(&self) -> bool {
        self.sockets.is_empty()
    }

    /// The port of one of them.
    ///
    /// # Errors
    /// `InvalidInput` for a number that none has.
    pub fn port(&self, number: u16) -> io::Result<u16> {
        let local = self.socket(number)?.local_addr()?.as_socket();
        Ok(local.ok_or(io::ErrorKind::AddrNotAvailable)?.port())
    }

    /// Sends a datagram from one of them, with this TTL or hop limit, or the host's own for `None`.
    ///
    /// # Errors
    /// `InvalidInput` for a number that none has; those of sendmsg(2): no route, a local firewall, a full buffer.
    pub fn send(&self, number: u16, to: SocketAddr, ttl: Option<u8>, bytes: &[u8]) -> io::Result<()> {
        ttl::send(self.socket(number)?, &SockAddr::from(to), bytes, ttl)
    }

    /// Receives a datagram: which of them got it, from whom, and what. What is longer than 2,048 bytes is cut. Can be dropped
    /// and called again.
    ///
    /// # Errors
    /// When waiting fails; a socket that fails is passed over.
    pub async fn recv(&self) -> io::Result<(u16, SocketAddr, Vec<u8>)> {
        loop {
            let number = self.epoll.async_io(Interest::READABLE, ready).await?;
            let Some(socket) = self.sockets.get(usize::from(number)) else { continue };
            let mut room = [MaybeUninit::uninit(); LONGEST];
            if let Ok((length, from)) = socket.recv_from(&mut room)
                && let Some(from) = from.as_socket()
            {
                // SAFETY: recvfrom(2) has written this many bytes.
                let bytes = unsafe { room[..length].assume_init_ref() };
                return Ok((number, from, bytes.to_vec()));
            }
        }
    }

    /// Keeps one of them and closes the others.
    ///
    /// # Errors
    /// `InvalidInput` for a number that none has.
    pub fn keep(mut self, number: u16) -> io::Result<Socket> {
        self.socket(number)?;
        Ok(self.sockets.swap_remove(number.into()))
    }

    fn socket(&self, number: u16) -> io::Result<&Socket> {
        self.sockets.get(usize::from(number)).ok_or_else(|| io::ErrorKind::InvalidInput.into())
    }
}

fn open(toward: SocketAddr, route: &Route) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(toward), Type::DGRAM, Some(Protocol::UDP))?;
    route.apply(&socket)?;
    socket.set_nonblocking(true)?;
    if toward.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&SocketAddr::new(unspecified(toward), 0).into())?;
    Ok(socket)
}

/// The number of a socket that has something to read. The kernel lists those that are ready in turn.
fn ready(epoll: &OwnedFd) -> io::Result<u16> {
    let mut events = Vec::with_capacity(1);
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    epoll::wait(epoll, rustix::buffer::spare_capacity(&mut events), Some(&at_once))?;
    let event = events.first().ok_or(io::ErrorKind::WouldBlock)?;
    Ok(event.data.u64() as u16)
}

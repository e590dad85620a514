//! Entries as they begin, change and end, by multicast.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::{DELETE, Entry, NEW};
use crate::netlink::{Error, Protocol, Reply, Socket};

/// `NLM_F_CREATE`: what separates a new entry from a changed one.
const CREATED: u16 = libc::NLM_F_CREATE as u16;

/// Which events are wanted: multicast groups as a bit mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Topics {
    /// Entries that begin (`NFNLGRP_CONNTRACK_NEW`).
    pub new: bool,
    /// Entries that change (`NFNLGRP_CONNTRACK_UPDATE`).
    pub updated: bool,
    /// Entries that end (`NFNLGRP_CONNTRACK_DESTROY`).
    pub ended: bool,
}

impl Topics {
    /// All of them.
    pub const ALL: Self = Self { new: true, updated: true, ended: true };

    fn groups(self) -> u32 {
        u32::from(self.new) | u32::from(self.updated) << 1 | u32::from(self.ended) << 2
    }
}

/// Something that happened to a flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The kernel confirmed its first packet.
    New(Entry),
    /// Something about it changed; the entry has what the kernel says with it, which is not everything.
    Updated(Entry),
    /// It is gone, with the final counters.
    Ended(Entry),
}

impl Event {
    pub(super) fn parse(reply: &Reply) -> Option<Self> {
        match reply.kind {
            NEW if reply.flags & CREATED != 0 => Entry::parse(reply).map(Self::New),
            NEW => Entry::parse(reply).map(Self::Updated),
            DELETE => Entry::parse(reply).map(Self::Ended),
            _ => None,
        }
    }
}

/// The events of the network namespace it was opened in.
#[derive(Debug)]
pub struct Events {
    socket: Socket,
}

impl Events {
    /// Starts listening for flows that begin and end.
    ///
    /// # Errors
    /// As [`Socket::open`].
    pub fn open() -> Result<Self, Error> {
        Self::open_for(Topics { new: true, updated: false, ended: true })
    }

    /// Starts listening for `topics`.
    ///
    /// # Errors
    /// As [`Socket::open`]; a kernel may refuse listeners without `CAP_NET_ADMIN`.
    pub fn open_for(topics: Topics) -> Result<Self, Error> {
        Ok(Self { socket: Socket::open_with_groups(Protocol::Netfilter, topics.groups())? })
    }

    /// Lets `bytes` of events wait in the kernel; without privilege the kernel's own limit holds (`net.core.rmem_max`).
    ///
    /// # Errors
    /// When the kernel refuses either.
    pub fn set_buffer(&self, bytes: usize) -> Result<(), Error> {
        use rustix::net::sockopt;
        sockopt::set_socket_recv_buffer_size_force(&self.socket, bytes)
            .or_else(|_| sockopt::set_socket_recv_buffer_size(&self.socket, bytes))
            .map_err(Error::from)
    }

    /// For a tokio runtime with I/O: [`receive`](Self::receive) then fails at once with `EWOULDBLOCK` where it would wait.
    ///
    /// # Errors
    /// When the runtime cannot watch the descriptor.
    pub fn into_async(self) -> Result<AsyncFd<Self>, Error> {
        rustix::io::ioctl_fionbio(&self.socket, true)?;
        // SAFETY: the socket owns its descriptor, keeps it until it is dropped, and always gives the same one.
        let events = unsafe { AsyncFd::register_with_interest(self, Interest::READABLE) };
        events.map_err(|error| Error::Socket(error.into()))
    }

    /// Waits for the next events; poll the descriptor first where waiting is not wanted.
    ///
    /// # Errors
    /// [`Error::Overrun`] when some were lost; [`lost`](Self::lost) says how many.
    pub fn receive(&mut self) -> Result<Vec<Event>, Error> {
        Ok(self.socket.receive()?.iter().filter_map(Event::parse).collect())
    }

    /// How many messages the kernel has dropped since it was opened, because they were not read in time.
    ///
    /// # Errors
    /// On kernels before 4.12, which do not say.
    pub fn lost(&self) -> Result<u32, Error> {
        self.socket.drops()
    }
}

impl AsFd for Events {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for Events {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.socket.as_raw_fd()
    }
}

//! Sockets that punched a hole and are now a peer's way. There are few, or none: a list will do.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};

use pinhole_wg::Key;
use socket2::Socket;

use crate::udp::Batch;

/// The sockets, one for each peer at most. Closing one takes it off whatever waits for it.
#[derive(Debug, Default)]
pub(super) struct Adopted(Vec<One>);

#[derive(Debug)]
struct One {
    peer: Key,
    remote: SocketAddr,
    socket: Socket,
}

impl Adopted {
    /// In the place of the one that the peer has.
    pub(super) fn insert(&mut self, peer: Key, remote: SocketAddr, socket: Socket) {
        self.retain(|one| *one != peer);
        self.0.push(One { peer, remote, socket });
    }

    /// Closes those of other peers.
    pub(super) fn retain(&mut self, keep: impl Fn(&Key) -> bool) {
        self.0.retain(|one| keep(&one.peer));
    }

    pub(super) fn set_mark(&self, mark: u32) -> io::Result<()> {
        self.0.iter().try_for_each(|one| one.socket.set_mark(mark))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// By which what goes to `remote` leaves.
    pub(super) fn to(&self, remote: SocketAddr) -> Option<&Socket> {
        self.0.iter().find(|one| one.remote == remote).map(|one| &one.socket)
    }

    /// What has come by the one with this descriptor; nothing if it was closed since. One that fails is closed.
    pub(super) fn receive(&mut self, fd: RawFd, batch: &mut Batch) -> bool {
        let Some(at) = self.0.iter().position(|one| one.socket.as_raw_fd() == fd) else { return false };
        batch.receive(&self.0[at].socket).unwrap_or_else(|error| {
            let One { peer, remote, .. } = self.0.swap_remove(at);
            tracing::warn!(peer = %peer.short(), %remote, %error, "the hole to a peer cannot be used any more");
            false
        })
    }
}

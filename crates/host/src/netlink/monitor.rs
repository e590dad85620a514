//! Says that links, addresses, routes or routing rules changed, so that an agent looks again.
//!
//! Events are coalesced: a laptop that wakes up makes dozens within milliseconds, and only the state after them matters.
//! The monitor says which kinds of objects changed, never how; the tables themselves are the truth.

use std::io;
use std::time::Duration;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, timeout_at};

use super::{Error, Protocol, Socket};

/// Events closer together than this are one change.
const QUIET: Duration = Duration::from_millis(30);
/// `RTMGRP_IPV4_RULE` (include/uapi/linux/rtnetlink.h).
const RULES_V4: libc::c_int = 0x80;
/// A change is reported after this long even if events keep coming.
const LONGEST: Duration = Duration::from_millis(250);

/// Which tables changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// A link came, went, or changed its state.
    pub links: bool,
    /// An address came or went.
    pub addresses: bool,
    /// A route came or went.
    pub routes: bool,
    /// A routing rule of IPv4 came or went.
    pub rules: bool,
}

impl Changes {
    /// Anything may have changed: events were lost.
    const ALL: Self = Self { links: true, addresses: true, routes: true, rules: true };

    /// Whether something changed.
    pub fn any(self) -> bool {
        self.links || self.addresses || self.routes || self.rules
    }

    fn note(&mut self, kind: u16) {
        match kind {
            libc::RTM_NEWLINK | libc::RTM_DELLINK => self.links = true,
            libc::RTM_NEWADDR | libc::RTM_DELADDR => self.addresses = true,
            libc::RTM_NEWROUTE | libc::RTM_DELROUTE => self.routes = true,
            libc::RTM_NEWRULE | libc::RTM_DELRULE => self.rules = true,
            _ => {}
        }
    }
}

/// A subscription to the changes of one network namespace.
#[derive(Debug)]
pub struct Monitor {
    socket: AsyncFd<Socket>,
    seen: Changes,
}

impl Monitor {
    /// Subscribes, in the calling thread's network namespace. Needs a tokio runtime with I/O.
    ///
    /// # Errors
    /// When a sandbox forbids netlink.
    pub fn open() -> Result<Self, Error> {
        let groups = libc::RTMGRP_LINK
            | libc::RTMGRP_IPV4_IFADDR
            | libc::RTMGRP_IPV6_IFADDR
            | libc::RTMGRP_IPV4_ROUTE
            | libc::RTMGRP_IPV6_ROUTE
            | RULES_V4;
        let socket = Socket::open_with_groups(Protocol::Route, groups as u32)?;
        rustix::io::ioctl_fionbio(&socket, true)?;
        // SAFETY: the socket owns its descriptor, keeps it until it is dropped, and always gives the same one.
        let socket = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) };
        let socket = socket.map_err(|error| Error::Socket(error.into()))?;
        Ok(Self { socket, seen: Changes::default() })
    }

    /// Waits for the next change and what comes right after it. Safe to cancel: what was not reported is reported next.
    ///
    /// # Errors
    /// When the socket fails.
    pub async fn changed(&mut self) -> Result<Changes, Error> {
        while !self.seen.any() {
            self.read().await?;
        }
        let last = Instant::now() + LONGEST;
        while let Ok(read) = timeout_at((Instant::now() + QUIET).min(last), self.read()).await {
            read?;
            if Instant::now() >= last {
                break;
            }
        }
        Ok(std::mem::take(&mut self.seen))
    }

    /// Waits for events and takes all that are there.
    async fn read(&mut self) -> Result<(), Error> {
        let mut ready = self.socket.readable_mut().await?;
        loop {
            match ready.get_inner_mut().receive() {
                Ok(events) => events.iter().for_each(|event| self.seen.note(event.kind)),
                Err(Error::Overrun) => self.seen = Changes::ALL,
                Err(Error::Socket(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready.clear_ready();
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
    }
}

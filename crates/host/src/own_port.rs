//! A port that another program owns, to send from and listen at beside it: WireGuard's, mostly.
//!
//! It is [`Borrowed`] in both families, see there: the owner neither notices nor loses anything. Only datagrams that look like
//! STUN are received; the owner gets those too, and drops them.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::probe::Route;
use crate::probe::borrowed::Borrowed;

/// Bytes of the longest datagram that is received whole: a probe has some 100.
const LONGEST: usize = 2_048;

/// The port. Needs CAP_NET_RAW in the user namespace that owns the network namespace.
#[derive(Debug)]
pub struct OwnPort {
    v4: Borrowed,
    v6: Option<Borrowed>,
}

impl OwnPort {
    /// Opens it in the network namespace of the calling thread. Without IPv6 in the kernel it is IPv4's alone.
    ///
    /// # Errors
    /// `PermissionDenied` without CAP_NET_RAW; no such interface, no permission to mark.
    ///
    /// # Panics
    /// Outside of a runtime.
    pub fn open(route: &Route, port: u16) -> io::Result<Self> {
        let open = |any| Borrowed::open(route, any, port);
        let v4 = open(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)))?;
        let v6 = open(SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))).ok();
        Ok(Self { v4, v6 })
    }

    /// Its number.
    pub const fn port(&self) -> u16 {
        self.v4.port()
    }

    /// Sends a datagram from it, with this TTL or hop limit, or the host's own for `None`.
    ///
    /// # Errors
    /// `Unsupported` without IPv6 in the kernel; those of sendmsg(2): no route, a local firewall, a full buffer.
    pub fn send(&self, to: SocketAddr, ttl: Option<u8>, bytes: &[u8]) -> io::Result<()> {
        match to {
            SocketAddr::V4(_) => &self.v4,
            SocketAddr::V6(_) => self.v6.as_ref().ok_or(io::ErrorKind::Unsupported)?,
        }
        .send(bytes, to, ttl)
    }

    /// Receives a datagram that looks like STUN: from whom, and what. What is longer than 2,048 bytes is cut. Can be dropped
    /// and called again.
    ///
    /// # Errors
    /// Those of recvfrom(2).
    pub async fn recv(&self) -> io::Result<(SocketAddr, Vec<u8>)> {
        let (mut one, mut other) = (vec![0; LONGEST], vec![0; LONGEST]);
        let v6 = async {
            match &self.v6 {
                Some(v6) => v6.receive(&mut other).await,
                None => std::future::pending().await,
            }
        };
        let (mut bytes, (length, from)) = tokio::select! {
            received = self.v4.receive(&mut one) => (one, received?),
            received = v6 => (other, received?),
        };
        bytes.truncate(length);
        Ok((from, bytes))
    }
}

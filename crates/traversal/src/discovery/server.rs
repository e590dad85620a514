//! Which servers there are, and what they know.

use core::net::SocketAddr;

use pinhole_stun::behaviour::Change;
use pinhole_stun::client::{Answer, Request, SocketId};

/// Servers that are compared where none knows RFC 5780; more would say no more.
const MOST: usize = 6;

/// A server that knows RFC 5780: two addresses with two ports each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Behaviour {
    first: SocketAddr,
    other: SocketAddr,
}

impl Behaviour {
    /// What the answer of a server promises. `None` if it does not have another address and another port, or if it cannot be
    /// reached where it says.
    pub(super) fn of(answer: &Answer) -> Option<Self> {
        let (first, other) = (answer.server, answer.other?);
        let is_other = other.ip() != first.ip() && other.port() != first.port() && other.is_ipv4() == first.is_ipv4();
        let is_good = !other.ip().is_unspecified() && !other.ip().is_multicast() && other.port() != 0;
        (is_other && is_good && is_as_near(first, other)).then_some(Self { first, other })
    }

    fn at(&self, change: Change) -> SocketAddr {
        let ip = if change.ip { self.other.ip() } else { self.first.ip() };
        let port = if change.port { self.other.port() } else { self.first.port() };
        SocketAddr::new(ip, port)
    }
}

/// A server on the Internet whose other address is loopback would have the host talk to itself.
fn is_as_near(first: SocketAddr, other: SocketAddr) -> bool {
    first.ip().is_loopback() == other.ip().is_loopback()
}

/// Whom to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Known {
    endpoints: Vec<SocketAddr>,
    behaviour: Option<Behaviour>,
}

impl Known {
    /// A server for behaviour discovery.
    pub(super) fn with_behaviour(behaviour: Behaviour) -> Self {
        let changes = [Change::NONE, Change::PORT, Change::IP, Change::BOTH];
        Self { endpoints: changes.map(|change| behaviour.at(change)).to_vec(), behaviour: Some(behaviour) }
    }

    /// Servers that only say who asks. `None` if there are none.
    pub(super) fn plain(servers: impl Iterator<Item = SocketAddr>) -> Option<Self> {
        let mut endpoints: Vec<SocketAddr> = Vec::new();
        for server in servers {
            if endpoints.len() < MOST && !endpoints.contains(&server) {
                endpoints.push(server);
            }
        }
        (!endpoints.is_empty()).then_some(Self { endpoints, behaviour: None })
    }

    /// The one that is asked where one will do.
    pub(super) fn first(&self) -> SocketAddr {
        self.endpoints[0]
    }

    /// All that can be asked.
    pub(super) fn endpoints(&self) -> &[SocketAddr] {
        &self.endpoints
    }

    pub(super) fn behaviour(&self) -> Option<&Behaviour> {
        self.behaviour.as_ref()
    }

    /// Where an answer to such a request comes from.
    pub(super) fn changed_to(&self, change: Change) -> Option<SocketAddr> {
        self.behaviour.as_ref().map(|behaviour| behaviour.at(change))
    }

    /// A request to the first for an answer from elsewhere.
    pub(super) fn changed(&self, socket: SocketId, change: Change) -> Request {
        Request::changed(self.first(), socket, change, self.changed_to(change))
    }
}

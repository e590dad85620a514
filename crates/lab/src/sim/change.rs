//! What goes wrong, on schedule.

use std::net::{Ipv4Addr, SocketAddr};

use crate::link::Link;
use crate::network::PlaceId;

/// Something that happens to the network at a moment.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// A router forgets all mappings and flows, and draws other ports from now on. It goes on at once.
    Reboot(PlaceId),
    /// A router or host has another address from now on; a router also forgets all mappings.
    Readdress(PlaceId, Ipv4Addr),
    /// A packet that nobody asked for comes to a port of a router's outside, from wherever it says.
    Poison {
        /// Which router.
        router: PlaceId,
        /// As whom.
        from: SocketAddr,
        /// To which port.
        port: u16,
    },
    /// A host dies: it sends and hears nothing.
    Stop(PlaceId),
    /// A host starts anew.
    Start(PlaceId),
    /// The cable of a place is cut.
    Cut(PlaceId),
    /// It is whole again.
    Mend(PlaceId),
    /// The link of a place is like this from now on.
    Relink(PlaceId, Link),
    /// A host is told that its network has changed, as a notebook that wakes up is.
    Tell(PlaceId),
}

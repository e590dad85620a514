//! What the first hop, usually the home router, tells about itself and does on request: its outside address, and ports that
//! lead inside. Three protocols, each a machine without I/O:
//!
//! | module | protocol | where routers have it |
//! |---|---|---|
//! | [`pcp`] | PCP, RFC 6887: MAP, ANNOUNCE and the epoch | carriers, miniupnpd, AVM; IPv6 too |
//! | [`natpmp`] | NAT-PMP, RFC 6886 | Apple, miniupnpd, OpenWrt |
//! | [`upnp`] | UPnP-IGD 1 and 2: SSDP, a description, SOAP | almost everywhere |
//!
//! The first two are dialects of one [`client`]. Each machine holds one request at a time. A request ends with exactly one `Output::Done`, at the latest after the patience
//! that it was given. Only the server that was asked is believed.
//!
//! Not here: renewing what was leased (the caller asks again), PCP's PEER, FILTER and THIRD_PARTY, events of UPnP.

pub mod client;
pub mod natpmp;
pub mod pcp;
mod reader;
pub mod upnp;

use core::fmt;

/// The transport protocol of a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// UDP.
    Udp,
    /// TCP.
    Tcp,
}

impl Protocol {
    /// Its number in IP.
    pub const fn number(self) -> u8 {
        match self {
            Self::Udp => 17,
            Self::Tcp => 6,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
        })
    }
}

//! How two hosts behind NATs open a way to each other, and which NATs those are.
//!
//! [`discovery`] finds out how a NAT behaves, [`firsthop`] asks a router for its outside address and for ports, and [`diagnosis`]
//! says what all that means for this host and for two. [`punch`] is so far the one technique: the UDP punch between two
//! endpoint-independent mappings, as a schedule of what to send when. The machine neither sends nor knows WireGuard: a "knock"
//! is whatever the caller does to make the peer's side answer, an "opener" a packet that only has to leave through one's own
//! NAT.

pub mod diagnosis;
pub mod discovery;
pub mod firsthop;
pub mod ports;
pub mod punch;
pub mod spray;

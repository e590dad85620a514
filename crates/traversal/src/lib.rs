//! How two hosts behind NATs open a way to each other.
//!
//! So far one technique: the UDP punch between two endpoint-independent mappings, as a schedule of what to send when
//! ([`punch`]). The machine neither sends nor knows WireGuard: a "knock" is whatever the caller does to make the peer's
//! side answer, an "opener" a packet that only has to leave through one's own NAT.

pub mod diagnosis;
pub mod firsthop;
pub mod punch;

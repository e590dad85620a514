//! How two hosts behind NATs open a way to each other, and which NATs those are.
//!
//! [`discovery`] finds out how a NAT behaves, [`vantage`] only how it maps one port that another program owns, [`firsthop`] asks
//! a router for its outside address and for ports, and [`diagnosis`] says what all that means for this host and for two.
//!
//! Two techniques: [`punch`], between two endpoints that are known, as a schedule of what to send when; and [`spray`], where one
//! side has to be looked for, with the guess of [`ports`]. No machine sends or knows WireGuard: a "knock" is whatever the caller
//! does to make the peer's side answer, an "opener" a packet that only has to leave through one's own NAT.

pub mod diagnosis;
pub mod discovery;
pub mod firsthop;
pub mod ports;
pub mod punch;
pub mod spray;
pub mod vantage;

//! Networks of NATs as data, and the Internet between them: links that delay and lose packets, routers that translate.
//!
//! The model: a [`Network`] says what hangs from what, to any depth; a [`Sim`](sim::Sim) is all of it in virtual time, with
//! hosts that the caller brings and routers that are the `netfilter` engine. A [`Scenario`](scenario::Scenario) is a network
//! and what happens to it, as text that a person writes.
//!
//! What becomes namespaces is a [`Topology`]: sites around one Internet, without carriers. A [`Core`] is that Internet, one
//! router with an access link per site, driven in real time by `pinhole-netns`. It has a tap: every packet that reaches the
//! router is [`Seen`] there with the addresses that NATs gave it, which makes it the witness of what went where; a [`Ledger`]
//! adds it up.
//!
//! The same seed gives the same fate to the same packets. Nothing here knows a clock, a namespace or a socket. IPv4 only.

mod clock;
mod core;
mod ledger;
mod link;
mod network;
pub mod scenario;
pub mod sim;
mod topology;

pub use crate::core::{Core, Input, Output, Port, Seen, Verdict, Why};
pub use clock::Clock;
pub use ledger::{Ledger, Tally};
pub use link::{Link, Loss};
pub use network::{Network, NetworkFault, Place, PlaceId, PlaceKind, USUAL_HOPS};
pub use topology::{Fault, Home, Nat, PortAllocation, RouterKind, Site, Topology, WanInput};

//! Networks of NATs as data, and the Internet between them: a router with links that delay and lose packets.
//!
//! The model: a [`Topology`] says which sites there are; a [`Core`] is the Internet they attach to, one IPv4 router with an
//! access link per site. The core is a state machine in virtual time: packets go in, packets come out later or never, the
//! same seed gives the same fate to the same packets. It has a tap: every packet that reaches the router is [`Seen`] there
//! with the addresses that NATs gave it, which makes it the witness of what went where; a [`Ledger`] adds it up.
//!
//! Nothing here knows a clock, a namespace or a socket; `pinhole-netns` drives a core in real time. IPv4 only.

mod core;
mod ledger;
mod link;
mod topology;

pub use crate::core::{Core, Input, Output, Port, Seen, Verdict, Why};
pub use ledger::{Ledger, Tally};
pub use link::{Link, Loss};
pub use topology::{Fault, Home, Nat, PortAllocation, RouterKind, Site, Topology, WanInput};

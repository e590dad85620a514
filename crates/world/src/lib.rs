//! Whole nodes in the simulated Internet: the agent and the registry of `agent`, the embedded WireGuard of `tunnel`, behind
//! routers of `netfilter`, joined by `lab`. Nothing of it is a model: what runs here runs in production.
//!
//! | file | what it is |
//! |---|---|
//! | [`plan`] | who has which key and which tunnel address |
//! | [`node`] | a host: a WireGuard device, a program beside it, and a user who wants to reach everybody |
//! | [`world`] | a scenario with nodes on its hosts: runs it, and says what came of each pair |
//! | [`oracle`] | what must come of each pair |
//! | [`cell`] | one cell of the NAT-pair matrix: a kind of NAT on either side, and the conditions between |
//!
//! It is a crate of its own because neither side may know the other: `lab` is below `agent`, and the binary should not be
//! needed to simulate a node. No clock, no socket, no thread: what runs cells on many cores is the binary.

pub mod cell;
pub mod node;
pub mod oracle;
pub mod plan;
pub mod world;

pub use cell::{Allocation, Cell, Conditions, Nature};
pub use oracle::{Must, Ruling};
pub use world::{Judged, Outcome, World};

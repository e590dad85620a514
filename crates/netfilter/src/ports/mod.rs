//! Ports of one external address and protocol: which are free, and which one a new mapping gets.
//!
//! | module | what it is |
//! |---|---|
//! | [`PortSet`] | 65,536 bits with a summary: the next free port from a place, of a range and a parity, in a few steps |
//! | [`Allocator`] | a set, the ports on hold after use, and the order in which ports are given out |
//! | [`Blocks`] | runs of ports for one subscriber each |
//!
//! No search depends on how many ports are taken, and none fails while a port of the range is free. For ICMP a port is an
//! identifier. Randomness comes from a seed, time as an argument: same seed, same ports.

mod allocator;
mod blocks;
mod set;

pub use allocator::{Allocator, HoldDown, Order, Wish};
pub use blocks::{Block, Blocks};
pub use set::{Parity, PortSet, Range};

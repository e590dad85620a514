//! A small synchronous netlink socket, and what pinhole asks the kernel through it.
//!
//! The model: a [`Message`] is built as bytes (fixed header, then attributes), [`Socket::request`] sends it and waits for
//! the kernel's acknowledgement, [`Socket::dump`] collects a multi-part answer. The kernel answers a request while the send
//! is still under way, so blocking costs no more than a system call, and callers in async code may use it directly.
//! A refusal carries the kernel's own words (extended acknowledgement) where it gives them.
//!
//! It deliberately has no typed message for every object the kernel knows: each sub-module writes the few it needs.
//! Events are read with [`Socket::receive`] from a socket that joined groups.

mod any;
pub mod conntrack;
mod error;
pub mod generic;
mod message;
pub mod monitor;
pub mod route;
pub mod sock_diag;
mod socket;

pub use any::read_any;
pub use error::Error;
pub use message::{Attributes, Message, Reply, attributes, find};
pub use socket::{Protocol, Socket};

#[cfg(test)]
mod tests;

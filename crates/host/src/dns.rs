//! DNS over sockets: the server that answers from compiled data, and the driver of the client machine.
//!
//! A [`Server`] answers UDP from threads that each own a socket (`SO_REUSEPORT`) and read and write many datagrams per
//! system call, and TCP from tokio tasks. Both look answers up in the one [`Answers`](pinhole_dns::answers::Answers) that was
//! published last; nothing is shared between threads on that way but a version number. Queries that the data cannot settle
//! go to the owner of the server as [`SlowQuery`], through a bounded channel, and are answered from the socket they came in
//! on.
//!
//! It serves what it is given: it knows no zones, refreshes nothing and forwards nothing.

mod counters;
mod exchange;
mod published;
mod server;
mod shard;
mod slow;
mod tcp;

pub use counters::{Counter, Counters};
pub use exchange::{Exchanger, Resolver};
pub use server::{BindError, Config, Listen, Server};
pub use slow::{Reply, SlowQuery, SlowReason};

#[cfg(test)]
mod tests;

//! STUN by UDP, TCP and TLS: the sockets around [`pinhole_stun::server`].
//!
//! Each address and port has a socket per thread (`SO_REUSEPORT`), and each thread answers whole batches; an answer that is to
//! come from another address or port leaves by a socket that has it. Connections are tasks of the runtime. Calls back are made
//! by one task.

mod calls;
mod counters;
pub mod flood;
pub mod load;
mod server;
mod shard;
mod sites;
mod tcp;
pub mod tls;
pub mod xdp;

pub use counters::{Counter, Counters};
pub use server::{Config, Server};
pub use sites::{BindError, SecondIp, Site};

#[cfg(test)]
mod tests;

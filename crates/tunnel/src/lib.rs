//! The embedded WireGuard data plane: a device without its TUN and its sockets.
//!
//! [`Engine`] takes packets from the TUN side and datagrams from the network side, and gives datagrams and packets back; time
//! and randomness are arguments. Packets are sealed while they are copied from the TUN buffer into the [`Outbox`], in the
//! layout that UDP segmentation offload takes, and opened in place in the receive buffer, so that bulk data is touched as
//! seldom as possible.
//!
//! The protocol (the paper "WireGuard: Next Generation Kernel Network Tunnel") is implemented here and its primitives are
//! not: they come from ring, x25519-dalek, blake2 and chacha20poly1305. The libraries that implement the whole read the clock
//! inside, allow one or two outstanding initiations, cannot change a keepalive on a live session and copy or allocate per
//! packet. boringtun serves the tests as the other side.
//!
//! Deliberately not here: sockets, devices, threads (the crate `host` has them) and the question where a peer is (the crate
//! `agent`).

mod allowed;
mod copies;
mod counters;
mod engine;
mod load;
mod noise;
mod outbox;
mod peer;
mod shared;
mod timers;

pub use crate::shared::Entropy;
pub use counters::{Counters, Dropped};
pub use engine::Engine;
pub use noise::session::OVERHEAD;
pub use outbox::{MAX_BYTES, MAX_SEGMENTS, Outbox, Transmit};

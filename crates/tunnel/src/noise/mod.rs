//! The cryptographic half of WireGuard: handshake, sessions, cookies, replay window. Primitives come from libraries (ring,
//! x25519-dalek, blake2, chacha20poly1305); the protocol is held to another implementation of it by the tests.

pub(crate) mod cookie;
pub(crate) mod crypto;
pub(crate) mod handshake;
mod replay;
pub(crate) mod session;

//! STUN as RFC 8489 and RFC 5780 have it, and as RFC 3489's clients and servers still speak it.
//!
//! Pure: bytes, time and randomness come in as arguments. The parts, bottom up:
//! - [`Message`] reads a message without copying it, [`Writer`] writes one into the caller's buffer; [`attribute`],
//!   [`address`], [`error`], [`behaviour`], [`nonce`] and [`credentials`] are what stands in them;
//! - [`binding`] answers the plainest Binding request in a few nanoseconds, [`stream`] cuts messages out of a TCP stream;
//! - [`client`] asks servers with retransmissions, credentials and alternates, as a machine;
//! - [`server`] says what to answer, from which of its sockets and to where, and calls an asker back.
//!
//! Not here: sockets, ICE, TURN, the shared secrets of RFC 3489 §9, and the preparation of passwords and names as RFC 8265
//! wants it: they are taken as given.

pub mod address;
pub mod attribute;
pub mod behaviour;
pub mod binding;
pub mod client;
pub mod credentials;
pub mod error;
mod fingerprint;
mod integrity;
mod message;
pub mod nonce;
pub mod server;
pub mod stream;
mod writer;

pub use attribute::{Attribute, AttributeType};
pub use error::ErrorCode;
pub use fingerprint::Fingerprint;
pub use integrity::Integrity;
pub use message::{Class, HEADER, MAGIC_COOKIE, Malformed, Message, Method, TransactionId};
pub use writer::{NoRoom, Writer};

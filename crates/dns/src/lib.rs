//! DNS messages, DNS-SD, an authoritative zone compiled to answers, and a client.
//!
//! Pure: bytes, time and randomness come in as arguments. The parts, bottom up:
//! - [`Name`], [`record`], [`message`], [`edns`]: names, records, messages read without copying and written with or without
//!   compression, EDNS options and DNS cookies;
//! - [`zone`] is an authoritative zone as data, [`answers`] the same compiled so that one lookup and one copy answer a
//!   query, [`policy`] who may ask and how often;
//! - [`client`] asks servers with retries, EDNS and TCP as a sans-IO machine, [`sd`] makes service instances out of what
//!   they answer.
//!
//! This crate knows nothing of WireGuard, opens no socket and does not resolve recursively, sign or validate.

pub mod answers;
pub mod client;
pub mod edns;
pub mod message;
mod name;
pub mod policy;
pub mod record;
pub mod sd;
pub mod zone;

pub use name::{MAX_LABEL, MAX_NAME, Name, NameError};
pub use record::{RData, Rcode, Record, Soa, Srv, Type};

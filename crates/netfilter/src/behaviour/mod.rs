//! NATs of every kind that RFC 4787 has a word for, as plain data, and the machine that behaves as the data say.
//!
//! A [`Behaviour`] says how endpoints are mapped, what is let in, how ports are chosen, how long all that lasts, and what
//! is answered to whom. [Presets](Behaviour::named) describe devices that exist. [`Nat`] is one NAT with such a behaviour:
//! packets go in on one side and come out on the other, back, or not at all, and every packet that is not forwarded has a
//! [`Reason`].
//!
//! This is not how Linux does it ([`crate::nat`]): there is no hook, no rule, and no tuple that must be unique. A mapping
//! (RFC 4787 §4) is an inside endpoint's external endpoint; a session is what one remote endpoint has to do with it, and
//! carries filter, TCP state and timer. A mapping lives as long as it has a session.
//!
//! Deliberately not here: routes, interfaces, time to live and MTU, which are a router's; and every application's protocol
//! (RFC 4787 REQ-10).

mod binding;
mod config;
mod flows;
mod fragments;
mod held;
mod icmp_error;
mod index;
mod machine;
mod packet;
mod pool;
mod presets;
mod reason;
mod slab;
mod tcp;
mod text;
mod wheel;

#[cfg(test)]
mod tests;

pub use config::{
    Allocation, Behaviour, Dependence, Hairpin, IcmpErrors, Limits, Pairing, Pooling, Refresh, Refusal, Timers,
    Unsolicited,
};
pub use machine::{Exempt, Listed, Nat, Side, Verdict};
pub use reason::{Counters, Reason};
pub use text::ParseError;

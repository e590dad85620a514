//! A node as sans-IO machines: the [`registry`] that serves WireGuard peers by DNS-SD, and the [`endpoint`] agent that keeps
//! this host's peers directly connected.
//!
//! Both take a device's state, datagrams and time, and give back changes, datagrams and [events](event); neither opens a
//! socket. They share the names of the zone ([`naming`]) and the [`rendezvous`] option.

pub mod endpoint;
pub mod event;
pub mod naming;
pub mod registry;
pub mod rendezvous;

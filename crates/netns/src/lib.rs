//! An Internet in a box: lowers a lab topology onto Linux network namespaces, with the kernel's own NAT or our engine's, and
//! our own links.
//!
//! The model: each host and each home router is a namespace. A home's hosts hang on their router by veth pairs; every site
//! hangs on the Internet by a TUN device whose other end is held by one thread of this process, which drives the
//! [`Core`](pinhole_lab::Core) in real time. So packets are the kernel's, NAT is nf_tables, and delay, loss and the witness
//! are ours: no `netem`, no bridge and no external program is needed. A home's router may also be our engine, which then sits
//! between its cable and the core; on its own, between two hosts, it is a [`Crossing`]. Everything dies with
//! the [`Internet`], and with this process.
//!
//! Needs the privileges of [`pinhole_host::namespace::privilege::acquire`]. IPv4 only.

mod build;
mod crossing;
mod engine;
mod host;
mod internet;
mod nat;
pub mod oracle;
mod program;
mod tun;

pub use build::BuildError;
pub use crossing::{Crossing, Offload};
pub use engine::Tap;
pub use host::Host;
pub use internet::Internet;
pub use nat::Site;
pub use program::Program;
pub use rustix::process::Signal;

//! The settings of connection tracking, under the kernel's names, and what differs between kernel versions.

mod personality;

pub use personality::{Clash, EarlyDrop, InexactRst, Personality, PortSearch};

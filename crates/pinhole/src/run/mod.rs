//! Drives the sans-IO machines in the real world: each file here is one loop that carries out a machine's outputs, waits for
//! its deadline or the next thing that happens, and feeds that back.

pub mod agent;
pub mod clock;
pub mod registry;
pub mod report;
mod signals;
mod supervisor;
mod underlay;
mod wireguard;

pub use clock::Clock;
pub use supervisor::{Role, configuration, until_stopped};

use std::path::PathBuf;

/// Where pinhole keeps what a later pinhole must find: in /run, which a reboot empties, as it does the kernel's state.
pub fn state_file(name: &str) -> PathBuf {
    PathBuf::from("/run/pinhole").join(name)
}

//! Drives the sans-IO machines in the real world: each file here is one loop that carries out a machine's outputs, waits for
//! its deadline or the next thing that happens, and feeds that back.

pub mod agent;
pub mod clock;
pub mod gateway;
mod lock;
pub mod registry;
pub mod report;
mod signals;
pub mod stun;
mod supervisor;
mod underlay;
mod wireguard;

pub use clock::Clock;
pub use supervisor::{Role, configuration, until_stopped};

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use pinhole_agent::registry::instance;
use pinhole_dns::Name;

/// A zone's name, if the names of peers fit below it.
fn zone_name(zone: Name) -> Result<Name> {
    instance(&zone, &"a".repeat(56))
        .with_context(|| format!("the zone name {zone} is too long: the peers' names do not fit below it"))?;
    Ok(zone)
}

/// Where pinhole keeps what a later pinhole must find: in /run, which a reboot empties, as it does the kernel's state.
pub fn state_file(name: &str) -> PathBuf {
    PathBuf::from("/run/pinhole").join(name)
}

/// Writes such a file, for its owner's eyes. Written beside and renamed, so that a crash leaves the old one or the new one;
/// where it fails, nothing new is left.
pub fn write_state(path: &Path, text: &[u8]) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o755).create(directory)?;
    }
    let beside = path.with_extension("new");
    let write = || {
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600).open(&beside)?.write_all(text)?;
        fs::rename(&beside, path)
    };
    write().inspect_err(|_| drop(fs::remove_file(&beside)))
}

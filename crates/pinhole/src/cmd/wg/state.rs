//! What `up` did, written down so that `down` can undo it, whoever calls it and whatever became of the file meanwhile.

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

/// What was done, in the order in which it is undone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    /// The interface.
    pub(super) name: String,
    /// Commands to run before, with `%i` replaced.
    pub(super) pre_down: Vec<String>,
    /// Commands to run after.
    pub(super) post_down: Vec<String>,
    /// Routing rules that were added.
    pub(super) rules: Vec<RuleState>,
    /// Whether there is an nftables table of ours.
    pub(super) nft_table: Option<String>,
    /// Whether name servers were given to resolvconf.
    pub(super) resolvconf: bool,
    /// Whether `net.ipv4.conf.all.src_valid_mark` was 0.
    pub(super) valid_mark_was_off: bool,
}

/// A routing rule, with the priority it got.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RuleState {
    pub(super) ipv6: bool,
    pub(super) mark: Option<u32>,
    pub(super) not: bool,
    pub(super) table: u32,
    pub(super) suppress_prefix_length: Option<u32>,
    pub(super) priority: Option<u32>,
}

impl State {
    fn path(name: &str) -> PathBuf {
        crate::run::state_file(&format!("wg-{name}.json"))
    }

    /// Writes it down.
    pub(super) fn save(&self) -> Result<()> {
        let path = Self::path(&self.name);
        let text = serde_json::to_string(self).context("cannot write the state as JSON")?;
        crate::run::write_state(&path, text.as_bytes()).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Reads what was written for the interface `name`, if `up` was here, and takes it away: from now on undoing is the
    /// caller's.
    pub(super) fn take(name: &str) -> Result<Option<Self>> {
        let path = Self::path(name);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        let Ok(state) = serde_json::from_str(&text) else {
            bail!("{} is damaged: remove it, then the interface with `ip link delete {name}`", path.display());
        };
        match fs::remove_file(&path) {
            Ok(()) => Ok(Some(state)),
            // Someone else undoes at this moment.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot remove {}", path.display())),
        }
    }

    /// Whether something was written for `name`.
    pub(super) fn exists(name: &str) -> bool {
        Self::path(name).exists()
    }
}

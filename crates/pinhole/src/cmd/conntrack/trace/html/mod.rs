//! A page for one trace.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use pinhole_netfilter::Router;
use pinhole_sansio::Instant;

use super::Traced;
use super::summary::{Summary, packets};
use super::world::World;

/// The page as far as it is written.
pub(super) struct Page {
    path: PathBuf,
    shown: u64,
}

impl Page {
    pub(super) fn new(path: PathBuf, _world: &World) -> Self {
        Self { path, shown: 0 }
    }
    pub(super) fn packet(&mut self, _traced: &Traced, _router: &mut Router, _now: Instant) {
        self.shown += 1;
    }
    pub(super) fn save(&self, _summary: &Summary) -> Result<()> {
        std::fs::write(&self.path, "").with_context(|| format!("cannot write {}", self.path.display()))
    }
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
    pub(super) fn count(&self) -> String {
        packets(self.shown)
    }
}

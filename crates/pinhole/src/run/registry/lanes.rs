//! The open lanes of the relay, each a task.

use std::collections::BTreeMap;
use std::sync::Arc;

use pinhole_agent::registry::Lane;
use pinhole_host::relay;
use tokio::task::JoinSet;

/// See the module.
pub(super) struct Lanes {
    bytes_per_second: u64,
    open: BTreeMap<[u16; 2], Arc<relay::Lane>>,
    running: JoinSet<[u16; 2]>,
}

impl Lanes {
    pub(super) fn new(mbits: u32) -> Self {
        Self { bytes_per_second: u64::from(mbits) * 125_000, open: BTreeMap::new(), running: JoinSet::new() }
    }

    /// Opens a lane, or lets its two in from where they are now. One that cannot be opened has ended.
    pub(super) fn open(&mut self, lane: Lane) {
        let Lane { ports, ips } = lane;
        if let Some(open) = self.open.get(&ports) {
            return open.admit(ips);
        }
        match relay::Lane::open(ports, ips, self.bytes_per_second) {
            Ok(open) => {
                let open = Arc::new(open);
                self.open.insert(ports, Arc::clone(&open));
                self.running.spawn_local(async move {
                    open.run().await;
                    ports
                });
            }
            Err(error) => {
                tracing::warn!("nobody is relayed by the ports {} and {}: {error}", ports[0], ports[1]);
                self.running.spawn_local(async move { ports });
            }
        }
    }

    /// The ports of a lane that has ended. Can be dropped and called again.
    pub(super) async fn ended(&mut self) -> [u16; 2] {
        match self.running.join_next().await {
            Some(Ok(ports)) => {
                if let Some(lane) = self.open.remove(&ports) {
                    tracing::debug!(?ports, counts = ?lane.counts(), "a relayed pair is silent");
                }
                ports
            }
            // None is open, or one was aborted, which nobody does.
            Some(Err(_)) | None => std::future::pending().await,
        }
    }
}

//! The control socket: a client sends a line, and gets a [`View`] as JSON.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use pinhole_host::gateway::{self, Gateway, Translation};
use pinhole_netfilter::behaviour::Side;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

use super::view::{self, About, Dropped, Line, Traffic, View};

/// Translations that one answer has, at most.
const MOST: usize = 65_536;
/// A client that takes longer to ask is left; to listen it has ten times that.
const PATIENCE: Duration = Duration::from_millis(500);

/// The socket.
#[derive(Debug)]
pub(super) struct Control {
    listener: UnixListener,
    path: PathBuf,
    since: Instant,
}

impl Control {
    /// Makes the socket. One that is there is of a gateway that was killed: the lock is ours.
    pub(super) fn bind() -> Result<Self> {
        remove()?;
        let path = view::socket();
        let failed = || format!("cannot make the control socket {}", path.display());
        let listener = UnixListener::bind(&path).with_context(failed)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).with_context(failed)?;
        Ok(Self { listener, path, since: Instant::now() })
    }

    /// Waits for a client. Can be dropped and called again.
    pub(super) async fn client(&self) -> UnixStream {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => return stream,
                // Out of descriptors: they come back.
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }

    /// Answers a client. It writes its question as it connects, and is not waited for otherwise.
    pub(super) async fn answer(&self, mut client: UnixStream, gateway: &Gateway, about: &About) {
        let Ok(Ok(flows)) = tokio::time::timeout(PATIENCE, question(&mut client)).await else { return };
        let Ok(answer) = serde_json::to_vec(&self.view(gateway, about, flows)) else { return };
        tokio::task::spawn_local(async move {
            // Who does not listen has no use for it.
            let _ = tokio::time::timeout(10 * PATIENCE, client.write_all(&answer)).await;
        });
    }

    fn view(&self, gateway: &Gateway, about: &About, flows: bool) -> View {
        let now = gateway.now();
        let mut plane = gateway.plane();
        let dropped = plane.drops().into_iter().map(|(reason, packets)| Dropped { reason, packets });
        View {
            about: about.clone(),
            up_s: self.since.elapsed().as_secs(),
            flows: plane.flows(),
            to_inside: traffic(plane.traffic(Side::Inside)),
            to_outside: traffic(plane.traffic(Side::Outside)),
            dropped: dropped.collect(),
            translations: flows.then(|| plane.translations(now, MOST).iter().map(line).collect()),
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Takes away the socket of a gateway that was killed.
pub(super) fn remove() -> Result<()> {
    let path = view::socket();
    match fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// What a client wants: true for the translations, too.
async fn question(stream: &mut UnixStream) -> io::Result<bool> {
    let mut buffer = [0; view::SUMMARY.len()];
    let length = stream.read(&mut buffer).await?;
    Ok(&buffer[..length] == view::FLOWS.as_bytes())
}

fn traffic(traffic: gateway::Traffic) -> Traffic {
    Traffic { packets: traffic.packets, bytes: traffic.bytes }
}

fn line(translation: &Translation) -> Line {
    let Translation { protocol, inside, external, remote, remaining } = *translation;
    Line {
        protocol: protocol.to_string(),
        inside: inside.to_string(),
        external: external.to_string(),
        remote: remote.to_string(),
        timeout_s: remaining.as_secs(),
    }
}

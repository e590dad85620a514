//! The sockets that the agent looks for holes with, and the holes that WireGuard was given.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use pinhole_agent::endpoint::Input;
use pinhole_host::extra::Sockets;
use pinhole_host::handover::{self, Handover, Hole};
use pinhole_host::own_port::OwnPort;
use pinhole_host::probe::Route;
use pinhole_wg::{Key, Peer};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

/// Datagrams that wait for the agent. Whoever floods it makes it lose some; everything that matters is said again.
const QUEUE: usize = 256;

/// See the module.
pub(super) struct Holes {
    device: String,
    own: Option<Own>,
    extra: BTreeMap<Key, Extra>,
    given: BTreeMap<Key, Handover>,
    received: mpsc::Sender<Input>,
    inputs: mpsc::Receiver<Input>,
}

/// The port that WireGuard owns, and the task that listens at it.
struct Own {
    port: Arc<OwnPort>,
    fwmark: u32,
    task: AbortHandle,
}

/// A peer's extra sockets, and the task that listens at them.
struct Extra {
    sockets: Arc<Sockets>,
    task: AbortHandle,
}

impl Drop for Own {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Drop for Extra {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Holes {
    /// None yet.
    pub(super) fn new(device: &str) -> Self {
        let (received, inputs) = mpsc::channel(QUEUE);
        Self { device: device.to_owned(), own: None, extra: BTreeMap::new(), given: BTreeMap::new(), received, inputs }
    }

    /// Takes over the holes that an agent of this device has left which did not stop cleanly, so that the paths through them
    /// live on; those whose peers are gone are taken out. Whose they are.
    pub(super) fn adopt(&mut self, peers: &[Peer]) -> Vec<Input> {
        let left = handover::list().inspect_err(|error| tracing::debug!("{error}")).unwrap_or_default();
        let mut found = Vec::new();
        for left in left.into_iter().filter(|left| left.device == self.device) {
            let hole = left.hole;
            let peer = peers.iter().map(|peer| peer.public_key).find(|key| left.is_for(key));
            match (left.adopt(), peer) {
                (Ok(handover), Some(peer)) => {
                    tracing::info!("took over the hole to {}… that an earlier agent has left: {hole}", peer.short());
                    self.given.insert(peer, handover);
                    found.push(Input::HoleFound { peer });
                }
                // Dropped, it is taken out.
                (Ok(_), None) => tracing::info!("removed a hole that an earlier agent has left: {hole}"),
                (Err(error), _) => tracing::warn!("{error}"),
            }
        }
        found
    }

    /// What was received by any of the sockets. Can be dropped and called again.
    pub(super) async fn input(&mut self) -> Input {
        match self.inputs.recv().await {
            Some(input) => input,
            // A sender is ours.
            None => std::future::pending().await,
        }
    }

    /// Sends from the port that WireGuard owns, and listens at it from now on.
    pub(super) fn send(&mut self, from_port: u16, fwmark: u32, to: SocketAddr, ttl: Option<u8>, bytes: &[u8]) {
        if !self.own.as_ref().is_some_and(|own| own.port.port() == from_port && own.fwmark == fwmark) {
            self.own = self.open_own(from_port, fwmark);
        }
        if let Some(own) = &self.own
            && let Err(error) = own.port.send(to, ttl, bytes)
        {
            tracing::debug!("from port {from_port} to {to}: {error}");
        }
    }

    fn open_own(&self, port: u16, fwmark: u32) -> Option<Own> {
        let route = Route { interface: None, mark: fwmark };
        let port = OwnPort::open(&route, port).inspect_err(|error| tracing::debug!("port {port}: {error}")).ok()?;
        let port = Arc::new(port);
        let (listener, received) = (Arc::clone(&port), self.received.clone());
        let task = tokio::task::spawn_local(async move {
            loop {
                match listener.recv().await {
                    // A full queue loses it.
                    Ok((from, bytes)) => drop(received.try_send(Input::Received { from, bytes })),
                    Err(error) => return tracing::warn!("the port of WireGuard is not listened at any more: {error}"),
                }
            }
        });
        Some(Own { port, fwmark, task: task.abort_handle() })
    }

    /// Opens extra sockets for a peer.
    pub(super) fn open(&mut self, peer: Key, count: u16, toward: SocketAddr, fwmark: u32) -> Input {
        let route = Route { interface: None, mark: fwmark };
        let sockets = match Sockets::open(count, toward, &route) {
            Ok(sockets) => Arc::new(sockets),
            Err(error) => {
                tracing::warn!("no sockets to look for {}… with: {error}", peer.short());
                return Input::SocketsOpened { peer, sockets: 0 };
            }
        };
        let (listener, received, opened) = (Arc::clone(&sockets), self.received.clone(), sockets.len());
        let task = tokio::task::spawn_local(async move {
            while let Ok((socket, from, bytes)) = listener.recv().await {
                // A full queue loses it.
                let _ = received.try_send(Input::ReceivedBy { peer, socket, from, bytes });
            }
        });
        self.extra.insert(peer, Extra { sockets, task: task.abort_handle() });
        Input::SocketsOpened { peer, sockets: opened }
    }

    pub(super) fn send_by(&self, peer: &Key, socket: u16, to: SocketAddr, ttl: Option<u8>, bytes: &[u8]) {
        if let Some(extra) = self.extra.get(peer)
            && let Err(error) = extra.sockets.send(socket, to, ttl, bytes)
        {
            tracing::debug!("to {to}: {error}");
        }
    }

    pub(super) fn close(&mut self, peer: &Key) {
        self.extra.remove(peer);
    }

    /// Lets WireGuard's packets from `own` to `remote` leave by a peer's extra socket; `None` if that cannot be.
    pub(super) fn hand_over(&mut self, peer: Key, socket: u16, own: u16, remote: SocketAddr) -> Option<Input> {
        let punched = self.extra.get(&peer)?.sockets.port(socket).ok()?;
        match Handover::install(&self.device, &peer, Hole { own, punched, remote }) {
            Ok(handover) => {
                self.given.insert(peer, handover);
                Some(Input::HandedOver { peer })
            }
            Err(error) => {
                tracing::warn!("{error}");
                None
            }
        }
    }

    pub(super) fn take_back(&mut self, peer: &Key) {
        self.given.remove(peer);
    }
}

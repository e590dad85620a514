//! One UDP socket and the thread that answers from it.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pinhole_sansio::Instant;
use pinhole_stun::server::call::Call;
use pinhole_stun::server::{Local, Reaction, Server};
use tokio::sync::mpsc;

use super::counters::{Counter, Counters, Tally};
use crate::batch::{Batch, send_from};

/// What the threads and tasks of a server share.
#[derive(Debug)]
pub(super) struct Shared {
    /// What `now` counts from.
    pub(super) epoch: std::time::Instant,
    pub(super) stop: AtomicBool,
}

impl Shared {
    pub(super) fn now(&self) -> Instant {
        Instant::from_nanos(u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }
}

/// The UDP sockets of a site, one of each; to send what comes from elsewhere than it was asked.
pub(super) type Outlets = [Option<Arc<OwnedFd>>; 4];

/// A call that was granted, and the site it belongs to.
pub(super) type Granted = (usize, Call);

/// A socket's thread.
pub(super) struct Shard {
    pub(super) shared: Arc<Shared>,
    pub(super) socket: Arc<OwnedFd>,
    pub(super) outlets: Arc<Outlets>,
    pub(super) site: usize,
    pub(super) local: Local,
    /// The address of the socket; the wildcard if it serves all.
    pub(super) address: SocketAddr,
    pub(super) server: Server,
    pub(super) calls: mpsc::Sender<Granted>,
    pub(super) tally: Arc<Tally>,
}

impl Shard {
    /// Answers until the server stops.
    pub(super) fn run(mut self) {
        let mut batch = Batch::new(self.address.ip().is_unspecified());
        let mut counted = Counters::default();
        let mut granted = Vec::new();
        loop {
            let received = batch.receive(self.socket.as_fd());
            if self.shared.stop.load(Ordering::Acquire) {
                break;
            }
            let count = match received {
                Ok(count) => count,
                Err(error) => {
                    // What a previous answer met on its way (ip(7) "asynchronous errors"); the next call is a new one.
                    tracing::debug!(%error, address = %self.address, "receiving STUN");
                    continue;
                }
            };
            let now = self.shared.now();
            counted.add(Counter::UdpReceived, count);
            for index in 0..count {
                granted.extend(self.serve(&mut batch, index, now, &mut counted));
            }
            // Before sending: who has an answer finds it counted.
            self.tally.take(&mut counted);
            let failed = batch.send(self.socket.as_fd());
            counted.add(Counter::SendFailed, failed);
            // Only now: how a call ended must not overtake the answer that it was granted by.
            for call in granted.drain(..) {
                let taken = self.calls.try_send((self.site, call)).is_ok();
                self.tally.add(if taken { Counter::Calls } else { Counter::CallsDropped });
            }
        }
    }

    /// Writes the answer to a datagram, or sends it where it goes by another way. The call that it grants is returned.
    fn serve(&mut self, batch: &mut Batch, index: usize, now: Instant, counted: &mut Counters) -> Option<Call> {
        let Some(source) = batch.source(index) else {
            counted.add(Counter::Unanswerable, 1);
            return None;
        };
        let (message, out) = batch.message(index);
        counted.add(Counter::UdpBytesIn, message.len());
        let (from, to, len, call) = match self.server.datagram(now, self.local, source, message, out) {
            Reaction::Send { from, to, len, call } => (from, to, len, call),
            Reaction::Silence(silence) => {
                counted.add(Counter::of(silence), 1);
                return None;
            }
        };
        counted.add(Counter::Sent, 1);
        counted.add(Counter::UdpBytesOut, len);
        if from == self.local && to == source {
            batch.reply(index, len);
        } else {
            counted.add(Counter::SentElsewhere, 1);
            if to.ip() != source.ip() {
                counted.add(Counter::Partner, 1);
            }
            let local = batch.destination(index);
            let (_, out) = batch.message(index);
            if !self.send_elsewhere(from, local, to, &out[..len]) {
                counted.add(Counter::SendFailed, 1);
            }
        }
        call
    }

    /// Sends from another socket, or to another port than it came from. False if that failed.
    fn send_elsewhere(&self, from: Local, local: Option<IpAddr>, to: SocketAddr, bytes: &[u8]) -> bool {
        let socket = if from == self.local { Some(&self.socket) } else { self.outlets[from.index()].as_ref() };
        // At the wildcard the address that was asked stays that of the answer.
        socket.is_some_and(|socket| send_from(socket.as_fd(), local, to, bytes).is_ok())
    }
}

//! STUN by connections (RFC 8489 §6.2.2): a listener, a bounded number of connections, requests in a row on each.
//!
//! A connection may stay: who keeps a mapping open through a NAT asks now and then on one that he holds. One that says nothing
//! for [`IDLE`] is closed.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pinhole_stun::server::{Local, Reaction, Server};
use pinhole_stun::stream::{self, Next};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::counters::{Counter, Counters, Tally};
use super::shard::{Granted, Shared};

/// How long a connection may say nothing: longer than the two hours that RFC 5382 REQ-5 lets a NAT forget after would keep
/// dead ones; ten minutes are enough for any keepalive that is worth the name.
const IDLE: Duration = Duration::from_secs(600);
/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long an answer may wait to be taken.
const SEND: Duration = Duration::from_secs(10);
/// The longest message by a connection, in bytes: none that makes sense is longer.
const MAX_MESSAGE: usize = 4_096;
/// Connections of one source (IPv4 address, IPv6 /64).
const PER_SOURCE: usize = 64;
/// The pause after an accept that failed for want of descriptors or memory: it would fail again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Counts connections, of all listeners.
#[derive(Debug)]
pub(super) struct Room {
    all: Arc<Semaphore>,
    sources: Mutex<HashMap<u64, usize>>,
}

impl Room {
    pub(super) fn new(connections: usize) -> Arc<Self> {
        Arc::new(Self { all: Arc::new(Semaphore::new(connections)), sources: Mutex::default() })
    }

    /// A place for a connection of `source`, until it is dropped.
    fn enter(self: &Arc<Self>, source: IpAddr) -> Option<Seat> {
        let all = Arc::clone(&self.all).try_acquire_owned().ok()?;
        let key = key(source);
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        let count = sources.entry(key).or_default();
        if *count >= PER_SOURCE {
            return None;
        }
        *count += 1;
        Some(Seat { room: Arc::clone(self), key, _all: all })
    }
}

struct Seat {
    room: Arc<Room>,
    key: u64,
    _all: OwnedSemaphorePermit,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut sources = self.room.sources.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = sources.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                sources.remove(&self.key);
            }
        }
    }
}

fn key(source: IpAddr) -> u64 {
    match source.to_canonical() {
        IpAddr::V4(ip) => u64::from(ip.to_bits()),
        IpAddr::V6(ip) => (ip.to_bits() >> 64) as u64,
    }
}

/// A listener.
pub(super) struct Acceptor {
    pub(super) desk: Arc<Desk>,
    pub(super) listener: TcpListener,
    pub(super) room: Arc<Room>,
    /// TLS is spoken here.
    pub(super) tls: Option<TlsAcceptor>,
}

/// Where requests that come by connections are answered.
pub(super) struct Desk {
    pub(super) shared: Arc<Shared>,
    pub(super) site: usize,
    pub(super) local: Local,
    /// Answering takes a microsecond or two: a lock for all connections of a socket is no queue.
    pub(super) server: Mutex<Server>,
    pub(super) calls: mpsc::Sender<Granted>,
    pub(super) tally: Arc<Tally>,
}

impl Acceptor {
    /// Accepts until `stop` changes; then closes all connections.
    pub(super) async fn run(self, mut stop: watch::Receiver<bool>) {
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                Some(_) = connections.join_next() => continue,
                _ = stop.changed() => break,
            };
            match accepted {
                Ok((stream, source)) => {
                    let Some(seat) = self.room.enter(source.ip()) else {
                        self.desk.tally.add(Counter::ConnectionsRefused);
                        continue;
                    };
                    self.desk.tally.add(Counter::Connections);
                    let (desk, tls) = (Arc::clone(&self.desk), self.tls.clone());
                    connections.spawn(async move {
                        if let Err(error) = serve(&desk, tls, stream, source).await {
                            tracing::debug!(%error, %source, "a STUN connection ended");
                        }
                        drop(seat);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "accepting a STUN connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        connections.shutdown().await;
    }
}

async fn serve(desk: &Desk, tls: Option<TlsAcceptor>, stream: TcpStream, source: SocketAddr) -> io::Result<()> {
    // Answers leave when they are written: they are written whole.
    stream.set_nodelay(true)?;
    match tls {
        Some(tls) => {
            let stream = timeout(HANDSHAKE, tls.accept(stream)).await.map_err(|_| io::ErrorKind::TimedOut)??;
            converse(desk, stream, source).await
        }
        None => converse(desk, stream, source).await,
    }
}

/// Answers requests until the other side closes, or says what is no request.
async fn converse(desk: &Desk, mut stream: impl AsyncRead + AsyncWrite + Unpin, source: SocketAddr) -> io::Result<()> {
    answer_all(desk, &mut stream, source).await?;
    // Says that this is the end, where TLS is spoken; who has gone need not hear it.
    let _ = timeout(SEND, stream.shutdown()).await;
    Ok(())
}

async fn answer_all(
    desk: &Desk,
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    source: SocketAddr,
) -> io::Result<()> {
    let mut input = Vec::with_capacity(512);
    let mut out = vec![0; MAX_MESSAGE];
    loop {
        // One deadline for a whole message, so that a byte now and then does not keep the connection.
        let whole = async {
            loop {
                match stream::next(&input) {
                    Ok(Next::Message(len)) if len <= MAX_MESSAGE => return Ok(Some(len)),
                    Ok(Next::More(more)) if input.len() + more <= MAX_MESSAGE => {}
                    Ok(Next::Message(_) | Next::More(_)) | Err(_) => return Ok(None),
                }
                if stream.read_buf(&mut input).await? == 0 {
                    return Ok(None);
                }
            }
        };
        let whole: io::Result<Option<usize>> = match timeout(IDLE, whole).await {
            Ok(whole) => whole,
            Err(_) => return Ok(()),
        };
        let Some(len) = whole? else { return Ok(()) };
        if let Some(len) = desk.answer(source, &input[..len], &mut out) {
            timeout(SEND, stream.write_all(&out[..len])).await.map_err(|_| io::ErrorKind::TimedOut)??;
            timeout(SEND, stream.flush()).await.map_err(|_| io::ErrorKind::TimedOut)??;
        }
        input.drain(..len);
    }
}

impl Desk {
    /// The length of the answer, if there is one.
    fn answer(&self, source: SocketAddr, message: &[u8], out: &mut [u8]) -> Option<usize> {
        let mut counted = Counters::default();
        counted.add(Counter::StreamReceived, 1);
        let now = self.shared.now();
        let mut server = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        let reaction = server.message(now, self.local, source, message, out);
        drop(server);
        let len = match reaction {
            Reaction::Send { len, call, .. } => {
                counted.add(Counter::Sent, 1);
                if let Some(call) = call {
                    let taken = self.calls.try_send((self.site, call)).is_ok();
                    counted.add(if taken { Counter::Calls } else { Counter::CallsDropped }, 1);
                }
                Some(len)
            }
            Reaction::Silence(silence) => {
                counted.add(Counter::of(silence), 1);
                None
            }
        };
        self.tally.take(&mut counted);
        len
    }
}

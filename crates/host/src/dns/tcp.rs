//! DNS over TCP (RFC 7766): a listener, a bounded number of connections, queries in a row on each.
//!
//! A connection's queries are answered in their order; those that have arrived together are answered with one write. A
//! connection that sends no whole query, or takes no answer, for [`IDLE`] is closed.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pinhole_dns::answers::{Asker, Query, Transport};
use pinhole_dns::message::MAX_MESSAGE;
use pinhole_dns::policy::Access;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::counters::{Counter, Counters, Tally};
use super::published::{Published, Reader};
use super::shard::{Shared, slow_reason, written};
use super::slow::{Reply, SlowQuery, Way, jar};

/// How long a connection may be idle (RFC 7766 §6.2.3 suggests seconds; RFC 1035's two minutes invite exhaustion).
const IDLE: Duration = Duration::from_secs(10);
/// How long the owner of the server may take over a query before the connection gives it up.
const SLOW: Duration = Duration::from_secs(5);
/// The pause after an accept that failed for want of descriptors or memory: it would fail again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Answers are written when there are this many bytes of them, or no further query has arrived.
const FLUSH: usize = 65_536;

/// A TCP listener.
pub(super) struct Acceptor {
    pub(super) shared: Arc<Shared>,
    pub(super) published: Arc<Published>,
    pub(super) tally: Arc<Tally>,
    pub(super) listener: TcpListener,
    /// One permit per connection, of all listeners of the server.
    pub(super) room: Arc<Semaphore>,
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
                    let Ok(permit) = Arc::clone(&self.room).try_acquire_owned() else {
                        self.tally.add(Counter::ConnectionsRefused);
                        continue;
                    };
                    self.tally.add(Counter::Connections);
                    let connection = self.connection(source);
                    connections.spawn(async move {
                        if let Err(error) = connection.run(stream).await {
                            tracing::debug!(%error, %source, "a DNS connection ended");
                        }
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "accepting a DNS connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        connections.shutdown().await;
    }

    fn connection(&self, source: SocketAddr) -> Connection {
        Connection {
            shared: Arc::clone(&self.shared),
            tally: Arc::clone(&self.tally),
            answers: self.published.reader(),
            source,
            counted: Counters::default(),
            out: Vec::new(),
            scratch: Vec::new(),
        }
    }
}

struct Connection {
    shared: Arc<Shared>,
    tally: Arc<Tally>,
    answers: Reader,
    source: SocketAddr,
    counted: Counters,
    /// Answers with their lengths, to be written.
    out: Vec<u8>,
    /// Room for one answer.
    scratch: Vec<u8>,
}

impl Connection {
    async fn run(mut self, mut stream: TcpStream) -> io::Result<()> {
        if self.shared.access.access(self.source.ip()) == Access::Drop {
            self.tally.add(Counter::DropAccess);
            return Ok(());
        }
        // Answers leave when they are written: they are written whole.
        stream.set_nodelay(true)?;
        let local = stream.local_addr()?;
        self.scratch.resize(MAX_MESSAGE, 0);
        let mut input: Vec<u8> = Vec::with_capacity(2_048);
        loop {
            // One deadline for a whole query, so that a byte now and then does not keep the connection.
            let whole = async {
                while first_message(&input).is_none() {
                    if stream.read_buf(&mut input).await? == 0 {
                        return Ok(false);
                    }
                }
                io::Result::Ok(true)
            };
            match timeout(IDLE, whole).await {
                Ok(Ok(true)) => {}
                Ok(Ok(false)) | Err(_) => return Ok(()),
                Ok(Err(error)) => return Err(error),
            }
            let mut taken = 0;
            while let Some(message) = first_message(&input[taken..]) {
                taken += 2 + message.len();
                self.serve(message, local).await;
                if self.out.len() >= FLUSH {
                    self.flush(&mut stream).await?;
                }
            }
            input.drain(..taken);
            self.flush(&mut stream).await?;
        }
    }

    async fn flush(&mut self, stream: &mut TcpStream) -> io::Result<()> {
        self.tally.take(&mut self.counted);
        let written = timeout(IDLE, stream.write_all(&self.out)).await;
        self.out.clear();
        written.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Appends the answer to `message`, if there is one.
    async fn serve(&mut self, message: &[u8], local: SocketAddr) {
        self.counted.add(Counter::TcpReceived);
        let cookies = self.shared.cookies.as_ref().map(|cookies| jar(cookies, self.source.ip()));
        let asker = Asker { transport: Transport::Tcp, verified: true, cookies, option: None };
        let refuse = self.shared.access.access(self.source.ip()) == Access::Refuse;
        let outcome = match Query::read(message) {
            Ok(query) if refuse => query.refused(&asker, &mut self.scratch),
            Ok(query) => self.answers.current().reply(&query, &asker, &mut self.scratch),
            Err(unanswerable) => unanswerable.reply(message, &mut self.scratch),
        };
        let reason = slow_reason(outcome, &self.shared);
        let Some(len) = written(outcome, &mut self.counted) else { return };
        let permit = reason.and_then(|reason| match self.shared.slow.try_reserve() {
            Ok(permit) => Some((reason, permit)),
            Err(_) => {
                self.counted.add(Counter::SlowFull);
                None
            }
        });
        let Some((reason, permit)) = permit else {
            return append(&mut self.out, &self.scratch[..len], &mut self.counted);
        };
        self.counted.add(Counter::Slow);
        let (sender, receiver) = oneshot::channel();
        permit.send(SlowQuery {
            source: self.source,
            local,
            transport: Transport::Tcp,
            verified: true,
            reason,
            message: message.to_vec(),
            reply: Reply::new(Way::Tcp(sender), self.scratch[..len].to_vec()),
            cookies: self.shared.cookies.clone(),
        });
        match timeout(SLOW, receiver).await {
            Ok(Ok(response)) => append(&mut self.out, &response, &mut self.counted),
            // Nobody answers: the data does.
            Ok(Err(_)) | Err(_) => append(&mut self.out, &self.scratch[..len], &mut self.counted),
        }
    }
}

/// Appends a response with its length.
fn append(out: &mut Vec<u8>, response: &[u8], counted: &mut Counters) {
    let Ok(length) = u16::try_from(response.len()) else { return };
    counted.reply(response);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(response);
}

/// The first message in `input`, without its length, if it is there whole.
fn first_message(input: &[u8]) -> Option<&[u8]> {
    let (length, rest) = input.split_first_chunk::<2>()?;
    rest.get(..usize::from(u16::from_be_bytes(*length)))
}

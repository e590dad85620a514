//! Many TCP connections from one port, which is also listened at: what shows how a NAT maps and filters connections.
//!
//! Listener and connections share the port by `SO_REUSEPORT`. Connections are ended with a reset (`SO_LINGER` 0), so that
//! their port is free at once and the NAT knows that they are over.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use pinhole_stun::client::SocketId;
use pinhole_stun::stream::{Next, next};
use socket2::{Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::{Route, unspecified};

/// How long a connection may take to come about: one retransmission of its SYN, and a round trip.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long a knock is given before the next one takes its place: the way to the NAT and back, twice.
const KNOCK: Duration = Duration::from_millis(90);
/// Connections to a listener that wait to be accepted.
const BACKLOG: i32 = 16;
/// Messages that wait to be written to a connection.
const QUEUE: usize = 16;
/// Bytes of what a server may send before it is one message; a STUN message is 64 KiB and a header at most.
const LONGEST: usize = 66_000;

/// What happened to a connection or a listener.
#[derive(Debug)]
pub(super) enum Event {
    /// A message came.
    Message { socket: SocketId, server: SocketAddr, bytes: Vec<u8> },
    /// A connection could not be made or has ended.
    Closed { socket: SocketId, server: SocketAddr },
    /// Somebody connected, or was connected to by a knock.
    Accepted { socket: SocketId, from: SocketAddr },
}

/// Ports, each with its listener and its connections.
#[derive(Debug)]
pub(super) struct Streams {
    route: Route,
    events: mpsc::Sender<Event>,
    ports: BTreeMap<SocketId, Port>,
}

#[derive(Debug)]
struct Port {
    number: u16,
    listener: JoinHandle<()>,
    connections: BTreeMap<SocketAddr, (mpsc::Sender<Vec<u8>>, JoinHandle<()>)>,
    knocks: BTreeMap<SocketAddr, (Instant, JoinHandle<()>)>,
}

impl Streams {
    pub(super) fn new(route: Route, events: mpsc::Sender<Event>) -> Self {
        Self { route, events, ports: BTreeMap::new() }
    }

    /// Listens at a port, or at any for 0, which connections to `toward`'s family can then be made from.
    pub(super) fn bind(&mut self, socket: SocketId, port: u16, toward: SocketAddr) -> io::Result<u16> {
        let bound = self.bound(port, toward)?;
        bound.listen(BACKLOG)?;
        let number = bound.local_addr()?.as_socket().map_or(port, |address| address.port());
        let listener = TcpListener::from_std(bound.into())?;
        let events = self.events.clone();
        let accept = async move {
            // Whoever connects is told of, and not talked to. A reset at once might come before the other side has looked.
            let mut held = VecDeque::new();
            while let Ok((stream, from)) = listener.accept().await {
                held.push_back(stream);
                if held.len() > BACKLOG as usize {
                    held.pop_front();
                }
                if events.send(Event::Accepted { socket, from }).await.is_err() {
                    return;
                }
            }
        };
        let listener = tokio::spawn(accept);
        self.ports.insert(socket, Port { number, listener, connections: BTreeMap::new(), knocks: BTreeMap::new() });
        Ok(number)
    }

    pub(super) fn port(&self, socket: SocketId) -> Option<u16> {
        self.ports.get(&socket).map(|port| port.number)
    }

    /// Sends by the connection to `server`, which is made if there is none.
    pub(super) fn send(&mut self, socket: SocketId, server: SocketAddr, bytes: Vec<u8>) {
        let Some(number) = self.port(socket) else { return };
        let unsent = match self.ports.get(&socket).and_then(|port| port.connections.get(&server)) {
            Some((writer, _)) => writer.try_send(bytes).err().map(mpsc::error::TrySendError::into_inner),
            None => Some(bytes),
        };
        let Some(bytes) = unsent else { return };
        let bound = self.bound(number, server);
        let (writer, queue) = mpsc::channel(QUEUE);
        // An empty queue takes one.
        let _ = writer.try_send(bytes);
        let events = self.events.clone();
        let task = tokio::spawn(async move {
            if let Ok(bound) = bound
                && let Ok(stream) = connect(bound, server).await
            {
                talk(stream, socket, server, queue, &events).await;
            }
            // Nobody waits any more if this fails.
            let _ = events.send(Event::Closed { socket, server }).await;
        });
        if let Some(port) = self.ports.get_mut(&socket) {
            port.connections.insert(server, (writer, task));
        }
    }

    /// Tries to connect from a port. If two hosts do that at once, one connection comes of it and none is accepted: it is told of as
    /// if it were.
    pub(super) fn knock(&mut self, socket: SocketId, to: SocketAddr) {
        let before = self.ports.get(&socket).and_then(|port| port.knocks.get(&to));
        if before.is_some_and(|(at, task)| !task.is_finished() && at.elapsed() < KNOCK) {
            return;
        }
        // There can be one connection between two endpoints: an older attempt makes place.
        if let Some((_, task)) = before {
            task.abort();
        }
        let Some(bound) = self.port(socket).and_then(|number| self.bound(number, to).ok()) else { return };
        let events = self.events.clone();
        let task = tokio::spawn(async move {
            if let Ok(_stream) = connect(bound, to).await {
                // Nobody waits any more if this fails.
                let _ = events.send(Event::Accepted { socket, from: to }).await;
                // Held until the port is closed, or the next knock takes its place.
                std::future::pending::<()>().await;
            }
        });
        if let Some(port) = self.ports.get_mut(&socket) {
            port.knocks.insert(to, (Instant::now(), task));
        }
    }

    /// Ends the listener and the connections of a port.
    pub(super) fn close(&mut self, socket: SocketId) {
        self.ports.remove(&socket);
    }

    fn bound(&self, port: u16, toward: SocketAddr) -> io::Result<Socket> {
        let socket = self.route.socket(toward, Type::STREAM)?;
        socket.set_nonblocking(true)?;
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(true)?;
        socket.set_linger(Some(Duration::ZERO))?;
        socket.bind(&SocketAddr::new(unspecified(toward), port).into())?;
        Ok(socket)
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.listener.abort();
        self.connections.values().for_each(|(_, task)| task.abort());
        self.knocks.values().for_each(|(_, task)| task.abort());
    }
}

async fn connect(bound: Socket, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpSocket::from_std_stream(bound.into());
    tokio::time::timeout(PATIENCE, socket.connect(to)).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

/// Writes what is to be written and tells of what comes, until either ends.
async fn talk(
    mut stream: TcpStream,
    socket: SocketId,
    server: SocketAddr,
    mut queue: mpsc::Receiver<Vec<u8>>,
    events: &mpsc::Sender<Event>,
) {
    let mut received = Vec::new();
    loop {
        tokio::select! {
            bytes = queue.recv() => {
                let Some(bytes) = bytes else { return };
                if stream.write_all(&bytes).await.is_err() {
                    return;
                }
            }
            read = stream.read_buf(&mut received) => {
                if !read.is_ok_and(|length| length > 0) || received.len() > LONGEST {
                    return;
                }
                loop {
                    match next(&received) {
                        Ok(Next::Message(length)) => {
                            let bytes: Vec<u8> = received.drain(..length).collect();
                            if events.send(Event::Message { socket, server, bytes }).await.is_err() {
                                return;
                            }
                        }
                        Ok(Next::More(_)) => break,
                        Err(_) => return,
                    }
                }
            }
        }
    }
}

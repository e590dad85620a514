//! Binding requests by UDP or TCP: the sockets around [`pinhole_stun::client`].

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::time::Instant as SystemInstant;

use pinhole_sansio::{Instant, Machine};
use pinhole_stun::client::{Answer, Client, Failure, Input, Output, Request, RequestId, Schedule, SocketId, Transport};
use tokio::sync::mpsc;

use super::stream::{Event, Streams};
use super::{Door, Route};

/// The only socket for datagrams.
const SOCKET: SocketId = SocketId(0);
/// Bytes of an answer that are read.
const LONGEST: usize = 2_048;
/// Messages of connections that wait to be looked at.
const QUEUE: usize = 64;

/// Asks servers from one port.
#[derive(Debug)]
pub struct Asker {
    epoch: SystemInstant,
    client: Client,
    way: Way,
}

#[derive(Debug)]
enum Way {
    Datagram(Door),
    Stream { streams: Box<Streams>, events: mpsc::Receiver<Event> },
}

impl Asker {
    /// Opens the port, or any for `None`, to ask `toward` and others of its family. `seed` makes transaction ids.
    ///
    /// # Errors
    /// What [`Door::open`] says.
    pub fn open(
        route: &Route,
        transport: Transport,
        toward: SocketAddr,
        port: Option<u16>,
        seed: u64,
    ) -> io::Result<Self> {
        let way = match transport {
            Transport::Datagram => Way::Datagram(Door::open(route, toward, port)?),
            Transport::Stream => {
                let (sender, events) = mpsc::channel(QUEUE);
                let mut streams = Streams::new(route.clone(), sender);
                streams.bind(SOCKET, port.unwrap_or(0), toward)?;
                Way::Stream { streams: Box::new(streams), events }
            }
        };
        Ok(Self { epoch: SystemInstant::now(), client: Client::new(seed), way })
    }

    /// The port.
    ///
    /// # Errors
    /// Those of getsockname(2).
    pub fn port(&self) -> io::Result<u16> {
        match &self.way {
            Way::Datagram(door) => door.port(),
            Way::Stream { streams, .. } => Ok(streams.port(SOCKET).unwrap_or_default()),
        }
    }

    /// True if the port is another program's.
    pub const fn is_borrowed(&self) -> bool {
        match &self.way {
            Way::Datagram(door) => door.is_borrowed(),
            Way::Stream { .. } => false,
        }
    }

    /// Asks all `servers` at once; what each says is told to `told` as it comes, until `told` says that it has enough (false).
    ///
    /// # Errors
    /// That nothing can be sent to any server.
    pub async fn ask(
        &mut self,
        servers: &[SocketAddr],
        schedule: Schedule,
        mut told: impl FnMut(SocketAddr, Result<Box<Answer>, Failure>) -> bool,
    ) -> io::Result<()> {
        if let Way::Stream { events, .. } = &mut self.way {
            // Connections that have ended since the last time are made anew, and are no news.
            while events.try_recv().is_ok() {}
        }
        let mut waiting: BTreeMap<RequestId, SocketAddr> = BTreeMap::new();
        let mut unsent: Vec<SocketAddr> = Vec::new();
        for server in servers {
            let request = Request::binding(*server, SOCKET).with_schedule(schedule);
            let request = if let Way::Stream { .. } = self.way { request.by_stream() } else { request };
            waiting.insert(self.client.ask(self.now(), request), *server);
        }
        let mut buffer = [0; LONGEST];
        loop {
            while let Some(output) = self.client.poll_output() {
                match (output, &mut self.way) {
                    (Output::Transmit { server, bytes, .. }, Way::Datagram(door)) => {
                        if let Err(error) = door.send(&bytes, server).await {
                            // One family or one network may be unreachable, and the others not.
                            if !unsent.contains(&server) {
                                unsent.push(server);
                            }
                            if unsent.len() == servers.len() {
                                return Err(error);
                            }
                        }
                    }
                    (Output::Stream { server, bytes, .. }, Way::Stream { streams, .. }) => {
                        streams.send(SOCKET, server, bytes);
                    }
                    (Output::Transmit { .. } | Output::Stream { .. }, _) | (Output::Stray { .. }, _) => {}
                    (Output::Done { request, answer }, _) => {
                        if let Some(server) = waiting.remove(&request)
                            && !told(server, answer)
                        {
                            waiting.keys().for_each(|request| self.client.cancel(*request));
                            return Ok(());
                        }
                    }
                }
            }
            if waiting.is_empty() {
                return Ok(());
            }
            let input = self.next(&mut buffer, &waiting).await;
            self.client.handle_input(self.now(), input);
        }
    }

    /// Waits for a datagram, a message or the next deadline.
    async fn next(&mut self, buffer: &mut [u8; LONGEST], waiting: &BTreeMap<RequestId, SocketAddr>) -> Input {
        let deadline = self.client.poll_timeout().map_or(self.now(), |deadline| deadline.at);
        let sleep = tokio::time::sleep_until((self.epoch + deadline.since(Instant::EPOCH)).into());
        let whose = |server: SocketAddr| waiting.iter().find(|(_, of)| **of == server).map(|(request, _)| *request);
        match &mut self.way {
            Way::Datagram(door) => tokio::select! {
                received = door.receive(buffer) => match received {
                    Ok((length, from)) => Input::Datagram { socket: SOCKET, from, bytes: buffer[..length].to_vec() },
                    // An ICMP error; the request is sent again.
                    Err(_) => Input::Timeout,
                },
                () = sleep => Input::Timeout,
            },
            Way::Stream { events, .. } => tokio::select! {
                event = events.recv() => match event {
                    Some(Event::Message { server, bytes, .. }) => {
                        whose(server).map_or(Input::Timeout, |request| Input::Message { request, bytes })
                    }
                    Some(Event::Closed { server, .. }) => {
                        whose(server).map_or(Input::Timeout, |request| Input::Closed { request })
                    }
                    Some(Event::Accepted { .. }) | None => Input::Timeout,
                },
                () = sleep => Input::Timeout,
            },
        }
    }

    fn now(&self) -> Instant {
        Instant::EPOCH + self.epoch.elapsed()
    }
}

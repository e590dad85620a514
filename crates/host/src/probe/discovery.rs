//! Behaviour discovery on real sockets: the driver of [`pinhole_traversal::discovery`].

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant as SystemInstant;

use pinhole_sansio::{Instant, Machine};
use pinhole_stun::client::{SocketId, Transport};
use pinhole_traversal::discovery::{Discovery, Input, Observation, Output, Report, Settings};
use socket2::SockRef;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::Route;
use super::stream::{Event, Streams};

/// Datagrams and messages that wait to be looked at; senders wait too.
const QUEUE: usize = 256;
/// Bytes of an answer that are read.
const LONGEST: usize = 2_048;

/// Finds out. What is observed is told to `observed` as it is.
///
/// # Errors
/// The first refusal to open a socket, if there was nothing else to tell.
pub async fn discover(route: &Route, settings: Settings, mut observed: impl FnMut(&Observation)) -> io::Result<Report> {
    let epoch = SystemInstant::now();
    let (datagrams, mut arriving) = mpsc::channel(QUEUE);
    let (messages, mut coming) = mpsc::channel(QUEUE);
    let mut driver = Driver {
        route: route.clone(),
        transport: settings.transport,
        datagrams,
        sockets: BTreeMap::new(),
        streams: Streams::new(route.clone(), messages),
        refusal: None,
    };
    let now = || Instant::EPOCH + epoch.elapsed();
    let mut machine = Discovery::new(now(), settings);
    loop {
        while let Some(output) = machine.poll_output() {
            match output {
                Output::Progress(progress) => observed(&progress.observation),
                Output::Done(report) => {
                    return match driver.refusal {
                        Some(refusal) if report.observations.is_empty() => Err(refusal),
                        Some(_) | None => Ok(*report),
                    };
                }
                Output::Bind { socket, port, toward } => {
                    let input = driver.bind(socket, port.unwrap_or(0), toward);
                    machine.handle_input(now(), input);
                }
                output
                @ (Output::Send { .. } | Output::Stream { .. } | Output::Knock { .. } | Output::Close { .. }) => {
                    driver.act(output);
                }
            }
        }
        let deadline = machine.poll_timeout().map_or(now(), |deadline| deadline.at);
        let sleep = tokio::time::sleep_until((epoch + deadline.since(Instant::EPOCH)).into());
        let input = tokio::select! {
            biased;
            Some(datagram) = arriving.recv() => datagram,
            Some(event) = coming.recv() => match event {
                Event::Message { socket, server, bytes } => Input::Message { socket, server, bytes },
                Event::Closed { socket, server } => Input::Closed { socket, server },
                Event::Accepted { socket, from } => Input::Accepted { socket, from },
            },
            () = sleep => {
                // What has come meanwhile comes before the clock: a busy host would ask again what is answered.
                tokio::task::yield_now().await;
                arriving.try_recv().unwrap_or(Input::Timeout)
            }
        };
        machine.handle_input(now(), input);
    }
}

struct Driver {
    route: Route,
    transport: Transport,
    datagrams: mpsc::Sender<Input>,
    sockets: BTreeMap<SocketId, (Arc<UdpSocket>, Reader)>,
    streams: Streams,
    /// The first socket that could not be opened.
    refusal: Option<io::Error>,
}

/// The task that reads a socket, and ends with it.
struct Reader(JoinHandle<()>);

impl Drop for Reader {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Driver {
    fn bind(&mut self, socket: SocketId, port: u16, toward: SocketAddr) -> Input {
        let bound = match self.transport {
            Transport::Datagram => self.bind_datagrams(socket, port, toward),
            Transport::Stream => self.streams.bind(socket, port, toward),
        };
        match bound.and_then(|port| Ok(SocketAddr::new(self.route.local(toward)?, port))) {
            Ok(local) => Input::Bound { socket, local },
            Err(error) => {
                self.refusal.get_or_insert(error);
                Input::Unbound { socket }
            }
        }
    }

    fn bind_datagrams(&mut self, socket: SocketId, port: u16, toward: SocketAddr) -> io::Result<u16> {
        let bound = Arc::new(self.route.datagrams(toward, port)?);
        let number = bound.local_addr()?.port();
        let (reader, datagrams) = (Arc::clone(&bound), self.datagrams.clone());
        let read = async move {
            let mut buffer = [0; LONGEST];
            loop {
                match reader.recv_from(&mut buffer).await {
                    Ok((length, from)) => {
                        let input = Input::Datagram { socket, from, bytes: buffer[..length].to_vec() };
                        if datagrams.send(input).await.is_err() {
                            return;
                        }
                    }
                    // An ICMP error of what was sent: the silence that follows says the same. Errors are taken by reading, so
                    // that there is no end of them only if there is no end of packets.
                    Err(_) => tokio::task::yield_now().await,
                }
            }
        };
        self.sockets.insert(socket, (bound, Reader(tokio::spawn(read))));
        Ok(number)
    }

    /// Sends and closes. What cannot be sent is lost, as it might be on the way.
    fn act(&mut self, output: Output) {
        match output {
            Output::Send { socket, to, bytes } => self.send(socket, to, &bytes),
            Output::Knock { socket, to, bytes, hops: Some(hops) } => self.send_near(socket, to, &bytes, hops),
            Output::Knock { socket, to, bytes, hops: None } => match self.transport {
                Transport::Datagram => self.send(socket, to, &bytes),
                Transport::Stream => self.streams.knock(socket, to),
            },
            Output::Stream { socket, to, bytes } => self.streams.send(socket, to, bytes),
            Output::Close { socket } => {
                self.sockets.remove(&socket);
                self.streams.close(socket);
            }
            Output::Bind { .. } | Output::Progress(_) | Output::Done(_) => {}
        }
    }

    /// Sends directly: the runtime does not know a new socket to be writable before it has waited for it. A first error may be an
    /// earlier datagram's (an ICMP error); it is taken, and this one goes.
    fn send(&self, socket: SocketId, to: SocketAddr, bytes: &[u8]) {
        let Some((socket, _)) = self.sockets.get(&socket) else { return };
        let (socket, to) = (SockRef::from(&**socket), to.into());
        let _ = socket.send_to(bytes, &to).or_else(|_| socket.send_to(bytes, &to));
    }

    /// Sends what dies after so many hops. A socket that cannot be told so sends nothing, which would go too far.
    fn send_near(&self, socket: SocketId, to: SocketAddr, bytes: &[u8], hops: u8) {
        let Some((bound, _)) = self.sockets.get(&socket) else { return };
        let reference = SockRef::from(&**bound);
        let live = |hops| match to {
            SocketAddr::V4(_) => reference.set_ttl_v4(hops),
            SocketAddr::V6(_) => reference.set_unicast_hops_v6(hops),
        };
        let usual = match to {
            SocketAddr::V4(_) => reference.ttl_v4(),
            SocketAddr::V6(_) => reference.unicast_hops_v6(),
        };
        let Ok(usual) = usual else { return };
        if live(hops.into()).is_ok() {
            self.send(socket, to, bytes);
            // It was set before, so it can be set again.
            let _ = live(usual);
        }
    }
}

//! Asks the first hop what it is and whether it maps ports: by PCP, NAT-PMP and UPnP side by side.
//!
//! Whether a port can be had shows only if one is asked for: a free one of ours is mapped for a moment and given back. Nobody
//! listens there, and existing mappings are not touched.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant as SystemInstant};

use pinhole_sansio::{Instant, Machine};
use pinhole_traversal::diagnosis::facts::{FirstHop, Service};
use pinhole_traversal::firsthop::{Protocol, natpmp, pcp, upnp};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::mpsc;

/// A second request of PCP leaves after three seconds (RFC 6887 §8.1.1); one that is answered late is none for a person.
const PCP_PATIENCE: Duration = Duration::from_millis(3_500);
/// Four requests of NAT-PMP (RFC 6886 §3.1).
const NATPMP_PATIENCE: Duration = Duration::from_secs(2);
/// Search, description and call.
const UPNP_PATIENCE: Duration = Duration::from_secs(5);
/// Giving back is a matter of politeness: what is not given back ends by itself.
const RETURN_PATIENCE: Duration = Duration::from_millis(700);
/// Seconds for which a port is asked.
const LEASE_S: u32 = 120;
/// Connections to a router take no longer.
const CONNECT: Duration = Duration::from_secs(2);
/// Answers that wait.
const QUEUE: usize = 16;

/// What to ask.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// The first hop.
    pub gateway: Ipv4Addr,
    /// The address from which it is reached.
    pub own: Ipv4Addr,
    /// Whether to ask for a port.
    pub maps: bool,
    /// Makes nonces: take it from the system's generator.
    pub seed: u64,
}

/// Asks by all protocols.
pub async fn ask(settings: Settings) -> FirstHop {
    let (pcp, nat_pmp, upnp) = tokio::join!(by_pcp(settings), by_nat_pmp(settings), by_upnp(settings));
    let or_silent = |service: io::Result<Service>| service.unwrap_or(Service::Silent);
    FirstHop { pcp: or_silent(pcp), nat_pmp: or_silent(nat_pmp), upnp: or_silent(upnp) }
}

/// A port of ours that nobody else uses meanwhile.
async fn reserve(own: Ipv4Addr) -> io::Result<(UdpSocket, u16)> {
    let socket = UdpSocket::bind((own, 0)).await?;
    let port = socket.local_addr()?.port();
    Ok((socket, port))
}

async fn connect(settings: Settings, port: u16) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((settings.own, 0)).await?;
    // A connected socket hears that nobody listens, and nobody else.
    socket.connect((settings.gateway, port)).await?;
    Ok(socket)
}

async fn by_pcp(settings: Settings) -> io::Result<Service> {
    let socket = connect(settings, pcp::PORT).await?;
    let (_reserved, port) = reserve(settings.own).await?;
    let server = SocketAddr::new(settings.gateway.into(), pcp::PORT);
    let mut client = pcp::Client::new(server, settings.own.into(), settings.seed);
    let mut nonce = [0; 12];
    nonce[..8].copy_from_slice(&settings.seed.to_be_bytes());
    let map = |lifetime| pcp::Request::Map {
        nonce,
        protocol: Protocol::Udp,
        internal: port,
        suggested: SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port),
        lifetime,
    };
    let mut clock = Clock::new();
    let mut request = async |request, patience| {
        client.handle_input(clock.now(), pcp::Input::Ask { request, patience });
        let input = |read: Read| match read {
            Read::Datagram(bytes) => pcp::Input::Datagram { from: server, bytes },
            Read::Unreachable => pcp::Input::Unreachable,
        };
        let take = |output| match output {
            pcp::Output::Transmit { bytes, .. } => Step::Send(bytes),
            pcp::Output::Done(result) => Step::Done(result),
            pcp::Output::Restarted => Step::Nothing,
        };
        drive(&mut client, &socket, &mut clock, input, take).await
    };
    let first = if settings.maps { map(LEASE_S) } else { pcp::Request::Announce };
    Ok(match request(first, PCP_PATIENCE).await {
        Ok(pcp::Reply::Announced) => Service::Works { external: None, mapped: None },
        Ok(pcp::Reply::Mapped { external, .. }) => {
            let _ = request(map(0), RETURN_PATIENCE).await;
            Service::Works { external: Some(external.ip()), mapped: Some(external) }
        }
        Err(pcp::Failure::NoAnswer | pcp::Failure::Refused { refusal: pcp::Refusal::UnsupportedVersion, .. }) => {
            Service::Silent
        }
        Err(pcp::Failure::Refused { refusal, .. }) => Service::Refuses { reason: refusal.to_string(), external: None },
    })
}

async fn by_nat_pmp(settings: Settings) -> io::Result<Service> {
    let socket = connect(settings, natpmp::PORT).await?;
    let (_reserved, port) = reserve(settings.own).await?;
    let gateway = SocketAddr::new(settings.gateway.into(), natpmp::PORT);
    let mut client = natpmp::Client::new(gateway);
    let map =
        |lifetime, suggested| natpmp::Request::Map { protocol: Protocol::Udp, internal: port, suggested, lifetime };
    let mut clock = Clock::new();
    let mut request = async |request, patience| {
        client.handle_input(clock.now(), natpmp::Input::Ask { request, patience });
        let input = |read: Read| match read {
            Read::Datagram(bytes) => natpmp::Input::Datagram { from: gateway, bytes },
            Read::Unreachable => natpmp::Input::Unreachable,
        };
        let take = |output| match output {
            natpmp::Output::Transmit { bytes, .. } => Step::Send(bytes),
            natpmp::Output::Done(result) => Step::Done(result),
            natpmp::Output::Restarted => Step::Nothing,
        };
        drive(&mut client, &socket, &mut clock, input, take).await
    };
    let external = match request(natpmp::Request::ExternalAddress, NATPMP_PATIENCE).await {
        Ok(natpmp::Reply::ExternalAddress(external)) => Some(IpAddr::V4(external)).filter(|ip| !ip.is_unspecified()),
        Ok(natpmp::Reply::Mapped { .. }) => None,
        Err(natpmp::Failure::NoAnswer | natpmp::Failure::Refused(natpmp::Refusal::UnsupportedVersion)) => {
            return Ok(Service::Silent);
        }
        Err(natpmp::Failure::Refused(refusal)) => {
            return Ok(Service::Refuses { reason: refusal.to_string(), external: None });
        }
    };
    if !settings.maps {
        return Ok(Service::Works { external, mapped: None });
    }
    Ok(match request(map(LEASE_S, port), NATPMP_PATIENCE).await {
        Ok(natpmp::Reply::Mapped { external: port, .. }) => {
            let _ = request(map(0, 0), RETURN_PATIENCE).await;
            let ip = external.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
            Service::Works { external, mapped: Some(SocketAddr::new(ip, port)) }
        }
        Ok(natpmp::Reply::ExternalAddress(_)) => Service::Works { external, mapped: None },
        Err(natpmp::Failure::NoAnswer) => Service::Refuses { reason: "no answer".into(), external },
        Err(natpmp::Failure::Refused(refusal)) => Service::Refuses { reason: refusal.to_string(), external },
    })
}

async fn by_upnp(settings: Settings) -> io::Result<Service> {
    let (_reserved, port) = reserve(settings.own).await?;
    let mut driver = Upnp::new(settings).await?;
    let external = match driver.request(upnp::Request::ExternalAddress, UPNP_PATIENCE).await {
        Ok(upnp::Reply::ExternalAddress(external)) => external,
        Ok(upnp::Reply::Mapped { .. } | upnp::Reply::Unmapped) => None,
        Err(upnp::Failure::NoGateway) => return Ok(Service::Silent),
        Err(failure @ (upnp::Failure::Broken | upnp::Failure::Refused { .. })) => {
            return Ok(Service::Refuses { reason: failure.to_string(), external: None });
        }
    };
    if !settings.maps {
        return Ok(Service::Works { external, mapped: None });
    }
    let map = upnp::Request::Map {
        protocol: Protocol::Udp,
        client: settings.own,
        internal: port,
        suggested: port,
        lifetime: LEASE_S,
    };
    Ok(match driver.request(map, UPNP_PATIENCE).await {
        Ok(upnp::Reply::Mapped { external: port, .. }) => {
            // A permanent one would stay for ever, so this waits as long as for all else.
            let _ =
                driver.request(upnp::Request::Unmap { protocol: Protocol::Udp, external: port }, UPNP_PATIENCE).await;
            let ip = external.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
            Service::Works { external, mapped: Some(SocketAddr::new(ip, port)) }
        }
        Ok(upnp::Reply::ExternalAddress(_) | upnp::Reply::Unmapped) => Service::Works { external, mapped: None },
        Err(failure) => Service::Refuses { reason: failure.to_string(), external },
    })
}

/// Time since its beginning, as machines want it.
struct Clock(SystemInstant);

impl Clock {
    fn new() -> Self {
        Self(SystemInstant::now())
    }

    fn now(&self) -> Instant {
        Instant::EPOCH + self.0.elapsed()
    }

    async fn sleep_until(&self, at: Instant) {
        tokio::time::sleep_until((self.0 + at.since(Instant::EPOCH)).into()).await;
    }
}

/// What a connected socket brings.
enum Read {
    Datagram(Vec<u8>),
    Unreachable,
}

/// What an output means to the driver.
enum Step<T> {
    Send(Vec<u8>),
    Done(T),
    Nothing,
}

/// Runs a machine that talks to one server by datagrams, until its request has ended.
async fn drive<M: Machine, T>(
    machine: &mut M,
    socket: &UdpSocket,
    clock: &mut Clock,
    input: impl Fn(Read) -> M::Input,
    take: impl Fn(M::Output) -> Step<T>,
) -> T {
    let mut buffer = [0; 1_500];
    loop {
        while let Some(output) = machine.poll_output() {
            match take(output) {
                // What cannot be sent is lost, as it might be on the way.
                Step::Send(bytes) => drop(socket.send(&bytes).await),
                Step::Done(result) => return result,
                Step::Nothing => {}
            }
        }
        let deadline = machine.poll_timeout().map_or(clock.now(), |deadline| deadline.at);
        let next = tokio::select! {
            read = socket.recv(&mut buffer) => match read {
                Ok(length) => input(Read::Datagram(buffer[..length].to_vec())),
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => input(Read::Unreachable),
                Err(_) => M::timeout(),
            },
            () = clock.sleep_until(deadline) => M::timeout(),
        };
        machine.handle_input(clock.now(), next);
    }
}

/// The driver of UPnP: datagrams to a group, and connections.
struct Upnp {
    client: upnp::Client,
    socket: UdpSocket,
    own: Ipv4Addr,
    clock: Clock,
    answers: mpsc::Receiver<upnp::Input>,
    sender: mpsc::Sender<upnp::Input>,
}

impl Upnp {
    async fn new(settings: Settings) -> io::Result<Self> {
        let socket = UdpSocket::bind((settings.own, 0)).await?;
        let reference = socket2::SockRef::from(&socket);
        reference.set_multicast_if_v4(&settings.own)?;
        // UDA 1.1 §1.3.2: 2 by default.
        reference.set_multicast_ttl_v4(2)?;
        let (sender, answers) = mpsc::channel(QUEUE);
        let client = upnp::Client::new(settings.gateway.into());
        Ok(Self { client, socket, own: settings.own, clock: Clock::new(), answers, sender })
    }

    async fn request(&mut self, request: upnp::Request, patience: Duration) -> Result<upnp::Reply, upnp::Failure> {
        self.client.handle_input(self.clock.now(), upnp::Input::Ask { request, patience });
        let mut buffer = [0; 2_048];
        loop {
            while let Some(output) = self.client.poll_output() {
                match output {
                    upnp::Output::Transmit { to, bytes } => drop(self.socket.send_to(&bytes, to).await),
                    upnp::Output::Exchange { exchange, to, bytes } => {
                        let (own, sender) = (self.own, self.sender.clone());
                        tokio::spawn(async move {
                            let input = match exchange_with(own, to, &bytes).await {
                                Ok(bytes) => upnp::Input::Response { exchange, bytes },
                                Err(_) => upnp::Input::Failed { exchange },
                            };
                            // The end of the request is no reason to tell anyone.
                            let _ = sender.send(input).await;
                        });
                    }
                    upnp::Output::Done(result) => return result,
                }
            }
            let deadline = self.client.poll_timeout().map_or(self.clock.now(), |deadline| deadline.at);
            let input = tokio::select! {
                read = self.socket.recv_from(&mut buffer) => match read {
                    Ok((length, from)) => upnp::Input::Datagram { from, bytes: buffer[..length].to_vec() },
                    Err(_) => upnp::Input::Timeout,
                },
                Some(answer) = self.answers.recv() => answer,
                () = self.clock.sleep_until(deadline) => upnp::Input::Timeout,
            };
            self.client.handle_input(self.clock.now(), input);
        }
    }
}

/// Sends a request by TCP and reads the response.
async fn exchange_with(own: Ipv4Addr, to: SocketAddr, request: &[u8]) -> io::Result<Vec<u8>> {
    let socket = tokio::net::TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(own.into(), 0))?;
    let connecting = tokio::time::timeout(CONNECT, socket.connect(to));
    let mut stream: TcpStream = connecting.await.map_err(|_| io::ErrorKind::TimedOut)??;
    stream.write_all(request).await?;
    let mut response = Vec::new();
    while !upnp::http::is_whole(&response) {
        if stream.read_buf(&mut response).await? == 0 {
            break;
        }
    }
    Ok(response)
}

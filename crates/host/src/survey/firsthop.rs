//! Asks the first hop what it is and whether it maps ports: by PCP, NAT-PMP and UPnP side by side. Over IPv6 PCP and UPnP open
//! pinholes in its firewall.
//!
//! Whether a port can be had shows only if one is asked for: a free one of ours is mapped for a moment and given back. Nobody
//! listens there, and existing mappings are not touched.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::time::{Duration, Instant as SystemInstant};

use pinhole_sansio::{Instant, Machine};
use pinhole_traversal::diagnosis::facts::{FirstHop, Service};
use pinhole_traversal::firsthop::client::{Client, Dialect, Failure, Input, Output};
use pinhole_traversal::firsthop::{Protocol, natpmp, pcp, upnp};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, UdpSocket};
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
    /// The way of IPv4, if there is one through a router.
    pub v4: Option<Way<Ipv4Addr>>,
    /// The way of IPv6.
    pub v6: Option<Way<SocketAddrV6>>,
    /// Whether to ask for a port.
    pub maps: bool,
    /// Makes nonces: take it from the system's generator.
    pub seed: u64,
}

/// A first hop, and from where it is reached.
#[derive(Clone, Copy, Debug)]
pub struct Way<A> {
    /// The router. An IPv6 one has the interface as its scope, and no port.
    pub gateway: A,
    /// The address that packets to the Internet leave with.
    pub own: IpAddr,
}

impl Way<SocketAddrV6> {
    /// The way through `interface`, of this network namespace.
    ///
    /// # Errors
    /// When there is no such interface.
    pub fn through(interface: &str, router: Ipv6Addr, own: Ipv6Addr) -> io::Result<Self> {
        let any = std::net::UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))?;
        let scope = rustix::net::netdevice::name_to_index(&any, interface)?;
        Ok(Self { gateway: SocketAddrV6::new(router, 0, 0, scope), own: own.into() })
    }

    fn at(self, port: u16) -> SocketAddr {
        let mut gateway = self.gateway;
        gateway.set_port(port);
        gateway.into()
    }
}

/// Asks by all protocols.
pub async fn ask(settings: Settings) -> FirstHop {
    let Settings { v4, v6, maps, seed } = settings;
    let by_v4 = async |way: Way<Ipv4Addr>| {
        let server = SocketAddr::new(way.gateway.into(), pcp::PORT);
        tokio::join!(by_pcp(server, way.own, maps, seed), by_nat_pmp(server, way.own, maps), by_upnp(way, v6, maps))
    };
    let by_v4 = async {
        match v4 {
            Some(way) => by_v4(way).await,
            None => (Ok(Service::NotAsked), Ok(Service::NotAsked), Ok((Service::NotAsked, Service::NotAsked))),
        }
    };
    let by_v6 = async {
        match v6 {
            Some(way) => by_pcp(way.at(pcp::PORT), way.own, maps, seed ^ 6).await,
            None => Ok(Service::NotAsked),
        }
    };
    let ((pcp, nat_pmp, upnp), pcp_v6) = tokio::join!(by_v4, by_v6);
    let or_silent = |service: io::Result<Service>| service.unwrap_or(Service::Silent);
    let (upnp, upnp_v6) = upnp.unwrap_or((Service::Silent, Service::Silent));
    FirstHop { pcp: or_silent(pcp), nat_pmp: or_silent(nat_pmp), upnp, pcp_v6: or_silent(pcp_v6), upnp_v6 }
}

/// A port of ours that nobody else uses meanwhile.
async fn reserve(own: IpAddr) -> io::Result<(UdpSocket, u16)> {
    let socket = UdpSocket::bind((own, 0)).await?;
    let port = socket.local_addr()?.port();
    Ok((socket, port))
}

/// A socket that hears that nobody listens at `server`, and nobody else.
async fn connect(own: IpAddr, server: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((own, 0)).await?;
    socket.connect(server).await?;
    Ok(socket)
}

async fn by_pcp(server: SocketAddr, own: IpAddr, maps: bool, seed: u64) -> io::Result<Service> {
    let mut driver = Driver::new(pcp::Client::new(server, own, seed), connect(own, server).await?, server);
    let (_reserved, port) = reserve(own).await?;
    let mut nonce = [0; 12];
    nonce[..8].copy_from_slice(&seed.to_be_bytes());
    let any = if own.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let suggested = SocketAddr::new(any, port);
    let map = |lifetime| pcp::Request::Map { nonce, protocol: Protocol::Udp, internal: port, suggested, lifetime };
    let first = if maps { map(LEASE_S) } else { pcp::Request::Announce };
    Ok(match driver.request(first, PCP_PATIENCE).await {
        Ok(pcp::Reply::Announced) => Service::Works { external: None, mapped: None },
        Ok(pcp::Reply::Mapped { external, .. }) => {
            let _ = driver.request(map(0), RETURN_PATIENCE).await;
            Service::Works { external: Some(external.ip()), mapped: Some(external) }
        }
        Err(Failure::NoAnswer | Failure::Refused(pcp::Refused { refusal: pcp::Refusal::UnsupportedVersion, .. })) => {
            Service::Silent
        }
        Err(Failure::Refused(refused)) => Service::Refuses { reason: refused.refusal.to_string(), external: None },
    })
}

async fn by_nat_pmp(gateway: SocketAddr, own: IpAddr, maps: bool) -> io::Result<Service> {
    let mut driver = Driver::new(natpmp::Client::new(gateway), connect(own, gateway).await?, gateway);
    let (_reserved, port) = reserve(own).await?;
    let map =
        |lifetime, suggested| natpmp::Request::Map { protocol: Protocol::Udp, internal: port, suggested, lifetime };
    let external = match driver.request(natpmp::Request::ExternalAddress, NATPMP_PATIENCE).await {
        Ok(natpmp::Reply::ExternalAddress(external)) => Some(IpAddr::V4(external)).filter(|ip| !ip.is_unspecified()),
        Ok(natpmp::Reply::Mapped { .. }) => None,
        Err(Failure::NoAnswer | Failure::Refused(natpmp::Refusal::UnsupportedVersion)) => {
            return Ok(Service::Silent);
        }
        Err(Failure::Refused(refusal)) => {
            return Ok(Service::Refuses { reason: refusal.to_string(), external: None });
        }
    };
    if !maps {
        return Ok(Service::Works { external, mapped: None });
    }
    Ok(match driver.request(map(LEASE_S, port), NATPMP_PATIENCE).await {
        Ok(natpmp::Reply::Mapped { external: port, .. }) => {
            let _ = driver.request(map(0, 0), RETURN_PATIENCE).await;
            let ip = external.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
            Service::Works { external, mapped: Some(SocketAddr::new(ip, port)) }
        }
        Ok(natpmp::Reply::ExternalAddress(_)) => Service::Works { external, mapped: None },
        Err(Failure::NoAnswer) => Service::Refuses { reason: "no answer".into(), external },
        Err(Failure::Refused(refusal)) => Service::Refuses { reason: refusal.to_string(), external },
    })
}

/// By UPnP over IPv4, and of the same gateway a pinhole over IPv6.
async fn by_upnp(way: Way<Ipv4Addr>, v6: Option<Way<SocketAddrV6>>, maps: bool) -> io::Result<(Service, Service)> {
    let IpAddr::V4(own) = way.own else { return Ok((Service::NotAsked, Service::NotAsked)) };
    let mut driver = Upnp::new(way.gateway, own, v6).await?;
    let mapped = driver.map(own, maps).await?;
    let opened = match v6.filter(|_| maps && mapped != Service::Silent) {
        Some(way) => driver.open(way).await?,
        None if mapped == Service::Silent && v6.is_some() => Service::Silent,
        None => Service::NotAsked,
    };
    Ok((mapped, opened))
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

/// The driver of PCP and NAT-PMP.
struct Driver<D: Dialect> {
    client: Client<D>,
    socket: UdpSocket,
    server: SocketAddr,
    clock: Clock,
}

impl<D: Dialect> Driver<D> {
    fn new(client: Client<D>, socket: UdpSocket, server: SocketAddr) -> Self {
        Self { client, socket, server, clock: Clock::new() }
    }

    async fn request(&mut self, request: D::Request, patience: Duration) -> Result<D::Reply, Failure<D::Refusal>> {
        self.client.handle_input(self.clock.now(), Input::Ask { request, patience });
        let mut buffer = [0; 1_500];
        loop {
            while let Some(output) = self.client.poll_output() {
                match output {
                    // What cannot be sent is lost, as it might be on the way.
                    Output::Transmit { bytes, .. } => drop(self.socket.send(&bytes).await),
                    Output::Done(result) => return result,
                    Output::Restarted => {}
                }
            }
            let deadline = self.client.poll_timeout().map_or(self.clock.now(), |deadline| deadline.at);
            let next = tokio::select! {
                read = self.socket.recv(&mut buffer) => match read {
                    Ok(length) => Input::Datagram { from: self.server, bytes: buffer[..length].to_vec() },
                    Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Input::Unreachable,
                    Err(_) => Input::Timeout,
                },
                () = self.clock.sleep_until(deadline) => Input::Timeout,
            };
            self.client.handle_input(self.clock.now(), next);
        }
    }
}

/// The driver of UPnP: datagrams to a group, and connections.
struct Upnp {
    client: upnp::Client,
    socket: UdpSocket,
    own: Ipv4Addr,
    own_v6: Option<IpAddr>,
    clock: Clock,
    answers: mpsc::Receiver<upnp::Input>,
    sender: mpsc::Sender<upnp::Input>,
}

impl Upnp {
    async fn new(gateway: Ipv4Addr, own: Ipv4Addr, v6: Option<Way<SocketAddrV6>>) -> io::Result<Self> {
        let socket = UdpSocket::bind((own, 0)).await?;
        let reference = socket2::SockRef::from(&socket);
        reference.set_multicast_if_v4(&own)?;
        // UDA 1.1 §1.3.2: 2 by default.
        reference.set_multicast_ttl_v4(2)?;
        let (sender, answers) = mpsc::channel(QUEUE);
        let client = upnp::Client::new(gateway.into());
        let own_v6 = v6.map(|way| way.own);
        Ok(Self { client, socket, own, own_v6, clock: Clock::new(), answers, sender })
    }

    /// Asks for the outside address, and for a port.
    async fn map(&mut self, own: Ipv4Addr, maps: bool) -> io::Result<Service> {
        let external = match self.request(upnp::Request::ExternalAddress, UPNP_PATIENCE).await {
            Ok(upnp::Reply::ExternalAddress(external)) => external,
            Ok(_) => None,
            Err(upnp::Failure::NoGateway) => return Ok(Service::Silent),
            Err(failure) => return Ok(Service::Refuses { reason: failure.to_string(), external: None }),
        };
        if !maps {
            return Ok(Service::Works { external, mapped: None });
        }
        let (_reserved, port) = reserve(own.into()).await?;
        let map = upnp::Request::Map {
            protocol: Protocol::Udp,
            client: own,
            internal: port,
            suggested: port,
            lifetime: LEASE_S,
        };
        Ok(match self.request(map, UPNP_PATIENCE).await {
            Ok(upnp::Reply::Mapped { external: port, .. }) => {
                // A permanent one would stay for ever, so this waits as long as for all else.
                let unmap = upnp::Request::Unmap { protocol: Protocol::Udp, external: port };
                let _ = self.request(unmap, UPNP_PATIENCE).await;
                let ip = external.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
                Service::Works { external, mapped: Some(SocketAddr::new(ip, port)) }
            }
            Ok(_) => Service::Works { external, mapped: None },
            Err(failure) => Service::Refuses { reason: failure.to_string(), external },
        })
    }

    /// Asks for a pinhole in the firewall.
    async fn open(&mut self, way: Way<SocketAddrV6>) -> io::Result<Service> {
        let IpAddr::V6(client) = way.own else { return Ok(Service::NotAsked) };
        let (_reserved, port) = reserve(way.own).await?;
        let gateway = way.gateway;
        let open = upnp::Request::Open { gateway, protocol: Protocol::Udp, client, port, lifetime: LEASE_S };
        Ok(match self.request(open, UPNP_PATIENCE).await {
            Ok(upnp::Reply::Opened { id }) => {
                let _ = self.request(upnp::Request::Close { gateway, id }, UPNP_PATIENCE).await;
                Service::Works { external: Some(way.own), mapped: Some(SocketAddr::new(way.own, port)) }
            }
            Ok(_) => Service::Works { external: None, mapped: None },
            Err(upnp::Failure::NoFirewall | upnp::Failure::NoGateway) => Service::Silent,
            Err(failure) => Service::Refuses { reason: failure.to_string(), external: None },
        })
    }

    async fn request(&mut self, request: upnp::Request, patience: Duration) -> Result<upnp::Reply, upnp::Failure> {
        self.client.handle_input(self.clock.now(), upnp::Input::Ask { request, patience });
        let mut buffer = [0; 2_048];
        loop {
            while let Some(output) = self.client.poll_output() {
                match output {
                    upnp::Output::Transmit { to, bytes } => drop(self.socket.send_to(&bytes, to).await),
                    upnp::Output::Exchange { exchange, to, bytes } => {
                        let own_v6 = self.own_v6.unwrap_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
                        let own = if to.is_ipv4() { self.own.into() } else { own_v6 };
                        let sender = self.sender.clone();
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
async fn exchange_with(own: IpAddr, to: SocketAddr, request: &[u8]) -> io::Result<Vec<u8>> {
    let socket = if to.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.bind(SocketAddr::new(own, 0))?;
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

//! The addresses of a server and the sockets at them.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};

use pinhole_stun::server::{Layout, Local, Second};
use socket2::{Socket, Type};

use crate::bound::{Place, more_shards, open};

/// How often free ports are looked for that are free at both addresses, by UDP and TCP.
const PORT_ATTEMPTS: usize = 16;

/// One address to serve at, or two, of one family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// The address to bind; the wildcard serves all of its family, from the one that was asked.
    pub ip: IpAddr,
    /// The port; 0 for any that is free.
    pub port: u16,
    /// The second port for behaviour discovery; 0 for any.
    pub second_port: Option<u16>,
    /// The second address.
    pub second_ip: SecondIp,
    /// The addresses as clients see them, the first and the second, if a router translates them one to one.
    pub public: [Option<IpAddr>; 2],
}

/// Who has the second address of a site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecondIp {
    /// Nobody.
    Missing,
    /// This host.
    Here(IpAddr),
    /// A partner.
    Partner(IpAddr),
}

impl From<SocketAddr> for Site {
    /// One address and one port.
    fn from(address: SocketAddr) -> Self {
        let (ip, port) = (address.ip(), address.port());
        Self { ip, port, second_port: None, second_ip: SecondIp::Missing, public: [None; 2] }
    }
}

/// Why the server cannot listen.
#[derive(Debug)]
pub struct BindError {
    /// Where.
    pub address: SocketAddr,
    /// "UDP", "TCP" or "TLS".
    pub protocol: &'static str,
    /// What the kernel said.
    pub source: io::Error,
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, protocol, source } = self;
        write!(f, "cannot serve STUN at {address} ({protocol}): ")?;
        let flag = if *protocol == "UDP" { 'u' } else { 't' };
        match source.raw_os_error() {
            Some(libc::EADDRINUSE) => write!(
                f,
                "another program has the port; `ss -ln{flag}p sport = :{}` names it: stop it, or serve at another port",
                address.port()
            ),
            Some(libc::EACCES) => {
                f.write_str("ports below 1024 need a permission: run as root, or give the program CAP_NET_BIND_SERVICE")
            }
            Some(libc::EADDRNOTAVAIL) => write!(
                f,
                "no interface of this host has {}; behind a router that translates one to one, give the address of the \
                 interface here and the other one as the public address",
                address.ip()
            ),
            _ => write!(f, "{source}"),
        }
    }
}

/// What the kernel said is told by `Display`, in better words, and is no source beside it.
impl std::error::Error for BindError {}

/// The sockets of a site.
pub(super) struct Bound {
    /// With the ports it got and the addresses that clients see.
    pub(super) layout: Layout,
    pub(super) at: Vec<BoundAt>,
    /// The listeners for TLS, one per address.
    pub(super) tls: Vec<(Local, SocketAddr, Socket)>,
}

/// The sockets at one address and port.
pub(super) struct BoundAt {
    pub(super) local: Local,
    pub(super) address: SocketAddr,
    /// One per thread.
    pub(super) udp: Vec<Socket>,
    pub(super) tcp: Option<Socket>,
}

impl Site {
    /// Which sockets it has here.
    fn places(&self) -> Vec<(Local, SocketAddr)> {
        let ips = [
            Some(self.ip),
            match self.second_ip {
                SecondIp::Here(ip) => Some(ip),
                SecondIp::Missing | SecondIp::Partner(_) => None,
            },
        ];
        let ports = [Some(self.port), self.second_port];
        let place = |local: Local| {
            let ip = ips[usize::from(local.second_ip)]?;
            Some((local, SocketAddr::new(ip, ports[usize::from(local.second_port)]?)))
        };
        Local::ALL.into_iter().filter_map(place).collect()
    }

    /// Binds everything.
    pub(super) fn bind(&self, shards: usize, tcp: bool, tls: Option<u16>) -> Result<Bound, BindError> {
        let any = self.port == 0 || self.second_port == Some(0) || tls == Some(0);
        let mut attempts = 1;
        loop {
            match self.attempt(shards, tcp, tls) {
                Err(error) if error.source.kind() == io::ErrorKind::AddrInUse && any && attempts < PORT_ATTEMPTS => {
                    attempts += 1;
                }
                bound => return bound,
            }
        }
    }

    fn attempt(&self, shards: usize, tcp: bool, tls: Option<u16>) -> Result<Bound, BindError> {
        let mut ports = [self.port, self.second_port.unwrap_or(0)];
        let mut at = Vec::new();
        for (local, wanted) in self.places() {
            let port = &mut ports[usize::from(local.second_port)];
            let mut address = SocketAddr::new(wanted.ip(), *port);
            let failed = |protocol| move |source| BindError { address, protocol, source };
            let first = open(Place::from(address), Type::DGRAM).map_err(failed("UDP"))?;
            address = first.local_addr().map_err(failed("UDP"))?.as_socket().unwrap_or(address);
            *port = address.port();
            let failed = |protocol| move |source| BindError { address, protocol, source };
            let listener = match tcp {
                true => Some(open(Place::from(address), Type::STREAM).map_err(failed("TCP"))?),
                false => None,
            };
            let udp = more_shards(Place::from(address), first, shards).map_err(failed("UDP"))?;
            at.push(BoundAt { local, address, udp, tcp: listener });
        }
        let mut listeners = Vec::new();
        let mut tls_port = tls;
        for (local, place) in self.places().into_iter().filter(|(local, _)| !local.second_port) {
            let Some(port) = &mut tls_port else { break };
            let mut address = SocketAddr::new(place.ip(), *port);
            let failed = |source| BindError { address, protocol: "TLS", source };
            let listener = open(Place::from(address), Type::STREAM).map_err(failed)?;
            address = listener.local_addr().map_err(failed)?.as_socket().unwrap_or(address);
            *port = address.port();
            listeners.push((local, address, listener));
        }
        let second = match self.second_ip {
            SecondIp::Missing => Second::Missing,
            SecondIp::Here(ip) => Second::Here(self.public[1].unwrap_or(ip)),
            SecondIp::Partner(ip) => Second::Partner(ip),
        };
        let layout = Layout {
            ip: self.public[0].unwrap_or(self.ip),
            port: ports[0],
            second_port: self.second_port.map(|_| ports[1]),
            second,
        };
        Ok(Bound { layout, at, tls: listeners })
    }
}

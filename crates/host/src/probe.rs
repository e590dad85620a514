//! Sockets that ask: STUN queries from a port of one's own or of another program, and behaviour discovery.
//!
//! Every socket of a probe goes the same [`Route`]: the same interface and mark, since another route has another NAT.

pub mod ask;
pub mod borrowed;
pub mod discovery;
mod stream;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;

use borrowed::Borrowed;

/// What decides where packets go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Route {
    /// Only this interface (`SO_BINDTODEVICE`).
    pub interface: Option<String>,
    /// The mark of policy routing (`SO_MARK`); 0 for none. Needs CAP_NET_ADMIN, or CAP_NET_RAW since Linux 5.17.
    pub mark: u32,
}

impl Route {
    /// The address from which this host reaches `toward`. Nothing is sent.
    ///
    /// # Errors
    /// That there is no route, no such interface, or no permission to mark.
    pub fn local(&self, toward: SocketAddr) -> io::Result<IpAddr> {
        let socket = self.socket(toward, Type::DGRAM)?;
        socket.connect(&toward.into())?;
        let local = socket.local_addr()?.as_socket().ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(local.ip())
    }

    /// A socket for datagrams to `toward` and others of its family.
    ///
    /// # Errors
    /// `AddrInUse` if another socket has the port; what [`local`](Self::local) says.
    fn datagrams(&self, toward: SocketAddr, port: u16) -> io::Result<UdpSocket> {
        let socket = self.socket(toward, Type::DGRAM)?;
        socket.set_nonblocking(true)?;
        socket.bind(&SocketAddr::new(unspecified(toward), port).into())?;
        UdpSocket::from_std(socket.into())
    }

    /// An unbound socket with the options of the route.
    fn socket(&self, toward: SocketAddr, kind: Type) -> io::Result<Socket> {
        let protocol = if kind == Type::STREAM { Protocol::TCP } else { Protocol::UDP };
        let socket = Socket::new(Domain::for_address(toward), kind, Some(protocol))?;
        self.apply(&socket)?;
        Ok(socket)
    }

    pub(crate) fn apply(&self, socket: &Socket) -> io::Result<()> {
        if let Some(interface) = &self.interface {
            socket.bind_device(Some(interface.as_bytes()))?;
        }
        if self.mark != 0 {
            socket.set_mark(self.mark)?;
        }
        Ok(())
    }
}

/// Any address of the family of another.
pub(crate) fn unspecified(toward: SocketAddr) -> IpAddr {
    match toward {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// A port to send datagrams from and receive answers at.
#[derive(Debug)]
pub enum Door {
    /// One's own.
    Own(UdpSocket),
    /// Another program's.
    Borrowed(Borrowed),
}

impl Door {
    /// Opens `port`, or any for `None`, to reach `toward` and others of its family. A port that another program has is
    /// borrowed.
    ///
    /// # Errors
    /// `PermissionDenied` where the port would have to be borrowed and CAP_NET_RAW is missing; what
    /// [`Route::local`] says.
    pub fn open(route: &Route, toward: SocketAddr, port: Option<u16>) -> io::Result<Self> {
        match (route.datagrams(toward, port.unwrap_or(0)), port) {
            (Err(error), Some(port)) if error.kind() == io::ErrorKind::AddrInUse => {
                Borrowed::open(route, toward, port).map(Self::Borrowed)
            }
            (socket, _) => socket.map(Self::Own),
        }
    }

    /// The port.
    ///
    /// # Errors
    /// Those of getsockname(2).
    pub fn port(&self) -> io::Result<u16> {
        match self {
            Self::Own(socket) => Ok(socket.local_addr()?.port()),
            Self::Borrowed(borrowed) => Ok(borrowed.port()),
        }
    }

    /// True if the port is another program's.
    pub const fn is_borrowed(&self) -> bool {
        matches!(self, Self::Borrowed(_))
    }

    /// Sends a datagram.
    ///
    /// # Errors
    /// Those of sendto(2). An ICMP error of an earlier datagram may be one of them.
    pub async fn send(&self, bytes: &[u8], to: SocketAddr) -> io::Result<()> {
        match self {
            Self::Own(socket) => socket.send_to(bytes, to).await.map(drop),
            Self::Borrowed(borrowed) => borrowed.send(bytes, to, None),
        }
    }

    /// Receives a datagram: its length, and its source.
    ///
    /// # Errors
    /// Those of recvfrom(2). An ICMP error of an earlier datagram may be one of them.
    pub async fn receive(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        match self {
            Self::Own(socket) => socket.recv_from(buffer).await,
            Self::Borrowed(borrowed) => borrowed.receive(buffer).await,
        }
    }
}

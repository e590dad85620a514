//! What the tests share: sockets on hosts, and a loud skip.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use pinhole_host::namespace::privilege;
use pinhole_lab::{Link, RouterKind, Topology};
use pinhole_netns::{Host, Internet};

/// Says why a test did nothing, in a way nobody overlooks.
pub(crate) fn skip_without_privilege() -> bool {
    let skip = !privilege::can_make_namespaces();
    if skip {
        eprintln!("SKIP: making namespaces needs root (or CAP_SYS_ADMIN and CAP_NET_ADMIN); run the tests with sudo");
    }
    skip
}

/// Says which program a test needs and this machine lacks.
pub(crate) fn lacks(program: &str, package: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(std::path::PathBuf::from);
    let is_there = std::env::split_paths(&path).chain(system).any(|directory| directory.join(program).is_file());
    if !is_there {
        eprintln!("SKIP: {program} is missing; apt-get install {package}");
    }
    !is_there
}

/// The hub, alice and bob, with links of the given delay.
pub(crate) fn two_homes(alice: impl Into<RouterKind>, bob: impl Into<RouterKind>, delay_ms: u64) -> Internet {
    let link = Link::with_delay(Duration::from_millis(delay_ms));
    Internet::build(&Topology::two_homes(alice, bob, link, 1)).expect("it can be built")
}

/// A UDP socket on `host`.
pub(crate) fn socket(host: &Host, port: u16) -> UdpSocket {
    let socket = host.run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port))).expect("a thread").expect("a free port");
    socket.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
    socket
}

/// The address of `socket` as the Internet reaches it when `host` has a public address.
pub(crate) fn public(host: &Host, socket: &UdpSocket) -> SocketAddr {
    SocketAddr::new(host.address().into(), socket.local_addr().expect("bound").port())
}

/// Waits for a datagram; returns its text and sender.
pub(crate) fn receive(socket: &UdpSocket) -> Option<(String, SocketAddr)> {
    let mut buffer = [0; 2048];
    let (length, from) = socket.recv_from(&mut buffer).ok()?;
    Some((String::from_utf8_lossy(&buffer[..length]).into_owned(), from))
}

/// Sends from `inside` to the server; returns the source that the server sees.
pub(crate) fn mapping(inside: &UdpSocket, server: &UdpSocket, address: SocketAddr) -> SocketAddr {
    inside.send_to(b"which port?", address).expect("a route");
    receive(server).expect("it arrives").1
}

/// Sends to a server that answers, and returns how long it took.
pub(crate) fn round_trip(client: &UdpSocket, server: &UdpSocket, address: SocketAddr) -> Duration {
    let start = Instant::now();
    client.send_to(b"ping", address).expect("a route");
    let (_, from) = receive(server).expect("it arrives");
    server.send_to(b"pong", from).expect("a route");
    receive(client).expect("the answer arrives");
    start.elapsed()
}

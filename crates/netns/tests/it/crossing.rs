//! What goes through our engine as a router comes out as it was, large packets of one flow included.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};
use std::time::Duration;

use ipnet::IpNet;
use pinhole_host::gateway::Plane;
use pinhole_host::namespace::Namespace;
use pinhole_host::netlink::route::{self, link, table};
use pinhole_host::tun::{READ_LEN, Tun};
use pinhole_netfilter::behaviour::Behaviour;
use pinhole_netns::Program;
use pinhole_netns::{Crossing, Offload};
use pinhole_sansio::Rng;
use pinhole_wire::checksum::Sum;
use pinhole_wire::{Protocol, ip};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use crate::support::{lacks, receive, skip_without_privilege};

/// Enough for hundreds of packets of 64 KiB.
const BYTES: usize = 16 << 20;
/// After this long without a byte a transfer has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// A stateful firewall that masquerades, which drops what its tracker finds wrong with a packet.
const RULES: &str = "\
*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
-A FORWARD -m conntrack --ctstate INVALID -j DROP
-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -i lan -j ACCEPT
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
-A POSTROUTING -o wan -j MASQUERADE
COMMIT
";

fn with_behaviour(offload: Offload) -> Crossing {
    let plane = Plane::behaviour(Behaviour::rfc4787(), [Crossing::EXTERNAL], Crossing::GATEWAY, 1);
    Crossing::build("behaviour", plane, offload).expect("two hosts and a gateway")
}

fn with_rules(offload: Offload) -> Crossing {
    let [lan, wan] = Crossing::interfaces(offload);
    let plane = Plane::rules(RULES, RULES, lan, wan, 1).expect("rules");
    Crossing::build("rules", plane, offload).expect("two hosts and a gateway")
}

/// A listener of the host outside.
fn listen(host: &Namespace, address: IpAddr) -> TcpListener {
    host.run(|| TcpListener::bind((address, 0))).expect("a thread").expect("a free port")
}

fn connect(host: &Namespace, to: SocketAddr) -> TcpStream {
    let stream = host.run(|| TcpStream::connect_timeout(&to, PATIENCE)).expect("a thread").expect("it is let through");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
    stream
}

/// Sends random bytes both ways at once; both sides must receive what the other sent. Returns whom the server saw.
fn exchange(crossing: &Crossing, server: IpAddr) -> SocketAddr {
    let listener = listen(crossing.outside(), server);
    let client = connect(crossing.inside(), listener.local_addr().expect("bound"));
    let (server, peer) = listener.accept().expect("a client");
    server.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    server.set_write_timeout(Some(PATIENCE)).expect("a timeout");
    let random = |seed| {
        let mut rng = Rng::from_seed(seed);
        (0..BYTES / 8).flat_map(|_| rng.next_u64().to_ne_bytes()).collect::<Vec<u8>>()
    };
    let (up, down) = (random(1), random(2));
    std::thread::scope(|scope| {
        for (mut stream, bytes) in [(&client, &up), (&server, &down)] {
            scope.spawn(move || {
                stream.write_all(bytes).expect("it is taken");
                stream.shutdown(Shutdown::Write).expect("it is open");
            });
        }
        for (mut stream, bytes) in [(&server, &up), (&client, &down)] {
            scope.spawn(move || {
                let mut received = Vec::with_capacity(BYTES);
                stream.read_to_end(&mut received).expect("all of it arrives");
                assert!(received == *bytes, "{} of {} bytes, not those that were sent", received.len(), bytes.len());
            });
        }
    });
    peer
}

#[test]
fn a_connection_through_a_behaviour_carries_what_was_sent() {
    if skip_without_privilege() {
        return;
    }
    for offload in [Offload::Offered, Offload::None] {
        let crossing = with_behaviour(offload);
        let peer = exchange(&crossing, Crossing::OUTSIDE[0].into());
        assert_eq!(peer.ip(), Crossing::EXTERNAL, "{offload}");
        let counters = *crossing.gateway().plane().nat().expect("a behaviour").counters();
        let least = 2 * BYTES as u64 / 1_500;
        assert_eq!(counters.forwarded < least, offload == Offload::Offered, "{offload}: {counters:?}");
    }
}

#[test]
fn a_connection_through_rules_carries_what_was_sent_over_ipv4_and_ipv6() {
    if skip_without_privilege() {
        return;
    }
    for offload in [Offload::Offered, Offload::None] {
        let crossing = with_rules(offload);
        let peer = exchange(&crossing, Crossing::OUTSIDE[0].into());
        assert_eq!(peer.ip(), Crossing::EXTERNAL, "{offload}");
        let peer = exchange(&crossing, Crossing::OUTSIDE_V6.into());
        assert_eq!(peer.ip(), Crossing::EXTERNAL_V6, "{offload}");
        let mut plane = crossing.gateway().plane();
        let drops: Vec<_> = plane.router().expect("rules").drops().collect();
        assert!(drops.is_empty(), "{offload}: {drops:?}");
    }
}

/// A server outside and a client inside.
fn sockets(crossing: &Crossing) -> (UdpSocket, UdpSocket) {
    let bind = |host: &Namespace, address: Ipv4Addr| {
        let socket = host.run(|| UdpSocket::bind((address, 0))).expect("a thread").expect("a free port");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        socket
    };
    (bind(crossing.outside(), Crossing::OUTSIDE[0]), bind(crossing.inside(), Crossing::INSIDE[0]))
}

#[test]
fn datagrams_whose_checksums_the_host_leaves_unfinished_arrive_both_ways() {
    if skip_without_privilege() {
        return;
    }
    for crossing in [with_behaviour(Offload::Offered), with_rules(Offload::Offered)] {
        let (server, client) = sockets(&crossing);
        client.send_to(b"there", server.local_addr().expect("bound")).expect("a route");
        let (text, from) = receive(&server).expect("it arrives");
        assert_eq!((text.as_str(), from.ip()), ("there", IpAddr::V4(Crossing::EXTERNAL)));
        server.send_to(b"and back", from).expect("a route");
        assert_eq!(receive(&client).expect("it arrives").0, "and back");
    }
}

#[test]
fn on_a_cable_behind_the_gateway_every_checksum_is_whole_and_right() {
    if skip_without_privilege() {
        return;
    }
    const BEHIND: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 9);
    const SEGMENT: usize = 1_000;
    for crossing in [with_behaviour(Offload::Offered), with_rules(Offload::Offered)] {
        let outside = crossing.outside();
        outside.set("net/ipv4/ip_forward", "1").expect("a router");
        let plug = || {
            let cable = Tun::create_plain("cable", 1_500)?;
            let mut socket = route::open().map_err(io::Error::other)?;
            let up = link::Change { up: Some(true), ..Default::default() };
            link::set(&mut socket, cable.index(), &up).map_err(io::Error::other)?;
            let to = IpNet::from(IpAddr::V4(BEHIND));
            table::add(&mut socket, &table::Route::to(to, cable.index())).map_err(io::Error::other)?;
            Ok::<_, io::Error>(cable)
        };
        let cable = outside.run(plug).expect("a thread").expect("a device");
        let (_, client) = sockets(&crossing);
        let size = SEGMENT as libc::c_int;
        // SAFETY: the option is an integer that lives here.
        let set = unsafe {
            let size_of = size_of::<libc::c_int>() as libc::socklen_t;
            libc::setsockopt(client.as_raw_fd(), libc::SOL_UDP, libc::UDP_SEGMENT, (&raw const size).cast(), size_of)
        };
        assert_eq!(set, 0, "UDP_SEGMENT: {}", io::Error::last_os_error());
        client.send_to(&[7; 4 * SEGMENT + 1], (BEHIND, 9)).expect("a route");
        client.send_to(b"alone", (BEHIND, 9)).expect("a route");
        let connecting = crossing.inside().run(|| {
            let socket =
                rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::NONBLOCK, None)?;
            let started = rustix::net::connect(&socket, &SocketAddr::from((BEHIND, 9)));
            assert_eq!(started, Err(rustix::io::Errno::INPROGRESS));
            Ok::<_, rustix::io::Errno>(socket)
        });
        let _connecting = connecting.expect("a thread").expect("a socket");
        let mut buffer = vec![0; READ_LEN];
        let mut seen = Vec::new();
        while seen.len() < 7 {
            let ready = poll(&mut [PollFd::new(&cable, PollFlags::IN)], Some(&Timespec { tv_sec: 20, tv_nsec: 0 }));
            assert_eq!(ready, Ok(1), "nothing more came after {seen:?}");
            let Some((_, packet)) = cable.read(&mut buffer).expect("a device") else { continue };
            let Ok(ip) = ip::Packet::new_checked(packet) else { continue };
            if ip.src() != IpAddr::V4(Crossing::EXTERNAL) {
                continue;
            }
            let upper = ip.upper().expect("a packet of ours");
            let body = &packet[upper.offset..upper.end];
            let sum = Sum::pseudo_header(ip.src(), ip.dst(), upper.protocol, body.len()).bytes(body);
            assert!(sum.is_valid(), "after {seen:?}: {packet:02x?}");
            seen.push((upper.protocol, body.len()));
        }
        let of = |protocol| seen.iter().filter(move |(one, _)| *one == protocol).map(|(_, length)| *length);
        assert_eq!(of(Protocol::Udp).collect::<Vec<_>>(), [1_008, 1_008, 1_008, 1_008, 9, 13]);
        assert_eq!(of(Protocol::Tcp).count(), 1);
    }
}

#[test]
fn a_datagram_in_fragments_crosses_a_behaviour() {
    if skip_without_privilege() {
        return;
    }
    let crossing = with_behaviour(Offload::Offered);
    let (server, client) = sockets(&crossing);
    let long = "0123456789".repeat(200);
    client.send_to(long.as_bytes(), server.local_addr().expect("bound")).expect("a route");
    let (text, from) = receive(&server).expect("it arrives");
    assert_eq!((text, from.ip()), (long, IpAddr::V4(Crossing::EXTERNAL)));
}

#[test]
fn iperf3_finds_nothing_wrong_with_either_engine() {
    if skip_without_privilege() || lacks("iperf3", "iperf3") {
        return;
    }
    for crossing in [with_behaviour(Offload::Offered), with_rules(Offload::Offered)] {
        let listener = listen(crossing.outside(), Crossing::OUTSIDE[0].into());
        let port = listener.local_addr().expect("bound").port().to_string();
        drop(listener);
        let mut server = Command::new("iperf3");
        crossing.outside().enter(server.args(["-s", "-1", "--forceflush", "-p", &port]).stdin(Stdio::null()));
        let mut server = Program::start(server.stdout(Stdio::piped())).expect("iperf3");
        let mut said = std::io::BufReader::new(server.child().stdout.take().expect("piped"));
        let mut line = String::new();
        while !line.contains("Server listening") {
            line.clear();
            let read = std::io::BufRead::read_line(&mut said, &mut line).expect("a line");
            assert!(read > 0, "iperf3 ended before it listened");
        }
        let mut client = Command::new("iperf3");
        client.args(["-c", &Crossing::OUTSIDE[0].to_string(), "-p", &port, "-n", "32M", "--connect-timeout", "9000"]);
        crossing.inside().enter(&mut client);
        let output = client.stdin(Stdio::null()).output().expect("iperf3");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&[output.stdout, output.stderr].concat()));
    }
}

//! Our own device on the running kernel: with itself, with wireguard-go, and with what stands in its way.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;

use pinhole_host::embedded::{Device, Error, Options};
use pinhole_host::extra::Sockets;
use pinhole_host::namespace::{Namespace, privilege};
use pinhole_host::netlink::route::{self, address, link};
use pinhole_host::probe::Route;
use pinhole_host::udp::Udp;
use pinhole_host::wireguard::{Control, DIRECTORY, Kind};
use pinhole_wg::{DeviceUpdate, PeerUpdate, PrivateKey};

use crate::until;

/// Bytes of a transfer: hundreds of large packets each way, in a second even without optimisation.
const TRANSFER: usize = 16 << 20;

/// Two hosts joined by a cable, `10.9.0.1` and `10.9.0.2`.
fn cable() -> Option<[Namespace; 2]> {
    if !privilege::can_make_namespaces() {
        eprintln!("SKIP: making namespaces needs root (or CAP_SYS_ADMIN and CAP_NET_ADMIN); run the tests with sudo");
        return None;
    }
    let hosts = ["emb-a", "emb-b"].map(|name| Namespace::create(name).expect("a namespace"));
    let [a, b] = &hosts;
    a.run(|| link::add_veth(&mut route::open()?, "cable", "cable", Some(b.net()))).expect("a thread").expect("a cable");
    for (host, net) in [(a, "10.9.0.1/24"), (b, "10.9.0.2/24")] {
        host.run(|| configure("cable", &[net])).expect("a thread");
    }
    Some(hosts)
}

/// Switches an interface on and gives it addresses.
fn configure(name: &str, nets: &[&str]) {
    let mut socket = route::open().expect("a socket");
    let index = link::find(&mut socket, name).expect("the interface").index;
    link::set(&mut socket, index, &link::Change { up: Some(true), ..Default::default() }).expect("it goes up");
    for net in nets {
        address::add(&mut socket, index, net.parse().expect("a network")).expect("an address");
    }
}

fn key(of: usize) -> PrivateKey {
    PrivateKey::generate([of as u8 + 1; 32])
}

/// The configuration of side `of`: its key and port, the other side as peer.
fn config(of: usize) -> DeviceUpdate {
    let other = 1 - of;
    let prefixes = [format!("10.1.0.{}/32", other + 1), format!("fd01::{}/128", other + 1)];
    let peer = PeerUpdate {
        endpoint: Some(SocketAddr::from(([10, 9, 0, other as u8 + 1], 51820))),
        allowed_ips: prefixes.iter().map(|prefix| prefix.parse().expect("a prefix")).collect(),
        ..PeerUpdate::new(key(other).public())
    };
    DeviceUpdate { private_key: Some(key(of)), listen_port: Some(51820), peers: vec![peer], ..DeviceUpdate::default() }
}

fn tunnel_nets(of: usize) -> [String; 2] {
    [format!("10.1.0.{}/24", of + 1), format!("fd01::{}/64", of + 1)]
}

/// Starts our device on side `of`.
fn start(hosts: &[Namespace; 2], of: usize) -> Device {
    let started = hosts[of].run(|| {
        let device = Device::start("wg0", &config(of), &Options::default())?;
        configure("wg0", &tunnel_nets(of).each_ref().map(String::as_str));
        Ok::<_, Error>(device)
    });
    started.expect("a thread").expect("it starts")
}

/// Sends bytes from one side to the other through the tunnel, over TCP; they must arrive as they were.
fn transfer(from: &Namespace, to: &Namespace, address: IpAddr) {
    transfer_bytes(from, to, address, TRANSFER);
}

fn transfer_bytes(from: &Namespace, to: &Namespace, address: IpAddr, count: usize) {
    let listener = to.run(|| TcpListener::bind((address, 0))).expect("a thread").expect("a listener");
    let target = listener.local_addr().expect("an address");
    let sent: Vec<u8> = (0..count as u32).map(|number| (number ^ number >> 11) as u8).collect();
    let received = thread::spawn(move || {
        let mut received = Vec::new();
        listener.accept()?.0.read_to_end(&mut received)?;
        Ok::<_, io::Error>(received)
    });
    let mut stream = from.run(move || TcpStream::connect(target)).expect("a thread").expect("a connection");
    stream.write_all(&sent).expect("it is sent");
    drop(stream);
    let received = received.join().expect("a thread").expect("it is received");
    assert!(received == sent, "{} of {} bytes, or others", received.len(), sent.len());
}

fn transfers(hosts: &[Namespace; 2]) {
    let [a, b] = hosts;
    for of in [0, 1] {
        let (from, to) = if of == 0 { (b, a) } else { (a, b) };
        for net in tunnel_nets(of) {
            transfer(from, to, net.parse::<ipnet::IpNet>().expect("a network").addr());
        }
    }
}

#[test]
fn two_devices_carry_both_families_both_ways_and_leave_nothing_behind() {
    let Some(hosts) = cable() else { return };
    let devices = [0, 1].map(|of| start(&hosts, of));
    transfers(&hosts);
    for (of, device) in devices.into_iter().enumerate() {
        let seen = hosts[of].run(|| {
            let mut control = Control::open("wg0").expect("the socket answers");
            (control.kind(), control.device().expect("it is read"))
        });
        let (kind, seen) = seen.expect("a thread");
        assert_eq!(kind, Kind::Userspace);
        assert_eq!(seen.public_key, Some(key(of).public()));
        let peer = &seen.peers[0];
        assert!(peer.last_handshake.is_some() && peer.rx_bytes > TRANSFER as u64 && peer.tx_bytes > TRANSFER as u64);
        device.stop().expect("it stops");
        hosts[of]
            .run(|| {
                assert!(link::find(&mut route::open().expect("a socket"), "wg0").is_err(), "the interface stays");
                assert!(!Path::new(DIRECTORY).join("wg0.sock").exists(), "the socket stays");
            })
            .expect("a thread");
    }
}

/// wireguard-go, ended with its handle.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn it_understands_wireguard_go() {
    if let Err(error) = Command::new("wireguard-go").arg("--version").stdout(Stdio::null()).status() {
        assert_eq!(error.kind(), io::ErrorKind::NotFound, "{error}");
        eprintln!("SKIP: no wireguard-go; install it with: apt-get install wireguard-go");
        return;
    }
    let Some(hosts) = cable() else { return };
    let _ours = start(&hosts, 0);
    let mut command = Command::new("wireguard-go");
    command.args(["-f", "wg0"]).env("LOG_LEVEL", "silent").stdin(Stdio::null()).stdout(Stdio::null());
    hosts[1].enter(&mut command);
    let _program = Program(command.stderr(Stdio::null()).spawn().expect("wireguard-go starts"));
    hosts[1]
        .run(|| {
            until(|| Control::open("wg0").ok()).apply(&config(1)).expect("it is configured");
            configure("wg0", &tunnel_nets(1).each_ref().map(String::as_str));
        })
        .expect("a thread");
    transfers(&hosts);
}

/// A socket on side `of`, as one that punched a hole; and its port.
fn punched(hosts: &[Namespace; 2], of: usize, remote: SocketAddr) -> (socket2::Socket, u16) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let open = || {
        let _runtime = runtime.enter();
        Sockets::open(3, remote, &Route::default()).expect("sockets")
    };
    let sockets = hosts[of].run(open).expect("a thread");
    let port = sockets.port(1).expect("bound");
    (sockets.keep(1).expect("one of them"), port)
}

#[test]
fn a_socket_that_it_takes_over_is_the_way_to_one_endpoint_and_is_closed_with_the_peer() {
    let Some(hosts) = cable() else { return };
    let devices = [0, 1].map(|of| start(&hosts, of));
    let seen = || devices[1].device().expect("it runs").peers[0].endpoint.map(|endpoint| endpoint.port());
    let remote = SocketAddr::from(([10, 9, 0, 2], 51820));
    let peer = key(1).public();
    // The other side learns of a new way from the first packet that comes by it.
    let some = |from: usize| {
        let address = IpAddr::from([10, 1, 0, 2 - from as u8]);
        transfer_bytes(&hosts[from], &hosts[1 - from], address, 100_000);
    };
    let both_ways = || [0, 1].map(some);
    let mut ports = Vec::new();
    for _ in 0..2 {
        let (socket, port) = punched(&hosts, 0, remote);
        devices[0].adopt(peer, remote, socket).expect("it is taken over");
        both_ways();
        assert_eq!(seen(), Some(port));
        ports.push(port);
    }
    transfers(&hosts);
    assert_eq!(seen(), Some(ports[1]));
    // The first was closed for the second.
    let is_free = |port| hosts[0].run(|| Udp::bind(port).ok()).expect("a thread").map(drop);
    until(|| is_free(ports[0]));
    assert!(is_free(ports[1]).is_none());

    // To another endpoint of the peer's its own sockets lead.
    let update = DeviceUpdate { listen_port: Some(4_001), ..DeviceUpdate::default() };
    devices[1].apply(&update).expect("it changes");
    some(1);
    both_ways();
    assert_eq!(seen(), Some(51820));

    let (socket, port) = punched(&hosts, 0, SocketAddr::from(([10, 9, 0, 2], 4_001)));
    let stranger = devices[0].adopt(key(7).public(), remote, socket.try_clone().expect("a descriptor"));
    assert!(matches!(stranger, Err(Error::Io(..))), "{stranger:?}");
    devices[0].adopt(peer, SocketAddr::from(([10, 9, 0, 2], 4_001)), socket).expect("it is taken over");
    both_ways();
    assert_eq!(seen(), Some(port));
    devices[0].release(peer).expect("it runs");
    until(|| is_free(port));
    both_ways();
    assert_eq!(seen(), Some(51820));

    let (socket, port) = punched(&hosts, 0, remote);
    devices[0].adopt(peer, remote, socket).expect("it is taken over");
    let removal = DeviceUpdate { peers: vec![PeerUpdate::removal(peer)], ..DeviceUpdate::default() };
    devices[0].apply(&removal).expect("it changes");
    until(|| is_free(port));
}

#[test]
fn what_stands_in_its_way_is_named_and_nothing_is_left_behind() {
    let Some(hosts) = cable() else { return };
    let host = &hosts[0];
    let attempt =
        |name: &'static str| host.run(move || Device::start(name, &config(0), &Options::default())).expect("a thread");
    let has = |name: &'static str| {
        host.run(move || link::find(&mut route::open().expect("a socket"), name).is_ok()).expect("a thread")
    };

    assert!(matches!(attempt("no/name"), Err(Error::Name(_))));
    assert!(matches!(attempt("cable"), Err(Error::Exists(_))));
    let taken = host.run(|| Udp::bind(51820)).expect("a thread").expect("a port");
    assert!(matches!(attempt("wg0"), Err(Error::PortInUse(51820))));
    assert!(!has("wg0"));
    drop(taken);

    let device = attempt("wg0").expect("it starts");
    assert!(matches!(attempt("wg0"), Err(Error::SocketInUse(_))));
    device.stop().expect("it stops");

    // What a device that crashed leaves: a socket that nobody listens on.
    host.run(|| drop(UnixListener::bind(Path::new(DIRECTORY).join("wg0.sock")).expect("a socket"))).expect("a thread");
    attempt("wg0").expect("it starts").stop().expect("it stops");
}

#[test]
fn a_device_whose_interface_is_deleted_ends_and_says_so() {
    let Some(hosts) = cable() else { return };
    let device = start(&hosts, 0);
    let index = device.index();
    hosts[0].run(move || link::delete(&mut route::open()?, index)).expect("a thread").expect("it is deleted");
    until(|| (!device.is_running()).then_some(()));
    assert!(matches!(device.device(), Err(Error::Ended)));
    assert!(matches!(device.stop(), Err(Error::InterfaceGone(name)) if name == "wg0"));
}

#[test]
fn its_port_can_change_while_it_runs_and_stays_if_the_new_one_is_taken() {
    let Some(hosts) = cable() else { return };
    let device = start(&hosts, 0);
    let _other = start(&hosts, 1);
    let _taken = hosts[0].run(|| Udp::bind(4000)).expect("a thread").expect("a port");
    let port = |port| DeviceUpdate { listen_port: Some(port), ..DeviceUpdate::default() };
    assert!(matches!(device.apply(&port(4000)), Err(Error::PortInUse(4000))));
    assert_eq!(device.device().expect("it runs").listen_port, 51820);
    device.apply(&port(4001)).expect("it changes");
    assert_eq!(device.device().expect("it runs").listen_port, 4001);
    // The other side learns of it from the first packet.
    transfer(&hosts[0], &hosts[1], IpAddr::from([10, 1, 0, 2]));
    transfers(&hosts);
}

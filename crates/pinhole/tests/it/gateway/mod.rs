//! `pinhole gateway` between a host inside and a host outside, in namespaces: who reaches whom and is seen as whom, and what is
//! left afterwards.

mod errors;
mod follow;
mod traffic;
mod undo;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::time::Duration;

use ipnet::IpNet;
use pinhole_host::namespace::Namespace;
use pinhole_host::netlink::route::{self, Route, address, link, table};
use serde_json::Value;

use crate::support::PATIENCE;
use crate::support::pinhole::{BINARY, Ended, Pinhole, run};

/// The router's address inside.
const ROUTER: Ipv4Addr = Ipv4Addr::new(192, 168, 7, 1);
const INSIDE: Ipv4Addr = Ipv4Addr::new(192, 168, 7, 2);
/// The router's address outside.
const PUBLIC: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
/// An address on the outside's link that nobody has.
const SPARE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 99);
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 2);
/// What does not come within this does not come.
const SILENCE: Duration = Duration::from_millis(300);

/// A host inside, a router with `eth1` inside and `eth0` outside, and a host outside.
struct Stage {
    inside: Namespace,
    router: Namespace,
    outside: Namespace,
}

impl Stage {
    fn new(name: &str) -> Self {
        let [inside, router, outside] =
            ["in", "gw", "out"].map(|part| Namespace::create(&format!("{name}-{part}")).expect("a namespace"));
        let stage = Self { inside, router, outside };
        stage.router.set("net/ipv4/conf/all/rp_filter", "0").expect("a setting");
        // A kernel without IPv6 has no such setting.
        let _ = stage.router.set("net/ipv6/conf/default/accept_dad", "0");
        for (host, here) in [(&stage.inside, "eth1"), (&stage.outside, "eth0")] {
            let plug = || link::add_veth(&mut route::open()?, here, "eth0", Some(host.net()));
            stage.router.run(plug).expect("a thread").expect("a cable");
        }
        for (host, interface, net) in [
            (&stage.inside, "eth0", format!("{INSIDE}/24")),
            (&stage.router, "eth1", format!("{ROUTER}/24")),
            (&stage.router, "eth0", format!("{PUBLIC}/24")),
            (&stage.outside, "eth0", format!("{OUTSIDE}/24")),
        ] {
            configure(host, interface, &net);
        }
        let default = || table::add(&mut route::open()?, &Route::default_via(ROUTER.into()));
        stage.inside.run(default).expect("a thread").expect("a route");
        let default = || table::add(&mut route::open()?, &Route::default_via(OUTSIDE.into()));
        stage.router.run(default).expect("a thread").expect("a route");
        stage
    }

    /// Starts a gateway and waits until it is up.
    fn up(&self, args: &[&str]) -> Pinhole {
        let mut gateway = self.start(args);
        gateway.wait_for("a gateway", |event| event["event"] == "up");
        gateway
    }

    fn start(&self, args: &[&str]) -> Pinhole {
        let mut command = self.command(&self.router, BINARY);
        command.args(["gateway", "up", "--json", "--inside", "eth1", "--outside", "eth0"]).args(args);
        Pinhole::spawn(self.router.name(), &mut command)
    }

    /// Runs `pinhole gateway` on the router.
    fn gateway(&self, args: &[&str]) -> Ended {
        run(self.command(&self.router, BINARY).arg("gateway").args(args))
    }

    fn status(&self) -> Value {
        let ended = self.gateway(&["status", "--flows", "--json"]);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        serde_json::from_str(&ended.stdout).expect("JSON")
    }

    fn command(&self, host: &Namespace, program: &str) -> Command {
        let mut command = Command::new(program);
        host.enter(&mut command);
        command
    }

    /// Runs a program that must succeed; what it prints.
    fn says(&self, host: &Namespace, line: &str) -> String {
        let mut words = line.split_whitespace();
        let ended = run(self.command(host, words.next().expect("a program")).args(words));
        assert_eq!(ended.code, Some(0), "{line}: {}{}", ended.stdout, ended.stderr);
        ended.stdout
    }

    /// Whether one echo request is answered.
    fn ping(&self, host: &Namespace, to: Ipv4Addr, options: &[&str]) -> bool {
        let mut command = self.command(host, "ping");
        command.args(["-n", "-c", "1", "-W", "2"]).args(options).arg(to.to_string());
        run(&mut command).code == Some(0)
    }

    fn udp(&self, host: &Namespace, address: Ipv4Addr, port: u16) -> UdpSocket {
        let socket = host.run(|| UdpSocket::bind((address, port))).expect("a thread").expect("a port");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        socket
    }
}

fn configure(host: &Namespace, interface: &str, net: &str) {
    let net: IpNet = net.parse().expect("a network");
    let work = || {
        let mut socket = route::open()?;
        let index = link::find(&mut socket, interface)?.index;
        link::set(&mut socket, index, &link::Change { up: Some(true), ..Default::default() })?;
        address::add(&mut socket, index, net)
    };
    host.run(work).expect("a thread").expect("an address");
}

/// A listener on a host.
fn listen(host: &Namespace, address: Ipv4Addr) -> TcpListener {
    host.run(|| TcpListener::bind((address, 0))).expect("a thread").expect("a port")
}

fn connect(host: &Namespace, to: SocketAddr) -> std::io::Result<TcpStream> {
    host.run(|| TcpStream::connect_timeout(&to, Duration::from_secs(3))).expect("a thread")
}

/// Waits for a datagram; who sent it.
fn receive(socket: &UdpSocket) -> Option<SocketAddr> {
    Some(socket.recv_from(&mut [0; 65_536]).ok()?.1)
}

/// Whether nothing comes.
fn is_silent(socket: &UdpSocket) -> bool {
    socket.set_read_timeout(Some(SILENCE)).expect("a timeout");
    let silent = receive(socket).is_none();
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    silent
}

fn port_of(socket: &UdpSocket) -> u16 {
    socket.local_addr().expect("it is bound").port()
}

fn ip(address: SocketAddr) -> IpAddr {
    address.ip()
}

//! `Control` against Debian's wireguard-go, in two namespaces joined by a cable.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use pinhole_host::namespace::{Namespace, privilege};
use pinhole_host::netlink::route::{self, address, link};
use pinhole_host::wireguard::{self, Control, Kind};
use pinhole_wg::{Device, DeviceUpdate, PeerUpdate, PresharedKey, PrivateKey};

use crate::until;

/// A host with a running wireguard-go.
struct Host {
    ns: Namespace,
    program: Child,
    key: PrivateKey,
    address: SocketAddr,
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

impl Host {
    fn start(ns: Namespace, key: u8, address: &str) -> Self {
        let mut command = Command::new("wireguard-go");
        command.args(["-f", "wg0"]).env("LOG_LEVEL", "silent").stdin(Stdio::null()).stdout(Stdio::null());
        ns.enter(&mut command);
        let program = command.stderr(Stdio::null()).spawn().expect("wireguard-go starts");
        let key = PrivateKey::generate([key; 32]);
        let host = Self { ns, program, key, address: address.parse().expect("an address") };
        let port = host.address.port();
        host.inside(|| {
            until(|| Control::open("wg0").ok());
            let mut socket = route::open().expect("a socket");
            let index = link::find(&mut socket, "wg0").expect("the interface").index;
            link::set(&mut socket, index, &link::Change { up: Some(true), ..Default::default() }).expect("it goes up");
        });
        host.apply(DeviceUpdate { private_key: Some(key), listen_port: Some(port), ..DeviceUpdate::default() });
        host
    }

    fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.ns.run(work).expect("a thread inside")
    }

    fn apply(&self, update: DeviceUpdate) {
        self.inside(move || Control::open("wg0")?.apply(&update)).expect("the change is taken");
    }

    fn change_peer(&self, other: &Self, change: impl FnOnce(&mut PeerUpdate)) {
        let mut peer = PeerUpdate::new(other.key.public());
        change(&mut peer);
        self.apply(DeviceUpdate { peers: vec![peer], ..DeviceUpdate::default() });
    }

    fn device(&self) -> Device {
        self.inside(|| Control::open("wg0")?.device()).expect("the device is read")
    }

    fn has_session(&self) -> Option<()> {
        self.device().peers.first()?.last_handshake.map(drop)
    }
}

fn hosts() -> Option<(Host, Host)> {
    if !privilege::can_make_namespaces() {
        eprintln!("SKIP: making namespaces needs root (or CAP_SYS_ADMIN and CAP_NET_ADMIN); run the tests with sudo");
        return None;
    }
    if let Err(error) = Command::new("wireguard-go").arg("--version").stdout(Stdio::null()).status() {
        assert_eq!(error.kind(), io::ErrorKind::NotFound, "{error}");
        eprintln!("SKIP: no wireguard-go; install it with: apt-get install wireguard-go");
        return None;
    }
    let (a, b) = (Namespace::create("wg-a").expect("a namespace"), Namespace::create("wg-b").expect("a namespace"));
    a.run(|| link::add_veth(&mut route::open()?, "cable", "cable", Some(b.net()))).expect("a thread").expect("a cable");
    for (ns, net) in [(&a, "10.9.0.1/24"), (&b, "10.9.0.2/24")] {
        let configured = ns.run(move || {
            let mut socket = route::open()?;
            let index = link::find(&mut socket, "cable")?.index;
            link::set(&mut socket, index, &link::Change { up: Some(true), ..Default::default() })?;
            address::add(&mut socket, index, net.parse().expect("a network"))
        });
        configured.expect("a thread").expect("an address");
    }
    Some((Host::start(a, 1, "10.9.0.1:51820"), Host::start(b, 2, "10.9.0.2:51821")))
}

#[test]
fn wireguard_go_is_listed_read_and_changed() {
    let Some((a, b)) = hosts() else { return };
    assert_eq!(a.inside(wireguard::list).expect("a list"), [("wg0".to_owned(), Kind::Userspace)]);
    a.change_peer(&b, |peer| {
        peer.preshared_key = Some(PresharedKey::from_bytes([7; 32]));
        peer.endpoint = Some(b.address);
        peer.keepalive = Some(0);
        peer.allowed_ips = vec!["10.1.0.0/16".parse().expect("a prefix"), IpAddr::from([0; 16]).into()];
    });
    let device = a.device();
    assert_eq!((device.private_key, device.public_key), (Some(a.key), Some(a.key.public())));
    assert_eq!(device.listen_port, 51820);
    let [peer] = &device.peers[..] else { panic!("{device:?}") };
    assert_eq!((peer.public_key, peer.endpoint), (b.key.public(), Some(b.address)));
    assert_eq!(peer.preshared_key, Some(PresharedKey::from_bytes([7; 32])));
    assert_eq!((peer.allowed_ips.len(), peer.keepalive, peer.last_handshake), (2, 0, None));
    a.change_peer(&b, |peer| peer.remove = true);
    assert_eq!(a.device().peers, []);
}

#[test]
fn a_lost_initiation_does_not_cost_five_seconds() {
    let Some((a, b)) = hosts() else { return };
    a.change_peer(&b, |peer| {
        peer.endpoint = Some(b.address);
        peer.allowed_ips = vec!["10.1.0.2/32".parse().expect("a prefix")];
    });
    // B does not know A yet and drops what A sends.
    a.change_peer(&b, |peer| peer.handshake = true);
    until(|| (a.device().peers.first()?.tx_bytes >= 148).then_some(()));
    b.change_peer(&a, |_| {});
    let start = Instant::now();
    a.change_peer(&b, |peer| peer.handshake = true);
    until(|| a.has_session());
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    until(|| b.has_session());
    let device = a.device();
    let peer = &device.peers[0];
    assert_eq!((peer.keepalive, peer.endpoint, peer.allowed_ips.len()), (0, Some(b.address), 1));
}

#[test]
fn a_handshake_finds_a_new_endpoint_and_leaves_the_keepalive_that_was_asked_for() {
    let Some((a, b)) = hosts() else { return };
    a.change_peer(&b, |peer| {
        peer.endpoint = Some("10.9.0.77:9".parse().expect("an address"));
        peer.keepalive = Some(20);
    });
    b.change_peer(&a, |_| {});
    a.change_peer(&b, |peer| {
        peer.endpoint = Some(b.address);
        peer.handshake = true;
    });
    until(|| a.has_session());
    assert_eq!(a.device().peers[0].keepalive, 20);
    assert_eq!(b.device().peers[0].endpoint, Some(a.address));
}

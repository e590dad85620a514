//! `Control` against the kernel's own WireGuard, in a guest that has it: a home behind a NAT and a public host.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use pinhole_guest::Guest;
use pinhole_host::extra::Sockets;
use pinhole_host::handover::{self, Handover, Hole};
use pinhole_host::namespace::Namespace;
use pinhole_host::netlink::generic::Family;
use pinhole_host::netlink::route::{self, address, link, table};
use pinhole_host::netlink::{self, Protocol, Socket};
use pinhole_host::nft::{Policy, Ports, Ruleset};
use pinhole_host::own_port::OwnPort;
use pinhole_host::probe::Route;
use pinhole_host::wireguard::{self, Control, Error, Kind};
use pinhole_wg::{Device, DeviceUpdate, Key, PeerUpdate, PresharedKey, PrivateKey};

use crate::until;

const MODULES: &[&str] = &["wireguard", "veth", "nf_tables", "nft_chain_nat", "nft_masq", "nft_ct", "nf_nat"];

const PUBLIC: &str = "203.0.113.9:51820";

#[test]
fn the_kernels_own_device_is_read_changed_and_made_to_shake_hands() {
    let name = "kernel::the_kernels_own_device_is_read_changed_and_made_to_shake_hands";
    let Some(console) = Guest::new(name).modules(MODULES).run(in_the_guest) else { return };
    // Seen with --nocapture.
    println!("{console}");
}

fn in_the_guest() {
    let [home, nat, public] = ["home", "nat", "public"].map(|name| Namespace::create(name).expect("a namespace"));
    cable(&nat, ("lan", "10.0.0.1/24"), &home, ("eth0", "10.0.0.2/24"));
    cable(&nat, ("wan", "203.0.113.1/24"), &public, ("eth0", "203.0.113.9/24"));
    nat.set("net/ipv4/ip_forward", "1").expect("forwarding");
    let _rules = nat
        .run(|| Ruleset::home_router("home", "wan", Ports::Random, Policy::Drop).install())
        .expect("a thread")
        .expect("a NAT");
    let gateway = table::Route::default_via(IpAddr::from([10, 0, 0, 1]));
    home.run(|| table::add(&mut route::open()?, &gateway)).expect("a thread").expect("a route");

    let home = Host::new(&home, 1, 0, "10.9.0.1/24");
    let public = Host::new(&public, 2, 51820, "10.9.0.2/24");
    a_device_is_listed_read_and_changed(&home, &public);
    a_lost_initiation_does_not_cost_five_seconds(&home, &public);
    data_flows(&home, &public);
    a_hole_that_another_socket_punched_is_handed_to_it(&home, &public);
    the_bytes_of_a_dump(&home);
    a_large_device_is_written_and_read_whole(&home);
    a_user_without_the_capability_is_told_so(&home);
    a_device_goes_away(&home);
}

/// A host with a device `wg0` of the kernel's.
struct Host<'a> {
    ns: &'a Namespace,
    key: PrivateKey,
}

impl<'a> Host<'a> {
    fn new(ns: &'a Namespace, key: u8, port: u16, net: &'static str) -> Self {
        let host = Self { ns, key: PrivateKey::generate([key; 32]) };
        host.inside(|| {
            wireguard::create("wg0").expect("a device");
            raise(&mut route::open()?, "wg0", net)
        })
        .expect("an address");
        host.apply(DeviceUpdate { private_key: Some(host.key), listen_port: Some(port), ..DeviceUpdate::default() });
        host
    }

    fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.ns.run(work).expect("a thread inside")
    }

    fn apply(&self, update: DeviceUpdate) {
        self.inside(move || Control::open("wg0")?.apply(&update)).expect("the change is taken");
    }

    fn change_peer(&self, key: Key, change: impl FnOnce(&mut PeerUpdate)) {
        let mut peer = PeerUpdate::new(key);
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

fn cable(one: &Namespace, (near, near_net): (&str, &str), other: &Namespace, (far, far_net): (&str, &str)) {
    let pair = || {
        link::add_veth(&mut route::open()?, near, far, Some(other.net()))?;
        raise(&mut route::open()?, near, near_net)
    };
    one.run(pair).expect("a thread").expect("a cable");
    other.run(|| raise(&mut route::open()?, far, far_net)).expect("a thread").expect("its other end");
}

fn raise(socket: &mut Socket, name: &str, net: &str) -> Result<(), netlink::Error> {
    let index = link::find(socket, name)?.index;
    link::set(socket, index, &link::Change { up: Some(true), ..Default::default() })?;
    address::add(socket, index, net.parse().expect("a network"))
}

fn a_device_is_listed_read_and_changed(home: &Host<'_>, public: &Host<'_>) {
    assert_eq!(home.inside(wireguard::list).expect("a list"), [("wg0".to_owned(), Kind::Kernel)]);
    let device = home.device();
    assert_eq!((device.private_key, device.public_key), (Some(home.key), Some(home.key.public())));
    assert_ne!(device.listen_port, 0);
    assert_eq!(public.device().listen_port, 51820);
    let psk = PresharedKey::from_bytes([7; 32]);
    home.change_peer(public.key.public(), |peer| {
        peer.preshared_key = Some(psk);
        peer.endpoint = Some("[2001:db8::1]:7".parse().expect("an address"));
        peer.keepalive = Some(9);
        peer.allowed_ips = vec!["10.1.0.0/16".parse().expect("a prefix"), IpAddr::from([0; 16]).into()];
    });
    let [peer] = &home.device().peers[..] else { panic!("one peer") };
    assert_eq!((peer.public_key, peer.endpoint), (public.key.public(), "[2001:db8::1]:7".parse().ok()));
    assert_eq!((peer.preshared_key, peer.keepalive, peer.last_handshake), (Some(psk), 9, None));
    assert_eq!(peer.allowed_ips.iter().map(ToString::to_string).collect::<Vec<_>>(), ["10.1.0.0/16", "::/128"]);
    home.apply(DeviceUpdate { replace_peers: true, fwmark: Some(0x77), ..DeviceUpdate::default() });
    let device = home.device();
    assert_eq!((device.peers.len(), device.fwmark), (0, 0x77));
}

fn a_lost_initiation_does_not_cost_five_seconds(home: &Host<'_>, public: &Host<'_>) {
    let endpoint: SocketAddr = PUBLIC.parse().expect("an address");
    home.change_peer(public.key.public(), |peer| {
        peer.endpoint = Some(endpoint);
        peer.allowed_ips = vec!["10.9.0.2/32".parse().expect("a prefix")];
    });
    // The public host does not know the home yet and drops what it sends.
    home.change_peer(public.key.public(), |peer| peer.handshake = true);
    until(|| (home.device().peers.first()?.tx_bytes >= 148).then_some(()));
    public.change_peer(home.key.public(), |peer| {
        peer.allowed_ips = vec!["10.9.0.1/32".parse().expect("a prefix")];
    });
    let start = Instant::now();
    home.change_peer(public.key.public(), |peer| peer.handshake = true);
    until(|| home.has_session());
    let took = start.elapsed();
    println!("measured: kernel device, after a lost initiation: handshake through a NAT in {took:?} of emulated time");
    assert!(took < Duration::from_secs(4), "{took:?}");
    until(|| public.has_session());
    let device = home.device();
    let peer = &device.peers[0];
    assert_eq!((peer.keepalive, peer.endpoint, peer.allowed_ips.len()), (0, Some(endpoint), 1));
    let seen = public.device().peers[0].endpoint.expect("an endpoint, learned from the handshake");
    assert_eq!(seen.ip(), IpAddr::from([203, 0, 113, 1]));
    assert_ne!(seen.port(), device.listen_port, "this NAT gives out ports at random");
}

fn data_flows(home: &Host<'_>, public: &Host<'_>) {
    let receiver = public.inside(|| UdpSocket::bind("10.9.0.2:7777")).expect("a socket");
    receiver.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    home.inside(|| UdpSocket::bind("10.9.0.1:0")?.send_to(b"through", "10.9.0.2:7777")).expect("it is sent");
    let mut buffer = [0; 16];
    let (length, from) = receiver.recv_from(&mut buffer).expect("it arrives");
    assert_eq!((&buffer[..length], from.ip()), (&b"through"[..], IpAddr::from([10, 9, 0, 1])));
    assert!(public.device().peers[0].rx_bytes > 148);
}

fn a_hole_that_another_socket_punched_is_handed_to_it(home: &Host<'_>, public: &Host<'_>) {
    /// A Binding request with nothing in it.
    const STUN: [u8; 20] = [0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
    let remote: SocketAddr = PUBLIC.parse().expect("an address");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let enter = || runtime.enter();
    let listener = public.inside(|| {
        let _runtime = enter();
        OwnPort::open(&Route::default(), remote.port()).expect("a raw socket")
    });
    let extra = home.inside(|| {
        let _runtime = enter();
        Sockets::open(1, remote, &Route::default()).expect("a socket")
    });
    extra.send(0, remote, None, &STUN).expect("it leaves");
    let (mapped, _) = runtime.block_on(listener.recv()).expect("it arrives");
    let endpoint = || public.device().peers[0].endpoint;
    assert_ne!(endpoint(), Some(mapped), "this NAT gives each port of the home another");

    let hole = Hole { own: home.device().listen_port, punched: extra.port(0).expect("bound"), remote };
    let handover = home.inside(|| Handover::install("wg0", &public.key.public(), hole)).expect("it is handed over");
    public.change_peer(home.key.public(), |peer| (peer.endpoint, peer.handshake) = (Some(mapped), true));
    until(|| public.has_session());
    data_flows(home, public);
    assert_eq!(endpoint(), Some(mapped), "what the home sends comes through the hole");
    drop(handover);
    assert_eq!(home.inside(handover::list).expect("a list"), []);
    // Without it, the home's own mapping is back.
    data_flows(home, public);
    assert_ne!(endpoint(), Some(mapped));
}

/// Prints what `src/wireguard/codec/*.hex` are made of: a dump of the device as it is, and one with a peer that does not fit
/// the first message. That is small only on a socket that has not received yet.
fn the_bytes_of_a_dump(home: &Host<'_>) {
    let print = |file: &str| {
        let replies = home.inside(|| {
            let family = Family::resolve(&mut Socket::open(Protocol::Generic)?, "wireguard")?;
            Socket::open(Protocol::Generic)?.dump(family.message(0, 1, 0).attr_str(2, "wg0"))
        });
        for reply in replies.expect("a dump") {
            let hex: String = reply.payload.iter().map(|byte| format!("{byte:02x}")).collect();
            println!("{file}: {hex}");
        }
    };
    print("dump.hex");
    home.change_peer(Key::from_bytes([9; 32]), |peer| {
        let prefix = |n: u8| [IpAddr::from([10, 77, 0, n]).into(), IpAddr::from([n; 16]).into()];
        peer.allowed_ips = (0..60).flat_map(prefix).collect();
    });
    print("split.hex");
}

fn a_large_device_is_written_and_read_whole(home: &Host<'_>) {
    let peer = |number: u16| {
        let mut key = [number as u8; 32];
        key[..2].copy_from_slice(&number.to_be_bytes());
        let prefixes = if number == 3 { 2_500 } else { 2 };
        let prefix = |n: u32| IpAddr::from((0x0a00_0000 + (u32::from(number) << 12) + n).to_be_bytes()).into();
        PeerUpdate { allowed_ips: (0..prefixes).map(prefix).collect(), ..PeerUpdate::new(Key::from_bytes(key)) }
    };
    let peers: Vec<_> = (0..300).map(peer).collect();
    home.apply(DeviceUpdate { replace_peers: true, peers: peers.clone(), ..DeviceUpdate::default() });
    let device = home.device();
    let read: Vec<_> = device.peers.iter().map(|peer| (peer.public_key, sorted(&peer.allowed_ips))).collect();
    let written: Vec<_> = peers.iter().map(|peer| (peer.public_key, sorted(&peer.allowed_ips))).collect();
    assert!(read == written, "what was written and what is read differ: {} peers", read.len());
}

fn sorted<T: Ord + Clone>(items: &[T]) -> Vec<T> {
    let mut items = items.to_vec();
    items.sort();
    items
}

fn a_user_without_the_capability_is_told_so(home: &Host<'_>) {
    let error = home.inside(|| {
        let nobody = rustix::process::Uid::from_raw(65534);
        rustix::thread::set_thread_res_uid(nobody, nobody, nobody).expect("a process may become nobody");
        Control::open("wg0").expect_err("nobody may not read it")
    });
    assert!(matches!(error, Error::KernelPermission(_)) && error.to_string().contains("CAP_NET_ADMIN"), "{error}");
}

fn a_device_goes_away(home: &Host<'_>) {
    home.inside(|| {
        let mut control = Control::open("wg0").expect("the device");
        assert_eq!(control.kind(), Kind::Kernel);
        assert!(wireguard::create("wg0").is_err(), "the name is taken");
        assert!(matches!(wireguard::delete("eth0"), Err(Error::NotKernel { .. })));
        wireguard::delete("wg0").expect("it is deleted");
        assert!(control.device().expect_err("it is gone").is_gone());
        assert!(control.apply(&DeviceUpdate { fwmark: Some(1), ..DeviceUpdate::default() }).is_err());
        assert!(wireguard::delete("wg0").expect_err("it is gone").is_gone());
        assert!(Control::open("wg0").expect_err("it is gone").is_gone());
    });
}

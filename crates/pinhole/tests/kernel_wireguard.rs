//! Registry and agents with the kernel's own WireGuard, in a guest that has it: a public host and two homes behind NATs.

use std::io::{BufRead, BufReader};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use pinhole_guest::Guest;
use pinhole_host::netlink::route::{self, address, link};
use pinhole_host::wireguard::{self, Control};
use pinhole_lab::{Link, Nat, Topology};
use pinhole_netns::{Host, Internet};
use pinhole_wg::{Device, DeviceUpdate, PeerUpdate, PrivateKey};

const MODULES: &[&str] =
    &["wireguard", "veth", "tun", "nf_tables", "nft_chain_nat", "nft_masq", "nft_ct", "nf_nat", "nf_conntrack_netlink"];

/// The bound of every wait; each ends at once when what it waits for is there.
const PATIENCE: Duration = Duration::from_secs(60);

/// WireGuard's port on every host.
const PORT: u16 = 51820;

#[test]
fn registry_and_agents_connect_two_homes_over_the_kernels_own_wireguard() {
    let console = Guest::new("registry_and_agents_connect_two_homes_over_the_kernels_own_wireguard")
        .modules(MODULES)
        .file(Path::new(env!("CARGO_BIN_EXE_pinhole")), "/bin/pinhole")
        .run(in_the_guest);
    // Seen with --nocapture.
    println!("{}", console.unwrap_or_default());
}

fn in_the_guest() {
    let link = Link { delay: Duration::from_millis(10), ..Link::default() };
    let internet =
        Internet::build(&Topology::two_homes(Nat::CONE, Nat::CONE, link, 1)).expect("an internet in the guest");
    let [hub, alice, bob] = ["hub", "alice", "bob"].map(|name| internet.host(name));
    let [hub_key, alice_key, bob_key] = [1, 2, 3].map(|n| PrivateKey::generate([n; 32]));
    let at = SocketAddr::new(hub.address().into(), PORT);
    device(hub, hub_key, "10.9.0.254", &[peer(alice_key, "10.9.0.1", None), peer(bob_key, "10.9.0.2", None)]);
    device(alice, alice_key, "10.9.0.1", &[peer(hub_key, "10.9.0.254", Some(at)), peer(bob_key, "10.9.0.2", None)]);
    device(bob, bob_key, "10.9.0.2", &[peer(hub_key, "10.9.0.254", Some(at)), peer(alice_key, "10.9.0.1", None)]);

    let _registry = start(hub, &["registry", "--zone", "example.com.", "--device", "wg0"]);
    let agent = ["agent", "--zone", "example.com.", "--device", "wg0", "--server", "10.9.0.254"];
    let begin = Instant::now();
    let agents = [start(alice, &agent), start(bob, &agent)];
    until("a handshake between the homes", || {
        let connected = |host, other: PrivateKey| {
            state(host).peers.iter().any(|peer| peer.public_key == other.public() && peer.last_handshake.is_some())
        };
        (connected(alice, bob_key) && connected(bob, alice_key)).then_some(())
    });
    println!("measured: both agents started to a direct handshake: {:?} of emulated time", begin.elapsed());
    data_flows(alice, "10.9.0.1", bob, "10.9.0.2");
    data_flows(bob, "10.9.0.2", alice, "10.9.0.1");
    let public = |host: &str| IpAddr::V4(if host == "alice" { [198, 51, 100, 1] } else { [192, 0, 2, 1] }.into());
    let ledger = internet.ledger();
    for (from, to) in [("alice", "bob"), ("bob", "alice")] {
        let direct = ledger.sum(|source, target| source.ip() == public(from) && target.ip() == public(to));
        assert!(direct.data > 0, "data of {from} goes to {to} directly: {direct:?}");
    }
    // The agents end while the tunnel is used, give back what they had set, and begin again.
    nothing_is_lost(alice, bob, || {
        drop(agents);
        for host in [alice, bob] {
            let keepalives: Vec<_> = state(host).peers.iter().map(|peer| peer.keepalive).collect();
            assert_eq!(keepalives, [5, 0], "the keepalives that {} had before", host.name());
        }
        let again = [start(alice, &agent), start(bob, &agent)];
        until("a word of the agents that began again", || again.iter().all(Role::has_spoken).then_some(()));
        drop(again);
    });
}

/// Gives the host a kernel device `wg0` with its address in 10.9.0.0/24, up.
fn device(host: &Host, key: PrivateKey, address: &str, peers: &[PeerUpdate]) {
    let update = DeviceUpdate {
        private_key: Some(key),
        listen_port: Some(PORT),
        peers: peers.to_vec(),
        ..DeviceUpdate::default()
    };
    let net = format!("{address}/24").parse().expect("a network");
    let made = host.run(|| -> Result<(), wireguard::Error> {
        wireguard::create("wg0")?;
        Control::open("wg0")?.apply(&update)?;
        let mut socket = route::open()?;
        let index = link::find(&mut socket, "wg0")?.index;
        link::set(&mut socket, index, &link::Change { up: Some(true), ..Default::default() })?;
        Ok(address::add(&mut socket, index, net)?)
    });
    made.expect("a thread").expect("a device");
}

fn peer(key: PrivateKey, address: &str, endpoint: Option<SocketAddr>) -> PeerUpdate {
    let address: IpAddr = address.parse().expect("an address");
    PeerUpdate {
        endpoint,
        keepalive: endpoint.map(|_| 5),
        allowed_ips: vec![address.into()],
        ..PeerUpdate::new(key.public())
    }
}

fn state(host: &Host) -> Device {
    host.run(|| Control::open("wg0")?.device()).expect("a thread").expect("the device is read")
}

/// A role of pinhole's; dropping it ends it as a person would.
struct Role {
    child: Child,
    spoken: Arc<AtomicBool>,
}

impl Role {
    /// Whether it has shown an event.
    fn has_spoken(&self) -> bool {
        self.spoken.load(Ordering::Relaxed)
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        if let Some(pid) = rustix::process::Pid::from_raw(self.child.id() as i32) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let status = self.child.wait();
        assert!(status.is_ok_and(|status| status.success()) || thread::panicking(), "it stops cleanly");
    }
}

fn start(host: &Host, args: &[&str]) -> Role {
    let mut command: Command = host.command("/bin/pinhole");
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("pinhole starts");
    let name = host.name().to_owned();
    let lines = BufReader::new(child.stdout.take().expect("its output")).lines();
    let spoken = Arc::new(AtomicBool::new(false));
    let role = Role { child, spoken: spoken.clone() };
    thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            println!("{name:6} {line}");
            spoken.store(true, Ordering::Relaxed);
        }
    });
    role
}

fn data_flows(from: &Host, source: &str, to: &Host, target: &str) {
    let receiver = to.run(|| UdpSocket::bind((target, 7777))).expect("a thread").expect("a socket");
    receiver.set_read_timeout(Some(Duration::from_millis(500))).expect("a timeout");
    let sender = from.run(|| UdpSocket::bind((source, 0))).expect("a thread").expect("a socket");
    let mut buffer = [0; 16];
    let start = Instant::now();
    // A datagram may get lost; a tunnel that works lets the next one through.
    let (length, sender) = loop {
        sender.send_to(b"through", (target, 7777)).expect("it is sent");
        match receiver.recv_from(&mut buffer) {
            Ok(received) => break received,
            Err(error) => assert!(start.elapsed() < PATIENCE, "nothing arrives: {error}"),
        }
    };
    assert_eq!((&buffer[..length], sender.ip().to_string()), (&b"through"[..], source.to_owned()));
}

/// Sends a packet through the tunnel every 20 ms as long as `work` takes, and sees each arrive.
fn nothing_is_lost(from: &Host, to: &Host, work: impl FnOnce()) {
    let receiver = to.run(|| UdpSocket::bind("10.9.0.2:7778")).expect("a thread").expect("a socket");
    receiver.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let sender = from.run(|| UdpSocket::bind("10.9.0.1:0")).expect("a thread").expect("a socket");
    sender.connect("10.9.0.2:7778").expect("a way there");
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let sent = scope.spawn(|| {
            let mut sent = 0_u32;
            while !done.load(Ordering::Relaxed) {
                sender.send(&sent.to_be_bytes()).expect("it is sent");
                sent += 1;
                thread::sleep(Duration::from_millis(20));
            }
            sender.send(b"end").expect("it is sent");
            sent
        });
        let received = scope.spawn(|| {
            let mut buffer = [0; 16];
            let mut received = 0;
            while receiver.recv(&mut buffer).expect("the end arrives") == 4 {
                received += 1;
            }
            received
        });
        work();
        done.store(true, Ordering::Relaxed);
        let [sent, received] = [sent, received].map(|count| count.join().expect("it counts"));
        println!("measured: agents ended and began again: {received} of {sent} packets arrived");
        assert_eq!(received, sent);
    });
}

/// Waits for something that nothing announces.
fn until<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        match check() {
            Some(value) => return value,
            None => assert!(start.elapsed() < PATIENCE, "{what} never came"),
        }
        thread::sleep(Duration::from_millis(20));
    }
}

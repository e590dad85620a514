//! A hole that one socket punched, given to another: the sockets, the borrowed port and the rules, through a router that
//! translates at random. WireGuard's part is played by a plain socket here; the real one is in `pinhole`'s tests.

use std::io::{BufRead, BufReader};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::{Command, Stdio};
use std::time::Duration;

use pinhole_guest::Guest;
use pinhole_host::extra::Sockets;
use pinhole_host::handover::{self, Handover, Hole, Traffic};
use pinhole_host::namespace::{Namespace, privilege};
use pinhole_host::netlink::conntrack;
use pinhole_host::netlink::route::{self, address, link, table};
use pinhole_host::nft::{Chain, Family, Hook, Installed, Policy, Ports, Rule, Ruleset, State};
use pinhole_host::own_port::OwnPort;
use pinhole_host::probe::Route;
use pinhole_wg::PrivateKey;
use tokio::runtime::{Builder, Runtime};

use crate::{PATIENCE, until};

const OWN: u16 = 51_820;
const DEVICE: &str = "wg0";
/// A Binding request with nothing in it, and one of its first bytes says that it is no message of WireGuard's.
const STUN: [u8; 20] = [0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];

/// host - router - peer, in both families; the router translates IPv4 at random and IPv6 not at all.
struct Stage {
    runtime: Runtime,
    host: Namespace,
    _router: Namespace,
    peer: Namespace,
    _nat: Installed,
}

/// The host's sockets: WireGuard's, the borrowed port, the extra ones; and two of the peer's.
struct Scene<'a> {
    stage: &'a Stage,
    own: UdpSocket,
    borrowed: OwnPort,
    extra: Sockets,
    peer: UdpSocket,
    other: UdpSocket,
}

impl Stage {
    fn new() -> Option<Self> {
        if !privilege::can_make_namespaces() {
            eprintln!(
                "SKIP: making namespaces needs root (or CAP_SYS_ADMIN and CAP_NET_ADMIN); run the tests with sudo"
            );
            return None;
        }
        let [host, router, peer] =
            ["ho-host", "ho-router", "ho-peer"].map(|name| Namespace::create(name).expect("a namespace"));
        for ns in [&host, &router, &peer] {
            ns.set("net/ipv6/conf/default/accept_dad", "0").expect("a setting");
        }
        for (name, to) in [("lan", &host), ("wan", &peer)] {
            let pair = || link::add_veth(&mut route::open()?, name, "eth0", Some(to.net()));
            router.run(pair).expect("a thread").expect("a cable");
        }
        configure(&router, "lan", ["10.7.0.1/24", "fd07::1/64"], &[]);
        configure(&router, "wan", ["192.0.2.1/24", "fd08::1/64"], &[]);
        configure(&host, "eth0", ["10.7.0.2/24", "fd07::2/64"], &["10.7.0.1", "fd07::1"]);
        configure(&peer, "eth0", ["192.0.2.2/24", "fd08::2/64"], &["192.0.2.1", "fd08::1"]);
        router.set("net/ipv4/ip_forward", "1").expect("a router");
        router.set("net/ipv6/conf/all/forwarding", "1").expect("a router");
        let nat = || Ruleset::home_router("nat", "wan", Ports::Random, Policy::Drop).install();
        let nat = router.run(nat).expect("a thread").expect("a NAT");
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        Some(Self { runtime, host, _router: router, peer, _nat: nat })
    }

    /// The scene in the family of `peer`, which is the peer's address.
    fn scene(&self, peer: IpAddr) -> Scene<'_> {
        let any: IpAddr = if peer.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
        let bind = |ns: &Namespace, ip: IpAddr, port: u16| {
            // A process that another test just forked has the sockets of the scene before for a moment.
            let socket = until(|| ns.run(|| UdpSocket::bind((ip, port))).expect("a thread").ok());
            socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
            socket
        };
        let open = || {
            let _inside = self.runtime.enter();
            let toward = SocketAddr::new(peer, 1);
            let extra = Sockets::open(16, toward, &Route::default()).expect("sockets");
            (OwnPort::open(&Route::default(), OWN).expect("a raw socket"), extra)
        };
        let own = bind(&self.host, any, OWN);
        let (borrowed, extra) = self.host.run(open).expect("a thread");
        Scene { stage: self, own, borrowed, extra, peer: bind(&self.peer, peer, 0), other: bind(&self.peer, peer, 0) }
    }

    fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.host.run(work).expect("a thread")
    }
}

fn configure(ns: &Namespace, name: &str, nets: [&str; 2], gateways: &[&str]) {
    let work = || {
        let mut socket = route::open()?;
        let index = link::find(&mut socket, name)?.index;
        link::set(&mut socket, index, &link::Change { up: Some(true), ..Default::default() })?;
        nets.iter().try_for_each(|net| address::add(&mut socket, index, net.parse().expect("a network")))?;
        let route = |gateway: &&str| table::Route::default_via(gateway.parse().expect("an address"));
        gateways.iter().map(route).try_for_each(|route| table::add(&mut socket, &route))
    };
    ns.run(work).expect("a thread").expect("the interface is configured");
    // An IPv6 address is a host's own some time after it was given, even where nobody could have it already.
    let address = nets[1].parse::<ipnet::IpNet>().expect("a network").addr();
    until(|| {
        let socket = ns.run(|| UdpSocket::bind((address, 0))).expect("a thread").ok()?;
        socket.set_read_timeout(Some(Duration::from_millis(10))).expect("a timeout");
        socket.send_to(b"mine", socket.local_addr().ok()?).ok()?;
        socket.recv(&mut [0; 8]).ok()
    });
}

fn peers() -> [IpAddr; 2] {
    [IpAddr::from([192, 0, 2, 2]), "fd08::2".parse().expect("an address")]
}

impl Scene<'_> {
    fn remote(&self) -> SocketAddr {
        self.peer.local_addr().expect("bound")
    }

    /// Lets an extra socket speak with the peer; gives the hole, and the address at which the peer sees it.
    fn punch(&self, number: u16) -> (Hole, SocketAddr) {
        self.extra.send(number, self.remote(), None, b"opener").expect("it leaves");
        let mapped = received(&self.peer, b"opener");
        self.peer.send_to(b"answer", mapped).expect("it leaves");
        let (by, from, bytes) = self.wait(self.extra.recv());
        assert_eq!((by, from, &bytes[..]), (number, self.remote(), &b"answer"[..]));
        let punched = self.extra.port(number).expect("bound");
        (Hole { own: OWN, punched, remote: self.remote() }, mapped)
    }

    fn hand_over(&self, hole: Hole) -> Handover {
        self.stage.inside(|| Handover::install(DEVICE, &key(), hole)).expect("it is handed over")
    }

    fn wait<T>(&self, what: impl Future<Output = std::io::Result<T>>) -> T {
        let waited = self.stage.runtime.block_on(async { tokio::time::timeout(PATIENCE, what).await });
        waited.expect("it comes").expect("a socket")
    }

    /// Sends from WireGuard's port by `send`; the address at which the peer sees it.
    fn says(&self, bytes: &[u8]) -> SocketAddr {
        self.own.send_to(bytes, self.remote()).expect("it leaves");
        received(&self.peer, bytes)
    }

    /// Holds whether WireGuard has the hole: both ways, from the borrowed port, and without a change for others.
    fn check(&self, mapped: SocketAddr) {
        self.peer.send_to(b"first", mapped).expect("it leaves");
        assert_eq!(received(&self.own, b"first"), self.remote());
        assert_eq!(self.says(b"data"), mapped);
        self.peer.send_to(&STUN, mapped).expect("it leaves");
        let (from, bytes) = self.wait(self.borrowed.recv());
        assert_eq!((from, &bytes[..]), (self.remote(), &STUN[..]));
        assert_eq!(received(&self.own, &STUN), self.remote());
        // Of IPv4 these leave without a checksum, and so have to arrive.
        self.borrowed.send(self.remote(), None, b"raw").expect("it leaves");
        assert_eq!(received(&self.peer, b"raw"), mapped);
        self.own.send_to(b"another's", self.other.local_addr().expect("bound")).expect("it leaves");
        let seen = received(&self.other, b"another's");
        assert_ne!(seen, mapped);
        assert!(seen.ip().is_ipv4() || seen.port() == OWN, "{seen}");
        self.other.send_to(b"back", seen).expect("it leaves");
        assert_eq!(received(&self.own, b"back"), self.other.local_addr().expect("bound"));
    }
}

fn key() -> pinhole_wg::Key {
    PrivateKey::generate([7; 32]).public()
}

/// Waits for a datagram with these bytes, and no other; its source.
fn received(socket: &UdpSocket, bytes: &[u8]) -> SocketAddr {
    let mut buffer = [0; 64];
    let (length, from) = socket.recv_from(&mut buffer).unwrap_or_else(|error| panic!("{bytes:?}: {error}"));
    assert_eq!(&buffer[..length], bytes);
    from
}

/// Makes the kernel track the flows of the host; nothing comes in but answers, if that is wanted.
fn tracked(ns: &Namespace, family: Family, closed: bool) -> Installed {
    let answers = Rule::new().state(&[State::Established, State::Related]).accept();
    // Neighbour discovery is tracked by no one.
    let rest = if closed { Rule::new().udp().counter().drop() } else { Rule::new().counter() };
    let chain = Chain { name: "input", hook: Hook::Input, policy: Policy::Accept, rules: vec![answers, rest] };
    let (table, comment) = ("firewall".to_owned(), String::new());
    let ruleset = Ruleset { family, table, comment, chains: vec![chain] };
    ns.run(|| ruleset.install()).expect("a thread").expect("a firewall")
}

fn family(address: IpAddr) -> Family {
    if address.is_ipv4() { Family::V4 } else { Family::V6 }
}

#[test]
fn a_low_ttl_ends_a_datagram_on_its_way_and_only_that_one() {
    let Some(stage) = Stage::new() else { return };
    for peer in peers() {
        let scene = stage.scene(peer);
        for ttl in [Some(1), None] {
            scene
                .extra
                .send(3, scene.remote(), ttl, if ttl.is_some() { b"short" } else { b"long" })
                .expect("it leaves");
        }
        received(&scene.peer, b"long");
        for ttl in [Some(1), None] {
            let bytes = if ttl.is_some() { &b"short"[..] } else { b"long" };
            scene.borrowed.send(scene.remote(), ttl, bytes).expect("it leaves");
        }
        received(&scene.peer, b"long");
    }
}

#[test]
fn every_socket_has_a_port_and_hears_what_comes_there() {
    let Some(stage) = Stage::new() else { return };
    for peer in peers() {
        let scene = stage.scene(peer);
        let host = if peer.is_ipv4() { "10.7.0.2" } else { "fd07::2" };
        let local = stage.inside(|| UdpSocket::bind(SocketAddr::new(host.parse().expect("an address"), 0)));
        let local = local.expect("a socket");
        for number in (0..scene.extra.len()).rev() {
            let port = scene.extra.port(number).expect("bound");
            local.send_to(&number.to_be_bytes(), (host, port)).expect("it leaves");
        }
        let mut heard = std::collections::BTreeSet::new();
        for _ in 0..scene.extra.len() {
            let (number, from, bytes) = scene.wait(scene.extra.recv());
            assert_eq!((from, &bytes[..]), (local.local_addr().expect("bound"), &number.to_be_bytes()[..]));
            heard.insert(number);
        }
        assert_eq!(heard, (0..16).collect());
        assert!(scene.extra.port(16).is_err());
        let kept = scene.extra.port(5).expect("bound");
        let socket = scene.extra.keep(5).expect("one of them");
        assert_eq!(socket.local_addr().expect("bound").as_socket().map(|at| at.port()), Some(kept));
    }
}

#[test]
fn a_host_that_tracks_nothing_hands_its_hole_over() {
    let Some(stage) = Stage::new() else { return };
    for peer in peers() {
        let scene = stage.scene(peer);
        let (hole, mapped) = scene.punch(4);
        let _handover = scene.hand_over(hole);
        scene.check(mapped);
    }
}

#[test]
fn flows_that_the_host_already_tracks_are_not_in_the_way() {
    let Some(stage) = Stage::new() else { return };
    for peer in peers() {
        for closed in [false, true] {
            let _firewall = tracked(&stage.host, family(peer), closed);
            let scene = stage.scene(peer);
            // WireGuard has spoken with the peer already.
            let before = scene.says(b"too early");
            let (hole, mapped) = scene.punch(9);
            assert_ne!(before, mapped);
            let _handover = scene.hand_over(hole);
            scene.check(mapped);
            let entries = stage.inside(conntrack::list).expect("ctnetlink");
            let punched = entries.iter().filter(|entry| entry.original.source.port() == hole.punched).count();
            assert_eq!(punched, 1, "the socket's flow goes on: {entries:#?}");
        }
    }
}

#[test]
fn a_host_that_is_its_own_nat_keeps_what_it_translated_to() {
    let Some(stage) = Stage::new() else { return };
    let nat = || Ruleset::home_router("own_nat", "eth0", Ports::Random, Policy::Drop).install();
    let _nat = stage.inside(nat).expect("a NAT");
    let scene = stage.scene(peers()[0]);
    scene.says(b"too early");
    let (hole, mapped) = scene.punch(2);
    let _handover = scene.hand_over(hole);
    scene.check(mapped);
}

#[test]
fn another_hole_takes_the_place_of_the_first() {
    let Some(stage) = Stage::new() else { return };
    let scene = stage.scene(peers()[0]);
    let (first, _) = scene.punch(0);
    let mut handover = scene.hand_over(first);
    let (second, mapped) = scene.punch(1);
    // The first is dropped after the second is there.
    let before = std::mem::replace(&mut handover, scene.hand_over(second));
    drop(before);
    scene.check(mapped);
    assert_eq!(handover.traffic().expect("it counts"), Some(Traffic { sent: 2, received: 2 }));
    let left = stage.inside(handover::list).expect("a list");
    assert_eq!(left.iter().map(|left| left.hole).collect::<Vec<_>>(), [second]);
}

#[test]
fn nothing_is_left_when_it_ends() {
    let Some(stage) = Stage::new() else { return };
    for peer in peers() {
        let scene = stage.scene(peer);
        let (hole, mapped) = scene.punch(7);
        drop(scene.hand_over(hole));
        assert_ne!(scene.says(b"alone"), mapped);
        assert_eq!(stage.inside(handover::list).expect("a list"), []);
    }
}

#[test]
fn what_a_killed_process_leaves_works_on_and_is_found_and_taken_over_or_removed() {
    if let Ok(hole) = std::env::var(TO_HAND_OVER) {
        return hand_over_and_wait(&hole);
    }
    let Some(stage) = Stage::new() else { return };
    for peer in peers() {
        let scene = stage.scene(peer);
        let (hole, mapped) = scene.punch(7);
        hand_over_in_a_process_that_is_killed(&stage.host, hole);
        scene.check(mapped);
        let left = stage.inside(handover::list).expect("a list");
        let [found] = &left[..] else { panic!("one is left: {left:?}") };
        assert_eq!((found.device.as_str(), found.hole, found.is_for(&key())), (DEVICE, hole, true));
        assert!(!found.is_for(&PrivateKey::generate([8; 32]).public()));

        let adopted = stage.inside(|| found.clone().adopt()).expect("it is taken over");
        scene.check(mapped);
        drop(adopted);
        assert_eq!(stage.inside(handover::list).expect("a list"), []);
        assert_ne!(scene.says(b"alone"), mapped);

        hand_over_in_a_process_that_is_killed(&stage.host, hole);
        assert_eq!(stage.inside(|| handover::clean(Some("wg1"))).expect("it is looked for"), []);
        let removed = stage.inside(|| handover::clean(Some(DEVICE))).expect("it is removed");
        assert_eq!(removed.iter().map(|left| left.hole).collect::<Vec<_>>(), [hole]);
        assert_eq!(stage.inside(handover::list).expect("a list"), []);
        assert_ne!(scene.says(b"alone"), mapped);
    }
}

/// The hole, for the process that is killed.
const TO_HAND_OVER: &str = "PINHOLE_TEST_HOLE";

/// Runs this very test in another process, which kills it when its hole is there (SIGKILL).
fn hand_over_in_a_process_that_is_killed(ns: &Namespace, hole: Hole) {
    let test = std::thread::current().name().expect("the harness names the thread after the test").to_owned();
    let mut command = Command::new(std::env::current_exe().expect("the test's own program"));
    command.args(["--exact", &test, "--nocapture"]).env(TO_HAND_OVER, hole.to_string());
    ns.enter(command.stdin(Stdio::piped()).stdout(Stdio::piped()));
    let mut process = command.spawn().expect("it starts");
    let lines = BufReader::new(process.stdout.take().expect("piped")).lines();
    let there = lines.map_while(Result::ok).any(|line| line.contains("handed over"));
    process.kill().expect("it runs");
    process.wait().expect("it ends");
    assert!(there, "it said what it had done");
}

fn hand_over_and_wait(hole: &str) {
    let hole = hole.parse().expect("a hole");
    let _handover = Handover::install(DEVICE, &key(), hole).expect("it is handed over");
    println!("handed over");
    // Until the process that started this one kills it, or ends.
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).expect("a pipe");
}

#[test]
fn what_restarts_a_firewall_takes_the_hole_away_and_it_is_put_back() {
    let Some(stage) = Stage::new() else { return };
    let scene = stage.scene(peers()[0]);
    let (hole, mapped) = scene.punch(3);
    let mut handover = scene.hand_over(hole);
    assert!(!stage.inside(|| handover.restore()).expect("it looks"));
    stage.inside(|| handover::clean(None)).expect("another removes it");
    assert_eq!(stage.inside(|| handover.traffic()).expect("it looks"), None);
    assert!(stage.inside(|| handover.restore()).expect("it is put back"));
    scene.check(mapped);
}

#[test]
fn the_nft_program_lists_what_was_meant_and_by_whom() {
    let Some(stage) = Stage::new() else { return };
    let mut command = Command::new("nft");
    command.args(["--stateless", "list", "ruleset"]);
    stage.host.enter(&mut command);
    let hole = |remote: &str| Hole { own: OWN, punched: 40_000, remote: remote.parse().expect("an endpoint") };
    let by = format!("made by pinhole (process {}) so that wg0 reaches a peer", std::process::id());
    let key = key().to_hex();
    let cases = [
        (
            "203.0.113.5:7000",
            format!(
                "table ip pinhole_hole_wg0_{key}\n\
                 comment \"{by}\"\n\
                 chain out\n\
                 type filter hook output priority raw; policy accept;\n\
                 ip daddr 203.0.113.5 udp dport 7000 udp sport 51820 udp checksum 0 counter udp sport set 40000 \
                 comment \"wg0: 51820 as 40000 to 203.0.113.5:7000\"\n\
                 ip daddr 203.0.113.5 udp dport 7000 udp sport 51820 counter udp sport set 40000 \
                 comment \"wg0: 51820 as 40000 to 203.0.113.5:7000\"\n\
                 chain in\n\
                 type filter hook input priority raw; policy accept;\n\
                 ip saddr 203.0.113.5 udp sport 7000 udp dport 40000 udp checksum 0 counter udp dport set 51820\n\
                 ip saddr 203.0.113.5 udp sport 7000 udp dport 40000 counter udp dport set 51820\n",
                key = &key[..16]
            ),
        ),
        (
            "[2001:db8::5]:7000",
            format!(
                "table ip6 pinhole_hole_wg0_{key}\n\
                 comment \"{by}\"\n\
                 chain out\n\
                 type filter hook output priority raw; policy accept;\n\
                 ip6 daddr 2001:db8::5 udp dport 7000 udp sport 51820 counter udp sport set 40000 \
                 comment \"wg0: 51820 as 40000 to [2001:db8::5]:7000\"\n\
                 chain in\n\
                 type filter hook input priority raw; policy accept;\n\
                 ip6 saddr 2001:db8::5 udp sport 7000 udp dport 40000 counter udp dport set 51820\n",
                key = &key[..16]
            ),
        ),
    ];
    for (remote, expected) in cases {
        let _handover = stage.inside(|| Handover::install(DEVICE, &self::key(), hole(remote))).expect("it is there");
        let Ok(output) = command.output() else {
            eprintln!("SKIP: no nft program to check against; install it: apt-get install nftables");
            return;
        };
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let lines =
            text.lines().map(|line| line.trim().trim_end_matches(" {")).filter(|line| !["", "}"].contains(line));
        assert_eq!(lines.map(|line| format!("{line}\n")).collect::<String>(), expected);
    }
}

#[test]
fn who_lacks_the_privilege_is_told_in_one_line() {
    let Some(stage) = Stage::new() else { return };
    let hole = Hole { own: OWN, punched: 40_000, remote: "203.0.113.5:7000".parse().expect("an endpoint") };
    let error = stage.inside(|| {
        let nobody = rustix::process::Uid::from_raw(65_534);
        rustix::thread::set_thread_res_uid(nobody, nobody, nobody).expect("a process may become nobody");
        Handover::install(DEVICE, &key(), hole).expect_err("nobody may not").to_string()
    });
    assert!(error.contains("CAP_NET_ADMIN") && error.contains("keeps the path"), "{error}");
}

#[test]
fn a_kernel_without_nf_tables_is_named_in_one_line() {
    let name = "handover::a_kernel_without_nf_tables_is_named_in_one_line";
    // There is the netlink family that it would be asked by; without that, the socket itself is refused.
    Guest::new(name).modules(&["nfnetlink"]).run(|| {
        let hole = Hole { own: OWN, punched: 40_000, remote: "203.0.113.5:7000".parse().expect("an endpoint") };
        let errors = [
            Handover::install(DEVICE, &key(), hole).expect_err("there is nothing to install it in"),
            handover::list().expect_err("there is nothing to list"),
            handover::clean(None).expect_err("there is nothing to remove it from"),
        ];
        for text in errors.map(|error| error.to_string()) {
            assert!(text.contains("the kernel has no nf_tables") && !text.contains('\n'), "{text}");
        }
    });
}

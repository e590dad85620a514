//! Interfaces that go down and addresses that go, under flows that are masqueraded: the engine forgets what the kernel forgets.

use std::io::Write;
use std::net::IpAddr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant as Moment};

use ipnet::IpNet;
use pinhole_host::namespace::Namespace;
use pinhole_host::netlink::conntrack;
use pinhole_host::netlink::route::{self, Route, address, link, table};
use pinhole_host::tun::Tun;
use pinhole_netfilter::rules::Ruleset;
use pinhole_netfilter::settings::Settings;
use pinhole_netfilter::{Direction, Interface, InterfaceId, Packet, Router, Verdict};
use pinhole_netns::oracle::missing_tools;
use pinhole_sansio::Instant;
use pinhole_wire::text::Line;

use crate::support::skip_without_privilege;

const INTERFACES: [(&str, &[&str]); 3] = [
    ("lan", &["10.0.0.254/24"]),
    ("wan", &["203.0.113.1/24", "198.51.100.1/24", "2001:db8::1/64"]),
    ("other", &["198.18.0.1/24"]),
];
const ROUTES: [(&str, &str); 2] = [("192.0.2.0/24", "wan"), ("192.0.2.128/25", "other")];
const RULES: &str = "*nat
-A POSTROUTING -o wan -d 192.0.2.0/26 -j MASQUERADE
-A POSTROUTING -o wan -d 192.0.2.64/26 -j SNAT --to-source 203.0.113.1
-A POSTROUTING -o other -p udp -j MASQUERADE --to-ports 20000-20099
COMMIT
";
/// Masqueraded behind wan, translated by name, masqueraded behind other, not translated.
const PACKETS: [&str; 4] = [
    "10.0.0.1:5000 > 192.0.2.1:53 udp 8",
    "10.0.0.1:5001 > 192.0.2.70:53 udp 8",
    "10.0.0.1:5002 > 192.0.2.200:53 udp 8",
    "10.0.0.1:5003 > 203.0.113.9:53 udp 8",
];
/// The kernel forgets the flows of an address in a work queue, a moment after it is gone.
const PATIENCE: Duration = Duration::from_secs(5);
/// What has not happened by then does not happen.
const SETTLED: Duration = Duration::from_millis(200);

#[derive(Clone, Copy, Debug)]
enum Change {
    Down(&'static str),
    Remove(&'static str, &'static str),
}

/// A router that is the kernel.
struct Kernel {
    tuns: Vec<Tun>,
    namespace: Namespace,
}

/// A router that is ours.
struct Engine {
    router: Router,
    interfaces: Vec<InterfaceId>,
}

fn place(interface: &str) -> usize {
    INTERFACES.iter().position(|(name, _)| *name == interface).expect("one of the three")
}

fn net(text: &str) -> IpNet {
    text.parse().expect("a network")
}

impl Kernel {
    fn new() -> Self {
        let namespace = Namespace::create("changes").expect("a namespace");
        for setting in ["net/ipv4/ip_forward", "net/ipv6/conf/default/accept_dad"] {
            namespace.set(setting, if setting.ends_with("dad") { "0" } else { "1" }).expect("a setting");
        }
        let make = || {
            let mut socket = route::open().expect("rtnetlink");
            let mut attach = |(name, nets): &(&str, &[&str])| {
                let tun = Tun::create_plain(name, 1_500).expect("a device");
                let up = link::Change { up: Some(true), ..Default::default() };
                link::set(&mut socket, tun.index(), &up).expect("it is switched on");
                nets.iter().for_each(|text| address::add(&mut socket, tun.index(), net(text)).expect("an address"));
                tun
            };
            let tuns: Vec<Tun> = INTERFACES.iter().map(&mut attach).collect();
            for (to, by) in ROUTES {
                table::add(&mut socket, &Route::to(net(to), tuns[place(by)].index())).expect("a route");
            }
            tuns
        };
        let tuns = namespace.run(make).expect("a thread");
        let mut restore = Command::new("iptables-restore");
        namespace.enter(&mut restore);
        let mut child = restore.stdin(Stdio::piped()).spawn().expect("iptables-restore starts");
        child.stdin.take().expect("a pipe").write_all(RULES.as_bytes()).expect("it reads");
        assert!(child.wait().expect("it ends").success());
        Self { tuns, namespace }
    }

    fn receive(&self, packet: &[u8]) {
        self.tuns[place("lan")].write_packet(packet).expect("it is taken");
    }

    fn change(&self, change: Change) {
        let work = || {
            let mut socket = route::open().expect("rtnetlink");
            match change {
                Change::Down(name) => {
                    let down = link::Change { up: Some(false), ..Default::default() };
                    link::set(&mut socket, self.tuns[place(name)].index(), &down)
                }
                Change::Remove(name, from) => address::delete(&mut socket, self.tuns[place(name)].index(), net(from)),
            }
        };
        self.namespace.run(work).expect("a thread").expect("it changes");
    }

    /// The inside ports of the flows that there are.
    fn flows(&self) -> Vec<u16> {
        let entries = self.namespace.run(conntrack::list).expect("a thread").expect("ctnetlink");
        let inside = entries.iter().map(|entry| entry.original.source).filter(|source| source.ip() == inside());
        sorted(inside.map(|source| source.port()))
    }
}

impl Engine {
    fn new() -> Self {
        let mut router = Router::new(Settings::default(), 1);
        let interfaces = INTERFACES
            .map(|(name, nets)| router.add_interface(Interface::new(name, nets.iter().map(|text| net(text)))));
        ROUTES.iter().for_each(|(to, by)| router.add_route(net(to), interfaces[place(by)]));
        router.set_rules_v4(Ruleset::parse(RULES).expect("rules"));
        Self { router, interfaces: interfaces.into() }
    }

    fn receive(&mut self, packet: &[u8]) {
        let mut packet = Packet::from(packet.to_vec());
        let verdict = self.router.process(Instant::from_millis(1), self.interfaces[place("lan")], &mut packet);
        assert!(matches!(verdict, Verdict::Forward(_)), "{verdict:?}");
    }

    fn change(&mut self, change: Change) {
        let now = Instant::from_millis(2);
        match change {
            Change::Down(name) => self.router.interface_down(now, self.interfaces[place(name)]),
            Change::Remove(name, from) => {
                self.router.remove_address(now, self.interfaces[place(name)], net(from).addr());
            }
        }
    }

    fn flows(&mut self) -> Vec<u16> {
        let table = &self.router.v4().table;
        sorted(table.iter().map(|(_, flow)| flow.tuple(Direction::Original).src_id))
    }
}

fn inside() -> IpAddr {
    IpAddr::from([10, 0, 0, 1])
}

fn sorted(ports: impl Iterator<Item = u16>) -> Vec<u16> {
    let mut ports: Vec<u16> = ports.collect();
    ports.sort_unstable();
    ports
}

#[test]
fn what_an_interface_or_an_address_takes_with_it_is_what_linux_forgets() {
    if skip_without_privilege() || !missing_tools().is_empty() {
        eprintln!("SKIP: the kernel's rules need {:?}", missing_tools());
        return;
    }
    for (change, left) in [
        (Change::Down("lan"), &[5_000, 5_001, 5_002, 5_003][..]),
        (Change::Down("wan"), &[5_001, 5_002, 5_003]),
        (Change::Down("other"), &[5_000, 5_001, 5_003]),
        (Change::Remove("wan", "203.0.113.1/24"), &[5_001, 5_002, 5_003]),
        (Change::Remove("wan", "198.51.100.1/24"), &[5_000, 5_001, 5_002, 5_003]),
        (Change::Remove("wan", "2001:db8::1/64"), &[5_000, 5_001, 5_002, 5_003]),
        (Change::Remove("other", "198.18.0.1/24"), &[5_000, 5_001, 5_003]),
    ] {
        let (kernel, mut engine) = (Kernel::new(), Engine::new());
        for line in PACKETS {
            let packet = line.parse::<Line>().expect("a line").packet().expect("a packet");
            kernel.receive(&packet);
            engine.receive(&packet);
        }
        assert_eq!((kernel.flows().len(), engine.flows().len()), (PACKETS.len(), PACKETS.len()), "{change:?}");
        kernel.change(change);
        engine.change(change);
        let start = Moment::now();
        while start.elapsed() < SETTLED || (kernel.flows() != left && start.elapsed() < PATIENCE) {
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!((kernel.flows().as_slice(), engine.flows().as_slice()), (left, left), "{change:?}");
    }
}

//! A host, its home router, perhaps a carrier's NAT, and a server outside that speaks STUN: a namespace each, and cables.
//!
//! The public addresses are ones that miniupnpd takes for public; nothing leaves the namespaces.

use std::io::Write;
use std::process::{Command, Stdio};

use pinhole_host::namespace::Namespace;
use pinhole_netns::Program;
use serde_json::Value;

use crate::support::pinhole::{BINARY, Ended, Pinhole, run};
use crate::support::until;

/// The address of the host.
pub const INSIDE: &str = "192.168.77.10";
/// Its IPv6 address, where it has one.
pub const INSIDE_V6: &str = "2001:db8:77::10";
/// The addresses that servers see.
pub const PUBLIC: &str = "11.22.33.1";
/// The server.
pub const SERVER: &str = "11.22.33.10";

/// A NAT of iptables' kind, with a closed outside; `{ports}` is what its masquerade does with ports.
fn masquerade(ports: &str) -> String {
    format!(
        "table ip nat {{
            chain post {{ type nat hook postrouting priority 100; oifname \"wan\" masquerade {ports}\n }}
            chain forward {{ type filter hook forward priority 0; ct status dnat accept\n ct state established,related accept\n
                iifname \"wan\" drop\n }}
            chain input {{ type filter hook input priority 0; iifname \"wan\" ct state new drop\n }}
        }}"
    )
}

/// One of the rule files, for a router with this network inside.
fn rules(file: &str, inside: &str) -> String {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/nat-rulesets/");
    let rules = std::fs::read_to_string(format!("{directory}{file}.nft")).expect("a file of rules");
    rules.replace("203.0.113.1", PUBLIC).replace("192.168.77.0/24", inside).replace("br0", "lan")
}

/// The way out. Fields end in this order: programs before the namespaces they are in.
pub struct Stage {
    _programs: Vec<Box<dyn std::any::Any>>,
    pub host: Namespace,
    pub router: Namespace,
    _carrier: Option<Namespace>,
    _server: Namespace,
}

impl Stage {
    /// Behind one router whose masquerade does this with ports.
    pub fn home(name: &str, ports: &str) -> Self {
        Self::build(name, &masquerade(ports), None)
    }

    /// Behind a router and a carrier's NAT.
    pub fn carrier(name: &str) -> Self {
        Self::build(name, &masquerade(""), Some(&masquerade("")))
    }

    /// Behind one router with one of the rule files.
    pub fn home_of(name: &str, file: &str) -> Self {
        Self::build(name, &rules(file, "192.168.77.0/24"), None)
    }

    /// Behind a router that masquerades and a carrier's NAT of one of the rule files.
    pub fn carrier_of(name: &str, file: &str) -> Self {
        Self::build(name, &masquerade(""), Some(&rules(file, "100.64.0.0/24")))
    }

    fn build(name: &str, home: &str, carrier_rules: Option<&str>) -> Self {
        let make = |who: &str| Namespace::create(&format!("{name}-{who}")).expect("a namespace");
        let (host, router, server) = (make("h"), make("r"), make("s"));
        let carrier = carrier_rules.map(|_| make("c"));
        cable(&router, "lan", &host, "eth0");
        address(&router, "lan", "192.168.77.1/24");
        address(&host, "eth0", &format!("{INSIDE}/24"));
        ip(&host, "route add default via 192.168.77.1");
        let edge = match &carrier {
            Some(carrier) => {
                cable(carrier, "lan", &router, "wan");
                address(carrier, "lan", "100.64.0.1/24");
                address(&router, "wan", "100.64.0.2/24");
                ip(&router, "route add default via 100.64.0.1");
                carrier
            }
            None => &router,
        };
        cable(edge, "wan", &server, "eth0");
        address(edge, "wan", &format!("{PUBLIC}/24"));
        address(&server, "eth0", &format!("{SERVER}/24"));
        address(&server, "eth0", "11.22.33.20/24");
        let routers = [Some((&router, home)), carrier.as_ref().zip(carrier_rules)];
        for (each, rules) in routers.into_iter().flatten() {
            each.set("net/ipv4/ip_forward", "1").expect("every kernel has it");
            // Each hop answers every probe.
            each.set("net/ipv4/icmp_ratelimit", "0").expect("every kernel has it");
            nft(each, rules);
        }
        let mut command = Command::new(BINARY);
        command.args(["stun", "serve", "--json", "--listen", SERVER, "--second", "11.22.33.20", "--threads", "1"]);
        // Several doctors ask from one address, by TCP too.
        command.args(["--call-back", "--rate-limit", "0"]);
        server.enter(&mut command);
        let stun = Pinhole::spawn("stun", &mut command);
        listens(&server, "udp", 3_478);
        Self { _programs: vec![Box::new(stun)], host, router, _carrier: carrier, _server: server }
    }

    /// Gives the home IPv6, behind a firewall that lets no stranger in.
    pub fn six(&self) {
        self.router.set("net/ipv6/conf/all/forwarding", "1").expect("a kernel with IPv6");
        ip(&self.router, "addr add 2001:db8:77::1/64 dev lan nodad");
        ip(&self.router, "addr add 2001:db8:1::1/64 dev wan nodad");
        ip(&self.host, &format!("addr add {INSIDE_V6}/64 dev eth0 nodad"));
        // By the address that routers announce themselves with.
        ip(&self.router, "addr add fe80::1/64 dev lan nodad");
        ip(&self.host, "addr add fe80::10/64 dev eth0 nodad");
        ip(&self.host, "route add default via fe80::1 dev eth0");
    }

    /// Has the router speak PCP, NAT-PMP and UPnP.
    pub fn miniupnpd(&mut self) {
        let chains = "table inet miniupnpd {
            chain forward { type filter hook forward priority -10; }
            chain prerouting { type nat hook prerouting priority -100; }
            chain postrouting { type nat hook postrouting priority 99; }
        }";
        nft(&self.router, chains);
        let settings = "ext_ifname=wan\nlistening_ip=lan\nenable_natpmp=yes\nenable_upnp=yes\nsecure_mode=yes\nport=5000\n\
            uuid=00000000-0000-0000-0000-000000000001\nupnp_table_name=miniupnpd\nupnp_nat_table_name=miniupnpd\n\
            upnp_forward_chain=forward\nupnp_nat_chain=prerouting\nupnp_nat_postrouting_chain=postrouting\n\
            ext_ifname6=wan\nipv6_disable=no\nallow 1024-65535 192.168.77.0/24 1024-65535\n";
        std::fs::write(self.router.path("/run/miniupnpd.conf".as_ref()), settings).expect("a writable /run");
        let mut command = Command::new("miniupnpd");
        command.args(["-d", "-f", "/run/miniupnpd.conf", "-P", "/run/miniupnpd.pid"]);
        self.router.enter(&mut command);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self._programs.insert(0, Box::new(Program::start(&mut command).expect("miniupnpd starts")));
        listens(&self.router, "udp", 5_351);
        listens(&self.router, "udp", 1_900);
    }

    /// What the doctor on the host says to machines.
    pub fn diagnosis(&self, line: &str) -> Value {
        json(&doctor_on(&self.host, &format!("--json {line}")))
    }
}

/// Runs the doctor somewhere, with the server of the stage.
pub fn doctor_on(host: &Namespace, line: &str) -> Ended {
    let mut command = Command::new(BINARY);
    command.args(["doctor", "--server", SERVER]).args(line.split_whitespace());
    host.enter(command.env_remove("LC_ALL").env_remove("LC_MESSAGES").env_remove("LANG"));
    run(&mut command)
}

/// What a doctor said to machines.
pub fn json(ended: &Ended) -> Value {
    serde_json::from_str(&ended.stdout).unwrap_or_else(|_| panic!("{ended:?}"))
}

/// The keys of all findings, in their order.
pub fn findings(diagnosis: &Value) -> Vec<&str> {
    let findings = diagnosis["findings"].as_array().expect("findings");
    findings.iter().map(|finding| finding["key"].as_str().expect("a key")).collect()
}

/// Puts rules into a namespace.
pub fn nft(host: &Namespace, rules: &str) {
    let mut command = Command::new("nft");
    command.args(["-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    host.enter(&mut command);
    let mut child = command.spawn().expect("nft starts");
    child.stdin.take().expect("a pipe").write_all(rules.as_bytes()).expect("nft reads");
    let output = child.wait_with_output().expect("nft ends");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Runs ip(8).
pub fn ip(host: &Namespace, line: &str) {
    let mut command = Command::new("ip");
    command.args(line.split_whitespace());
    host.enter(&mut command);
    let Ended { code, stderr, .. } = run(&mut command);
    assert_eq!(code, Some(0), "ip {line}: {stderr}");
}

fn cable(near: &Namespace, name: &str, far: &Namespace, other: &str) {
    ip(near, &format!("link add {name} type veth peer name {other} netns {}", far.pid()));
    ip(near, &format!("link set {name} up"));
    ip(far, &format!("link set {other} up"));
}

fn address(host: &Namespace, interface: &str, address: &str) {
    ip(host, &format!("addr add {address} dev {interface}"));
}

/// Waits until something on `host` listens.
fn listens(host: &Namespace, protocol: &str, port: u16) {
    let (table, port) = (format!("/proc/{}/net/{protocol}", host.pid()), format!(":{port:04X} "));
    let is_there = || std::fs::read_to_string(&table).expect("its sockets").contains(&port).then_some(());
    until("a server", is_there);
}

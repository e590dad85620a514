//! A host, a router with the kernel's NAT, and a host with two addresses that serves STUN: three namespaces and two cables.

use std::fs;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::{Command, Stdio};

use pinhole_host::namespace::Namespace;
use pinhole_host::nft::{Installed, Policy, Ports, Ruleset};
use pinhole_netns::Program;
use serde_json::Value;

use crate::support::pinhole::{BINARY, Ended, Pinhole, run};
use crate::support::until;

/// The router's public address.
pub const PUBLIC: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
/// The host's address.
pub const INSIDE: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 10);
/// The server's addresses.
pub const SERVER: [Ipv4Addr; 2] = [Ipv4Addr::new(203, 0, 113, 10), Ipv4Addr::new(203, 0, 113, 20)];

/// The router's public IPv6 address.
pub const PUBLIC_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1);
/// The host's.
pub const INSIDE_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x77, 0, 0, 0, 0, 0x10);
/// The server's.
pub const SERVER_V6: [Ipv6Addr; 2] =
    [Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0x10), Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0x20)];

/// Whose server is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serves {
    /// `pinhole stun serve`.
    Ours,
    /// coturn's `turnserver`.
    Coturn,
    /// Debian's `stund`, which knows RFC 3489, and UDP.
    Stund,
    /// Nobody.
    Nobody,
}

/// The three hosts. Fields end in this order: programs and rules before the namespaces they are in.
pub struct Stage {
    _server: Option<Box<dyn std::any::Any>>,
    rules: Option<Installed>,
    pub client: Namespace,
    router: Namespace,
    server: Namespace,
}

impl Stage {
    pub fn new(name: &str, serves: Serves) -> Self {
        let [client, router, server] =
            ["c", "r", "s"].map(|who| Namespace::create(&format!("{name}-{who}")).expect("a namespace"));
        let mut stage = Self { _server: None, rules: None, client, router, server };
        let (client, server) = (stage.client.pid(), stage.server.pid());
        for line in [
            format!("link add br0 type veth peer name eth0 netns {client}"),
            format!("link add wan type veth peer name eth0 netns {server}"),
            "addr add 192.168.77.1/24 dev br0".into(),
            "addr add 203.0.113.1/24 dev wan".into(),
            "link set br0 up".into(),
            "link set wan up".into(),
        ] {
            ip(&stage.router, &line);
        }
        for line in ["addr add 192.168.77.10/24 dev eth0", "link set eth0 up", "route add default via 192.168.77.1"] {
            ip(&stage.client, line);
        }
        for line in ["addr add 203.0.113.10/24 dev eth0", "addr add 203.0.113.20/24 dev eth0", "link set eth0 up"] {
            ip(&stage.server, line);
        }
        // Where there is no NAT, answers go the way that requests came.
        ip(&stage.server, "route add 192.168.77.0/24 via 203.0.113.1");
        for (setting, value) in
            [("ip_forward", "1"), ("conf/all/send_redirects", "0"), ("conf/br0/send_redirects", "0")]
        {
            stage.router.set(&format!("net/ipv4/{setting}"), value).expect("every kernel has it");
        }
        stage.serve(serves, SERVER.map(IpAddr::from));
        stage
    }

    /// With IPv6, too, which is what our server serves. Addresses are there at once, as nobody else can have them.
    pub fn over_v6(name: &str) -> Self {
        let mut stage = Self::new(name, Serves::Nobody);
        stage.router.set("net/ipv6/conf/all/forwarding", "1").expect("a kernel with IPv6");
        ip(&stage.router, "addr add 2001:db8:77::1/64 dev br0 nodad");
        ip(&stage.router, &format!("addr add {PUBLIC_V6}/64 dev wan nodad"));
        ip(&stage.client, &format!("addr add {INSIDE_V6}/64 dev eth0 nodad"));
        ip(&stage.client, "route add default via 2001:db8:77::1");
        for address in SERVER_V6 {
            ip(&stage.server, &format!("addr add {address}/64 dev eth0 nodad"));
        }
        // Where there is no NAT, answers go the way that requests came.
        ip(&stage.server, &format!("route add 2001:db8:77::/64 via {PUBLIC_V6}"));
        stage.serve(Serves::Ours, SERVER_V6.map(IpAddr::from));
        stage
    }

    fn serve(&mut self, serves: Serves, at: [IpAddr; 2]) {
        let [first, second] = at.map(|address| address.to_string());
        match serves {
            Serves::Ours => {
                let mut command = Command::new(BINARY);
                command.args([
                    "stun",
                    "serve",
                    "--json",
                    "--listen",
                    &first,
                    "--second",
                    &second,
                    "--threads",
                    "1",
                    "--call-back",
                ]);
                // One host asks here as often as many would.
                command.args(["--rate-limit", "0"]);
                self.server.enter(&mut command);
                self._server = Some(Box::new(Pinhole::spawn("stun", &mut command)));
            }
            Serves::Coturn => {
                let mut command = Command::new("turnserver");
                command.args(["-n", "-S", "-L", &first, "-L", &second, "--no-cli", "--no-tls", "--no-dtls"]);
                command.args(["--log-file", "stdout", "--pidfile", "/run/turnserver.pid", "--userdb", "/run/turndb"]);
                self.server.enter(&mut command);
                command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
                self._server = Some(Box::new(Program::start(&mut command).expect("turnserver starts")));
            }
            Serves::Stund => {
                let mut command = Command::new("stund");
                command.args(["-h", &first, "-a", &second]);
                self.server.enter(&mut command);
                command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
                self._server = Some(Box::new(Program::start(&mut command).expect("stund starts")));
            }
            Serves::Nobody => return,
        }
        let pid = self.server.pid();
        let is_open = || {
            let read = |which: &str| fs::read_to_string(format!("/proc/{pid}/net/{which}")).expect("its sockets");
            let version = if at[0].is_ipv4() { "" } else { "6" };
            let (udp, tcp) = (read(&format!("udp{version}")), read(&format!("tcp{version}")));
            // Words of the machine's byte order.
            let hex = |octets: &[u8]| -> String {
                let words = octets.chunks(4).map(|word| word.try_into().map_or(0, u32::from_ne_bytes));
                words.map(|word| format!("{word:08X}")).collect()
            };
            let line = |address: IpAddr, port: u16| match address {
                IpAddr::V4(v4) => format!("{}:{port:04X}", hex(&v4.octets())),
                IpAddr::V6(v6) => format!("{}:{port:04X}", hex(&v6.octets())),
            };
            let all = at.into_iter().flat_map(|address| [3_478, 3_479].map(|port| line(address, port)));
            let has_tcp = serves != Serves::Stund;
            all.into_iter().all(|line| udp.contains(&line) && (!has_tcp || tcp.contains(&line))).then_some(())
        };
        until("the server's sockets", is_open);
    }

    /// Puts one of the rule files into the router.
    pub fn load(&self, file: &str) {
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/nat-rulesets/");
        self.nft(&fs::read_to_string(format!("{directory}{file}.nft")).expect("a file of rules"));
    }

    /// Sets how long the router's kernel keeps a silent UDP flow, and a stream, in seconds.
    pub fn set_timers(&self, udp: u32, stream: u32) {
        for (setting, seconds) in [("udp_timeout", udp), ("udp_timeout_stream", stream)] {
            let path = format!("net/netfilter/nf_conntrack_{setting}");
            self.router.set(&path, &seconds.to_string()).expect("every kernel with conntrack has it");
        }
    }

    /// Sets how long the router's kernel keeps a silent connection, in seconds, and that it takes up none in the middle.
    pub fn set_tcp_timer(&self, seconds: u32) {
        for (setting, value) in [("timeout_established", seconds), ("timeout_unacknowledged", seconds), ("loose", 0)] {
            let path = format!("net/netfilter/nf_conntrack_tcp_{setting}");
            self.router.set(&path, &value.to_string()).expect("every kernel with conntrack has it");
        }
    }

    /// Gives the router more public addresses.
    pub fn add_public(&self, addresses: &[&str]) {
        addresses.iter().for_each(|address| ip(&self.router, &format!("addr add {address}/24 dev wan")));
    }

    /// Has the server lose 2 % of what comes to it, and of what it sends.
    pub fn lose_two_percent(&self) {
        lose_two_percent(&self.server);
    }

    /// Puts rules into the router.
    pub fn nft(&self, rules: &str) {
        nft(&self.router, rules);
    }

    /// Puts the rules of a home router into the router's kernel, by netlink.
    pub fn masquerade(&mut self, ports: Ports, input: Policy) {
        let ruleset = Ruleset::home_router("pinhole_nat", "wan", ports, input);
        self.rules = None;
        let installed = self.router.run(|| ruleset.install()).expect("a thread").expect("nf_tables");
        self.rules = Some(installed);
    }

    /// Has the router forget all flows.
    pub fn forget(&self) {
        self.router.run(pinhole_host::netlink::conntrack::flush).expect("a thread").expect("ctnetlink");
    }

    /// Configures the host.
    pub fn ip(&self, line: &str) {
        ip(&self.client, line);
    }

    /// Starts `pinhole` on the host.
    pub fn run_pinhole(&self, args: &[&str]) -> Pinhole {
        let mut command = Command::new(BINARY);
        self.client.enter(command.args(args));
        Pinhole::spawn("host", &mut command)
    }

    /// A command on the host.
    pub fn command(&self, line: &str) -> Command {
        let mut command = Command::new(BINARY);
        command.args(["stun", "query"]).args(line.split_whitespace());
        self.client.enter(&mut command);
        command
    }

    /// Runs `pinhole stun query` on the host.
    pub fn query(&self, line: &str) -> Ended {
        run(&mut self.command(line))
    }

    /// What a discovery finds.
    pub fn discover(&self, more: &str) -> Value {
        self.discover_with(SERVER[0].into(), more)
    }

    /// What a discovery with this server finds.
    pub fn discover_with(&self, server: IpAddr, more: &str) -> Value {
        let ended = self.query(&format!("--discover --json {server} {more}"));
        let json: Value = serde_json::from_str(&ended.stdout).unwrap_or_else(|_| panic!("{ended:?}"));
        json[0].clone()
    }
}

/// Has a host lose 2 % of what comes to it, and of what it sends.
pub fn lose_two_percent(host: &Namespace) {
    let chain = |hook: &str| {
        format!(
            "chain {hook} {{\ntype filter hook {hook} priority -300; policy accept;\nnumgen random mod 50 0 drop\n}}\n"
        )
    };
    nft(host, &format!("table inet loss {{\n{}{}}}\n", chain("prerouting"), chain("output")));
}

fn nft(host: &Namespace, rules: &str) {
    let mut command = Command::new("nft");
    command.args(["-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    host.enter(&mut command);
    let mut child = command.spawn().expect("nft starts");
    child.stdin.take().expect("a pipe").write_all(rules.as_bytes()).expect("nft reads");
    let output = child.wait_with_output().expect("nft ends");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn ip(host: &Namespace, line: &str) {
    let mut command = Command::new("ip");
    command.args(line.split_whitespace());
    host.enter(&mut command);
    let Ended { code, stderr, .. } = run(&mut command);
    assert_eq!(code, Some(0), "ip {line}: {stderr}");
}

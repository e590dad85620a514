//! Our engine as the router between two hosts, beside the kernel's masquerade.
//!
//! The engine stands between two TUN devices, with segmentation offload and without; the kernel between two veth pairs, as
//! it has no use for TUN devices. iperf3 is the load: one TCP connection, and UDP packets of 64 bytes as fast as one sender
//! can. CPU time is that of the process with the engine, in which the kernel also does the receiving host's work (write(2) on
//! a TUN device returns when the packet is in its socket); that of a router in the kernel belongs to nobody.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::process::{Process, Scratch, median, output, release};

/// The host outside.
const SERVER: &str = "203.0.113.1";
/// Payload of a UDP packet of 64 bytes over IPv4.
const SMALL: &str = "36";
/// How long namespaces and iperf3 may take to be there.
const START: Duration = Duration::from_secs(20);

/// What is between the hosts.
#[derive(Clone, Copy)]
enum Between {
    Engine { kind: &'static str, offload: &'static str },
    Kernel,
}

const ALL: [(&str, Between); 5] = [
    ("behaviour, offload", Between::Engine { kind: "behaviour", offload: "offload" }),
    ("behaviour, plain", Between::Engine { kind: "behaviour", offload: "plain" }),
    ("rules, offload", Between::Engine { kind: "rules", offload: "offload" }),
    ("rules, plain", Between::Engine { kind: "rules", offload: "plain" }),
    ("kernel, veth", Between::Kernel),
];

/// `[--seconds N] [--rounds N]`.
pub(super) fn run(args: &[String]) -> Result<()> {
    let (mut seconds, mut rounds) = (3, 3);
    for pair in args.chunks(2) {
        let [name, value] = pair else { bail!("{} needs a value", pair[0]) };
        let number = value.parse().with_context(|| format!("{name} {value}"))?;
        match name.as_str() {
            "--seconds" => seconds = number,
            "--rounds" => rounds = number,
            _ => bail!("there is no {name}; there are --seconds and --rounds"),
        }
    }
    let build = ["build", "--release", "--package", "pinhole-netns", "--example", "crossing"];
    if !Command::new("cargo").args(build).status()?.success() {
        bail!("the example does not build");
    }
    let mut measured = vec![[Vec::new(), Vec::new(), Vec::new(), Vec::new()]; ALL.len()];
    for _ in 0..rounds {
        for ((name, between), measured) in ALL.iter().zip(&mut measured) {
            let path = Path::start(*between).with_context(|| format!("starting {name}"))?;
            let tcp = path.measure(&["-t"], seconds)?;
            let gigabits = tcp.report["sum_received"]["bits_per_second"].as_f64().context("no rate")? / 1e9;
            let udp = path.measure(&["-u", "-b", "0", "-l", SMALL, "-t"], seconds)?;
            let sum = &udp.report["sum"];
            let [sent, lost] = ["packets", "lost_packets"].map(|key| sum[key].as_f64().unwrap_or(f64::NAN));
            let arrived = (sent - lost) / f64::from(seconds);
            measured[0].push(gigabits);
            measured[1].push(tcp.cpu / (gigabits * f64::from(seconds) / 8.0));
            measured[2].push(arrived / 1e3);
            measured[3].push(udp.cpu * 1e6 / (arrived * f64::from(seconds)));
        }
    }
    println!(
        "{} {}",
        output(Command::new("uname").arg("-sr"))?.trim(),
        output(Command::new("iperf3").arg("-v"))?.lines().next().unwrap_or_default()
    );
    println!("| between the hosts | TCP, Gb/s | CPU s/GB | UDP 64 B, kpps | CPU us/packet |");
    println!("|---|---|---|---|---|");
    for ((name, between), measured) in ALL.iter().zip(measured) {
        let [gigabits, per_gigabyte, kpps, per_packet] = measured.map(median);
        match between {
            Between::Engine { .. } => {
                println!("| {name} | {gigabits:.2} | {per_gigabyte:.2} | {kpps:.0} | {per_packet:.2} |");
            }
            Between::Kernel => println!("| {name} | {gigabits:.2} | – | {kpps:.0} | – |"),
        }
    }
    Ok(())
}

/// Two hosts and what is between them.
struct Path {
    router: Option<Process>,
    hosts: [Vec<String>; 2],
    scratch: Scratch,
    /// Deleted at the end.
    _namespaces: Vec<Namespace>,
}

/// What a measurement gave.
struct Measured {
    report: Value,
    /// Seconds of CPU time of the router.
    cpu: f64,
}

impl Path {
    fn start(between: Between) -> Result<Self> {
        let scratch = Scratch::new("gateway")?;
        match between {
            Between::Engine { kind, offload } => {
                let log = scratch.path().join("crossing.log");
                let mut command = Command::new(release().join("examples/crossing"));
                let mut router = Process::start(command.args([kind, offload]), log.clone())?;
                router.wait(START, || std::fs::read_to_string(&log).is_ok_and(|text| text.contains('\n')))?;
                let said = std::fs::read_to_string(&log)?;
                let enter = |pid: &str| ["nsenter", "-t", pid, "-n"].map(str::to_owned).to_vec();
                let mut pids = said.split_whitespace().map(enter);
                let (Some(inside), Some(outside)) = (pids.next(), pids.next()) else { bail!("crossing: {said}") };
                Ok(Self { router: Some(router), hosts: [inside, outside], scratch, _namespaces: Vec::new() })
            }
            Between::Kernel => {
                let tag = std::process::id();
                let namespaces = ["i", "r", "o"].map(|letter| Namespace::add(format!("phg-{tag}-{letter}")));
                let [inside, router, outside] = namespaces;
                let [inside, router, outside] = [inside?, router?, outside?];
                inside.cable("eth0", &["10.0.0.2/24"], &router, "lan", "10.0.0.1/24", "10.0.0.1")?;
                outside.cable(
                    "eth0",
                    &[&format!("{SERVER}/24")],
                    &router,
                    "wan",
                    "203.0.113.254/24",
                    "203.0.113.254",
                )?;
                output(router.command("sysctl").args(["-qw", "net.ipv4.ip_forward=1"]))?;
                let rules = "table ip nat { chain post { type nat hook postrouting priority srcnat; oifname wan masquerade; }; }";
                let mut nft = router.command("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn()?;
                nft.stdin.take().context("a pipe")?.write_all(rules.as_bytes())?;
                if !nft.wait()?.success() {
                    bail!("nft refused the masquerade");
                }
                let hosts =
                    [&inside, &outside].map(|host| ["ip", "netns", "exec", &host.0].map(str::to_owned).to_vec());
                Ok(Self { router: None, hosts, scratch, _namespaces: vec![inside, router, outside] })
            }
        }
    }

    fn measure(&self, load: &[&str], seconds: u32) -> Result<Measured> {
        let [inside, outside] = &self.hosts;
        let log = self.scratch.path().join("iperf3.log");
        let on = |host: &[String], program: &str| {
            let mut command = Command::new(&host[0]);
            command.args(&host[1..]).arg(program);
            command
        };
        let mut server = Process::start(on(outside, "iperf3").args(["-s", "-1", "-B", SERVER]), log)?;
        server.wait(START, || {
            output(on(outside, "ss").args(["-Hltn", "sport", "=", ":5201"])).is_ok_and(|text| !text.is_empty())
        })?;
        let before = self.cpu()?;
        let mut client = on(inside, "iperf3");
        let report = output(client.args(["-c", SERVER, "-J"]).args(load).arg(seconds.to_string()))?;
        let cpu = self.cpu()? - before;
        let report: Value = serde_json::from_str(&report).context("iperf3's report")?;
        Ok(Measured { report: report["end"].clone(), cpu })
    }

    fn cpu(&self) -> Result<f64> {
        self.router.as_ref().map_or(Ok(0.0), Process::cpu)
    }
}

/// A namespace of `ip`; dropped, it is deleted.
struct Namespace(String);

impl Namespace {
    fn add(name: String) -> Result<Self> {
        output(Command::new("ip").args(["netns", "add", &name]))?;
        Ok(Self(name))
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.0, program]);
        command
    }

    fn ip(&self, args: &[&str]) -> Result<String> {
        output(Command::new("ip").args(["-n", &self.0]).args(args))
    }

    /// Connects a host to the router by a veth pair, and sends everything there.
    fn cable(&self, name: &str, own: &[&str], router: &Self, port: &str, its: &str, gateway: &str) -> Result<()> {
        self.ip(&["link", "add", name, "type", "veth", "peer", "name", port, "netns", &router.0])?;
        for address in own {
            self.ip(&["address", "add", address, "dev", name])?;
        }
        router.ip(&["address", "add", its, "dev", port])?;
        router.ip(&["link", "set", port, "up"])?;
        self.ip(&["link", "set", name, "up"])?;
        self.ip(&["route", "add", "default", "via", gateway])?;
        Ok(())
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).output();
    }
}

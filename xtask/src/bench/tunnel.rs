//! Throughput of WireGuard devices between two network namespaces, and the CPU time they take for it.
//!
//! Both ends run the same program on the same machine, joined by a veth pair; iperf3 sends through the tunnel. The programs
//! take turns in every round, and the medians of the rounds are shown. Needs root, iproute2, iperf3, `wg` and the peers.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::process::{Process, Scratch, median, output, release};

/// How long a device may take to answer.
const START: Duration = Duration::from_secs(5);
/// What WireGuard over IPv6 leaves of 1500 bytes, as wg-quick has it.
const MTU: &str = "1420";
/// The ends: addresses on the veth pair and in the tunnel.
const OUTSIDE: [&str; 2] = ["172.31.255.1", "172.31.255.2"];
const INSIDE: [&str; 2] = ["10.99.0.1", "10.99.0.2"];

/// What iperf3 is told, by the name of the column.
const LOADS: [(&str, &[&str]); 3] =
    [("TCP, 1 stream", &[]), ("TCP, 8 streams", &["-P", "8"]), ("UDP, 1300 bytes", &["-u", "-b", "0", "-l", "1300"])];

/// A program that runs a device; `None` is pinhole.
struct Contender {
    name: String,
    command: Option<Vec<String>>,
}

/// `[--seconds N] [--rounds N] [--peer 'COMMAND {name}']`; `--peer` may be repeated.
pub(super) fn run(args: &[String]) -> Result<()> {
    let (mut seconds, mut rounds) = (5u32, 3u32);
    let go = vec!["wireguard-go".to_owned(), "--foreground".to_owned(), "{name}".to_owned()];
    let mut contenders = vec![
        Contender { name: "pinhole".to_owned(), command: None },
        Contender { name: "wireguard-go".to_owned(), command: Some(go) },
    ];
    for pair in args.chunks(2) {
        let [option, value] = pair else { bail!("{} needs a value", pair[0]) };
        match option.as_str() {
            "--seconds" => seconds = value.parse().context("--seconds")?,
            "--rounds" => rounds = value.parse().context("--rounds")?,
            "--peer" => {
                let command: Vec<String> = value.split_whitespace().map(str::to_owned).collect();
                let program = command.first().map(|program| Path::new(program).file_name().unwrap_or_default());
                let name = program.context("--peer needs a command")?.to_string_lossy().into_owned();
                contenders.push(Contender { name, command: Some(command) });
            }
            _ => bail!("there is no {option}; there are --seconds, --rounds and --peer"),
        }
    }
    let build = ["build", "--release", "--package", "pinhole"];
    output(Command::new("cargo").args(build))?;
    // Gb/s and CPU seconds per GB, by contender, load and round.
    let mut results = vec![[const { (Vec::new(), Vec::new()) }; LOADS.len()]; contenders.len()];
    for _ in 0..rounds {
        for (contender, columns) in contenders.iter().zip(&mut results) {
            let pair = Pair::start(contender).with_context(|| contender.name.clone())?;
            for ((_, load), (rates, costs)) in LOADS.iter().zip(columns) {
                let (rate, cost) = pair.measure(load, seconds).with_context(|| contender.name.clone())?;
                rates.push(rate);
                costs.push(cost);
            }
        }
    }
    println!("| device | {} |", LOADS.map(|(name, _)| name).join(" | "));
    println!("|---|---|---|---|");
    for (contender, columns) in contenders.iter().zip(results) {
        let cells = columns.map(|(rates, costs)| format!("{:.2} Gb/s, {:.1} s/GB", median(rates), median(costs)));
        println!("| {} | {} |", contender.name, cells.join(" | "));
    }
    Ok(())
}

/// Two devices that have each other as peer.
struct Pair {
    devices: Vec<Process>,
    ends: [End; 2],
    _scratch: Scratch,
}

/// A namespace; dropped, it is deleted, with what is in it.
struct End {
    namespace: String,
    interface: String,
}

impl Drop for End {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.namespace]).output();
    }
}

impl End {
    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace]).arg(program);
        command
    }

    fn ip(&self, args: &[&str]) -> Result<String> {
        output(Command::new("ip").args(["-n", &self.namespace]).args(args))
    }
}

impl Pair {
    fn start(contender: &Contender) -> Result<Self> {
        let scratch = Scratch::new("tunnel")?;
        let tag = std::process::id();
        let end = |letter: char| -> Result<End> {
            let end = End { namespace: format!("phb-{tag}-{letter}"), interface: format!("phb{tag}{letter}") };
            output(Command::new("ip").args(["netns", "add", &end.namespace]))?;
            Ok(end)
        };
        let ends = [end('a')?, end('b')?];
        let [a, b] = &ends;
        a.ip(&["link", "add", "veth0", "type", "veth", "peer", "name", "veth0", "netns", &b.namespace])?;
        for (end, address) in ends.iter().zip(OUTSIDE) {
            end.ip(&["address", "add", &format!("{address}/24"), "dev", "veth0"])?;
            end.ip(&["link", "set", "veth0", "up"])?;
            end.ip(&["link", "set", "lo", "up"])?;
        }
        let keys = [(); 2].map(|()| output(Command::new("wg").arg("genkey")).map(|key| key.trim().to_owned()));
        let [key_a, key_b] = keys;
        let keys = [key_a?, key_b?];
        let mut devices = Vec::new();
        for (number, end) in ends.iter().enumerate() {
            let other = 1 - number;
            let public = public_key(&keys[other], scratch.path())?;
            let log = scratch.path().join(format!("{}.log", end.interface));
            let peer = format!(
                "[Interface]\nPrivateKey = {}\nListenPort = 51820\n{{}}[Peer]\nPublicKey = {public}\nEndpoint = {}:51820\n\
                 AllowedIPs = {}/32\n",
                keys[number], OUTSIDE[other], INSIDE[other]
            );
            let file = scratch.path().join(format!("{}.conf", end.interface));
            let mut device = match &contender.command {
                None => {
                    std::fs::write(
                        &file,
                        peer.replace("{}", &format!("Address = {}/24\nMTU = {MTU}\n", INSIDE[number])),
                    )?;
                    let mut command = end.command(release().join("pinhole"));
                    Process::start(command.args(["wg", "up", "--userspace", "--foreground"]).arg(&file), log)?
                }
                Some(words) => {
                    std::fs::write(&file, peer.replace("{}", ""))?;
                    let words: Vec<String> = words.iter().map(|word| word.replace("{name}", &end.interface)).collect();
                    Process::start(end.command(&words[0]).args(&words[1..]), log)?
                }
            };
            device.wait(START, || output(end.command("wg").args(["show", &end.interface])).is_ok())?;
            if contender.command.is_some() {
                output(end.command("wg").args(["setconf", &end.interface]).arg(&file))?;
                end.ip(&["address", "add", &format!("{}/24", INSIDE[number]), "dev", &end.interface])?;
                end.ip(&["link", "set", &end.interface, "mtu", MTU, "up"])?;
            }
            devices.push(device);
        }
        let pair = Self { devices, ends, _scratch: scratch };
        let [a, _] = &pair.ends;
        output(a.command("ping").args(["-c", "3", "-i", "0.2", "-w", "5", INSIDE[1]])).context("no tunnel")?;
        Ok(pair)
    }

    /// Gb/s received, and CPU seconds of both devices per GB.
    fn measure(&self, load: &[&str], seconds: u32) -> Result<(f64, f64)> {
        let [a, b] = &self.ends;
        let log = self._scratch.path().join("iperf3.log");
        let mut server = Process::start(b.command("iperf3").args(["-s", "-1", "-B", INSIDE[1]]), log)?;
        server.wait(START, || {
            output(b.command("ss").args(["-Hltn", "sport", "=", ":5201"])).is_ok_and(|text| !text.is_empty())
        })?;
        let before = self.cpu()?;
        let client = ["-c", INSIDE[1], "-J", "-t", &seconds.to_string()];
        let report = output(a.command("iperf3").args(client).args(load))?;
        let used = self.cpu()? - before;
        let report: Value = serde_json::from_str(&report).context("iperf3's report")?;
        let end = &report["end"];
        let sum = if end["sum_received"].is_object() { &end["sum_received"] } else { &end["sum"] };
        let lost = sum["lost_percent"].as_f64().unwrap_or(0.0) / 100.0;
        let is_udp = end["sum"].is_object();
        let arrived = if is_udp { 1.0 - lost } else { 1.0 };
        let bits = sum["bits_per_second"].as_f64().context("iperf3 gave no rate")? * arrived;
        let gigabytes = bits * f64::from(seconds) / 8e9;
        Ok((bits / 1e9, used / gigabytes))
    }

    fn cpu(&self) -> Result<f64> {
        self.devices.iter().map(Process::cpu).sum()
    }
}

fn public_key(private: &str, scratch: &Path) -> Result<String> {
    let file = scratch.join("key");
    std::fs::write(&file, private)?;
    let key = output(Command::new("wg").arg("pubkey").stdin(std::fs::File::open(&file)?))?;
    Ok(key.trim().to_owned())
}

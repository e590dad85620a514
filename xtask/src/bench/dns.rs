//! Registry answers per second, against nsd and knot serving the same zone.
//!
//! Each server has one core and one worker, the load generator the other core; the servers take turns, so that what else the
//! machine does meets them alike. Beside answers per second there are answers per second of the server's own processor
//! time, which other programs disturb less.

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::workspace;

/// Where each side runs.
const SERVER_CORE: &str = "0";
const LOAD_CORE: &str = "1";
/// Processor time in /proc is counted in these (Linux USER_HZ, the same on all its platforms but alpha).
const TICKS_PER_SECOND: f64 = 100.0;
/// How long a server may take to load its zone.
const START_ATTEMPTS: usize = 200;
const START_WAIT: Duration = Duration::from_millis(50);

/// `[--peers 10,100,1000] [--rounds 5] [--seconds 2]`.
pub(super) fn run(args: &[String]) -> Result<()> {
    let mut settings = Settings { peers: vec![10, 100, 1_000], rounds: 5, seconds: 2 };
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let value = args.next().with_context(|| format!("{arg} needs a value"))?;
        match arg.as_str() {
            "--peers" => {
                settings.peers = value.split(',').map(str::parse).collect::<Result<_, _>>().context("--peers")?
            }
            "--rounds" => settings.rounds = value.parse().context("--rounds")?,
            "--seconds" => settings.seconds = value.parse().context("--seconds")?,
            _ => bail!("there is no {arg}; there are --peers, --rounds and --seconds"),
        }
    }
    let built =
        Command::new("cargo").args(["build", "--release", "--package", "pinhole-host", "--examples"]).status()?;
    if !built.success() {
        bail!("the server and the load generator do not build");
    }
    for (program, version) in [("nsd", "-v"), ("knotd", "--version")] {
        let output = Command::new(program).arg(version).output();
        let output = output.with_context(|| format!("no {program}: apt-get install nsd knot"))?;
        let text = [output.stdout, output.stderr].concat();
        println!("{}", String::from_utf8_lossy(&text).lines().next().unwrap_or(program));
    }
    println!();
    println!("| peers | questions | server | answers/s | per server CPU-second | bytes per answer | against nsd |");
    println!("|---|---|---|---|---|---|---|");
    for &peers in &settings.peers {
        for (kind, edns) in [("srv", None), ("srv", Some("1232")), ("mix", Some("1232"))] {
            measure(&settings, peers, kind, edns)?;
        }
    }
    Ok(())
}

struct Settings {
    peers: Vec<usize>,
    rounds: usize,
    seconds: u32,
}

/// One zone, one kind of question, all servers in turn.
fn measure(settings: &Settings, peers: usize, kind: &str, edns: Option<&str>) -> Result<()> {
    let scratch = Scratch::new()?;
    let (zone, questions) = (scratch.0.join("zone"), scratch.0.join("questions"));
    let written = Command::new(example("dns_bench_server")?)
        .args(["--peers", &peers.to_string(), "--kind", kind, "--zone"])
        .arg(&zone)
        .arg("--queries")
        .arg(&questions)
        .status()?;
    if !written.success() {
        bail!("the zone cannot be written");
    }
    let mut servers = [ours(peers)?, nsd(&scratch.0)?, knot(&scratch.0)?];
    for server in &servers {
        server.await_start()?;
    }
    for _ in 0..settings.rounds {
        for server in &mut servers {
            server.round(&questions, settings.seconds, edns)?;
        }
    }
    let medians = servers.each_ref().map(|server| median(server.rounds.iter().map(|round| round.per_cpu)));
    for (server, per_cpu) in servers.iter().zip(medians) {
        let per_second = median(server.rounds.iter().map(|round| round.per_second));
        let bytes = median(server.rounds.iter().map(|round| round.bytes));
        let edns = edns.map_or("plain", |_| "EDNS");
        let ratio = per_cpu / medians[1];
        let name = server.name;
        println!("| {peers} | {kind}, {edns} | {name} | {per_second:.0} | {per_cpu:.0} | {bytes:.0} | {ratio:.2} |");
    }
    Ok(())
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// A running server and what it has been seen to do.
struct Server {
    name: &'static str,
    process: Child,
    address: SocketAddr,
    rounds: Vec<Round>,
}

/// Figures of one round.
struct Round {
    per_second: f64,
    per_cpu: f64,
    bytes: f64,
}

impl Drop for Server {
    fn drop(&mut self) {
        // SIGTERM by the process's own number, so that nsd and knot take their children along.
        let _ = Command::new("kill").arg(self.process.id().to_string()).status();
        let _ = self.process.wait();
    }
}

impl Server {
    fn start(name: &'static str, address: SocketAddr, command: &mut Command) -> Result<Self> {
        let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let process = process.with_context(|| format!("cannot start {name}"))?;
        Ok(Self { name, process, address, rounds: Vec::new() })
    }

    /// Waits until it answers for the zone.
    fn await_start(&self) -> Result<()> {
        const SOA: &[u8] = b"\0\x01\0\0\0\x01\0\0\0\0\0\0\x05bench\x04test\0\0\x06\0\x01";
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.set_read_timeout(Some(START_WAIT))?;
        socket.connect(self.address)?;
        for _ in 0..START_ATTEMPTS {
            let mut answer = [0; 512];
            // Refused while nobody listens, silent while it loads: both are tried again.
            let answered = socket.send(SOA).and_then(|_| socket.recv(&mut answer));
            if answered.is_ok() && answer[3] & 0xf == 0 && answer[7] == 1 {
                return Ok(());
            }
            if answered.is_err() {
                std::thread::park_timeout(START_WAIT);
            }
        }
        bail!("{} does not answer at {}", self.name, self.address)
    }

    fn round(&mut self, questions: &Path, seconds: u32, edns: Option<&str>) -> Result<()> {
        let before = cpu_seconds(self.process.id())?;
        let mut load = Command::new("taskset");
        load.args(["-c", LOAD_CORE]).arg(example("dns_bench_load")?);
        load.args(["--server", &self.address.to_string(), "--seconds", &seconds.to_string(), "--questions"])
            .arg(questions);
        if let Some(size) = edns {
            load.args(["--edns", size]);
        }
        let output = load.output().context("taskset (util-linux) runs the load generator")?;
        let used = cpu_seconds(self.process.id())? - before;
        let seen: Value = serde_json::from_slice(&output.stdout).context("the load generator's result")?;
        let of = |key: &str| seen[key].as_f64().unwrap_or(f64::NAN);
        if of("errors") > 0.0 {
            bail!("{} answered with errors: {seen}", self.name);
        }
        let answers = of("answers");
        self.rounds.push(Round {
            per_second: answers / of("seconds"),
            per_cpu: answers / used,
            bytes: of("bytes") / answers,
        });
        Ok(())
    }
}

fn ours(peers: usize) -> Result<Server> {
    let address = free_port()?;
    let mut command = on_core(&example("dns_bench_server")?);
    // It serves until its standard input ends: that is, until we do.
    command.args(["--peers", &peers.to_string(), "--listen", &address.to_string()]).stdin(Stdio::piped());
    Server::start("pinhole", address, &mut command)
}

fn nsd(scratch: &Path) -> Result<Server> {
    let address = free_port()?;
    let (file, dir) = (scratch.join("nsd.conf"), scratch.display());
    let text = format!(
        "server:\n server-count: 1\n ip-address: {}@{}\n username: \"\"\n chroot: \"\"\n zonesdir: \"{dir}\"\n database: \
         \"\"\n pidfile: \"{dir}/nsd.pid\"\n xfrdfile: \"{dir}/xfrd.state\"\n zonelistfile: \"{dir}/zone.list\"\n logfile: \
         \"{dir}/nsd.log\"\n rrl-ratelimit: 0\n rrl-whitelist-ratelimit: 0\nremote-control:\n control-enable: no\nzone:\n \
         name: bench.test\n zonefile: \"{dir}/zone\"\n",
        address.ip(),
        address.port(),
    );
    fs::write(&file, text)?;
    Server::start("nsd", address, on_core(Path::new("nsd")).args(["-d", "-c"]).arg(file))
}

fn knot(scratch: &Path) -> Result<Server> {
    let address = free_port()?;
    let (file, dir) = (scratch.join("knot.conf"), scratch.display());
    let text = format!(
        "server:\n    listen: {}@{}\n    rundir: {dir}\n    udp-workers: 1\n    tcp-workers: 1\n    background-workers: \
         1\ndatabase:\n    storage: {dir}\nzone:\n  - domain: bench.test\n    file: {dir}/zone\n    semantic-checks: off\n    \
         zonefile-load: whole\n    journal-content: none\n",
        address.ip(),
        address.port(),
    );
    fs::write(&file, text)?;
    Server::start("knot", address, on_core(Path::new("knotd")).arg("-c").arg(file))
}

fn on_core(program: &Path) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", SERVER_CORE]).arg(program);
    command
}

/// An address that nobody listens at.
fn free_port() -> Result<SocketAddr> {
    Ok(UdpSocket::bind("127.0.0.1:0")?.local_addr()?)
}

/// The built example `name`.
fn example(name: &str) -> Result<PathBuf> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from);
    let path = target.join("release/examples").join(name);
    if path.exists() { Ok(path) } else { bail!("{} is not there", path.display()) }
}

/// Processor time of a process and all below it, in seconds.
fn cpu_seconds(root: u32) -> Result<f64> {
    let mut known = Vec::new();
    for entry in fs::read_dir("/proc")?.filter_map(Result::ok) {
        // A process may end while it is looked at.
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        // proc(5): pid (name) state ppid …, utime and stime are fields 14 and 15; the name may hold anything.
        let Some((head, rest)) = stat.rsplit_once(") ") else { continue };
        let fields: Vec<&str> = rest.split(' ').collect();
        let number = |at: usize| fields.get(at).and_then(|field| field.parse::<u32>().ok()).unwrap_or(0);
        if let Some(pid) = head.split(' ').next().and_then(|pid| pid.parse::<u32>().ok()) {
            known.push((pid, number(1), number(11) + number(12)));
        }
    }
    let mut tree = vec![root];
    let mut ticks = 0;
    while let Some(parent) = tree.pop() {
        ticks += known.iter().find(|(pid, _, _)| *pid == parent).map_or(0, |(_, _, ticks)| *ticks);
        tree.extend(known.iter().filter(|(_, ppid, _)| *ppid == parent).map(|(pid, _, _)| pid));
    }
    Ok(f64::from(ticks) / TICKS_PER_SECOND)
}

/// A directory for configurations and state, removed afterwards.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("pinhole-bench-dns-{}", std::process::id()));
        fs::create_dir_all(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

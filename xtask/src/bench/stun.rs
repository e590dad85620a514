//! Binding requests per second, against coturn, Debian's stund, stuntman and a bare echo.
//!
//! Each server has one core and one thread, the load generator (`pinhole stun bench`) the other core; the servers take turns, so
//! that what else the machine does meets them alike. The echo does the least that answers from an ordinary socket: it is the
//! ceiling. What is compared is answers per second of the server's own processor time, which other programs disturb least; the
//! waits are those of a queue that is kept full. stuntman is taken from `STUNTMAN_SERVER` or the path, and left out where there is none.

use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::process::{Process, Scratch, median, output, release};

/// Where each side runs.
const SERVER_CORE: &str = "0";
const LOAD_CORE: &str = "1";
/// How long a server may take to answer for the first time.
const START: Duration = Duration::from_secs(20);

/// One server under measurement.
struct Server {
    name: &'static str,
    process: Process,
    address: String,
    per_second: Vec<f64>,
    per_cpu: Vec<f64>,
    p99: Vec<f64>,
}

/// `[--rounds 5] [--seconds 2]`.
pub(super) fn run(args: &[String]) -> Result<()> {
    let (mut rounds, mut seconds) = (5, 2);
    for pair in args.chunks(2) {
        let [name, value] = pair else { bail!("{} needs a value", pair[0]) };
        let number = value.parse().with_context(|| format!("{name} {value}"))?;
        match name.as_str() {
            "--rounds" => rounds = number,
            "--seconds" => seconds = number,
            _ => bail!("there is no {name}; there are --rounds and --seconds"),
        }
    }
    for build in [&["--package", "pinhole"][..], &["--package", "pinhole-host", "--example", "stun_bench_echo"]] {
        if !Command::new("cargo").args(["build", "--release"]).args(build).status()?.success() {
            bail!("cargo build {} failed", build.join(" "));
        }
    }
    let scratch = Scratch::new("stun")?;
    let mut servers = start(scratch.path())?;
    for server in &mut servers {
        let address = server.address.clone();
        server.process.wait(START, || ask(&address, "0.05").is_ok())?;
    }
    for _ in 0..rounds {
        for server in &mut servers {
            let before = server.process.cpu()?;
            let measured = ask(&server.address, &seconds.to_string())?;
            let used = server.process.cpu()? - before;
            let of = |key: &str| measured[key].as_f64().unwrap_or(f64::NAN);
            if of("wrong") > 0.0 {
                bail!("{} gave wrong answers: {measured}", server.name);
            }
            server.per_second.push(of("per_second"));
            server.per_cpu.push(of("answers") / used);
            server.p99.push(of("p99_us"));
        }
    }
    println!("{}, {rounds} rounds of {seconds} s, one core each", output(Command::new("uname").arg("-sr"))?.trim());
    println!("| server | answers/s | per server CPU-second | against the echo | p99, µs |");
    println!("|---|---|---|---|---|");
    let medians: Vec<[f64; 3]> = servers
        .iter()
        .map(|server| [&server.per_second, &server.per_cpu, &server.p99].map(|v| median(v.clone())))
        .collect();
    let ceiling = medians.first().map_or(f64::NAN, |[_, per_cpu, _]| *per_cpu);
    for (server, [per_second, per_cpu, p99]) in servers.iter().zip(&medians) {
        let ratio = per_cpu / ceiling;
        println!("| {} | {per_second:.0} | {per_cpu:.0} | {ratio:.2} | {p99:.0} |", server.name);
    }
    Ok(())
}

/// Starts those that are there; the echo first.
fn start(scratch: &Path) -> Result<Vec<Server>> {
    let mut servers = Vec::new();
    let mut add = |name: &'static str, program: &Path, args: &[&str]| -> Result<()> {
        let port = UdpSocket::bind("127.0.0.1:0")?.local_addr()?.port().to_string();
        let address = format!("127.0.0.1:{port}");
        let args = args.iter().map(|arg| arg.replace("ADDRESS", &address).replace("PORT", &port));
        let mut command = Command::new("taskset");
        command.args(["-c", SERVER_CORE]).arg(program).args(args);
        let process = Process::start(&mut command, scratch.join(name.replace(' ', "-")))?;
        let (per_second, per_cpu, p99) = (Vec::new(), Vec::new(), Vec::new());
        servers.push(Server { name, process, address, per_second, per_cpu, p99 });
        Ok(())
    };
    add("bare echo", &release().join("examples/stun_bench_echo"), &["ADDRESS"])?;
    let ours = ["stun", "serve", "--listen", "ADDRESS", "--no-tcp", "--threads", "1"];
    let pinhole = release().join("pinhole");
    add("pinhole", &pinhole, &[&ours[..], &["--rate-limit", "0"]].concat())?;
    // A limit that nobody meets costs what any costs.
    add("pinhole with limits", &pinhole, &[&ours[..], &["--rate-limit", "4000000000"]].concat())?;
    let coturn = "-n -S -L 127.0.0.1 -p PORT -m 1 --no-cli --no-tls --no-dtls --no-tcp --no-rfc5780 --log-file stdout \
                  --pidfile /dev/null --userdb /dev/null";
    if let Some(program) = find("turnserver") {
        add("coturn", &program, &coturn.split_whitespace().collect::<Vec<_>>())?;
    }
    if let Some(program) = find("stund") {
        add("stund", &program, &["-h", "127.0.0.1", "-p", "PORT", "-a", "127.0.0.2"])?;
    }
    let stuntman = std::env::var_os("STUNTMAN_SERVER").map(PathBuf::from).or_else(|| find("stunserver"));
    if let Some(program) = stuntman {
        add("stuntman", &program, &["--mode", "basic", "--primaryinterface", "127.0.0.1", "--primaryport", "PORT"])?;
    }
    Ok(servers)
}

/// What the load generator says of a server.
fn ask(address: &str, seconds: &str) -> Result<Value> {
    let mut load = Command::new("taskset");
    load.args(["-c", LOAD_CORE]).arg(release().join("pinhole"));
    load.args(["stun", "bench", address, "--json", "--seconds", seconds]);
    serde_json::from_str(&output(&mut load)?).context("the load generator's result")
}

/// Where a program is; Debian keeps some in sbin, which is not on every user's path.
fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    directories.map(|directory| directory.join(program)).find(|path| path.is_file())
}

//! Binding requests per second, against coturn, Debian's stund, stuntman and a bare echo.
//!
//! Each server has one core and one thread, the load generator (`pinhole stun bench`) the other core; the servers take turns, so
//! that what else the machine does meets them alike. The echo does the least that answers from an ordinary socket: it is the
//! ceiling of sockets. What is compared is answers per second of the server's own processor time, which other programs disturb
//! least, and waits at one rate that all are asked at.
//!
//! First by loopback, where the kernel receives for the server on the asker's core; anyone can run that. Then, as root, over
//! [a cable](cable), where everything that the kernel does for the server counts as the server's, and XDP can be measured beside
//! the others: asked by sockets, and by a flood of frames that no sockets could send.

mod cable;
mod servers;

use std::net::UdpSocket;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::process::{Process, Scratch, median, output, release};
use cable::{Cable, Thread};
use servers::{Place, Server};

/// Where each side runs.
const SERVER_CORE: &str = "0";
const LOAD_CORE: &str = "1";
/// How long a server may take to answer for the first time.
const START: Duration = Duration::from_secs(20);

/// `[--rounds 5] [--seconds 2] [--rate 60000]`.
pub(super) fn run(args: &[String]) -> Result<()> {
    let mut plan = Plan { rounds: 5, seconds: 2, rate: 60_000 };
    for pair in args.chunks(2) {
        let [name, value] = pair else { bail!("{} needs a value", pair[0]) };
        let number = value.parse().with_context(|| format!("{name} {value}"))?;
        match name.as_str() {
            "--rounds" => plan.rounds = number,
            "--seconds" => plan.seconds = number,
            "--rate" => plan.rate = number,
            _ => bail!("there is no {name}; there are --rounds, --seconds and --rate"),
        }
    }
    let examples = ["--package", "pinhole-host", "--example", "stun_bench_echo", "--example", "stun_bench_end"];
    for build in [&["--package", "pinhole"][..], &examples] {
        if !Command::new("cargo").args(["build", "--release"]).args(build).status()?.success() {
            bail!("cargo build {} failed", build.join(" "));
        }
    }
    let scratch = Scratch::new("stun")?;
    let Plan { rounds, seconds, .. } = plan;
    println!("{}, {rounds} rounds of {seconds} s, one core each", output(Command::new("uname").arg("-sr"))?.trim());
    plan.by_loopback(scratch.path())?;
    match Cable::lay()? {
        Some(cable) => plan.over_cable(&cable, scratch.path()),
        None => Ok(()),
    }
}

/// How much is measured.
struct Plan {
    rounds: u32,
    seconds: u32,
    /// Requests a second for the waits: less than the slowest can answer.
    rate: u32,
}

/// The figures of a server, round by round.
#[derive(Default)]
struct Figures {
    /// Asked by sockets, as fast as it answers: answers a second, of time and of the server's processor time.
    per_second: Vec<f64>,
    per_cpu: Vec<f64>,
    /// Asked by a flood: the same.
    flood_per_second: Vec<f64>,
    flood_per_cpu: Vec<f64>,
    /// Waits at the rate, in µs, and requests of a thousand that were not answered.
    p50: Vec<f64>,
    p99: Vec<f64>,
    lost: Vec<f64>,
}

impl Plan {
    fn by_loopback(&self, scratch: &Path) -> Result<()> {
        let scratch = scratch.join("loopback");
        std::fs::create_dir(&scratch)?;
        let mut running = Vec::new();
        for server in servers::all().into_iter().filter(|server| !server.xdp) {
            let port = UdpSocket::bind("127.0.0.1:0")?.local_addr()?.port();
            let place = Place { ip: "127.0.0.1", port, second: "127.0.0.2", interface: "lo" };
            let mut process = server.start(&[], SERVER_CORE, &place, &scratch)?;
            process.wait(START, || ask(&[], &place.address(), "0.05", &[]).is_ok())?;
            running.push((server, place.address(), process, Figures::default()));
        }
        for _ in 0..self.rounds {
            for (server, address, process, figures) in &mut running {
                let asked = Asked { server, address, enter: &[], process, thread: None };
                self.measure(&asked, figures)?;
            }
        }
        println!("\nBy loopback, asked by sockets:\n");
        println!("| server | answers/s | per server CPU-second | against the echo | {} |", self.waits());
        println!("|---|---|---|---|---|");
        let ceiling = running.first().map_or(f64::NAN, |(.., echo)| median(echo.per_cpu.clone()));
        for (server, _, _, figures) in running {
            let Figures { per_second, per_cpu, .. } = &figures;
            let (per_second, per_cpu) = (median(per_second.clone()), median(per_cpu.clone()));
            let ratio = per_cpu / ceiling;
            println!("| {} | {per_second:.0} | {per_cpu:.0} | {ratio:.2} | {} |", server.name, figures.waits());
        }
        Ok(())
    }

    /// One server after another: there is one interface, and one program at it.
    fn over_cable(&self, cable: &Cable, scratch: &Path) -> Result<()> {
        let scratch = scratch.join("cable");
        std::fs::create_dir(&scratch)?;
        let mut servers: Vec<(Server, Figures)> =
            servers::all().into_iter().map(|server| (server, Figures::default())).collect();
        let [ip, second] = cable::SERVER;
        let place = Place { ip, port: 3_478, second, interface: &cable.server.interface };
        for _ in 0..self.rounds {
            for (server, figures) in &mut servers {
                let mut process = server.start(&cable.server.enter(), SERVER_CORE, &place, &scratch)?;
                let enter = cable.asker.enter();
                let native = server.xdp.then(|| cable.asker.take_native_frames(&scratch)).transpose()?;
                process.wait(START, || ask(&enter, &place.address(), "0.05", &[]).is_ok())?;
                let thread = cable.server.pin(SERVER_CORE)?;
                cable.asker.pin(LOAD_CORE)?;
                let address = place.address();
                let (process, thread) = (&process, Some(&thread));
                let asked = Asked { server, address: &address, enter: &enter, process, thread };
                self.measure(&asked, figures)?;
                // The generator has a program of its own.
                drop(native);
                cable.asker.prefer()?;
                self.flood(&asked, &cable.asker.interface, figures)?;
            }
        }
        println!("\nOver a cable, with the kernel's part of receiving on the server's core:\n");
        println!(
            "| server | asked by sockets: answers/s | per server CPU-second | asked by a flood: answers/s | per server \
             CPU-second | best, against coturn | {} |",
            self.waits()
        );
        println!("|---|---|---|---|---|---|---|");
        let best = |figures: &Figures| median(figures.per_cpu.clone()).max(median(figures.flood_per_cpu.clone()));
        let coturn = servers.iter().find(|(server, _)| server.name == "coturn").map_or(f64::NAN, |(_, it)| best(it));
        for (server, figures) in &servers {
            let all = [&figures.per_second, &figures.per_cpu, &figures.flood_per_second, &figures.flood_per_cpu];
            let all = all.map(|values| format!("{:.0}", median(values.clone()))).join(" | ");
            println!("| {} | {all} | {:.2} | {} |", server.name, best(figures) / coturn, figures.waits());
        }
        Ok(())
    }

    /// Asks by sockets: as fast as it answers, and at the rate.
    fn measure(&self, asked: &Asked<'_>, figures: &mut Figures) -> Result<()> {
        let seconds = self.seconds.to_string();
        let before = asked.cpu()?;
        let fast = asked.ask(&seconds, &[])?;
        let used = asked.cpu()? - before;
        figures.per_second.push(number(&fast, "per_second"));
        figures.per_cpu.push(number(&fast, "answers") / used);
        let paced = asked.ask(&seconds, &["--rate", &self.rate.to_string()])?;
        figures.p50.push(number(&paced, "p50_us"));
        figures.p99.push(number(&paced, "p99_us"));
        let (answers, lost) = (number(&paced, "answers"), number(&paced, "lost"));
        figures.lost.push(lost / (answers + lost) * 1e3);
        Ok(())
    }

    /// Asks by frames.
    fn flood(&self, asked: &Asked<'_>, interface: &str, figures: &mut Figures) -> Result<()> {
        let before = asked.cpu()?;
        let flooded = asked.ask(&self.seconds.to_string(), &["--flood", interface])?;
        let used = asked.cpu()? - before;
        figures.flood_per_second.push(number(&flooded, "per_second"));
        figures.flood_per_cpu.push(number(&flooded, "answers") / used);
        Ok(())
    }

    fn waits(&self) -> String {
        format!("at {}/s: p50, p99 (µs), lost ‰", self.rate)
    }
}

impl Figures {
    fn waits(&self) -> String {
        let [p50, p99, lost] = [&self.p50, &self.p99, &self.lost].map(|values| median(values.clone()));
        format!("{p50:.0}, {p99:.0}, {lost:.1}")
    }
}

/// A server that is asked.
struct Asked<'a> {
    server: &'a Server,
    address: &'a str,
    /// What the asker's command begins with.
    enter: &'a [String],
    process: &'a Process,
    /// What the kernel receives in, if that is the server's.
    thread: Option<&'a Thread>,
}

impl Asked<'_> {
    /// CPU time of the server and of the kernel for it, in seconds.
    fn cpu(&self) -> Result<f64> {
        Ok(self.process.cpu()? + self.thread.map_or(Ok(0.0), Thread::cpu)?)
    }

    fn ask(&self, seconds: &str, more: &[&str]) -> Result<Value> {
        let said = ask(self.enter, self.address, seconds, more).with_context(|| self.server.name)?;
        if said["wrong"].as_f64().is_some_and(|wrong| wrong > 0.0) {
            bail!("{} gave wrong answers: {said}", self.server.name);
        }
        Ok(said)
    }
}

/// What the load generator says of a server.
fn ask(enter: &[String], address: &str, seconds: &str, more: &[&str]) -> Result<Value> {
    let pinhole = release().join("pinhole").display().to_string();
    let words = ["taskset", "-c", LOAD_CORE, &pinhole, "stun", "bench", address, "--json", "--seconds", seconds];
    let mut words = enter.iter().map(String::as_str).chain(words).chain(more.iter().copied());
    let mut command = Command::new(words.next().context("a program")?);
    serde_json::from_str(&output(command.args(words))?).context("the load generator's result")
}

fn number(said: &Value, key: &str) -> f64 {
    said[key].as_f64().unwrap_or(f64::NAN)
}

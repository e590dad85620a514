//! `pinhole timewait`: lifetimes simulated a second, `show` beside ss, and the CPU time of `watch`.
//!
//! The sockets are real: connections over loopback in a namespace, closed by the client first. `show` and `ss -tan state
//! time-wait` take turns on the same ones and write to nowhere; ss says what the timer says, `show` when each socket dies,
//! by destination, with conntrack's view and the ports that are left.

use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::process::{median, output, release};

/// For how long `watch` is watched.
const WATCHED: Duration = Duration::from_secs(20);
/// Its sockets.
const WATCHED_SOCKETS: usize = 10_000;

/// `[--sockets 20000,200000] [--rounds N]`.
pub(super) fn run(args: &[String]) -> Result<()> {
    let (mut sockets, mut rounds) = (vec![20_000, 200_000], 5);
    for pair in args.chunks(2) {
        let [name, value] = pair else { bail!("{} needs a value", pair[0]) };
        match name.as_str() {
            "--sockets" => sockets = value.split(',').map(str::parse).collect::<Result<_, _>>().context("--sockets")?,
            "--rounds" => rounds = value.parse().context("--rounds")?,
            _ => bail!("there is no {name}; there are --sockets and --rounds"),
        }
    }
    for build in [
        &["build", "--release", "--package", "pinhole"][..],
        &["build", "--release", "--package", "pinhole-timewait", "--example", "simulated"],
        &["build", "--release", "--package", "pinhole-host", "--example", "timewait_load"],
    ] {
        if !Command::new("cargo").args(build).status()?.success() {
            bail!("`cargo {}` fails", build.join(" "));
        }
    }
    println!("{} {}\n", output(Command::new("uname").arg("-sr"))?.trim(), output(Command::new("ss").arg("-V"))?.trim());
    println!("{}", output(&mut Command::new(release().join("examples/simulated")))?);
    println!("| TIME_WAIT sockets | show | show --json | ss -tan | show against ss |");
    println!("|---|---|---|---|---|");
    for count in sockets {
        let load = Load::start(count)?;
        let mut times = [Vec::new(), Vec::new(), Vec::new()];
        for _ in 0..rounds {
            times[0].push(load.time(release().join("pinhole").to_str().context("a path")?, "timewait show")?);
            times[1].push(load.time(release().join("pinhole").to_str().context("a path")?, "timewait show --json")?);
            times[2].push(load.time("ss", "-tan state time-wait")?);
        }
        let [show, json, ss] = times.map(median);
        println!("| {count} | {:.0} ms | {:.0} ms | {:.0} ms | {:.2} |", show * 1e3, json * 1e3, ss * 1e3, ss / show);
    }
    let load = Load::start(WATCHED_SOCKETS)?;
    let cpu_s = load.watch()?;
    let share = cpu_s / WATCHED.as_secs_f64() * 100.0;
    println!("\nwatch at {WATCHED_SOCKETS} sockets: {share:.2} % of a core over {} s", WATCHED.as_secs());
    Ok(())
}

/// A namespace full of dead connections; dropped, it goes.
struct Load {
    process: Child,
    holder: String,
    _words: ChildStdout,
}

impl Load {
    fn start(count: usize) -> Result<Self> {
        let mut command = Command::new(release().join("examples/timewait_load"));
        command.arg(count.to_string()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().context("the load")?;
        let mut words = process.stdout.take().context("a pipe")?;
        let mut holder = String::new();
        let mut byte = [0];
        while std::io::Read::read(&mut words, &mut byte)? == 1 && byte[0] != b'\n' {
            holder.push(byte[0].into());
        }
        if holder.is_empty() {
            bail!("the load does not start: run this as root");
        }
        Ok(Self { process, holder, _words: words })
    }

    fn command(&self, program: &str, line: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.holder, "--net", program]).args(line.split(' ')).stdout(Stdio::null());
        command
    }

    /// Seconds that a program takes.
    fn time(&self, program: &str, line: &str) -> Result<f64> {
        let start = Instant::now();
        let status = self.command(program, line).status()?;
        if !status.success() {
            bail!("{program} {line}: {status}");
        }
        Ok(start.elapsed().as_secs_f64())
    }

    /// Seconds of CPU time that a watch takes.
    fn watch(&self) -> Result<f64> {
        let program = release().join("pinhole");
        let mut watch = self.command(program.to_str().context("a path")?, "timewait watch --json").spawn()?;
        // Its beginning is not what is asked for.
        std::thread::sleep(Duration::from_secs(2));
        let before = cpu_s(watch.id())?;
        std::thread::sleep(WATCHED);
        let after = cpu_s(watch.id())?;
        watch.kill()?;
        watch.wait()?;
        Ok(after - before)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // Its input ends, and so does it.
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

/// User and system time of a process (proc(5), fields 14 and 15), in hundredths of a second.
fn cpu_s(pid: u32) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<f64>().ok()).context("proc(5)");
    Ok((ticks(11)? + ticks(12)?) / 100.0)
}

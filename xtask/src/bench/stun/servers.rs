//! Who is measured, and how each is started.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::bench::process::{Process, release};

/// A program that answers.
pub(super) struct Server {
    pub(super) name: &'static str,
    program: PathBuf,
    /// With `ADDRESS`, `IP`, `PORT` and `SECOND` for what they stand for.
    args: Vec<&'static str>,
    /// It answers on this side of its sockets.
    pub(super) xdp: bool,
}

impl Server {
    /// Starts it at `ip` and `port`, on one core. `enter` is what the command begins with.
    pub(super) fn start(&self, enter: &[String], core: &str, place: &Place<'_>, scratch: &Path) -> Result<Process> {
        let words = ["taskset", "-c", core].map(str::to_owned);
        let mut words: Vec<String> = enter.iter().cloned().chain(words).collect();
        words.push(self.program.display().to_string());
        words.extend(self.args.iter().map(|arg| place.put_into(arg)));
        let mut command = Command::new(&words[0]);
        Process::start(command.args(&words[1..]), scratch.join(self.name.replace([' ', '/'], "-")))
    }
}

/// Where a server serves.
pub(super) struct Place<'a> {
    pub(super) ip: &'a str,
    pub(super) port: u16,
    /// Another address of the host's.
    pub(super) second: &'a str,
    /// The interface that has them.
    pub(super) interface: &'a str,
}

impl Place<'_> {
    pub(super) fn address(&self) -> String {
        format!("{}:{}", self.ip, self.port)
    }

    fn put_into(&self, arg: &str) -> String {
        let arg = arg.replace("ADDRESS", &self.address()).replace("IP", self.ip);
        let arg = arg.replace("PORT", &self.port.to_string()).replace("SECOND", self.second);
        arg.replace("INTERFACE", self.interface)
    }
}

/// Those that are there; the echo first. stuntman is taken from `STUNTMAN_SERVER` or the path.
pub(super) fn all() -> Vec<Server> {
    let ours = ["stun", "serve", "--listen", "ADDRESS", "--no-tcp", "--threads", "1"];
    let pinhole = release().join("pinhole");
    let ours = |name, more: &[&'static str]| Server {
        name,
        program: pinhole.clone(),
        args: [&ours[..], more].concat(),
        xdp: more.contains(&"--xdp"),
    };
    let echo = release().join("examples/stun_bench_echo");
    let mut servers = vec![
        Server { name: "bare echo", program: echo, args: vec!["ADDRESS"], xdp: false },
        ours("pinhole", &["--rate-limit", "0"]),
        // A limit that nobody meets costs what any costs.
        ours("pinhole with limits", &["--rate-limit", "4000000000"]),
        ours("pinhole, XDP in the driver", &["--rate-limit", "0", "--xdp", "INTERFACE:native"]),
        ours("the same with limits", &["--rate-limit", "4000000000", "--xdp", "INTERFACE:native"]),
        ours("pinhole, generic XDP", &["--rate-limit", "0", "--xdp", "INTERFACE:generic"]),
    ];
    let mut other = |name, program: Option<PathBuf>, args: &'static str| {
        let args = args.split_whitespace().collect();
        servers.extend(program.map(|program| Server { name, program, args, xdp: false }));
    };
    let coturn = "-n -S -L IP -p PORT -m 1 --no-cli --no-tls --no-dtls --no-tcp --no-rfc5780 --log-file stdout \
                  --pidfile /dev/null --userdb /dev/null";
    other("coturn", find("turnserver"), coturn);
    other("stund", find("stund"), "-h IP -p PORT -a SECOND");
    let stuntman = std::env::var_os("STUNTMAN_SERVER").map(PathBuf::from).or_else(|| find("stunserver"));
    other("stuntman", stuntman, "--mode basic --primaryinterface IP --primaryport PORT");
    servers
}

/// Where a program is; Debian keeps some in sbin, which is not on every user's path.
pub(super) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    directories.map(|directory| directory.join(program)).find(|path| path.is_file())
}

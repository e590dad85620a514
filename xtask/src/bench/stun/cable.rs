//! A cable between two namespaces, each end of it worked off by a kernel thread of its own, so that what the server's side of the
//! kernel does is done on the server's core and can be counted.
//!
//! An end receives in a thread when its device is told to (`/sys/class/net/*/threaded`, Linux 5.12). Both have GRO on, which is what makes
//! them take frames that come from the other end's driver.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::servers::find;
use crate::bench::process::{Process, output, release};

/// The ends: the server's, and the asker's. Dropped, they are gone.
pub(super) struct Cable {
    pub(super) server: End,
    pub(super) asker: End,
}

/// An end of the cable, in a namespace of its own.
pub(super) struct End {
    namespace: String,
    pub(super) interface: String,
}

/// The server's addresses and the asker's.
pub(super) const SERVER: [&str; 2] = ["10.98.0.2", "10.98.0.3"];
const ASKER: &str = "10.98.0.1";

impl Cable {
    /// Lays it. `None`, said, where that is not possible.
    pub(super) fn lay() -> Result<Option<Self>> {
        let is_root = output(Command::new("id").arg("-u"))?.trim() == "0";
        for program in ["ip", "ethtool"] {
            if find(program).is_none() {
                println!("Over a cable: not measured without {program}; apt-get install iproute2 ethtool");
                return Ok(None);
            }
        }
        if !is_root {
            println!("Over a cable, and with XDP: not measured without root");
            return Ok(None);
        }
        let cable = Self { server: End::add("s")?, asker: End::add("c")? };
        let Self { server, asker } = &cable;
        let pair = ["link", "add", &server.interface, "type", "veth", "peer", "name", &asker.interface];
        server.ip(&[&pair[..], &["netns", &asker.namespace]].concat())?;
        for address in SERVER {
            server.ip(&["address", "add", &format!("{address}/24"), "dev", &server.interface])?;
        }
        asker.ip(&["address", "add", &format!("{ASKER}/24"), "dev", &asker.interface])?;
        for end in [server, asker] {
            // Checksums that are left to hardware never meet any on a veth; a server in the Internet is sent whole ones.
            end.run(&["ethtool", "-K", &end.interface, "gro", "on", "tx", "off"])?;
            end.ip(&["link", "set", &end.interface, "up"])?;
            let threaded = format!("echo 1 > /sys/class/net/{}/threaded", end.interface);
            end.run(&["sh", "-c", &threaded])?;
        }
        Ok(Some(cable))
    }
}

impl End {
    fn add(letter: &str) -> Result<Self> {
        let tag = std::process::id();
        let end = Self { namespace: format!("phb-{tag}-{letter}"), interface: format!("phb{tag}{letter}") };
        output(Command::new("ip").args(["netns", "add", &end.namespace]))?;
        end.ip(&["link", "set", "lo", "up"])?;
        Ok(end)
    }

    /// What a command inside begins with.
    pub(super) fn enter(&self) -> Vec<String> {
        ["ip", "netns", "exec", &self.namespace].map(str::to_owned).to_vec()
    }

    fn ip(&self, args: &[&str]) -> Result<String> {
        output(Command::new("ip").args(["-n", &self.namespace]).args(args))
    }

    fn run(&self, words: &[&str]) -> Result<String> {
        output(Command::new("ip").args(["netns", "exec", &self.namespace]).args(words))
    }

    /// Has what the other end's driver sends arrive, which takes a program at this end, until what is returned is dropped.
    pub(super) fn take_native_frames(&self, scratch: &Path) -> Result<Process> {
        let mut words = self.enter();
        words.extend([release().join("examples/stun_bench_end").display().to_string(), self.interface.clone()]);
        let log = scratch.join("end");
        let mut process = Process::start(Command::new(&words[0]).args(&words[1..]), log.clone())?;
        let is_attached = || fs::read_to_string(&log).is_ok_and(|said| said.contains("attached"));
        process.wait(Duration::from_secs(20), is_attached)?;
        Ok(process)
    }

    /// Lets its thread come before all else on its core: a generator that has no end would keep it from taking answers.
    pub(super) fn prefer(&self) -> Result<()> {
        output(Command::new("chrt").args(["--fifo", "--pid", "1", &self.thread()?.pid])).map(drop)
    }

    /// Puts its thread on a core: which it is. A program that is attached or taken away may have made it anew.
    pub(super) fn pin(&self, core: &str) -> Result<Thread> {
        let thread = self.thread()?;
        output(Command::new("taskset").args(["-cp", core, &thread.pid]))?;
        output(Command::new("chrt").args(["--other", "--pid", "0", &thread.pid]))?;
        Ok(thread)
    }

    /// The kernel's thread for it.
    fn thread(&self) -> Result<Thread> {
        let name = format!("napi/{}-", self.interface);
        for entry in fs::read_dir("/proc")? {
            let path = entry?.path();
            let Ok(comm) = fs::read_to_string(path.join("comm")) else { continue };
            // Older kernels keep no more than 15 bytes of a name.
            let is_it = comm.starts_with(&name) || comm.trim_end().len() == 15 && name.starts_with(comm.trim_end());
            let Some(pid) = path.file_name().and_then(|pid| pid.to_str()).filter(|_| is_it) else { continue };
            return Ok(Thread { pid: pid.to_owned() });
        }
        bail!("the kernel has no thread {name}: it takes Linux 5.12")
    }
}

impl Drop for End {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.namespace]).output();
    }
}

/// A kernel thread that works an end off.
pub(super) struct Thread {
    pid: String,
}

impl Thread {
    /// CPU time used so far, in seconds.
    pub(super) fn cpu(&self) -> Result<f64> {
        let text = fs::read_to_string(format!("/proc/{}/schedstat", self.pid)).context("the kernel's statistics")?;
        let nanos: f64 = text.split_whitespace().next().context("a number")?.parse()?;
        Ok(nanos / 1e9)
    }
}

//! `cargo xtask bench`: the benchmarks, one file each under `bench/`.
//!
//! A benchmark states figure, command, machine and the version of the peer it compares with, and takes both sides of a
//! ratio in the same run. Nothing here is a gate: a timed test fails on the wrong day.

mod direct;
mod dns;
mod gateway;
mod process;
mod stun;
mod timewait;
mod tunnel;

use anyhow::{Result, bail};

/// One benchmark.
struct Bench {
    name: &'static str,
    /// What it measures, in a line.
    about: &'static str,
    run: fn(&[String]) -> Result<()>,
}

/// All of them. A new one is a module of this one and a line here.
const BENCHES: &[Bench] = &[
    Bench {
        name: "direct",
        about: "time from both agents up to the first tunnel packet: --runs 50 --delay 20 --loss 0",
        run: direct::run,
    },
    Bench {
        name: "dns",
        about: "registry answers per second against nsd and knot: --peers 10,100,1000 --rounds 5 --seconds 2",
        run: dns::run,
    },
    Bench {
        name: "gateway",
        about: "Gb/s and packets/s through our engine beside the kernel's masquerade, as root: --seconds 3 --rounds 3",
        run: gateway::run,
    },
    Bench {
        name: "timewait",
        about: "simulated lifetimes, `timewait show` beside ss, CPU of `watch`, as root: --sockets 20000,200000 --rounds 5",
        run: timewait::run,
    },
    Bench {
        name: "stun",
        about: "Binding requests per second against coturn, stund and a bare echo, as root with XDP: --rounds 5 --seconds 2 --rate 60000",
        run: stun::run,
    },
    Bench {
        name: "tunnel",
        about: "Gb/s and CPU time beside wireguard-go, as root: --seconds 5 --rounds 3 --peer 'COMMAND {name}'",
        run: tunnel::run,
    },
];

/// Says which there are.
pub(crate) fn list() -> Result<()> {
    for Bench { name, about, .. } in BENCHES {
        println!("{name:<12} {about}");
    }
    Ok(())
}

/// Runs the one called `name`.
pub(crate) fn run(name: &str, args: &[String]) -> Result<()> {
    match BENCHES.iter().find(|bench| bench.name == name) {
        Some(bench) => (bench.run)(args),
        None => bail!("there is no benchmark {name:?}; `cargo xtask bench` lists them"),
    }
}

//! `pinhole timewait why`: why a socket is still here, with the evidence.
//!
//! One look tells what it is and when it ends. What keeps it alive is only seen by looking on: whether its time begins anew,
//! and which of the kernel's counters move with it.

mod finding;
mod text;

use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args as ClapArgs;
use pinhole_host::netlink::conntrack::{self, Tuple};
use pinhole_host::netlink::sock_diag::States;
use pinhole_host::sysctl::Counters;

use super::machine::Machine;
use super::sample::{Dead, Sample};
use crate::cmd::conntrack::output;
use crate::cmd::stop;
use finding::{Cause, Finding, PawsCounter, Seen, Tracked};

/// Say why a socket is still here, when it ends, and whether its port can be had before
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  pinhole timewait why 10.0.0.1:40000 10.0.0.2:443
  pinhole timewait why '[fd00::1]:40000' '[fd00::2]:443' --for 10     look on for ten seconds
  pinhole timewait why 10.0.0.1:40000 10.0.0.2:443 --json | jq .cause")]
pub(super) struct Args {
    /// Its own end, as in 10.0.0.1:40000
    #[arg(value_name = "ADDRESS:PORT", value_parser = end)]
    from: SocketAddr,
    /// The other end, as in 10.0.0.2:443
    #[arg(value_name = "ADDRESS:PORT", value_parser = end)]
    to: SocketAddr,
    /// How long to look on for what keeps it alive, seconds
    #[arg(long = "for", value_name = "SECONDS", default_value = "1.5", value_parser = patience)]
    patience: Duration,
    /// For machines
    #[arg(long)]
    json: bool,
}

/// Who waits longer than this is told so.
const PATIENCE: Duration = Duration::from_secs(2);
/// Between two looks.
const PERIOD: Duration = Duration::from_millis(100);

/// Prints it. Exit code 1 when there is nothing of it.
pub(super) fn run(args: &Args) -> Result<ExitCode> {
    if args.from.ip().to_canonical().is_ipv4() != args.to.ip().to_canonical().is_ipv4() {
        bail!("no connection goes from {} to {}: one is IPv4, the other IPv6", args.from, args.to);
    }
    let machine = Machine::find()?;
    let finding = find(args, &machine)?;
    let mut out = io::stdout().lock();
    let written = match args.json {
        true => writeln!(out, "{:#}", text::json(&finding, &machine)),
        false => text::write(&mut out, &finding, &machine),
    };
    let code = output::ended(written.and_then(|()| out.flush()))?;
    Ok(if finding.cause == Cause::Nothing { ExitCode::FAILURE } else { code })
}

fn find(args: &Args, machine: &Machine) -> Result<Finding> {
    let same = |a: SocketAddr, b: SocketAddr| a.ip().to_canonical() == b.ip().to_canonical() && a.port() == b.port();
    let is_it = |local: SocketAddr, remote: SocketAddr| same(local, args.from) && same(remote, args.to);
    let sample = Sample::take(machine, States::ALL)?;
    let dead = sample.dead.iter().find(|dead| is_it(dead.socket.local, dead.socket.remote)).copied();
    let living = sample.living.iter().find(|socket| is_it(socket.local, socket.remote)).copied();
    let tracked = tracked(args);
    let listens = sample.living.iter().any(|s| s.remote.port() == 0 && s.local.port() == args.from.port());
    let mut all = sample.dead.iter().map(|dead| &dead.socket).chain(&sample.living);
    let reversed = all.any(|socket| same(socket.local, args.to) && same(socket.remote, args.from));
    let mut seen = Seen { first: dead, last: dead, at_ns: sample.at_ns, listens, reversed, ..Seen::default() };
    if let Some(dead) = dead {
        look_on(args, machine, &dead, &mut seen)?;
    }
    Ok(Finding::of(machine, (args.from, args.to), seen, living, tracked))
}

/// Watches the socket for as long as it is told, until it is gone, or until Ctrl-C: what was seen by then is told.
fn look_on(args: &Args, machine: &Machine, first: &Dead, seen: &mut Seen) -> Result<()> {
    let enough = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&enough);
    stop::on_signal(move || asked.store(true, Ordering::Relaxed)).context("cannot wait for signals")?;
    if args.patience > PATIENCE && io::stderr().is_terminal() {
        eprintln!("pinhole: looking on for {:.0} s; Ctrl-C ends it", args.patience.as_secs_f64());
    }
    let before = Counters::read().unwrap_or_default();
    let end = Instant::now() + args.patience;
    while Instant::now() < end && !enough.load(Ordering::Relaxed) {
        sleep(PERIOD.min(end.saturating_duration_since(Instant::now())));
        let sample = Sample::take(machine, States::DEAD)?;
        seen.at_ns = sample.at_ns;
        match sample.dead.iter().find(|dead| dead.socket.cookie == first.socket.cookie) {
            Some(dead) => seen.again(dead),
            None => {
                seen.last = None;
                break;
            }
        }
    }
    let after = Counters::read().unwrap_or_default();
    let more = |of: fn(&Counters) -> Option<u64>| Some(of(&after)?.saturating_sub(of(&before)?));
    if after.paws.is_none() {
        seen.paws_counter = PawsCounter::OfAll;
    }
    seen.paws = match seen.paws_counter {
        PawsCounter::OfDead => more(|counters| counters.paws),
        PawsCounter::OfAll => more(|counters| counters.paws_of_all),
    }
    .unwrap_or(0);
    seen.recycled = more(|counters| counters.recycled).unwrap_or(0);
    Ok(())
}

/// What connection tracking has of it, in either direction.
fn tracked(args: &Args) -> Tracked {
    /// `IPPROTO_TCP`.
    const TCP: u8 = 6;
    match conntrack::get(&Tuple::new(TCP, args.from, args.to)) {
        Ok(entry) => {
            Tracked::Entry { state: entry.state.map(|state| state.name()), left_s: entry.timeout_s.unwrap_or(0) }
        }
        Err(error) if error.is_permission() => Tracked::NotAllowed,
        Err(_) => Tracked::Nothing,
    }
}

/// An end of a connection.
fn end(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "expected an address and a port, as in 10.0.0.1:40000 or [fd00::1]:40000".to_owned())
}

/// Seconds, up to ten minutes.
fn patience(text: &str) -> Result<Duration, String> {
    let seconds: Option<f64> = text.parse().ok().filter(|seconds| (0.0..=600.0).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| "expected seconds from 0 to 600".into())
}

//! `pinhole timewait watch`: ports as they come back.
//!
//! All that die in a granule of the wheel die at its end, so one look after each granule sees every death, and since a socket lives
//! for many granules, every birth, too. That is all the work there is. Where the kernel's jiffies may not be read, looks are
//! closer until the first death tells where the granules end.

mod change;
mod line;
mod screen;

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args as ClapArgs;
use pinhole_host::clock::{Source, now_ns};
use pinhole_host::netlink::sock_diag::States;
use tokio::signal::unix::{SignalKind, signal};

use super::machine::Machine;
use super::sample::Sample;
use super::target::Peer;
use crate::cmd::conntrack::output;
use change::{Change, Watched};

/// Watch ports come back: how many sockets die when, and whether that was predicted
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  pinhole timewait watch                        a screen with the releases of the next minute
  pinhole timewait watch | cat                  a line after each release
  pinhole timewait watch --json --to 10.0.0.2:443 | jq .died     one object a line
  sudo pinhole timewait watch --netns home      another network namespace")]
pub(super) struct Args {
    /// Only what goes to this address, or address and port
    #[arg(long, value_name = "ADDRESS[:PORT]")]
    to: Option<Peer>,
    /// Seconds between looks; after each granule of the kernel's wheel without it
    #[arg(long, value_name = "SECONDS", value_parser = interval)]
    interval: Option<Duration>,
    /// End after this many looks
    #[arg(long, value_name = "COUNT")]
    count: Option<u64>,
    /// For machines
    #[arg(long)]
    json: bool,
}

/// While nobody knows where granules end.
const LEARNING: Duration = Duration::from_millis(100);
/// Jiffies after the end of a granule by which its timers have run.
const AFTER_J: u64 = 3;
/// Longer than this nobody waits, whatever the granule: a death row's is 7.5 s, of which nothing is known before.
const LONGEST: Duration = Duration::from_millis(4100);
/// A screen tells the time.
const REFRESH: Duration = Duration::from_secs(1);

/// Shows them until Ctrl-C.
pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    runtime.block_on(watch(args))
}

async fn watch(args: &Args) -> Result<ExitCode> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for signals")?;
    let mut machine = Machine::find()?;
    let mut watched = Watched::new(look(args, &machine)?);
    let live = !args.json && io::stdout().is_terminal();
    // Only now: a refusal is an ordinary line.
    let screen = live.then(screen::Live::enter);
    let mut change = Change::default();
    for shown in 1u64.. {
        let mut out = io::stdout().lock();
        let written = match (args.json, &screen) {
            (true, _) => line::json(&mut out, &machine, &watched, &change),
            (false, Some(_)) => screen::write(&mut out, &machine, &watched, &change),
            (false, None) => line::text(&mut out, &watched, &change),
        };
        if let Err(error) = written.and_then(|()| out.flush()) {
            return output::ended(Err(error));
        }
        drop(out);
        if args.count.is_some_and(|count| shown > count) {
            return Ok(ExitCode::SUCCESS);
        }
        let next_ns = next_look_ns(args, &machine);
        loop {
            let wait = Duration::from_nanos(next_ns.saturating_sub(now_ns()));
            if wait.is_zero() {
                break;
            }
            tokio::select! {
                _ = terminate.recv() => return Ok(ExitCode::SUCCESS),
                _ = interrupt.recv() => return Ok(ExitCode::SUCCESS),
                () = tokio::time::sleep(if live { wait.min(REFRESH) } else { wait }) => {}
            }
            if live {
                let mut out = io::stdout().lock();
                screen::write(&mut out, &machine, &watched, &change).and_then(|()| out.flush()).ok();
            }
        }
        change = watched.next(look(args, &machine)?);
        if let Some(death_ns) = change.seen_to_die_ns.filter(|_| machine.jiffies.source == Source::Guess) {
            let granule_j = machine.granule_j();
            machine.jiffies.learn(granule_j, death_ns);
            watched = Watched::new(look(args, &machine)?);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn look(args: &Args, machine: &Machine) -> Result<Sample> {
    let mut sample = Sample::take(machine, States::DEAD)?;
    if let Some(peer) = &args.to {
        sample.dead.retain(|dead| peer.is(dead.socket.remote));
    }
    // FIN_WAIT_2 with a process is nobody's business here.
    sample.living = Vec::new();
    Ok(sample)
}

fn next_look_ns(args: &Args, machine: &Machine) -> u64 {
    let now_ns = now_ns();
    let after = |wait: Duration| now_ns + wait.as_nanos() as u64;
    match (args.interval, machine.jiffies.source) {
        (Some(interval), _) => after(interval),
        (None, Source::Guess) => after(LEARNING),
        (None, Source::TimerList | Source::SchedStat | Source::Observed) => {
            let granule_j = machine.granule_j();
            if granule_j == 1 {
                return after(REFRESH);
            }
            let end_j = (machine.jiffies.at(now_ns).saturating_sub(AFTER_J) / granule_j + 1) * granule_j + AFTER_J;
            machine.jiffies.ns_of(end_j).clamp(now_ns + 1, after(LONGEST))
        }
    }
}

/// At least 20 ms.
fn interval(text: &str) -> Result<Duration, String> {
    let seconds: Option<f64> = text.parse().ok().filter(|seconds| (0.02..=3600.0).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| "expected seconds from 0.02 to 3600".into())
}

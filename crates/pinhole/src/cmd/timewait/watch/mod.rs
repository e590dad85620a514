//! `pinhole timewait watch`: ports as they come back.
//!
//! All that die in a granule of the wheel die at its end, so one look after each granule sees every death, and since a socket lives
//! for many granules, every birth, too. That is all the work there is. Where the kernel's jiffies may not be read, looks are
//! closer until the first death tells where the granules end.

mod change;
mod line;
mod view;

use std::collections::VecDeque;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args as ClapArgs;
use pinhole_host::clock::{Source, now_ns};
use pinhole_host::netlink::sock_diag::States;

use super::machine::Machine;
use super::sample::Sample;
use super::target::Peer;
use crate::cmd::conntrack::output;
use crate::cmd::conntrack::paint::Paint;
use crate::cmd::screen::{Ends, Screen, Wake};
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
/// Looks that a screen remembers: more than any has lines.
const PAST: usize = 200;

/// What a look saw.
#[derive(Debug)]
struct Seen {
    /// "12:34:56".
    time: String,
    change: Change,
}

impl Seen {
    fn now(change: Change) -> Self {
        Self { time: line::time(output::now_ns()), change }
    }
}

/// What the last looks saw, the newest last.
type Past = VecDeque<Seen>;

/// Shows them until Ctrl-C.
pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    runtime.block_on(watch(args))
}

async fn watch(args: &Args) -> Result<ExitCode> {
    let mut ends = Ends::listen()?;
    let mut machine = Machine::find()?;
    let mut watched = Watched::new(look(args, &machine)?);
    let mut past = Past::from([Seen::now(Change::default())]);
    // Only now: a refusal is an ordinary line.
    let is_live = !args.json && io::stdout().is_terminal();
    let mut screen = if is_live { Some(Screen::enter()?) } else { None };
    for shown in 1u64.. {
        if let Err(error) = show(args, &machine, &watched, &past, screen.as_mut()) {
            return output::ended(Err(error));
        }
        if args.count.is_some_and(|count| shown > count) {
            return Ok(ExitCode::SUCCESS);
        }
        let next_ns = next_look_ns(args, &machine);
        loop {
            let left = Duration::from_nanos(next_ns.saturating_sub(now_ns()));
            let wait = if is_live { left.min(REFRESH) } else { left };
            match ends.wait(screen.as_mut(), wait).await.context("cannot use the terminal")? {
                Wake::Leave => return Ok(ExitCode::SUCCESS),
                Wake::Time if wait == left => break,
                Wake::Time | Wake::Draw => show(args, &machine, &watched, &past, screen.as_mut())?,
            }
        }
        let change = watched.next(look(args, &machine)?);
        if let Some(death_ns) = change.seen_to_die_ns.filter(|_| machine.jiffies.source == Source::Guess) {
            let granule_j = machine.granule_j();
            machine.jiffies.learn(granule_j, death_ns);
            watched = Watched::new(look(args, &machine)?);
        }
        past.push_back(Seen::now(change));
        past.drain(..past.len().saturating_sub(PAST));
    }
    Ok(ExitCode::SUCCESS)
}

/// On the screen, or as a line.
fn show(args: &Args, machine: &Machine, watched: &Watched, past: &Past, screen: Option<&mut Screen>) -> io::Result<()> {
    if let Some(screen) = screen {
        let now_ns = now_ns();
        return screen.draw(|canvas| view::draw(canvas, machine, watched, past, now_ns, Paint::for_stdout()));
    }
    let Some(Seen { change, .. }) = past.back() else { return Ok(()) };
    let mut out = io::stdout().lock();
    match args.json {
        true => line::json(&mut out, machine, watched, change)?,
        false => line::text(&mut out, watched, change)?,
    }
    out.flush()
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

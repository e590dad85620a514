//! `pinhole timewait show`: the dead sockets of this network namespace at one moment, and when each is gone.

mod json;
mod table;

use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use anyhow::Result;
use clap::Args as ClapArgs;
use pinhole_host::netlink::conntrack::{self, Entry, Select};
use pinhole_host::netlink::sock_diag::{self, States};
use pinhole_host::sysctl::Counters;

use super::groups::Groups;
use super::machine::Machine;
use super::sample::Sample;
use super::target::Peer;
use super::trouble;
use crate::cmd::conntrack::output;

pub(super) use json::{machine, socket, state};

/// Show who waits in TIME_WAIT, per destination: how many, when they die, how many ports are left
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  pinhole timewait show                       per destination and in all
  pinhole timewait show --to 10.0.0.2:443     what one destination's ports are doing
  pinhole timewait show --sockets             each socket with the time of its death
  pinhole timewait show --json | jq '.groups[0].deaths'     for machines
  sudo pinhole timewait show --netns home     another network namespace")]
pub(super) struct Args {
    /// Only what goes to this address, or address and port
    #[arg(long, value_name = "ADDRESS[:PORT]")]
    to: Option<Peer>,
    /// Each socket, soonest death first
    #[arg(long)]
    sockets: bool,
    /// No more than this many lines
    #[arg(long, value_name = "COUNT")]
    limit: Option<usize>,
    /// For machines
    #[arg(long)]
    json: bool,
}

/// All there is to show.
struct View {
    machine: Machine,
    sample: Sample,
    groups: Groups,
    counters: Option<Counters>,
    /// Whether connection tracking could be read; none where it may not.
    tracked: bool,
}

/// Prints it.
pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let view = look(args)?;
    let mut out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
    let written = if args.json { json::write(&mut out, args, &view) } else { table::write(&mut out, args, &view) };
    output::ended(written.and_then(|()| out.flush()))
}

fn look(args: &Args) -> Result<View> {
    let (machine, sockets) = Machine::find_during(|| sock_diag::sockets(States::ALL))?;
    let mut sample = Sample::of(&machine, sockets.map_err(trouble::explain)?);
    let mut entries: Option<Vec<Entry>> = conntrack::dump(&Select::default()).ok();
    if let Some(peer) = &args.to {
        sample.dead.retain(|dead| peer.is(dead.socket.remote));
        sample.living.retain(|socket| socket.remote.port() == 0 || peer.is(socket.remote));
        if let Some(entries) = &mut entries {
            entries.retain(|entry| peer.is(entry.original.destination));
        }
    }
    let groups = Groups::of(&machine, &sample, entries.as_deref());
    Ok(View { machine, sample, groups, counters: Counters::read().ok(), tracked: entries.is_some() })
}

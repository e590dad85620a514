//! `pinhole conntrack`: this machine's own connection tracking table, by ctnetlink.
//!
//! | file | what it is |
//! |---|---|
//! | [`filter`] | which entries are wanted, with the letters and names of conntrack(8) |
//! | [`list`], [`watch`], [`top`] | the commands |
//! | [`trace`] | what would happen to a packet, and why: by the engine, not by the kernel |
//! | [`diff`] | the same packets through the engine and through the kernel: the first that they take differently |
//! | [`router`], [`progress`] | what these two have in common: a router by arguments; how far a capture is |
//! | [`classic`], [`json`], [`people`] | an entry as conntrack(8) prints it, for machines, for people |
//! | [`output`] | how flows are printed, and how printing ends |
//! | [`names`], [`human`], [`paint`] | protocols, services and labels; amounts and times; colours |
//! | [`trouble`] | what to do when the kernel refuses |

mod classic;
mod diff;
mod filter;
pub(in crate::cmd) mod human;
mod json;
mod list;
pub(in crate::cmd) mod names;
pub(in crate::cmd) mod output;
pub(in crate::cmd) mod paint;
mod people;
mod progress;
mod router;
mod top;
pub(in crate::cmd) mod trace;
mod trouble;
mod watch;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args as ClapArgs, Subcommand};

/// Show the kernel's connection tracking table: flows, who is translated to what, and how full it is
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  pinhole conntrack list -p udp --dport 51820       who talks WireGuard, and as whom the outside sees them
  pinhole conntrack list --sort bytes --limit 10    the largest flows
  pinhole conntrack list -o conntrack -n            translated sources, line by line as `conntrack -L -n` prints them
  pinhole conntrack watch -p udp                    flows as they begin, change and end
  pinhole conntrack top --by destination            who is called most, and how full the table is
  pinhole conntrack trace '192.168.1.2:40000 > 192.0.2.1:53 udp 8'    what a packet meets at every hook, and why
  pinhole conntrack diff --rules rules.v4 --pcap lan.pcap             does this machine's kernel do the same?
  ip netns exec home pinhole conntrack list         the table of another network namespace")]
pub struct Args {
    #[command(subcommand)]
    command: What,
}

#[derive(Debug, Subcommand)]
enum What {
    List(list::Args),
    Watch(watch::Args),
    Top(top::Args),
    Trace(trace::Args),
    Diff(diff::Args),
}

/// Runs it.
pub fn run(args: Args) -> Result<ExitCode> {
    match args.command {
        What::List(args) => list::run(&args),
        What::Watch(args) => watch::run(&args),
        What::Top(args) => top::run(&args),
        What::Trace(args) => trace::run(&args),
        What::Diff(args) => diff::run(&args),
    }
}

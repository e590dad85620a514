//! `pinhole timewait`: how long dead connections keep their ports, on this machine and on others.
//!
//! | file | what it is |
//! |---|---|
//! | [`show`], [`watch`], [`why`] | the sockets of this network namespace: now, as they die, and one of them |
//! | [`forecast`], [`simulate`] | when ports run out; whole days in virtual time, for any kernel |
//! | [`explain`] | this machine's kernel and settings in plain words |
//! | [`machine`] | the kernel, its clock and its settings |
//! | [`sample`], [`groups`] | the sockets at one moment with the times of their deaths; by destination |
//! | [`chart`] | bars for a terminal |
//! | [`target`], [`trouble`] | which network namespace and which peer; what to do when something is refused |

mod busiest;
mod chart;
mod explain;
mod forecast;
mod groups;
mod machine;
mod sample;
mod show;
mod simulate;
mod target;
mod trouble;
mod watch;
mod why;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args as ClapArgs, Subcommand};

pub(crate) use busiest::busiest;

/// Show how long TIME_WAIT really lasts: when each socket dies, why it is still here, when ports run out
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  pinhole timewait show                          per destination: how many, when they die, how many ports are left
  pinhole timewait watch                         ports as they come back
  pinhole timewait why 10.0.0.1:40000 10.0.0.2:443    why this socket is still here
  pinhole timewait forecast --rate 600 --to 10.0.0.2:443    when ports run out, for how long, and what helps
  pinhole timewait simulate --kernel 2.6.32 --rate 20       what another kernel makes of a load
  pinhole timewait explain                       this machine's kernel and settings in plain words")]
pub struct Args {
    #[command(subcommand)]
    command: What,
    /// Look into another network namespace: a name of `ip netns`, a process, or a path
    #[arg(long, global = true, value_name = "NAMESPACE")]
    netns: Option<String>,
}

#[derive(Debug, Subcommand)]
enum What {
    Show(show::Args),
    Watch(watch::Args),
    Why(why::Args),
    Forecast(forecast::Args),
    Simulate(simulate::Args),
    Explain(explain::Args),
}

/// Runs it.
pub fn run(args: Args) -> Result<ExitCode> {
    if let Some(name) = &args.netns {
        target::enter(name)?;
    }
    match args.command {
        What::Show(args) => show::run(&args),
        What::Watch(args) => watch::run(&args),
        What::Why(args) => why::run(&args),
        What::Forecast(args) => forecast::run(&args),
        What::Simulate(args) => simulate::run(&args),
        What::Explain(args) => explain::run(&args),
    }
}

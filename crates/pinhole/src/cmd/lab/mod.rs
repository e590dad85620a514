//! `pinhole lab`: networks of NATs in virtual time, with the real agents, registry and WireGuard in them.
//!
//! | file | what it is |
//! |---|---|
//! | [`run`](mod@run) | one scenario from a file, simulated |
//! | [`real`] | the same file in namespaces |
//! | [`matrix`] | every kind of NAT against every other |
//! | [`replay`] | one run of one cell |
//! | [`ladder`] | who sent what to whom, in time |
//! | [`words`] | results in words |

mod ladder;
mod matrix;
mod real;
mod replay;
mod run;
mod words;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args as ClapArgs, Subcommand};

/// Networks of NATs, simulated with the real programs in them, or in namespaces
#[derive(Debug, ClapArgs)]
#[command(arg_required_else_help = true)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Args),
    Matrix(matrix::Args),
    Replay(replay::Args),
}

/// Runs it.
///
/// # Errors
/// When a file is not understood, or something cannot be written.
pub fn run(args: Args) -> Result<ExitCode> {
    match args.command {
        Command::Run(args) => run::run(&args),
        Command::Matrix(args) => matrix::run(&args),
        Command::Replay(args) => replay::run(&args),
    }
}

/// A time for people: milliseconds below a second.
fn human(time: std::time::Duration) -> String {
    if time.as_millis() < 1_000 { format!("{} ms", time.as_millis()) } else { format!("{:.2} s", time.as_secs_f64()) }
}

/// For reports: fractions of a millisecond are noise.
fn millis(time: std::time::Duration) -> f64 {
    (time.as_secs_f64() * 10_000.0).round() / 10.0
}

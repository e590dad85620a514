//! `pinhole stun`: serve STUN, and measure a server of it.

mod bench;
mod serve;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args as ClapArgs, Subcommand};

/// STUN: tell clients which address their NAT gives them
#[derive(Debug, ClapArgs)]
#[command(arg_required_else_help = true)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Args),
    Bench(bench::Args),
}

/// Runs it.
pub fn run(args: Args) -> Result<ExitCode> {
    match args.command {
        Command::Serve(args) => serve::run(args),
        Command::Bench(args) => bench::run(&args),
    }
}

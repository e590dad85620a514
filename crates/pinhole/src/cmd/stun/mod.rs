//! `pinhole stun`: ask STUN servers, be one, and measure one.

mod bench;
mod query;
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
    Query(Box<query::Args>),
    Serve(serve::Args),
    Bench(bench::Args),
}

/// Runs it.
pub fn run(args: Args) -> Result<ExitCode> {
    match args.command {
        Command::Query(args) => query::run(&args),
        Command::Serve(args) => serve::run(args),
        Command::Bench(args) => bench::run(&args),
    }
}

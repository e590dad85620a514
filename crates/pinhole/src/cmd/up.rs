//! `pinhole up`: run every role that the configuration names.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args as ClapArgs;

use crate::config::{self, Config};
use crate::run;

/// Run all that the configuration names
#[derive(Debug, ClapArgs)]
#[command(after_help = "Example:
  pinhole up -c pinhole.toml

SIGTERM and Ctrl-C undo what was changed and stop; SIGHUP reads it and its wg-quick files again and restarts the roles that
changed. What is wrong, or cannot be run, leaves things as they were.")]
pub struct Args {
    /// The configuration
    #[arg(short, long, value_name = "FILE", default_value = config::DEFAULT_PATH)]
    config: PathBuf,
    /// Only read and check the configuration
    #[arg(long)]
    check: bool,
    /// Print events as JSON, one object a line
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub fn run(args: Args) -> Result<ExitCode> {
    let config = Config::read(&args.config)?;
    if args.check {
        super::print(format!("{} is valid\n", args.config.display()).as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    }
    run::configuration(config, args.config, args.json)
}

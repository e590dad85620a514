//! `pinhole completions`: shell completions from the same definitions as the commands.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args as ClapArgs, Command};
use clap_complete::Shell;

/// Print a completion script for a shell
#[derive(Debug, ClapArgs)]
#[command(after_help = "Example:
  pinhole completions bash > /usr/share/bash-completion/completions/pinhole")]
pub struct Args {
    /// Which shell
    shell: Shell,
}

/// Prints it.
pub fn run(args: Args, mut command: Command) -> Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "pinhole", &mut script);
    super::print(&script)?;
    Ok(ExitCode::SUCCESS)
}

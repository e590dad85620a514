//! `pinhole man`: manual pages from the same definitions as the commands.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args as ClapArgs, Command};

/// Print the manual page, or write those of all commands into a directory
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  pinhole man | man -l -
  pinhole man --dir /usr/local/share/man/man1")]
pub struct Args {
    /// Write pinhole.1, pinhole-agent.1 … here
    #[arg(long, value_name = "DIRECTORY")]
    dir: Option<PathBuf>,
}

/// Prints or writes them.
pub fn run(args: Args, command: Command) -> Result<ExitCode> {
    match args.dir {
        Some(dir) => {
            std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
            clap_mangen::generate_to(command, &dir).with_context(|| format!("cannot write into {}", dir.display()))?;
        }
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(command).render(&mut page).context("cannot write the page")?;
            super::print(&page)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

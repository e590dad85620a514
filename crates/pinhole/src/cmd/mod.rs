//! One file per command: its arguments, and the call that does the work.

pub mod agent;
pub mod completions;
pub mod conntrack;
pub mod demo;
pub mod doctor;
pub mod gateway;
pub mod lab;
pub mod man;
pub mod registry;
mod screen;
mod stop;
pub mod stun;
pub mod timewait;
pub mod up;
pub mod wg;

use std::io::{self, ErrorKind, Write};

use anyhow::{Context, Result};

/// Prints what a command was asked for.
///
/// # Errors
/// When it cannot be written; a reader that has enough and closes the pipe is none.
fn print(bytes: &[u8]) -> Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error).context("cannot write to standard output"),
        _ => Ok(()),
    }
}

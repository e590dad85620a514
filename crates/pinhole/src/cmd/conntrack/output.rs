//! How flows are printed, and how printing ends.

use std::io;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use clap::ValueEnum;

use super::classic::Extras;
use super::names::Labels;

/// How flows are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    /// For people
    Table,
    /// For machines: one array, or one object a line
    Json,
    /// Lines as `conntrack -L` prints them
    Conntrack,
    /// The same with the network layer first
    Extended,
    /// The same with the kernel's number of each flow
    Id,
    /// The same with the times at which flows began
    Ktimestamp,
    /// The same with the names of labels
    Labels,
    /// The same with the time at which an event was seen
    Timestamp,
}

impl Output {
    /// What conntrack(8) adds for `outputs`; `None` where its lines are not wanted.
    pub(super) fn extras(outputs: &[Self]) -> Option<Extras> {
        let has = |output| outputs.contains(&output);
        let any = outputs.iter().any(|output| !matches!(output, Self::Table | Self::Json));
        any.then(|| Extras {
            family: has(Self::Extended),
            id: has(Self::Id),
            times: has(Self::Ktimestamp),
            seen: has(Self::Timestamp),
            labels: has(Self::Labels).then(Labels::of_this_system).flatten(),
        })
    }
}

/// Nanoseconds since 1970.
pub(in crate::cmd) fn now_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}

/// What writing to standard output came to. A reader that has enough closes the pipe, and that is no failure.
pub(in crate::cmd) fn ended(written: io::Result<()>) -> Result<ExitCode> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        written => written.context("cannot write to standard output").map(|()| ExitCode::SUCCESS),
    }
}

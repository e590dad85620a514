//! `pinhole conntrack top`: who has the most flows, and how full the table is.
//!
//! Each look is one dump, counted into groups; rates come from two looks. What is nearly full says what to do.

mod advice;
mod screen;
mod tally;

use std::collections::HashMap;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::{Args as ClapArgs, ValueEnum};
use pinhole_host::netlink::conntrack::{self, CpuStatistics, Fill};
use tokio::signal::unix::{SignalKind, signal};

use super::filter::Filter;
use super::names::Services;
use super::output;
use super::trouble;
use tally::{Group, Tally};

/// Show who has the most flows, bytes or packets, and how full the table is
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  pinhole conntrack top                              hosts with the most flows, every two seconds
  pinhole conntrack top --by destination --sort rate who is sent the most right now
  pinhole conntrack top --by state -p tcp --once     how many connections are in which state
  pinhole conntrack top --json --interval 10         one object a line every ten seconds")]
pub(super) struct Args {
    #[command(flatten)]
    filter: Filter,
    /// What flows are counted by
    #[arg(long, value_enum, default_value = "source")]
    by: By,
    /// What comes first
    #[arg(long, value_enum, default_value = "flows")]
    sort: Order,
    /// How many lines; as many as fit the terminal without it
    #[arg(long, value_name = "COUNT")]
    rows: Option<usize>,
    /// Seconds between looks
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = interval)]
    interval: Duration,
    /// Look once and end
    #[arg(long)]
    once: bool,
    /// For machines: one object for each look
    #[arg(long)]
    json: bool,
    /// Ports as numbers, without names of services
    #[arg(short = 'N', long)]
    numeric: bool,
}

/// What flows are counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum By {
    /// The initiator's address
    Source,
    /// The address that was called
    Destination,
    /// The address as which the outside sees the initiator
    Nat,
    /// The state of the protocol
    State,
    /// The protocol
    Protocol,
    /// The protocol and the port that was called
    Service,
}

/// What comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Order {
    /// Most flows
    Flows,
    /// Most bytes since the flows began
    Bytes,
    /// Most packets since the flows began
    Packets,
    /// Most bytes per second since the last look
    Rate,
}

/// One look at the table.
struct Look {
    at: Instant,
    now_ns: u64,
    fill: Fill,
    statistics: CpuStatistics,
    tally: Tally,
}

/// What two looks say.
struct Frame {
    now_ns: u64,
    fill: Fill,
    statistics: CpuStatistics,
    /// Of the counters that say what was dropped, per second; none at the first look.
    rates: Option<Rates>,
    groups: Vec<Group>,
    counted: bool,
    flows: u64,
    unreplied: u64,
}

/// Per second.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
struct Rates {
    drop: f64,
    early_drop: f64,
    insert_failed: f64,
    invalid: f64,
}

/// Shows it until Ctrl-C.
pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    runtime.block_on(top(args))
}

async fn top(args: &Args) -> Result<ExitCode> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for signals")?;
    let services = if args.numeric { Services::default() } else { Services::of_this_system() };
    let live = !args.once && !args.json && io::stdout().is_terminal();
    let mut last = look(args, &services, &HashMap::new())?;
    let mut frame = frame(args, &last, None);
    // Only now: a refusal is an ordinary line.
    let _screen = live.then(screen::Live::enter);
    loop {
        let mut out = io::stdout().lock();
        let written =
            if args.json { screen::json(&mut out, args, &frame) } else { screen::text(&mut out, args, &frame, live) };
        if let Err(error) = written.and_then(|()| out.flush()) {
            return output::ended(Err(error));
        }
        drop(out);
        if args.once {
            return Ok(ExitCode::SUCCESS);
        }
        tokio::select! {
            _ = terminate.recv() => return Ok(ExitCode::SUCCESS),
            _ = interrupt.recv() => return Ok(ExitCode::SUCCESS),
            () = tokio::time::sleep(args.interval) => {}
        }
        let next = look(args, &services, &last.tally.totals)?;
        frame = self::frame(args, &next, Some(&last));
        last = next;
    }
}

fn look(args: &Args, services: &Services, before: &tally::Totals) -> Result<Look> {
    let mut entries = conntrack::dump(&args.filter.select()).map_err(trouble::explain)?;
    let at = Instant::now();
    entries.retain(|entry| args.filter.matches(entry));
    let fill = conntrack::fill().map_err(trouble::explain)?;
    let statistics = CpuStatistics::sum(&conntrack::statistics().map_err(trouble::explain)?);
    let tally = Tally::new(&entries, args.by, services, before);
    Ok(Look { at, now_ns: output::now_ns(), fill, statistics, tally })
}

fn frame(args: &Args, look: &Look, last: Option<&Look>) -> Frame {
    let seconds = last.map(|last| look.at.duration_since(last.at).as_secs_f64());
    let rates = last.zip(seconds).map(|(last, seconds)| {
        let per_s = |of: fn(&CpuStatistics) -> u32| {
            f64::from(of(&look.statistics).wrapping_sub(of(&last.statistics))) / seconds
        };
        Rates {
            drop: per_s(|s| s.drop),
            early_drop: per_s(|s| s.early_drop),
            insert_failed: per_s(|s| s.insert_failed),
            invalid: per_s(|s| s.invalid),
        }
    });
    let Tally { flows, unreplied, counted, .. } = look.tally;
    let groups = look.tally.sorted(args.sort, seconds);
    Frame {
        now_ns: look.now_ns,
        fill: look.fill,
        statistics: look.statistics,
        rates,
        groups,
        counted,
        flows,
        unreplied,
    }
}

/// At least a tenth of a second: a look at a large table takes about that.
fn interval(text: &str) -> Result<Duration, String> {
    let seconds: Option<f64> = text.parse().ok().filter(|seconds| (0.1..=86_400.0).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| "expected seconds from 0.1 to 86400".into())
}

#[cfg(test)]
mod tests;

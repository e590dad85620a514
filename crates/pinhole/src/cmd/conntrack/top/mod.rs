//! `pinhole conntrack top`: who has the most flows, and how full the table is.
//!
//! Each look is one dump, counted into groups; rates come from two looks. What is nearly full says what to do.

mod advice;
mod json;
mod tally;
mod text;
mod view;

use std::collections::HashMap;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::{Args as ClapArgs, ValueEnum};
use pinhole_host::netlink::conntrack::{self, CpuStatistics, Fill};

use super::filter::Filter;
use super::names::Services;
use super::output;
use super::paint::Paint;
use super::trouble;
use crate::cmd::screen::{Ends, Screen, Wake};
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
    let mut ends = Ends::listen()?;
    let services = if args.numeric { Services::default() } else { Services::of_this_system() };
    let mut last = look(args, &services, &HashMap::new())?;
    let mut frame = frame(args, &last, None);
    // Only now: a refusal is an ordinary line.
    let is_live = !args.once && !args.json && io::stdout().is_terminal();
    let mut screen = if is_live { Some(Screen::enter()?) } else { None };
    loop {
        if let Err(error) = show(args, &frame, screen.as_mut()) {
            return output::ended(Err(error));
        }
        if args.once {
            return Ok(ExitCode::SUCCESS);
        }
        let next = Instant::now() + args.interval;
        loop {
            let wait = next.saturating_duration_since(Instant::now());
            match ends.wait(screen.as_mut(), wait).await.context("cannot use the terminal")? {
                Wake::Time => break,
                Wake::Draw => show(args, &frame, screen.as_mut())?,
                Wake::Leave => return Ok(ExitCode::SUCCESS),
            }
        }
        let next = look(args, &services, &last.tally.totals)?;
        frame = self::frame(args, &next, Some(&last));
        last = next;
    }
}

/// On the screen, or as lines.
fn show(args: &Args, frame: &Frame, screen: Option<&mut Screen>) -> io::Result<()> {
    if let Some(screen) = screen {
        return screen.draw(|canvas| view::draw(canvas, args, frame, Paint::for_stdout()));
    }
    let mut out = io::stdout().lock();
    if args.json {
        json::write(&mut out, args, frame)?
    } else {
        text::write(&mut out, args, frame)?
    };
    out.flush()
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
